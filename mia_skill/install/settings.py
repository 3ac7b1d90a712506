"""Every setting as an environment variable: name, meaning, default and whether it is a secret, read off `MiaConfig`."""

import ast
import inspect
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mia_skill.core import access, config, search_config
from mia_skill.core.config import ENV_PREFIX, MiaConfig
from mia_skill.core.types import Value

__all__ = ["CONTROL", "Variable", "variables"]


class Variable(Value):
    """One environment variable."""

    name: str
    description: str
    kind: Literal["string", "number", "boolean", "path", "list"] = "string"
    default: str | None = None
    required: bool = False
    """None of ours is."""
    secret: bool = False


CONTROL = (Variable(name="MIA_CONFIG", description="A TOML file of settings to read.", kind="path"),)
"""Variables of ours that are no settings."""


def variables() -> tuple[Variable, ...]:
    """All of them, in the order of the configuration tree."""
    docs = field_docs()
    return (*walk(MiaConfig, (), docs), *CONTROL)


def walk(section: type[BaseModel], above: tuple[str, ...], docs: dict[str, dict[str, str]]) -> Iterator[Variable]:
    """The variables of one section and those below it."""
    for name, info in section.model_fields.items():
        below = subsection(info)
        if below is not None:
            yield from walk(below, (*above, name), docs)
            continue
        words = docs.get(section.__name__, {}).get(name) or f"Sets {'.'.join((*above, name))}."
        yield Variable(
            name=ENV_PREFIX + "__".join((*above, name)).upper(),
            description=for_role(above, " ".join(words.split()).replace("`", "")),
            kind=kind_of(info),
            default=default_of(info, name),
            secret=holds_secret(info.annotation),
        )


def for_role(above: tuple[str, ...], words: str) -> str:
    """An endpoint's setting exists once per role; say of which."""
    if above[:1] != ("models",):
        return words
    who = "every role without its own" if above[1] == "default" else f"the {above[1]}"
    return f"Endpoint of {who}: {lowered(words)}"


def lowered(words: str) -> str:
    """The sentence as it goes on after a colon."""
    return words if words[:2].isupper() else words[:1].lower() + words[1:]


def subsection(info: FieldInfo) -> type[BaseModel] | None:
    """The section a field holds, if it holds one."""
    kinds = (kind for kind in alternatives(info.annotation) if isinstance(kind, type))
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def holds_secret(annotation: Any) -> bool:
    """Is it a secret, or a list of sections that hold one?"""
    kinds = alternatives(annotation)
    items = [
        item for kind in kinds for item in get_args(kind) if isinstance(item, type) and issubclass(item, BaseModel)
    ]
    return SecretStr in kinds or any(
        holds_secret(field.annotation) for item in items for field in item.model_fields.values()
    )


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The arms of a union, or the type itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def kind_of(info: FieldInfo) -> Literal["string", "number", "boolean", "path", "list"]:
    """How a form would ask for it."""
    kinds = alternatives(info.annotation)
    if bool in kinds:
        return "boolean"
    if int in kinds or float in kinds:
        return "number"
    if Path in kinds:
        return "path"
    return "list" if any(get_origin(kind) is tuple for kind in kinds) else "string"


def default_of(info: FieldInfo, name: str) -> str | None:
    """The default as one would write it into a variable; never a path of this machine."""
    if name == "home":
        return "~/.local/share/mia"
    if info.is_required() or info.default in (None, ()):
        return None
    return str(info.default).lower() if isinstance(info.default, bool) else str(info.default)


def field_docs() -> dict[str, dict[str, str]]:
    """The text below each field in the source of the configuration, by class and field."""
    trees = [ast.parse(inspect.getsource(module)) for module in (config, access, search_config)]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(documented(node.body)) for node in classes}


def documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Fields that have a text right below them."""
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text
