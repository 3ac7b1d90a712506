"""The data sets' own forms: which column holds what. Names as in each data set's published files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mia_skill.core.errors import InputError

__all__ = ["FORMATS", "Format", "Row", "detect"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """Where a data set keeps a question's parts; the first column that is there counts."""

    name: str
    question: tuple[str, ...]
    answer: tuple[str, ...]
    id: tuple[str, ...] = ("id",)
    aliases: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    """Columns by which it is told from the others."""

    @property
    def shows(self) -> bool:
        """Is every question about an image?"""
        return bool(self.image) and self.name != "upstream"

    def fits(self, row: Row) -> bool:
        """Is this row of the form?"""
        return all(mark in row for mark in self.marks)


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format(
            "upstream",
            ("prompt",),
            ("reward_model",),
            ("data_id",),
            image=("images",),
            kind=("category",),
            marks=("prompt", "reward_model"),
        ),
        Format(
            "sandbox",
            ("question",),
            ("answer",),
            aliases=("answer_aliases",),
            kind=("type",),
            marks=("gold_ids", "answer_aliases", "question"),
        ),
        Format("hotpotqa", ("question",), ("answer",), ("_id",), kind=("type",), marks=("_id", "level", "context")),
        Format(
            "2wikimultihopqa",
            ("question",),
            ("answer",),
            ("_id", "id"),
            aliases=("answer_aliases",),
            kind=("type",),
            marks=("_id", "evidences"),
        ),
        Format("musique", ("question",), ("answer",), aliases=("answer_aliases",), marks=("question_decomposition",)),
        Format("simpleqa", ("problem",), ("answer",), ("id",), kind=("topic",), marks=("problem", "answer")),
        Format("gaia", ("Question",), ("Final answer",), ("task_id",), kind=("Level",), marks=("Question", "task_id")),
        Format(
            "mmsearch",
            ("query",),
            ("gt_answer",),
            ("sample_id",),
            aliases=("alternative_gt_answers",),
            image=("query_image",),
            kind=("area",),
            marks=("query", "gt_answer"),
        ),
        Format(
            "infoseek",
            ("question",),
            ("answer",),
            ("data_id",),
            aliases=("answer_eval",),
            image=("image", "image_path", "image_id"),
            kind=("data_split",),
            marks=("image_id", "data_id", "question"),
        ),
        Format(
            "livevqa",
            ("question",),
            ("answer",),
            ("id", "qid"),
            image=("img_path", "image", "images"),
            kind=("category",),
            marks=("img_path", "question"),
        ),
        Format(
            "fvqa",
            ("question",),
            ("answer",),
            ("data_id", "id"),
            aliases=("candidate_answers",),
            image=("image", "images", "image_path"),
            kind=("category",),
            marks=("candidate_answers", "question"),
        ),
        Format(
            "simplevqa",
            ("question",),
            ("answer",),
            ("data_id", "id"),
            image=("image", "image_path"),
            kind=("original_category", "vqa_category"),
            marks=("image", "question", "answer"),
        ),
        Format(
            "plain",
            ("question",),
            ("answer", "answers", "gold", "ground_truth"),
            ("id", "data_id"),
            aliases=("answer_aliases",),
            marks=("question",),
        ),
        Format("world", ("text",), ("answer",), aliases=("aliases",), kind=("shape",), marks=("text", "answer")),
    )
}
"""By name, the most particular first."""


def detect(rows: Sequence[object]) -> Format:
    """The first form whose columns a row has.

    Raises:
        InputError: none fits; the message names the columns.
    """
    objects = [row for row in rows if isinstance(row, Mapping)]
    for form in FORMATS.values():
        if any(form.fits(row) for row in objects):
            return form
    there = ", ".join(map(str, objects[0])) if objects else "no objects"
    raise InputError(f"no known form of data set has these columns: {there}; known forms: {', '.join(FORMATS)}")
