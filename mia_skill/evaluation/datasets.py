"""Data sets from the user's own files: a row that is malformed, or lacks its image, is reported by its number."""

import csv
import io
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from mia_skill.core.errors import InputError, MissingExtraError
from mia_skill.core.picture import Picture, from_data_url, picture_of
from mia_skill.core.types import Modality, Question
from mia_skill.evaluation.formats import FORMATS, Format, Row, detect
from mia_skill.evaluation.task import Fault, Task, TaskSet

__all__ = ["load_tasks", "read_rows"]

LONGEST_PATH = 1024


def load_tasks(path: Path, form: str = "auto", *, images: Path | None = None) -> TaskSet:
    """The questions of a .json, .jsonl, .csv or .parquet file. `images` is where image paths start, else its folder.

    Raises:
        InputError: the file cannot be read, or no known form fits it.
        MissingExtraError: parquet without pyarrow.
    """
    rows, broken = read_rows(path)
    if form != "auto" and form not in FORMATS:
        raise InputError(f"no form {form!r} of data set; known forms: auto, {', '.join(FORMATS)}")
    chosen = detect(rows) if form == "auto" else FORMATS[form]
    tasks: list[Task] = []
    faults = list(broken)
    taken: set[str] = set()
    lost = {fault.row for fault in broken}
    for number, row in enumerate(rows, 1):
        if number in lost:
            continue
        try:
            task = read_task(row, chosen, number, images or path.parent)
            if task.id in taken:
                raise InputError(f"the id {task.id!r} was there before")
        except InputError as error:
            faults.append(Fault(row=number, reason=str(error)))
            continue
        taken.add(task.id)
        tasks.append(task)
    faults.sort(key=lambda fault: fault.row)
    return TaskSet(name=f"{chosen.name}:{path.name}", tasks=tuple(tasks), faults=tuple(faults))


def read_rows(path: Path) -> tuple[list[object], list[Fault]]:
    """All rows of a file; a broken line of .jsonl keeps its place as None, and its fault.

    Raises:
        InputError: the file as a whole cannot be read.
        MissingExtraError: parquet without pyarrow.
    """
    if path.suffix == ".parquet":
        return parquet_rows(path), []
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as cause:
        raise InputError(f"cannot read {path}: {cause.strerror}") from None
    except UnicodeDecodeError as cause:
        raise InputError(f"{path} is no UTF-8 text: {cause}") from None
    if path.suffix == ".csv":
        return [dict(row) for row in csv.DictReader(io.StringIO(text))], []
    if path.suffix == ".json" and text.lstrip()[:1] == "[":
        try:
            return list(orjson.loads(text)), []
        except orjson.JSONDecodeError as cause:
            raise InputError(f"{path} is no JSON list: {cause}") from None
    return json_lines(text)


def json_lines(text: str) -> tuple[list[object], list[Fault]]:
    """One JSON object a line; empty lines do not count as rows."""
    rows: list[object] = []
    faults: list[Fault] = []
    for line in filter(str.strip, text.split("\n")):
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as cause:
            rows.append(None)
            faults.append(Fault(row=len(rows), reason=f"no JSON: {cause}"))
    return rows, faults


def parquet_rows(path: Path) -> list[object]:
    """The rows of a parquet file.

    Raises:
        InputError: it cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowInvalid
    except ImportError:
        raise MissingExtraError("parquet files need pyarrow: pip install 'mia-skill[corpus]'") from None
    try:
        return list(parquet.read_table(path).to_pylist())
    except (OSError, ArrowInvalid) as cause:
        raise InputError(f"cannot read {path}: {str(cause)[:200]}") from None


def read_task(row: object, form: Format, number: int, images: Path) -> Task:
    """One row as a task.

    Raises:
        InputError: it holds no question or no answer, or its image is missing.
    """
    if not isinstance(row, Mapping):
        raise InputError("the row is no object")
    question = question_of(row, form)
    gold = gold_of(row, form)
    if row.get("answerable") is False:
        raise InputError("marked as not answerable")
    if form.name == "gaia" and str(row.get("file_name") or "").strip():
        raise InputError(f"needs the file {row['file_name']}: only questions in words are asked")
    image = first(row, form.image)
    wants = form.shows or "<image>" in question or row.get("modality") == "text-image"
    picture = picture_from(image, images) if wants else None
    id_ = str(first(row, form.id) or f"row{number}")
    caption = row.get("image_caption")
    try:
        asked = Question(
            text=question.replace("<image>", "").strip(),
            caption=caption if isinstance(caption, str) and caption else None,
            modality=Modality.IMAGE if picture else Modality.TEXT,
            category=str(row.get("category") or "others"),
            id=id_,
        )
        kind = str(first(row, form.kind) or "")
        return Task(
            id=id_, question=asked, gold=gold, dataset=form.name, kind=kind, picture=picture,
            image_id=id_ if picture else "", hops=hops_of(row),
        )  # fmt: skip
    except ValidationError as cause:
        raise InputError(str(cause.errors()[0]["msg"])) from None


def first(row: Row, columns: tuple[str, ...]) -> Any:
    """The first column that holds something."""
    return next((row[one] for one in columns if row.get(one) not in (None, "", [])), None)


def hops_of(row: Row) -> int | None:
    """A whole number in the column `hops`, `level` or `Level`; words ("hard") are none."""
    told = str(first(row, ("hops", "level", "Level")) or "")
    return int(told) if told.isdecimal() and int(told) > 0 else None


def question_of(row: Row, form: Format) -> str:
    """The question's text.

    Raises:
        InputError: there is none.
    """
    found = first(row, form.question)
    if form.name == "upstream" and isinstance(found, list) and found and isinstance(found[0], Mapping):
        found = found[0].get("content")
    if not isinstance(found, str) or not found.strip():
        raise InputError(f"no question in {' or '.join(form.question)}")
    return found


def gold_of(row: Row, form: Format) -> tuple[str, ...]:
    """The gold answer, then its aliases, each once.

    Raises:
        InputError: there is none.
    """
    found = first(row, form.answer)
    if isinstance(found, Mapping):
        found = found.get("ground_truth")
    more = first(row, form.aliases)
    texts = [*texts_of(found), *texts_of(more)]
    gold = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not texts_of(found) or not gold:
        raise InputError(f"no answer in {' or '.join(form.answer)}")
    return gold


def texts_of(value: object) -> list[str]:
    """Texts and numbers, alone or in a list; a list written as JSON is one."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return [str(value)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in texts_of(one)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return [str(value)]
    return []


def picture_from(value: object, folder: Path) -> Picture:
    """An image given as bytes, a path below `folder`, a data: address or base64, alone or first in a list.

    Raises:
        InputError: there is none.
    """
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return picture_of(value)
    if not isinstance(value, str) or not value:
        raise InputError("the image is missing")
    if value.startswith("data:"):
        return from_data_url(value)
    if len(value) <= LONGEST_PATH:
        for name in (value, f"{value}.jpg", f"{value}.png"):
            place = (folder / name).resolve()
            if place.is_relative_to(folder.resolve()) and place.is_file():
                return picture_of(place.read_bytes())
    try:
        return picture_of(b64decode(value, validate=True))
    except (Base64Error, InputError):
        raise InputError(f"the image {value[:60]!r} is missing") from None
