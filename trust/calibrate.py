"""From a raw score to a probability, and from a probability to a verdict: fitted by a command, stored with a hash.

`python -m benchmarks.trust_fit` writes `data/calibration.json`: per backend the weights, an isotonic curve, and the
band in which nothing is decided. A probability speaks of a question set with as many right as wrong answers.
"""

import json
from bisect import bisect_right
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mia_skill.core.errors import ConfigError
from mia_skill.core.types import Value
from mia_skill.core.verdict import Calibration

__all__ = ["Fit", "accept_from", "calibrated", "digest_of", "fits", "read_fits", "stamp"]

Share = Annotated[float, Field(ge=0, le=1)]


class Fit(Value):
    """What was fitted for one backend."""

    name: str
    """The sets it was fitted on."""
    weights: dict[str, float]
    points: tuple[tuple[Share, Share], ...]
    """Raw to calibrated, both rising; straight lines between."""
    accept: Share
    """Raw score from which an answer is called correct where no precision is asked for."""
    reject: Share
    bands: tuple[tuple[Share, Share], ...] = ()
    """A precision of "correct", and the lowest raw score that had it on the fitted sets; a precision that no score
    had is left out."""
    ece: Share
    n: int
    """Held-out answers that the error was measured on."""


def calibrated(backend: str, raw: float, own: Path | None = None) -> float:
    """The probability behind a raw score; the score itself where nothing was fitted for this backend. `own` is a file
    of fits that goes before those of this installation.

    Raises:
        ConfigError: that file cannot be read.
    """
    fit = fit_of(backend, own)
    if fit is None or not fit.points:
        return raw
    place = bisect_right(fit.points, (raw, 2.0))
    if place == 0:
        return fit.points[0][1]
    if place == len(fit.points):
        return fit.points[-1][1]
    (x, y), (x2, y2) = fit.points[place - 1], fit.points[place]
    return round(y + (y2 - y) * (raw - x) / (x2 - x), 4)


def accept_from(backend: str, precision: float | None = None) -> float:
    """The raw score from which to say "correct": as fitted, or for a wanted precision. Above 1, so never, where no
    score had that precision."""
    fit = fits()[backend]
    if precision is None:
        return fit.accept
    return min((score for had, score in fit.bands if had >= precision), default=1.1)


def stamp(backend: str, own: Path | None = None) -> Calibration | None:
    """What to say about the probability of a backend; None where nothing was fitted."""
    fit = fit_of(backend, own)
    return None if fit is None else Calibration(name=fit.name, digest=digest_of(fit), ece=fit.ece, n=fit.n)


def fit_of(backend: str, own: Path | None = None) -> Fit | None:
    """The fit of a backend, if there is one."""
    return (fits_in(own).get(backend) if own is not None else None) or fits().get(backend)


@lru_cache(maxsize=4)
def fits_in(own: Path) -> dict[str, Fit]:
    """The fits of a file of one's own, read once.

    Raises:
        ConfigError: it cannot be read, or was altered.
    """
    try:
        return read_fits(own.read_text(encoding="utf-8"))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as cause:
        told = f"trust.calibration {str(own)!r} holds no fits ({type(cause).__name__})"
        raise ConfigError(f"{told}: python -m benchmarks.trust_fit --to FILE writes one") from None


@lru_cache(maxsize=1)
def fits() -> dict[str, Fit]:
    """The fits of this installation.

    Raises:
        ConfigError: the packaged file was altered.
    """
    return read_fits(files("trust").joinpath("data/calibration.json").read_text(encoding="utf-8"))


def read_fits(text: str) -> dict[str, Fit]:
    """The fits of a stored file, each held against its hash.

    Raises:
        ConfigError: one is not what its hash says.
    """
    found = {}
    for backend, entry in json.loads(text).items():
        fit = Fit.model_validate(entry["fit"])
        if digest_of(fit) != entry["sha256"]:
            raise ConfigError(f"the calibration of {backend!r} was altered: run python -m benchmarks.trust_fit")
        found[backend] = fit
    return found


def digest_of(fit: Fit) -> str:
    """Hash of everything that was fitted."""
    return sha256(json.dumps(fit.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
