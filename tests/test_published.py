"""What users of the published skills bring along: their memory file and their variables."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.agents.published import published_units, unit_from_record
from mia_skill.cli import main
from mia_skill.core.config import MiaConfig, load_config
from mia_skill.core.errors import ConfigError
from mia_skill.core.legacy import LEGACY, explain
from mia_skill.core.types import Origin, Outcome

RECORD = {
    "timestamp": "2026-03-01T10:00:00.000Z",
    "question": "Who founded Velmora Works?",
    "plan": "1. Search for the founder of Velmora Works\n2. Check the year with Aldric Tesh",
    "execution": [
        {"step": 1, "query": "Velmora Works founder", "result": "Velmora Works was founded by Aldric Tesh in 1874."}
    ],
    "steps": ["search", "check"],
    "efficiency": {"search_count": 1, "step_count": 2, "success": True},
    "final_answer": "Aldric Tesh",
}


def test_a_record_becomes_a_unit_without_its_facts() -> None:
    unit = unit_from_record(RECORD, "default")
    assert unit.outcome is Outcome.CORRECT
    assert unit.provenance.origins == (Origin.IMPORTED,)
    assert unit.steps == 2
    assert unit.created_at.isoformat() == "2026-03-01T10:00:00+00:00"
    assert "Aldric" not in unit.workflow
    assert "Velmora" not in unit.workflow
    assert "founder" in unit.workflow


@pytest.mark.parametrize("execution", [[], None, ["search for it"], [{"query": "x"}], "done"])
def test_a_plan_that_was_never_carried_out_is_pending_whatever_it_claims(execution: object) -> None:
    unit = unit_from_record({**RECORD, "execution": execution}, "default")
    assert unit.outcome is None
    assert "Aldric" not in unit.workflow


@pytest.mark.parametrize(("claim", "outcome"), [(False, Outcome.INCORRECT), (True, Outcome.CORRECT), ("yes", None)])
def test_a_failure_stays_a_failure_and_an_unclear_claim_is_none(claim: object, outcome: Outcome | None) -> None:
    assert unit_from_record({**RECORD, "efficiency": {"success": claim}}, "default").outcome is outcome


@pytest.mark.parametrize("when", [1772359200000, "2026-03-01T10:00:00", "2026-03-01T10:00:00Z"])
def test_moments_are_read_in_the_forms_javascript_writes(when: object) -> None:
    assert unit_from_record({**RECORD, "timestamp": when}, "default").created_at.isoformat().startswith("2026-03-01T10")


@pytest.mark.parametrize("when", [None, "yesterday", 1e300, {}])
def test_a_moment_that_cannot_be_read_is_now(when: object) -> None:
    assert unit_from_record({**RECORD, "timestamp": when}, "default").created_at.tzinfo is not None


def test_broken_lines_are_named_and_the_others_are_read() -> None:
    lines = [b"{", b"", b"[]", b'{"plan": "x"}', b'{"question": "q"}', json.dumps(RECORD).encode()]
    broken: list[tuple[int, str]] = []
    assert len(list(published_units(lines, "default", broken))) == 1
    assert [number for number, _ in broken] == [1, 3, 4, 5]


def test_the_import_is_rehearsed_done_and_known_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    file = tmp_path / "memory.jsonl"
    file.write_text(json.dumps(RECORD) + "\n{broken\n", encoding="utf-8")

    def mia(*words: str) -> Result:
        return CliRunner().invoke(main, ["--home", str(tmp_path), "memory", *words])

    asked = ("import", "--format", "mia-skill", str(file), "--json")
    rehearsed = mia(*asked, "--dry-run")
    assert rehearsed.exit_code == 3, rehearsed.output
    assert json.loads(rehearsed.stdout)["added"] == 1
    assert "0 of 0" in mia("list").output
    report = json.loads(mia(*asked).stdout)
    assert (report["added"], report["broken"][0]["line"]) == (1, 2)
    assert json.loads(mia(*asked).stdout)["known"] == 1
    assert "Velmora" in mia("list").output


# --- variables


def load(environment: dict[str, str], path: Path | None = None) -> MiaConfig:
    return load_config(path, environment={"MIA_HOME": "/nowhere/mia", **environment})


def test_the_planners_old_variables_make_an_endpoint() -> None:
    planner = load(
        {"MIA_PLANNER_URL": "http://localhost:9000", "MIA_PLANNER_MODEL": "m", "MIA_PLANNER_API_KEY": "k"}
    ).models.planner
    assert planner is not None
    assert (planner.base_url, planner.model) == ("http://localhost:9000/v1", "m")
    assert planner.api_key is not None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("https://h/api/v3/chat/completions", "https://h/api/v3"),
    ],
)
def test_an_old_address_may_be_a_host_a_base_or_a_whole_route(given: str, read: str) -> None:
    planner = load({"MIA_PLANNER_URL": given, "MIA_PLANNER_MODEL": "m"}).models.planner
    assert planner is not None
    assert planner.base_url == read


def test_mode_local_has_the_published_defaults_and_an_unknown_mode_is_refused() -> None:
    planner = load({"MIA_PLANNER_MODE": "local"}).models.planner
    assert planner is not None
    assert (planner.base_url, planner.model) == ("http://localhost:8000/v1", "Qwen/Qwen3-8B")
    with pytest.raises(ConfigError, match="neither local nor api"):
        load({"MIA_TRUST_MODE": "cloud"})


def test_the_trust_variables_make_the_judge_and_fall_back_to_the_planners() -> None:
    old = {"MIA_PLANNER_URL": "http://p/v1", "MIA_PLANNER_MODEL": "m", "MIA_PLANNER_API_KEY": "k"}
    judge = load({**old, "MIA_TRUST_MODEL": "j"}).models.judge
    assert judge is not None
    assert (judge.base_url, judge.model) == ("http://p/v1", "j")
    assert judge.api_key is not None


def test_a_key_never_goes_to_an_address_it_was_not_given_for(tmp_path: Path) -> None:
    old = {"MIA_PLANNER_URL": "http://p/v1", "MIA_PLANNER_MODEL": "m", "MIA_PLANNER_API_KEY": "k"}
    judge = load({**old, "MIA_TRUST_URL": "http://other/v1"}).models.judge
    assert judge is not None
    assert (judge.base_url, judge.model, judge.api_key) == ("http://other/v1", "m", None)
    native = load({**old, "MIA_MODELS__PLANNER__BASE_URL": "http://new/v1", "MIA_MODELS__PLANNER__MODEL": "n"}).models
    assert native.planner is not None
    assert (native.planner.base_url, native.planner.model, native.planner.api_key) == ("http://new/v1", "n", None)
    file = tmp_path / "c.toml"
    file.write_text('[models.planner]\nbase_url = "http://file/v1"\nmodel = "f"\n', encoding="utf-8")
    filed = load(old, file).models.planner
    assert filed is not None
    assert (filed.base_url, filed.api_key) == ("http://file/v1", None)


def test_half_an_endpoint_is_refused_naming_what_is_missing_and_the_names_of_today() -> None:
    with pytest.raises(ConfigError, match=r"MIA_PLANNER_URL is not set.*MIA_MODELS__PLANNER__BASE_URL"):
        load({"MIA_PLANNER_API_KEY": "k"})
    with pytest.raises(ConfigError, match="MIA_TRUST_MODEL is not set"):
        load({"MIA_TRUST_URL": "http://t/v1", "MIA_TRUST_MODE": "api"})


def test_every_old_name_is_accepted_and_explained_without_its_value() -> None:
    environment = dict.fromkeys(LEGACY, "http://localhost:9") | {"MIA_PLANNER_MODE": "api", "MIA_TRUST_MODE": "api"}
    assert load(environment).models.judge is not None
    told = explain(environment)
    assert told.keys() == LEGACY
    assert "localhost:9" not in str(told)
    assert explain({}) == {}


def test_a_variable_set_to_nothing_or_left_as_a_placeholder_is_not_set() -> None:
    unset = {"MIA_MODELS__DEFAULT__BASE_URL": "", "MIA_SEARCH__WEB_KEY": "${user_config.mia_search__web_key}"}
    config = load(unset)
    assert config.models.default is None
    assert config.search.web_key is None
