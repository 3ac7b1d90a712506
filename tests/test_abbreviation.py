"""Ids by their beginning: what is meant is found, what may be several is refused with their names, nothing is lost."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.cli import main
from mia_skill.core.config import load_config
from mia_skill.core.errors import AmbiguousIdError, UnknownIdError
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

IDS = ("mem_0a1b2c3d4e5f", "mem_0a1b2c3d4eff", "mem_0a1b2c3d", "mem_77777777_%11", "mem_77777777x%11")


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    filled(opened)
    yield opened
    opened.close()


def filled(bank):
    units = (
        MemoryUnit(id=one, question=f"question {at} of works {at * 7}", workflow="1. search", outcome=Outcome.CORRECT)
        for at, one in enumerate(IDS)
    )
    bank.consolidate(Consolidation(units=tuple(units)))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mem_0a1b2c3d4e5f", IDS[0]),
        ("mem_0a1b2c3d4e5", IDS[0]),
        ("mem_0a1b2c3d", IDS[2]),
        ("mem_…2c3d4e5f", IDS[0]),
        ("mem_...2c3d4eff", IDS[1]),
        ("mem_77777777_", IDS[3]),
    ],
)
def test_a_whole_id_its_beginning_and_the_pages_short_form_mean_the_unit(bank, given, meant):
    assert bank.meant(given) == meant


def test_what_may_be_several_units_is_refused_with_their_ids_and_questions(bank):
    with pytest.raises(AmbiguousIdError) as refused:
        bank.meant("mem_0a1b2c3d4e")
    assert IDS[0] in str(refused.value)
    assert IDS[1] in str(refused.value)
    assert f"{IDS[2]} " not in str(refused.value)
    assert "question 0 of works 0" in str(refused.value)


@pytest.mark.parametrize(
    "given", ["mem_0a1b2c3e", "MEM_0A1B2C3D4E5", "mem_7777777%", "mem_…ffffffff", "mem_…", "…", ""]
)
def test_what_begins_no_id_is_unknown(bank, given):
    with pytest.raises(UnknownIdError):
        bank.meant(given)


def test_a_beginning_that_is_one_slip_away_from_another_unit_is_no_abbreviation(bank):
    with pytest.raises(UnknownIdError, match="first 12 characters"):
        bank.meant("mem_7")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    made = SqliteBank.open(load_config(None, flags={"home": str(tmp_path)}).bank_path, HashEmbedder())
    filled(made)
    made.close()
    return tmp_path


def mia(home: Path, *words: str, code: int = 0, typed: str = "") -> Result:
    result = CliRunner().invoke(main, ["--home", str(home), "memory", *words], input=typed)
    assert result.exit_code == code, result.output
    return result


def test_show_rate_trace_and_promote_take_the_beginning_of_an_id(home: Path) -> None:
    assert IDS[0] in mia(home, "show", IDS[0][:15]).output
    assert "incorrect" in mia(home, "feedback", IDS[0][:15], "bad").output
    assert IDS[0] in mia(home, "trace", IDS[0][:15]).output
    assert "it may direct already" in mia(home, "promote", IDS[1][:15]).output


def test_every_command_lists_the_candidates_of_an_ambiguous_beginning(home: Path) -> None:
    for words in (("show", "mem_0a1b2c3d4e"), ("feedback", "mem_0a1b2c3d4e", "good"), ("trace", "mem_0a1b2c3d4e")):
        refused = mia(home, *words, code=1)
        assert "AmbiguousIdError" in refused.stderr
        assert IDS[0] in refused.stderr


def test_forgetting_by_the_beginning_of_an_id_asks_about_the_unit_that_is_meant(home: Path) -> None:
    asked = mia(home, "forget", IDS[0][:15], IDS[0], code=1, typed="n\n")
    assert f"{IDS[0]} correct" in asked.output
    assert "Delete 1 unit for good?" in asked.output
    assert "5 of 5" in mia(home, "list").output
    gone = mia(home, "forget", IDS[0][:15], "--yes")
    assert IDS[0] in gone.stderr, "what was meant is told where nobody was asked"
    assert "forgot 1" in gone.stdout
    assert "4 of 4" in mia(home, "list").output


def test_one_ambiguous_or_unknown_beginning_and_nothing_is_forgotten(home: Path) -> None:
    for other in ("mem_0a1b2c3d4e", "mem_99999999"):
        mia(home, "forget", IDS[3], other, "--yes", code=1)
    assert "5 of 5" in mia(home, "list").output
