"""`mia train ttl --from` before any weight is loaded: what cannot be run is refused, and the message says why."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.cli.main import main
from mia_skill.core.errors import InputError
from mia_skill.evaluation.questions import load_questions
from training.answer_book import AnswerBook, Line
from training.own_stream import batches
from training.task import Task

ROWS = [
    {"id": "a", "question": "Who founded Velmora Works?", "answer": "Aldric Tesh"},
    {"id": "b", "question": "Who founded Orla Mills?", "answers": ["Bera Noll", "Noll"]},
]
PAGE = {"id": "p1", "title": "Velmora Works", "text": "Velmora Works was founded by Aldric Tesh."}
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    monkeypatch.setenv("MIA_SEARCH__CORPUS", json.dumps([str(tmp_path / "pages.jsonl")]))
    (tmp_path / "pages.jsonl").write_text(json.dumps(PAGE))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama", "vocab_size": 8}')

    def ran(*more: str, rows: Sequence[object] = ROWS) -> Result:
        file = written(tmp_path, rows)
        words = [
            "--home",
            tmp_path / "home",
            "train",
            "ttl",
            "--from",
            file,
            "--model",
            model,
            "--out",
            tmp_path / "run",
        ]
        return CliRunner().invoke(main, [*map(str, words), *more])

    return ran


def written(folder: Path, rows: Sequence[object]) -> Path:
    file = folder / "questions.jsonl"
    file.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return file


def test_gold_refuses_questions_without_an_answer_and_names_the_first(run: Run) -> None:
    done = run(rows=[*ROWS, {"id": "c", "question": "When?"}, {"id": "d", "question": "Where?"}])
    assert done.exit_code == 1
    assert "InputError: the question 'c' has no answer: give it one, or --judge panel" in done.output


def test_a_corpus_that_is_not_set_or_not_there_is_told_before_weights_are_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pages.jsonl").unlink()
    done = run()
    assert (done.exit_code, "CorpusError: cannot read the corpus file" in done.output) == (1, True)
    monkeypatch.delenv("MIA_SEARCH__CORPUS")
    done = run()
    assert (done.exit_code, "no search source 'auto' is configured" in done.output) == (1, True)


def test_a_folder_without_weights_is_no_model(run: Run) -> None:
    done = run()
    assert done.exit_code == 1
    assert "holds no weights" in done.output


def test_without_torch_the_install_line_is_told_and_no_folder_is_claimed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run()
    assert done.exit_code == 1
    assert "MissingExtraError: this needs the package 'torch': pip install 'mia-skill[rl]'" in done.output
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--updater", "verl"), "'verl' is not one of 'null', 'tiny'"),
        (("--world",), "give --from FILE --model FOLDER --out FOLDER, or --world"),
        (("--lie", "0.2"), "--lie belongs to --world"),
        (("--way", "ttl"), "--way belongs to --world"),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(run: Run, more: tuple[str, ...], told: str) -> None:
    done = run(*more)
    assert done.exit_code == 2
    assert told in done.output


def test_flags_of_own_questions_are_refused_for_a_world_and_missing_ones_are_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", "ttl", "--world", "--rank", "4"])
    assert (done.exit_code, "--rank belongs to --from" in done.output) == (2, True)
    done = CliRunner().invoke(main, ["train", "ttl", "--from", str(written(tmp_path, ROWS))])
    assert (done.exit_code, "--from FILE needs --model FOLDER and --out FOLDER" in done.output) == (1, True)


def test_two_seeds_and_replies_that_fill_the_context_are_refused(run: Run) -> None:
    assert "one stream: give one --seed" in run("--seed", "1", "--seed", "2").output
    assert "--tokens 300 leaves no room" in run("--tokens", "300", "--context", "512").output


def test_questions_are_read_with_one_answer_with_several_and_with_none(tmp_path: Path) -> None:
    streamed = {"data_id": "s", "question": "When?", "ground_truth": "1887"}
    made = load_questions(written(tmp_path, [*ROWS, streamed, {"question": "Where?"}]))
    assert [(one.id, gold) for one, gold in made] == [
        ("a", ("Aldric Tesh",)),
        ("b", ("Bera Noll", "Noll")),
        ("s", ("1887",)),
        ("row4", ()),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "row 3: no JSON"),
        ([1], "row 3: the row is no object"),
        ({"id": "a", "question": "Again?"}, "row 3: the id 'a' was there before"),
        ({"id": "c", "question": " "}, "row 3: no question"),
        ({"id": "c", "question": "What?", "answer": {"x": 1}}, "row 3: no answer"),
        ({"id": "c", "question": "<image> What?", "answer": "x"}, "row 3: it is about an image"),
    ],
)
def test_the_first_row_that_cannot_be_used_is_named(row: object, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        load_questions(written(tmp_path, [*ROWS, row]))


def tasks(*texts: str) -> list[Task]:
    return [Task(question={"text": text, "id": f"q{at}"}, gold=("x",)) for at, text in enumerate(texts)]  # type: ignore[arg-type]


def test_a_question_asked_twice_waits_for_the_next_batch() -> None:
    made = [[one.question.text for one in batch] for batch in batches(tasks("a", "b", "a", "c", "d", "e"), 3)]
    assert made == [["a", "b"], ["a", "c", "d"], ["e"]]


def test_a_line_that_was_cut_off_is_asked_again_and_an_id_of_another_question_is_refused(tmp_path: Path) -> None:
    book = AnswerBook.open(tmp_path, {"model": "m"})
    for at, text in enumerate("ab"):
        book.write(Line(number=at, id=f"q{at}", question=text, answer="x", right=True))
    file = tmp_path / "answers.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    again = AnswerBook.open(tmp_path, {"model": "m"})
    assert [one.name for one in again.left(tasks("a", "b", "c"))] == ["q1", "q2"]
    assert len(file.read_text().splitlines()) == 1
    with pytest.raises(InputError, match="'q0' is another question"):
        again.left(tasks("other"))
    with pytest.raises(InputError, match="model 'm', not 'n'"):
        AnswerBook.open(tmp_path, {"model": "n"})
