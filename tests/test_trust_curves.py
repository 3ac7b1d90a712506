"""One curve per backend in one file, each under its own hash."""

import json
from pathlib import Path

import pytest

from benchmarks.panel_fit import fit_panel, panel_rows
from benchmarks.trust_fit import put
from benchmarks.trust_sets import Sample
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import TrustConfig
from mia_skill.core.errors import ConfigError
from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Verdict
from trust import settle
from trust.calibrate import Fit, calibrated, digest_of, fits, read_fits, stamp
from trust.evidence import examine
from trust.forms import JudgeForm
from trust.panel import from_form

PAGE = Passage(id="e1", text="Velmora Works was founded by Aldric Tesh in 1874.")
CASE = Case(question="Who founded Velmora Works?", answer="Aldric Tesh", evidence=(PAGE,))
FIT = Fit(name="a model", weights={}, points=((0.0, 0.2), (1.0, 0.6)), accept=0.65, reject=0.4, ece=0.1, n=50)
REVIEW = '{"score": 9, "reason": "it stands there", "cited": ["e1"], "own_answer": "Aldric Tesh"}'


def test_a_curve_is_added_and_those_of_the_others_stay(tmp_path: Path) -> None:
    target = tmp_path / "calibration.json"
    target.write_text(
        json.dumps({"evidence": {"fit": fits()["evidence"].model_dump(mode="json"), "sha256": stamp_of("evidence")}})
    )
    put("endpoint", FIT, target)
    put("host", FIT, target)
    found = read_fits(target.read_text(encoding="utf-8"))
    assert found == {"evidence": fits()["evidence"], "endpoint": FIT, "host": FIT}


def stamp_of(backend: str) -> str:
    known = stamp(backend)
    assert known is not None
    return known.digest


def test_reviews_are_read_off_the_curve_of_their_own_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    form = JudgeForm.model_validate({one: json.loads(REVIEW) for one in ("reasoning", "sourcing", "validity")})
    bare = from_form(CASE, examine(CASE), form, TrustConfig())
    monkeypatch.setattr("trust.calibrate.fits", lambda: {"host": FIT})
    fitted = settle.settle(CASE, examine_before(bare), bare.reviews, TrustConfig(), backend="host")
    assert (bare.p_correct, bare.calibration) == (0.9, None)
    assert fitted.p_correct == calibrated("host", 0.9) == 0.56
    assert fitted.calibration is not None
    assert fitted.calibration.digest == digest_of(FIT) == fitted.versions["calibration"]
    other = settle.settle(CASE, examine_before(bare), bare.reviews, TrustConfig(), backend="endpoint")
    assert (other.p_correct, other.calibration) == (0.9, None)


def examine_before(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"reviews": ()})


async def test_the_scores_of_a_model_become_rows_to_fit() -> None:
    samples = [Sample(CASE, True, "q")]
    (row,) = await panel_rows({"one": samples}, ScriptedChat([REVIEW] * 3))
    assert (row.name, row.right) == ("one", True)
    assert row.fixed == pytest.approx(2.197, abs=0.01)
    assert await panel_rows({"one": samples}, ScriptedChat(["nothing"] * 6)) == []


def test_a_file_of_ones_own_goes_before_what_is_installed_for_its_backend_alone(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    put("endpoint", FIT, own)
    assert calibrated("endpoint", 0.5, own) == 0.4
    assert calibrated("evidence", 0.5, own) == calibrated("evidence", 0.5)
    review = JudgeForm.model_validate({one: json.loads(REVIEW) for one in ("reasoning", "sourcing", "validity")})
    examined = examine(CASE)
    reviews = from_form(CASE, examined, review, TrustConfig()).reviews
    found = settle.settle(CASE, examined, reviews, TrustConfig(calibration=own))
    assert found.p_correct == 0.56
    assert found.calibration is not None
    assert found.calibration.digest == digest_of(FIT)


@pytest.mark.parametrize("text", ["", "[1]", '{"endpoint": 3}', '{"endpoint": {"fit": {}}}'])
def test_a_file_that_holds_no_fits_is_named_with_the_way_to_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.json").write_text(text)
    for name in ("own.json", "nowhere.json"):
        with pytest.raises(ConfigError, match=r"benchmarks\.trust_fit --to FILE"):
            calibrated("endpoint", 0.5, tmp_path / name)


def test_too_few_answers_for_a_curve_are_named_before_a_model_is_asked() -> None:
    with pytest.raises(SystemExit, match="take a higher --limit"):
        fit_panel({"one": [Sample(CASE, True, "q")]}, "endpoint", "http://127.0.0.1:9/v1", "m")
