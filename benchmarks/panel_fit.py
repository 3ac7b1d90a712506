"""The curve of a reviewing model: its scores on the sets, turned into probabilities, beside the curves of the others.

    python -m benchmarks.trust_fit --backend endpoint --endpoint URL --model NAME [--limit 20] [--to FILE]

Half of the questions fit, the other half measures. `--backend host` stores the curve for the host's own model, asked
here through an endpoint that serves the same one. No fit is shipped: a curve belongs to one model, and none that can
judge was at hand. With the setting `trust.calibration = FILE` judgments use one's own.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from benchmarks.trust_fit import HELD_OUT, Row, ece, fitting, isotonic, put
from benchmarks.trust_sets import Sample
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import EndpointConfig, TrustConfig
from mia_skill.core.errors import JudgeError
from mia_skill.core.openai_chat import OpenAIChat
from trust.calibrate import Fit
from trust.panel import Panel

__all__ = ["fit_panel", "panel_rows"]

FEWEST = 40
"""Judged answers of either half, below which a curve says nothing."""
NONE: Any = np.zeros(0)


def fit_panel(
    sets: Mapping[str, Sequence[Sample]], backend: str, url: str, model: str, target: Path | None = None
) -> None:
    """Ask, fit, measure, print, store."""
    asked = {name: part for name, part in sets.items() if name != HELD_OUT}
    first = [fitting(sample.group) for part in asked.values() for sample in part]
    if min(sum(first), len(first) - sum(first)) < FEWEST:  # said before hours are spent on asking
        raise SystemExit(f"too few answers for a curve ({len(first)}): take a higher --limit")
    rows = anyio.run(panel_rows, asked, OpenAIChat(EndpointConfig(base_url=url, model=model)))
    half, held = [one for one in rows if one.fits], [one for one in rows if not one.fits]
    print(f"{model}: {len(half)} answers fit, {len(held)} are held out")
    if min(len(half), len(held)) < FEWEST:
        raise SystemExit(f"too few judged answers for a curve: at least {FEWEST} of either half are needed")
    error = ece(held, NONE, isotonic(half, NONE))
    print(f"held out: ece {error:.3f}, without the curve {ece(held, NONE, ()):.3f}")
    if target is not None:
        config = TrustConfig()
        name = f"{model}: {'+'.join(sorted({one.name for one in rows}))}"
        fit = Fit(
            name=name, weights={}, points=isotonic(rows, NONE), accept=config.accept / 10, reject=config.reject / 10,
            ece=round(error, 4), n=len(held),
        )  # fmt: skip
        put(backend, fit, target)


async def panel_rows(sets: Mapping[str, Sequence[Sample]], chat: ChatModel) -> list[Row]:
    """The raw weighted review score of every answer that could be judged, as a share of ten."""
    panel, rows = Panel(chat, TrustConfig()), []
    for name, samples in sets.items():
        print(f"{name}: {len(samples)} answers to review, {len(rows)} reviewed before", flush=True)
        for sample in samples:
            try:
                verdict = await panel.judge(sample.case)
            except JudgeError:
                continue
            if verdict.score is not None:
                raw = min(0.98, max(0.02, verdict.score / 10))
                rows.append(Row(name, sample.group, sample.right, (), math.log(raw / (1 - raw)), False))
    return rows
