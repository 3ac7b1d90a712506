"""Questions of the user's own files, with gold answers or without: what is learnt from needs none."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from mia_skill.core.errors import InputError
from mia_skill.core.types import Modality, Question
from mia_skill.evaluation.datasets import first, gold_of, question_of, read_rows
from mia_skill.evaluation.formats import FORMATS, Format, detect

__all__ = ["Asked", "load_questions"]

Asked = tuple[Question, tuple[str, ...]]
"""A question, and its gold answers: none where the row has none."""


def load_questions(path: Path, form: str = "auto") -> tuple[Asked, ...]:
    """The questions of a .json, .jsonl, .csv or .parquet file, in its order.

    Raises:
        InputError: the file, or one of its rows, cannot be used; the message names the first such row.
        MissingExtraError: parquet without pyarrow.
    """
    rows, broken = read_rows(path)
    if broken:
        raise InputError(f"{path}, row {broken[0].row}: {broken[0].reason}")
    if form != "auto" and form not in FORMATS:
        raise InputError(f"no form {form!r} of data set; known forms: auto, {', '.join(FORMATS)}")
    chosen = detect(rows) if form == "auto" else FORMATS[form]
    made: list[Asked] = []
    taken: set[str | None] = set()
    for number, row in enumerate(rows, 1):
        try:
            question, gold = asked_of(row, chosen, number)
            if question.id in taken:
                raise InputError(f"the id {question.id!r} was there before")
        except InputError as cause:
            raise InputError(f"{path}, row {number}: {cause}") from None
        taken.add(question.id)
        made.append((question, gold))
    return tuple(made)


def asked_of(row: object, form: Format, number: int) -> Asked:
    """One row.

    Raises:
        InputError: it is no object, has no question, answers of no known kind, or needs its image to be seen.
    """
    if not isinstance(row, Mapping):
        raise InputError("the row is no object")
    text, caption = question_of(row, form), row.get("image_caption")
    shown = isinstance(caption, str) and bool(caption.strip())
    if not shown and (form.shows or "<image>" in text or row.get("modality") == "text-image"):
        raise InputError("it is about an image, and only words are read here: give image_caption")
    gold = () if first(row, form.answer) is None else gold_of(row, form)
    try:
        question = Question(
            text=text.replace("<image>", "").strip(),
            caption=caption if shown else None,
            modality=Modality.IMAGE if shown else Modality.TEXT,
            category=str(row.get("category") or "others"),
            id=str(first(row, form.id) or f"row{number}"),
        )
    except ValidationError as cause:
        raise InputError(str(cause.errors()[0]["msg"])) from None
    return question, gold
