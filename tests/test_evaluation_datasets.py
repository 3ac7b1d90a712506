"""Data sets from files: every form is read, and what cannot be read is reported by its row."""

import base64
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from mia_skill.core.errors import InputError
from mia_skill.core.types import Modality
from mia_skill.evaluation.datasets import load_tasks

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ROWS = {
    "hotpotqa": {"_id": "a", "question": "Who?", "answer": "Ann", "level": "hard", "context": [], "type": "bridge"},
    "2wikimultihopqa": {"_id": "a", "question": "Who?", "answer": "Ann", "evidences": [], "type": "comparison"},
    "musique": {
        "id": "a",
        "question": "Who?",
        "answer": "Ann",
        "answer_aliases": ["Anna"],
        "answerable": True,
        "question_decomposition": [],
    },
    "simpleqa": {"problem": "Who?", "answer": "Ann", "metadata": "{}"},
    "gaia": {"task_id": "a", "Question": "Who?", "Final answer": "Ann", "Level": 1, "file_name": ""},
    "sandbox": {"id": "a", "question": "Who?", "answer": "Ann", "answer_aliases": ["Anna"], "gold_ids": []},
    "world": {"id": "a", "text": "Who?", "answer": "Ann", "aliases": ["Anna"], "gold_ids": [], "shape": "founder"},
    "fvqa": {"data_id": "a", "question": "Who?", "answer": "Ann", "candidate_answers": '["Anna"]', "image": "a.png"},
    "infoseek": {"data_id": "a", "question": "Who?", "answer": ["Ann", "Anna"], "image_id": "a"},
    "simplevqa": {"data_id": "a", "question": "Who?", "answer": "Ann", "image": base64.b64encode(PNG).decode()},
    "livevqa": {"id": "a", "question": "Who?", "answer": "Ann", "img_path": "a.png"},
    "mmsearch": {"sample_id": "a", "query": "Who?", "gt_answer": "Ann", "query_image": "a.png"},
    "upstream": {
        "data_id": "a",
        "prompt": [{"role": "user", "content": "<image>Who?"}],
        "images": [{"bytes": None, "path": "a.png"}],
        "reward_model": {"ground_truth": "Ann"},
        "modality": "text-image",
        "image_caption": "a woman",
    },
}
SHOWN = ("fvqa", "infoseek", "simplevqa", "livevqa", "mmsearch", "upstream")


def written(folder: Path, rows: list[object], name: str = "rows.jsonl") -> Path:
    (folder / "a.png").write_bytes(PNG)
    path = folder / name
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return path


@pytest.mark.parametrize("name", ROWS)
def test_each_form_is_told_by_its_columns_and_read(name: str, tmp_path: Path) -> None:
    tasks = load_tasks(written(tmp_path, [ROWS[name]]))
    (task,) = tasks.tasks
    assert (tasks.name, tasks.faults) == (f"{name}:rows.jsonl", ())
    assert task.question.text == "Who?"
    assert task.gold[0] == "Ann"
    assert (task.picture is not None) == (name in SHOWN)
    assert (task.question.modality is Modality.IMAGE) == (name in SHOWN)


def test_a_json_list_and_a_csv_are_read_like_lines(tmp_path: Path) -> None:
    as_list = tmp_path / "rows.json"
    as_list.write_text(json.dumps([ROWS["hotpotqa"]]))
    as_csv = tmp_path / "rows.csv"
    as_csv.write_text('metadata,problem,answer\n"{}",Who?,Ann\n')
    assert load_tasks(as_list).tasks[0].gold == ("Ann",)
    assert load_tasks(as_csv).tasks[0].id == "row1"


def test_malformed_rows_are_reported_by_number_and_the_others_are_kept(tmp_path: Path) -> None:
    good = ROWS["sandbox"]
    rows = [good, "{broken", "[1]", good | {"id": "b", "question": " "}, good | {"id": "c", "answer": None}, good]
    found = load_tasks(written(tmp_path, list(rows)), "sandbox")
    assert [task.id for task in found.tasks] == ["a"]
    assert [fault.row for fault in found.faults] == [2, 3, 4, 5, 6]
    assert "there before" in found.faults[-1].reason


def test_a_missing_image_is_reported_and_never_read_outside_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    rows = [ROWS["fvqa"] | {"data_id": name, "image": name} for name in ("gone.png", "../secret.png")]
    found = load_tasks(written(inside, list(rows)))
    assert found.tasks == ()
    assert all("missing" in fault.reason for fault in found.faults)
    with pytest.raises(InputError, match="no question that can be used"):
        found.stream()


def test_a_question_that_needs_a_file_is_left_out_and_said_so(tmp_path: Path) -> None:
    found = load_tasks(written(tmp_path, [ROWS["gaia"] | {"file_name": "a.xlsx"}]))
    assert "needs the file" in found.faults[0].reason


def test_a_parquet_of_the_published_training_data_is_read(tmp_path: Path) -> None:
    row = ROWS["upstream"] | {"images": [{"bytes": PNG, "path": None}]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (task,) = load_tasks(tmp_path / "rows.parquet").tasks
    assert task.picture is not None
    assert task.question.caption == "a woman"


def test_an_unknown_form_names_the_columns_it_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="colour"):
        load_tasks(written(tmp_path, [{"colour": "red"}]))
