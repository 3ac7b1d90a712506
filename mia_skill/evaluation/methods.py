"""All methods by name, and how each is made."""

from collections.abc import Mapping
from pathlib import Path

from mia_skill.agents.manager import Manager
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import MemoryConfig
from mia_skill.core.errors import InputError
from mia_skill.evaluation.baselines import Memento, Rag
from mia_skill.evaluation.distilled import AMem, Expel, Mem0, ReasoningBank
from mia_skill.evaluation.mem0_package import Mem0Package
from mia_skill.evaluation.method import Method, NoMemory, PlanOnly, Shelved
from mia_skill.evaluation.mia_method import MiaMemory, open_fresh
from mia_skill.evaluation.shelf import Shelf
from retrieval.embed import Embedder

__all__ = ["BY_PACKAGE", "METHODS", "chosen_methods", "make_method", "source_of"]

SHELVED: Mapping[str, type[Shelved]] = {
    "rag": Rag,
    "expel": Expel,
    "reasoningbank": ReasoningBank,
    "memento": Memento,
    "amem": AMem,
    "mem0": Mem0,
}
BY_PACKAGE: Mapping[str, type[Shelved]] = {"mem0-package": Mem0Package}
"""Through the package of its authors: only by name, since it must be installed (mia-skill[mem0]) and needs a model."""
METHODS = ("none", "rag", "memory-to-executor", "plan-only", *list(SHELVED)[1:], "mia", "mia-unsupervised")


def chosen_methods(text: str) -> tuple[str, ...]:
    """ "all", or names with commas between.

    Raises:
        InputError: there is no such method.
    """
    wanted = METHODS if text == "all" else tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    known = (*METHODS, *BY_PACKAGE)
    unknown = [one for one in wanted if one not in known]
    if unknown or not wanted:
        raise InputError(f"no method {', '.join(unknown) or '(none)'}; methods: all, {', '.join(known)}")
    return wanted


WITH_BANK: Mapping[str, tuple[str, str]] = {
    "memory-to-executor": (
        "MIA, table 5 and 6, row 'only memory (to Executor)'",
        "MIA's own bank and scores; no Planner, no reflection",
    ),
    "mia": (
        "MIA, table 3 and 4 (supervised: the gold answer says what worked)",
        "Planner and Executor untrained, no test-time weight updates: the row 'memory for Planner + reflect'",
    ),
    "mia-unsupervised": (
        "MIA, table 3, 4 and 7 (unsupervised: nobody says what worked)",
        "judged by our evidence checks, or by the panel where a judge model is set; Planner untrained",
    ),
}


def source_of(name: str) -> tuple[str, str]:
    """The source of a method, and what differs here.

    Raises:
        InputError: there is no such method.
    """
    chosen_methods(name)
    if name in WITH_BANK:
        return WITH_BANK[name]
    plain: dict[str, type[NoMemory] | type[Shelved]] = {
        "none": NoMemory,
        "plan-only": PlanOnly,
        **SHELVED,
        **BY_PACKAGE,
    }
    return plain[name].source, plain[name].differs


def make_method(
    name: str, *, folder: Path, embedder: Embedder, memory: MemoryConfig, compressor: ChatModel | None = None
) -> Method:
    """A method with an empty memory. Those with a bank keep it in `folder`.

    Raises:
        InputError: there is no such method.
    """
    source, differs = source_of(name)
    if name in SHELVED:
        return SHELVED[name](Shelf(embedder))
    if name in BY_PACKAGE:
        return BY_PACKAGE[name](Shelf(embedder))
    if name not in WITH_BANK:
        return NoMemory() if name == "none" else PlanOnly()
    bank = open_fresh(folder / f"{name}.sqlite3", embedder, memory)
    return MiaMemory(
        bank,
        Manager(bank, compressor),
        memory,
        name=name,
        source=source,
        differs=differs,
        supervised=name != "mia-unsupervised",
        to_executor=name == "memory-to-executor",
    )
