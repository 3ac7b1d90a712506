"""`KEY=VALUE` at the end of `mia train`: every key is known before a run starts, and the values of ours can be used."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from mia_skill.core.config import json_or_text
from mia_skill.core.errors import ConfigError
from training.guards import GuardLimits
from training.onverl.settings import LoopSettings, read_limits, read_settings

__all__ = ["check_overrides"]

OURS: Mapping[str, type[BaseModel]] = {"mia": LoopSettings, "mia_guards": GuardLimits}
FORM = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[\w./@-]+)(?:=(?P<value>.*))?", re.DOTALL)
FREE = {"hydra"}
"""Hydra's own settings are no part of a run's."""


def check_overrides(machine: str, given: Sequence[str]) -> None:
    """Every key and, of `mia.*` and `mia_guards.*`, every value. veRL's own keys are known where veRL is installed.

    Raises:
        ConfigError: one is no KEY=VALUE, names no setting (the message names the nearest), or cannot be used.
    """
    read = [parsed(one) for one in given]
    ours = set(OURS) | {f"{part}.{key}" for part, form in OURS.items() for key in keys_of(form)}
    known = known_to_verl(machine)
    for sign, key, _ in read:
        part = key.partition(".")[0]
        if part in OURS:
            refuse_unknown(key, ours)
        elif known and sign == "+":  # what is added need not be there, but its part must be
            refuse_unknown(part, {one.partition(".")[0] for one in known} | FREE)
        elif known and part not in FREE:
            refuse_unknown(key, known | ours)
        if known and part in OURS and not sign and key not in known:
            raise ConfigError(f"{key!r} stands in no file yet: write +{key}=...")
    read_settings(tree_of("mia", read))
    read_limits(tree_of("mia_guards", read))


def parsed(text: str) -> tuple[str, str, str]:
    """Sign, key and value. Raises: ConfigError: it is no KEY=VALUE."""
    found = FORM.fullmatch(text)
    if found is None or (found["value"] is None) != (found["sign"] == "~"):
        raise ConfigError(f"{text!r} is no KEY=VALUE (such as mia.k=5); put quotes around a value with spaces")
    return found["sign"] or "", found["key"], found["value"] or ""


def refuse_unknown(key: str, known: set[str]) -> None:
    """Raises: ConfigError: there is no such key; the message names the nearest."""
    if key not in known:
        (nearest,) = get_close_matches(key, sorted(known), n=1, cutoff=0)
        raise ConfigError(f"unknown setting {key!r}; the nearest is {nearest!r}")


def keys_of(form: type[BaseModel], above: str = "") -> Iterator[str]:
    """All keys of a form, parts and what is in them."""
    for name, field in form.model_fields.items():
        yield f"{above}{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys_of(kind, f"{above}{name}.")


def tree_of(part: str, read: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """What the overrides say of one part, nested as the files are."""
    tree: dict[str, Any] = {}
    for sign, key, text in read:
        first, *path = key.split(".")
        if first != part or not path or sign == "~":
            continue
        below = tree
        for name in path[:-1]:
            inner = below.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key}: {name!r} was given a value of its own before")
            below = inner
        value = None if text == "null" else json_or_text(text)
        if not (isinstance(value, str) and value[:1] in ("[", "{")):  # Hydra's own notation of those is read by Hydra
            below[path[-1]] = value
    return tree


def known_to_verl(machine: str) -> set[str]:
    """The keys of a machine's whole configuration, veRL's with ours; none where veRL is not installed."""
    place, hydra = find_spec("verl"), find_spec("hydra")
    if place is None or hydra is None or not place.submodule_search_locations:
        return set()
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    # Its folder is named by path: by package name, torch would be imported for it.
    files = Path(place.submodule_search_locations[0]) / "trainer" / "config"
    with initialize_config_module("training.onverl.config", version_base=None):
        config = compose(config_name=machine, overrides=[f"hydra.searchpath=[file://{files}]"])
    return set(flat(OmegaConf.to_container(config, resolve=False)))


def flat(node: Any, above: str = "") -> Iterator[str]:
    """Every path in a tree."""
    if isinstance(node, dict):
        for name, inner in node.items():
            yield f"{above}{name}"
            yield from flat(inner, f"{above}{name}.")
