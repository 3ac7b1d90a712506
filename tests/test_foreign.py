"""Procedures out of other memories: what is mapped, what is left out and named, and what hostile files do."""

import json
from pathlib import Path

import pytest
from bank_kinds import Banks
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.cli import main
from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Status
from retrieval.embed import HashEmbedder
from retrieval.foreign import FOREIGN, LONGEST, Findings
from retrieval.transfer import unit_line

MEM0 = {
    "results": [
        {"id": "a1", "memory": "The user likes tea", "user_id": "u", "created_at": "2026-02-01T10:00:00+00:00"},
        {
            "id": "a2",
            "memory": "## Summary\n**Task Objective**: Find who founded a works\n1. search the works\n2. read its page",
            "metadata": {"memory_type": "procedural_memory", "outcome": "correct"},
            "created_at": "2026-02-03T10:00:00",
        },
        {"id": "a3", "memory": ""},
        "what?",
    ]
}
GRAPH = [
    {"type": "entity", "name": "Ada", "entityType": "person", "observations": ["likes tea"]},
    {"type": "entity", "name": "Find a founder", "entityType": "Procedure", "observations": ["1. search", "2. read"]},
    {
        "type": "entity",
        "name": "Find an heir",
        "entityType": "workflow",
        "observations": ["search", "outcome: correct"],
    },
    {"type": "relation", "from": "Find an heir", "to": "Find a founder", "relationType": "derived from"},
    {"type": "relation", "from": "Find a founder", "to": "Find an heir", "relationType": "based_on"},
    {"type": "relation", "from": "Ada", "to": "Find an heir", "relationType": "wrote"},
]
NOTE = """# Research
Some thoughts.
## Find a founder
1. search the works
2. [x] read its page
outcome: correct
## Shopping
- milk
```
# no heading
1. no step
```
"""


def read(form: str, path: Path) -> tuple[list[MemoryUnit], Findings]:
    findings = Findings()
    return list(FOREIGN[form](path, "default", findings)), findings


def written(folder: Path, form: str) -> Path:
    text = {
        "mem0": json.dumps(MEM0),
        "server-memory": "\n".join([*map(json.dumps, GRAPH), "{ broken", "[]"]),
        "markdown": NOTE,
    }[form]
    path = folder / "memory.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_mem0_gives_its_procedural_memories_and_names_the_facts_that_it_leaves(tmp_path):
    units, findings = read("mem0", written(tmp_path, "mem0"))
    (unit,) = units
    assert unit.question == "Find who founded a works"
    assert "read its page" in unit.workflow
    assert (unit.outcome, unit.created_at.isoformat()) == (Outcome.CORRECT, "2026-02-03T10:00:00+00:00")
    assert [(one.line, one.reason) for one in findings.left_out] == [(1, "a fact, no procedure: The user likes tea")]
    assert [one.line for one in findings.broken] == [3, 4]


def test_a_mem0_file_may_have_one_memory_a_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join([*(json.dumps(one) for one in MEM0["results"][:2]), "{"]))
    units, findings = read("mem0", path)
    assert (len(units), len(findings.left_out), [one.line for one in findings.broken]) == (1, 1, [3])


def test_a_file_that_is_no_export_of_mem0_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text('{"results": 7}')
    with pytest.raises(InputError, match="no export of mem0"):
        read("mem0", path)


def test_the_memory_servers_procedures_become_units_with_their_lineage_also_where_it_is_a_circle(tmp_path):
    units, findings = read("server-memory", written(tmp_path, "server-memory"))
    founder, heir = units
    assert founder.workflow == "1. search\n2. read"
    assert (founder.outcome, heir.outcome, heir.workflow) == (None, Outcome.CORRECT, "1. search")
    assert (founder.provenance.parents, heir.provenance.parents) == ((heir.id,), (founder.id,))
    assert [one.reason for one in findings.left_out] == ["'Ada' is a person, no procedure"]
    assert [one.line for one in findings.broken] == [7, 8]


def test_markdown_gives_lists_of_steps_under_their_headings_and_nothing_that_is_fenced(tmp_path):
    units, findings = read("markdown", written(tmp_path, "markdown"))
    (unit,) = units
    assert unit.question == "Research - Find a founder"
    assert (unit.workflow, unit.outcome) == ("1. search the works\n2. read its page", Outcome.CORRECT)
    assert [one.line for one in findings.left_out] == [1, 7]
    assert all("no list of steps" in one.reason for one in findings.left_out)


def test_a_folder_of_notes_is_read_file_by_file(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.md").write_text(f"- one of {name}\n- two\n", encoding="utf-8")
    units, _ = read("markdown", tmp_path)
    assert [unit.question for unit in units] == ["a", "b"]


@pytest.mark.parametrize("form", FOREIGN)
def test_what_comes_in_is_quarantined_as_imported_and_known_the_second_time(banks: Banks, tmp_path, form):
    path = written(tmp_path, form)
    bank = banks.open(tmp_path / "b.sqlite3", HashEmbedder())
    units, _ = read(form, path)
    first = bank.import_(unit_line(unit) for unit in units)
    again = bank.import_(unit_line(unit) for unit in read(form, path)[0])
    assert (first.added, again.added, again.known) == (len(units), 0, len(units))
    for unit in bank.list().units:
        assert unit.status is Status.QUARANTINED
        assert unit.provenance.origins == (Origin.IMPORTED,)
        assert bank.trace(unit.id).trust is Origin.IMPORTED
    if form == "server-memory":
        assert len(bank.revoke(units[0].id).unit_ids) == 2, "a circle of parents ends somewhere"
    assert bank.verify_log().sound
    bank.close()


@pytest.mark.parametrize("form", FOREIGN)
def test_a_giant_procedure_is_reported_and_the_others_are_kept(tmp_path, form):
    path = written(tmp_path, form)
    giant = "x" * LONGEST
    with path.open("a", encoding="utf-8") as file:
        if form == "markdown":
            file.write(f"\n## Giant\n- {giant}\n- two\n")
        elif form == "server-memory":
            entity = {"type": "entity", "name": "Giant", "entityType": "skill", "observations": [giant]}
            file.write("\n" + json.dumps(entity))
        else:
            path.write_text(json.dumps([*MEM0["results"], {"memory": giant, "memory_type": "procedural"}]))
    units, findings = read(form, path)
    assert units
    assert any("split it" in one.reason for one in findings.broken)


@pytest.mark.parametrize("form", FOREIGN)
@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda one: (
            st.lists(one)
            | st.dictionaries(
                st.sampled_from(["type", "name", "entityType", "observations", "memory", "results", "metadata", "id"]),
                one,
            )
        ),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_no_file_whatever_it_holds_does_more_than_be_refused(tmp_path_factory, form, body):
    path = tmp_path_factory.mktemp("f") / "any.md"
    path.write_bytes(body)
    try:
        units, _ = read(form, path)
    except InputError:
        return
    assert all(unit.provenance.origins == (Origin.IMPORTED,) for unit in units)


def mia_(home: Path, *words: str, code: int = 0) -> Result:
    told = ("--set", f"home={home}", "--set", "memory.embedder=hash", "memory", *words)
    result = CliRunner().invoke(main, told)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(("form", "added", "code"), [("mem0", 1, 3), ("server-memory", 2, 3), ("markdown", 1, 0)])
def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path, form, added, code):
    path = written(tmp_path, form)
    home = tmp_path / "home"
    rehearsed = mia_(home, "import", "--format", form, "--dry-run", str(path), code=code)
    units = f"{added} unit{'s' * (added > 1)}"
    assert f"{units} would be added" in rehearsed.output
    assert "left out:" in rehearsed.output
    assert "0 of 0" in mia_(home, "list").output
    assert f"{units} added" in mia_(home, "import", "--format", form, str(path), code=code).output
    assert f"{added} of {added}" in mia_(home, "list").output


def test_secrets_in_a_foreign_memory_are_not_kept(tmp_path):
    note = tmp_path / "n.md"
    note.write_text("# Deploy\n- export OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwxyz0123456789\n- run it\n")
    mia_(tmp_path / "home", "import", "--format", "markdown", str(note))
    assert "sk-abcdef" not in mia_(tmp_path / "home", "list", "--json").output


def test_a_file_that_is_not_there_or_a_folder_is_an_error_with_its_name(tmp_path):
    for form in ("mia", "mia-skill", *FOREIGN):
        words = ("import", "--format", form, str(tmp_path / "none"))
        assert "none" in str(mia_(tmp_path / "home", *words, code=1).output)
    assert "Is a directory" in mia_(tmp_path / "home", "import", str(tmp_path), code=1).output


def test_an_export_carries_the_log_on_request_and_it_can_be_checked_without_the_bank(tmp_path):
    home, file = tmp_path / "home", tmp_path / "all.jsonl"
    for question in ("alpha beta", "gamma delta"):
        mia_(home, "add", "--question", question, "--workflow", "1. a way", "--outcome", "correct")
    head = json.loads(mia_(home, "verify-log", "--json").stdout)["head"]
    mia_(home, "export", str(file))
    assert "holds no log" in mia_(home, "verify-log", "--export", str(file), code=1).output
    mia_(home, "export", "--log", str(file))
    assert f"sound; head {head}" in mia_(home, "verify-log", "--export", str(file)).output
    other = mia_(tmp_path / "other", "import", str(file))
    assert "2 units added" in other.output, "the log is no broken line"
    lines = file.read_text().splitlines()
    kept = [line for line in lines if '"number":1,' not in line.replace(" ", "")]
    file.write_text("\n".join(kept) + "\n")
    assert "first bad entry" in mia_(home, "verify-log", "--export", str(file), code=3).output


@pytest.mark.parametrize(
    ("form", "body", "why"),
    [
        ("mia", '{"kind": "recipe"}\n', "line 1: kind 'recipe'"),
        ("mia", "", "there is nothing in it"),
        ("mia", "not json\n" * 50, "and 30 more"),
        ("mia-skill", "\n\n", "there is nothing in it"),
        ("mem0", "[]", "there is nothing in it"),
        ("mem0", json.dumps(MEM0["results"][:1]), "a fact, no procedure: The user likes tea"),
        ("server-memory", json.dumps(GRAPH[0]), "'Ada' is a person, no procedure"),
        ("markdown", "# Thoughts\nnothing to do\n", "no list of steps"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_refused_with_the_reasons(tmp_path, form, body, why):
    path = tmp_path / "given.md"
    path.write_text(body, encoding="utf-8")
    for rehearsed in ((), ("--dry-run",), ("--json",)):
        refused = mia_(tmp_path / "home", "import", "--format", form, str(path), *rehearsed, code=1)
        assert "InputError: nothing in" in refused.stderr
        assert why in refused.stderr
        assert "--format" in refused.stderr, "most often it is another format"
        assert not refused.stdout


def test_what_is_partly_usable_comes_in_and_the_refused_lines_are_listed(tmp_path):
    path = written(tmp_path, "mem0")
    took = mia_(tmp_path / "home", "import", "--format", "mem0", str(path), code=3)
    assert "1 unit added" in took.stdout
    assert "a fact, no procedure: The user likes tea" in took.stderr
    assert "line 3: no text" in took.stderr


def test_the_export_of_an_empty_bank_is_no_useless_file(tmp_path):
    path = tmp_path / "empty.jsonl"
    mia_(tmp_path / "one", "export", str(path))
    assert "0 units added" in mia_(tmp_path / "two", "import", str(path)).output
