"""Data sets of ours: the seeded world, in words and in pictures, and the sandbox encyclopedia."""

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random

from mia_skill.core.errors import InputError, MissingExtraError
from mia_skill.core.picture import Picture, picture_of
from mia_skill.core.types import Modality, Question
from mia_skill.evaluation.datasets import load_tasks
from mia_skill.evaluation.task import Task, TaskSet
from retrieval.world import World, WorldQuestion

__all__ = ["entity_picture", "pictured", "sandbox_tasks", "world_stream", "world_tasks"]

PIXELS = 96
CELLS = 6
RECUR = 8
"""How often a shape of question comes back in a stream."""


def world_tasks(world: World, questions: Sequence[WorldQuestion] | None = None) -> TaskSet:
    """Questions of a world."""
    tasks = tuple(
        Task(
            id=one.id,
            question=Question(text=one.text, id=one.id, category=one.kind),
            gold=(one.answer, *one.aliases),
            dataset="world",
            kind=one.shape,
        )
        for one in (world.questions if questions is None else questions)
    )
    return TaskSet(name=f"world:{world.seed}:{len(world.entities)}", tasks=tasks)


def world_stream(world: World, count: int, seed: int, recur: int = RECUR) -> tuple[WorldQuestion, ...]:
    """Questions in which shapes recur, as tasks do in an agent's life: shapes drawn by `seed`, in turn, so few that
    each comes back `recur` times."""
    shapes: dict[str, list[WorldQuestion]] = {}
    for one in world.questions:
        shapes.setdefault(one.shape, []).append(one)
    often = sorted(shape for shape, group in shapes.items() if len(group) >= recur)
    random = Random(f"world stream {seed}")
    drawn = random.sample(often, min(len(often), max(2, count // recur)))
    rounds = max((len(shapes[shape]) for shape in drawn), default=0)
    taken = [shapes[shape][turn] for turn in range(rounds) for shape in drawn if turn < len(shapes[shape])]
    return tuple(taken[:count])


def pictured(world: World, tasks: TaskSet) -> TaskSet:
    """The same questions, with the entity they start from shown in a rendered picture and not named.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    names = {one.id: one.entities for one in world.questions}
    kinds = {entity.name: entity.kind for entity in world.entities}
    shown = []
    for task in tasks.tasks:
        (name, *others) = names[task.id]
        if others or name not in task.question.text:
            continue
        kind = kinds.get(name, "thing")
        asked = task.question.model_copy(
            update={
                "text": task.question.text.replace(name, f"the {kind} in the picture"),
                "modality": Modality.IMAGE,
            }
        )
        image = entity_picture(name)
        shown.append(task.model_copy(update={"question": asked, "picture": image, "image_id": picture_name(name)}))
    return TaskSet(name=f"{tasks.name}:pictures", tasks=tuple(shown))


def picture_name(name: str) -> str:
    """The file name, without ending, of an entity's picture."""
    return "-".join(name.casefold().split())


def entity_picture(name: str) -> Picture:
    """A coat of arms: a pattern of coloured cells that only this name has.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pictures need Pillow: pip install 'mia-skill[images]'") from None
    seed = sha256(name.encode()).digest()
    image = Image.new("RGB", (CELLS, CELLS))
    random = Random(seed)
    for x in range(CELLS // 2):
        for y in range(CELLS):
            colour = (random.randrange(256), random.randrange(256), random.randrange(256))
            image.putpixel((x, y), colour)
            image.putpixel((CELLS - 1 - x, y), colour)
    out = BytesIO()
    image.resize((PIXELS, PIXELS), Image.Resampling.NEAREST).save(out, format="PNG")
    return picture_of(out.getvalue())


def sandbox_tasks(folder: Path, split: str = "dev") -> TaskSet:
    """The sandbox encyclopedia's questions.

    Raises:
        InputError: the folder does not hold them.
    """
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(f"no sandbox data at {folder}: set MIA_SHARED_DATA to the folder that holds sandbox_wiki")
    return load_tasks(path, "sandbox")
