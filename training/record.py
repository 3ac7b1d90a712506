"""A `Task` as a row of the published training files, and back (spec section 11): the columns veRL and MIA scripts read.

`prompt, images, reward_model.ground_truth, data_id, modality, image_caption, category, level, data_source`, for both
stages `memories_context, memories_context_2` and for stage 1 `plan`. What those columns cannot hold exactly (memory
ids, aliases of the answer, where to search) lies under `extra_info`; a published file without it works too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from mia_skill.agents.quote import quote_memories
from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Modality, Outcome, Question
from retrieval.bank import Hit, Recall
from training.task import Task

__all__ = ["COLUMNS", "Stage", "check_row", "row_of", "task_of"]

Stage = Literal["executor", "planner"]
COLUMNS: Mapping[Stage, tuple[str, ...]] = {
    "executor": ("prompt", "reward_model", "plan"),
    "planner": ("prompt", "reward_model"),
}
"""What a stage cannot do without."""
NUMBERED = re.compile(r"^\s*(?:step\s*)?\d+\s*[.):]\s*", re.IGNORECASE)


def row_of(task: Task, index: int, *, source: str) -> dict[str, Any]:
    """One row. Two units that the memory had in store are told apart as the published files do: good, then bad."""
    good = task.recall.model_copy(update={"failures": ()})
    bad = task.recall.model_copy(update={"successes": ()})
    return {
        "prompt": [{"role": "user", "content": task.question.text}],
        "data_id": task.name,
        "data_source": source,
        "reward_model": {"style": "rule", "ground_truth": task.gold[0]},
        "modality": "text-image" if task.question.modality is Modality.IMAGE else "text-only",
        "image_caption": task.question.caption or "",
        "category": task.question.category,
        "level": str(task.hops),
        "memories_context": quote_memories(good, mark="0") if good.hits else "",
        "memories_context_2": quote_memories(bad, mark="0") if bad.hits else "",
        "plan": "\n".join(f"{number}. {step}" for number, step in enumerate(task.plan, 1)),
        "extra_info": {
            "index": index,
            "gold": list(task.gold),
            "corpus": task.corpus,
            "recall": orjson.dumps(task.recall.model_dump(mode="json")).decode() if task.recall.hits else "",
        },
    }


def check_row(row: Mapping[str, Any], stage: Stage, number: int) -> None:
    """Refuse a file before the run.

    Raises:
        InputError: a column is missing or empty, or the row cannot be read.
    """
    missing = [name for name in COLUMNS[stage] if not row.get(name)]
    if missing:
        hint = "; `mia train data` writes them" if "plan" in missing else ""
        raise InputError(f"row {number} has no {', '.join(missing)}, which the {stage}'s training needs{hint}")
    try:
        task_of(row)
    except InputError as error:
        raise InputError(f"row {number}: {error}") from None


def task_of(row: Mapping[str, Any]) -> Task:
    """The task in a row; nothing in the row is changed (the rollouts of one question share it).

    Raises:
        InputError: it has no question or no answer, or shows an image that nobody described.
    """
    more = row.get("extra_info") or {}
    text = question_text(row)
    image = "<image>" in text or row.get("modality") in ("text-image", "image")
    caption = row.get("image_caption")
    if isinstance(caption, list | tuple):
        caption = " ".join(map(str, caption))
    if image and not caption:
        raise InputError("it shows an image, and has no image_caption: caption it first, the policy here reads text")
    name = str(row.get("data_id") or more.get("index") or text)
    try:
        return Task(
            question=Question(
                text=text.replace("<image>", "").strip(),
                caption=caption or None,
                modality=Modality.IMAGE if image else Modality.TEXT,
                category=str(row.get("category") or "others"),
                id=name,
            ),
            gold=gold_of(row, more),
            corpus=str(more.get("corpus") or ""),
            plan=plan_of(row.get("plan")),
            recall=recall_of(row, more),
            hops=int(row["level"]) if str(row.get("level") or "").isdecimal() else 1,
            shape=str(row.get("category") or ""),
        )
    except ValidationError as cause:
        raise InputError(f"the row cannot be used: {cause.errors()[0]['msg']}") from None


def question_text(row: Mapping[str, Any]) -> str:
    """The words of the first turn. Raises: InputError: there are none."""
    turns = row.get("prompt") if row.get("prompt") is not None else row.get("raw_prompt")
    first = turns[0] if isinstance(turns, Sequence) and not isinstance(turns, str) and len(turns) else None
    content = first.get("content") if isinstance(first, Mapping) else None
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if not isinstance(content, str) or not content.strip():
        raise InputError("there is no question in prompt[0].content")
    return content


def gold_of(row: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[str, ...]:
    """Every answer that is right. Raises: InputError: there is none."""
    model = row.get("reward_model")
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    found = [*_texts(truth), *_texts(more.get("gold"))]
    gold = tuple(dict.fromkeys(text.strip() for text in found if text.strip()))
    if not gold:
        raise InputError("there is no answer in reward_model.ground_truth")
    return gold


def plan_of(plan: object) -> tuple[str, ...]:
    """The steps of a plan: a list, or lines of text, numbered or not."""
    lines = plan.splitlines() if isinstance(plan, str) else [str(one) for one in _texts(plan)]
    return tuple(NUMBERED.sub("", line).strip() for line in lines if NUMBERED.sub("", line).strip())


def recall_of(row: Mapping[str, Any], more: Mapping[str, Any]) -> Recall:
    """The memories that were collected in advance: exactly, or as the text that a published file holds."""
    if more.get("recall"):
        return Recall.model_validate_json(more["recall"])
    return Recall(
        successes=_quoted(row.get("memories_context"), Outcome.CORRECT),
        failures=_quoted(row.get("memories_context_2"), Outcome.INCORRECT),
    )


def _quoted(text: object, outcome: Outcome) -> tuple[Hit, ...]:
    if not isinstance(text, str) or not text.strip():
        return ()
    unit = MemoryUnit(id="given", question="(earlier questions)", workflow=text, outcome=outcome)
    return (Hit(unit=unit, score=0.0, similarity=0.0, value=0.0, rarity=0.0, why="given with the question"),)


def _texts(value: object) -> list[str]:
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, str | int | float):
        return [str(value)]
    tolist = getattr(value, "tolist", None)
    many = tolist() if tolist is not None else value
    return [text for one in many for text in _texts(one)] if isinstance(many, list | tuple) else []
