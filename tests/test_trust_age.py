"""Old sources and questions about the present: flagged, asked about again, believed less, and never for that alone
called wrong. No clock is read: what "now" is comes from the case, the question, or the newest source."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from mcp import Client

from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.cli.main import main
from mia_skill.core.config import TrustConfig
from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Label, Verdict
from trust.evidence import examine
from trust.forms import JudgeForm
from trust.panel import from_form

WHO = "Who is the current CEO of Velmora Works?"
HELD = "Aldric Tesh is the current CEO of Velmora Works."


def judged(question: str, answer: str, *pages: tuple[str, str], as_of: str = "") -> Verdict:
    return examine(asked(question, answer, *pages, as_of=as_of))


def asked(question: str, answer: str, *pages: tuple[str, str], as_of: str = "") -> Case:
    evidence = tuple(Passage(id=f"e{n}", text=text, published=when) for n, (text, when) in enumerate(pages, 1))
    return Case(question=question, answer=answer, evidence=evidence, as_of=as_of)


def stale(verdict: Verdict) -> list[str]:
    return [one.id for one in verdict.sources if "stale" in one.flags]


@pytest.mark.parametrize(
    ("question", "as_of"),
    [
        ("Who is the CEO of Velmora Works now (2025)?", ""),
        ("Who is the CEO of Velmora Works as of May 2025?", ""),
        ("Who is currently the CEO of Velmora Works in 2025?", ""),
        (WHO, "2025-05-01"),
        ("Who is the CEO of Velmora Works?", "2025-05-01"),
        ("Velmora Works 现在的 CEO 是谁?", "2025-05-01"),
    ],
)
@pytest.mark.parametrize(
    "page",
    [(HELD, "2019-05-01"), (HELD, "May 1, 2019"), (HELD, "6 years ago"), (f"As of May 2019, {HELD}", "")],
)
def test_an_old_source_for_a_question_about_now_is_flagged_and_asked_about_again(
    question: str, as_of: str, page: tuple[str, str]
) -> None:
    verdict = judged(question, "Aldric Tesh", page, as_of=as_of)
    assert stale(verdict) == ["e1"]
    assert verdict.label is Label.ABSTAIN
    assert verdict.p_correct is not None
    assert verdict.p_correct <= 0.5
    assert any("2019" in one.why and one.claim_id == "c1" for one in verdict.verify_next)


@pytest.mark.parametrize(
    ("question", "page", "as_of"),
    [
        (WHO, (HELD, "2019-05-01"), ""),
        (WHO, (HELD, "2025-01-01"), "2025-05-01"),
        (WHO, (HELD, "2024-01-01"), "2025-05-01"),
        (WHO, (HELD, "in the words of an engine"), "2025-05-01"),
        (WHO, ("Aldric Tesh is the current CEO of Velmora Works since 2009.", ""), "2025-05-01"),
        ("Who was the CEO of Velmora Works in 2019?", (HELD, "2019-05-01"), "2025-05-01"),
        ("Who founded Velmora Works?", ("Velmora Works was founded by Aldric Tesh.", "1999"), "2025-05-01"),
    ],
)
def test_without_a_known_now_or_a_known_age_nothing_is_old(question: str, page: tuple[str, str], as_of: str) -> None:
    verdict = judged(question, "Aldric Tesh", page, as_of=as_of)
    assert stale(verdict) == []
    assert not any("old" in one.why for one in verdict.verify_next)


def test_a_newer_source_tells_how_old_another_one_is() -> None:
    newer = ("Bela Ruvo is the current CEO of Velmora Works.", "2024-02-01")
    verdict = judged(WHO, "Aldric Tesh", (HELD, "2016-02-01"), newer)
    assert stale(verdict) == ["e1"]
    assert verdict.label is not Label.CORRECT
    assert stale(judged(WHO, "Bela Ruvo", (HELD, "2016-02-01"), newer)) == ["e1"]


def test_a_claim_that_a_newer_source_holds_too_is_believed_as_before() -> None:
    both = judged(WHO, "Aldric Tesh", (HELD, "2016-02-01"), ("Its CEO is " + HELD, "2024-02-01"))
    undated = judged(WHO, "Aldric Tesh", (HELD, ""), ("Its CEO is " + HELD, ""))
    assert (both.label, both.p_correct) == (undated.label, undated.p_correct)
    assert both.label is Label.CORRECT


def test_age_alone_rejects_nothing() -> None:
    old = judged(WHO, "Bela Ruvo", (HELD, "2009"), as_of="2025")
    assert judged(WHO, "Bela Ruvo", (HELD, "2025"), as_of="2025").label is Label.INCORRECT
    assert old.label is Label.ABSTAIN
    assert "too old" in old.reasons[0]


def test_reviewers_may_accept_it_with_less_confidence_and_the_doubt_stays() -> None:
    case = asked(WHO, "Aldric Tesh", (HELD, "2009"), as_of="2025")
    fresh = asked(WHO, "Aldric Tesh", (HELD, "2025"), as_of="2025")
    form = JudgeForm.model_validate(
        {one: {"score": 9, "reason": "", "cited": ["e1"]} for one in ("reasoning", "sourcing", "validity")}
    )
    found, believed = (from_form(one, examine(one), form, TrustConfig()) for one in (case, fresh))
    assert found.label is believed.label is Label.CORRECT
    assert found.p_correct is not None
    assert believed.p_correct is not None
    assert 0.5 < found.p_correct < believed.p_correct
    assert [one.claim_id for one in found.verify_next] == ["c1"]
    assert believed.verify_next == ()


def test_the_command_line_takes_the_day_of_the_question(tmp_path: Path) -> None:
    page = tmp_path / "e1"
    page.write_text(f"As of May 2019, {HELD}", encoding="utf-8")
    start = ["--home", str(tmp_path / "home"), "--set", "memory.embedder=hash"]
    args = [*start, "judge", "--question", WHO, "--answer", "Aldric Tesh", "--evidence", str(page)]
    dated = CliRunner().invoke(main, [*args, "--as-of", "2025-05-01"])
    assert "e1: stale" in dated.stdout
    assert "stale" not in CliRunner().invoke(main, args).stdout


async def test_the_tool_takes_the_day_of_the_question_and_its_receipt_is_good_for_the_same_run(
    make_mia: Callable[..., Mia],
) -> None:
    mia = make_mia()
    run = {"question": WHO, "answer": "Aldric Tesh", "steps": [{"query": "CEO", "found": f"As of May 2019, {HELD}"}]}
    async with Client(build_server(mia.config, mia=mia)) as client:
        undated, dated = [
            (await client.call_tool("judge", run | day)).structured_content or {}
            for day in ({}, {"as_of": "2025-05-01"})
        ]
        assert "freshness" not in json.dumps(undated)
        assert "asked about 2025" in json.dumps(dated)
        kept = await client.call_tool("memory_store", run | {"receipt": dated["receipt"]})
    assert not kept.is_error
