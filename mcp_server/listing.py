"""The tool listing: schemas without what costs tokens and says nothing, and what the listing costs."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from mcp.types import Tool

__all__ = ["pretty", "slim", "tokens"]

CHARS_PER_TOKEN = 4
"""The usual estimate for English and JSON."""
NAMED = frozenset({"properties", "$defs"})
"""Keywords whose keys are names, not keywords."""
ALWAYS_DROPPED = frozenset({"title"})
DROPPED_FROM_RESULTS = frozenset({"title", "description", "default", "additionalProperties", "minimum", "maximum"})
"""A reader of results gains nothing from them; and a shortened result carries two fields more."""

FAR: Mapping[str, int] = {"maxLength": 64, "maxItems": 50, "minLength": 1}
"""Limits from which on, or (the least length) to which, a bound is enforced without being advertised: no model counts
that far, and a call beyond it is answered with the limit in words."""

INNER = frozenset({"additionalProperties"})
"""Said once, at the top: inner objects refuse unknown fields without saying so."""

Schema = Mapping[str, Any]


def slim(schema: Schema, *, result: bool = False) -> dict[str, Any]:
    """`schema` with its definitions inlined where used once, without titles, nulls, empty defaults and the
    descriptions of whole models: "may be null" is accepted, but not advertised."""
    dropped = DROPPED_FROM_RESULTS if result else ALWAYS_DROPPED
    inlined = _inline(schema)
    inlined.pop("description", None)
    return _slim(_outline(inlined) if result else inlined, dropped)


def _inline(schema: Schema) -> dict[str, Any]:
    """Put definitions that are used once where they are used."""
    defs: dict[str, Any] = dict(schema.get("$defs", {}))
    body = {key: one for key, one in schema.items() if key != "$defs"}
    once = {name for name in defs if _uses({"body": body, "defs": defs}, name) == 1}
    filled: dict[str, Any] = _fill(body, defs, once)
    kept = {name: _fill(_bare(one), defs, once) for name, one in defs.items() if name not in once}
    return {**filled, "$defs": kept} if kept else filled


def _bare(definition: Schema) -> dict[str, Any]:
    return {key: one for key, one in definition.items() if key != "description"}


def _uses(value: Any, name: str) -> int:
    if isinstance(value, dict):
        return sum((key == "$ref" and one == f"#/$defs/{name}") or _uses(one, name) for key, one in value.items())
    return sum(_uses(one, name) for one in value) if isinstance(value, list) else 0


def _fill(value: Any, defs: Mapping[str, Any], once: set[str]) -> Any:
    if isinstance(value, dict):
        name = str(value.get("$ref", "")).removeprefix("#/$defs/")
        if name in once:
            beside = {key: one for key, one in value.items() if key != "$ref"}
            value = {**_bare(defs[name]), **beside}
        return {key: _fill(one, defs, once) for key, one in value.items()}
    return [_fill(one, defs, once) for one in value] if isinstance(value, list) else value


def _outline(schema: Schema) -> dict[str, Any]:
    """A result's own fields that are always there. What else may come, and what is in lists, the result itself says:
    few hosts show a model how results are shaped, and all of them would send it each time."""
    always = schema.get("required", ())
    fields = {name: _kind(one) for name, one in schema.get("properties", {}).items() if name in always}
    return {"type": "object", "properties": fields}


def _kind(schema: Schema) -> dict[str, Any]:
    return {"type": schema["type"]} if schema.get("type") in ("array", "object") else dict(schema)


def _slim(schema: Schema, dropped: frozenset[str]) -> dict[str, Any]:
    kept = {key: one for key, one in _denulled(schema).items() if not _says_nothing(key, one, dropped)}
    if "default" in dropped and "enum" in kept:  # of a result: its values say their type
        kept.pop("type", None)
    return {key: _value(key, one, dropped | INNER) for key, one in kept.items()}


def _denulled(schema: Schema) -> Schema:
    arms = schema.get("anyOf")
    if not isinstance(arms, list):
        return schema
    real = [arm for arm in arms if arm != {"type": "null"}]
    rest = {key: one for key, one in schema.items() if key != "anyOf"}
    return {**real[0], **rest} if len(real) == 1 else {**rest, "anyOf": real}


def _says_nothing(key: str, value: object, dropped: frozenset[str]) -> bool:
    if key == "default":
        return "default" in dropped or value is None or value in ("", [], {})
    return key in dropped or _far(key, value) or (key == "minimum" and value == 0)


def _far(key: str, value: object) -> bool:
    if not isinstance(value, int) or key not in FAR:
        return False
    return value <= FAR[key] if key.startswith("min") else value >= FAR[key]


def _value(key: str, value: Any, dropped: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _slim(one, dropped) for name, one in value.items()} if key in NAMED else _slim(value, dropped)
    if isinstance(value, list) and key in {"anyOf", "allOf", "oneOf", "prefixItems"}:
        return [_slim(one, dropped) for one in value]
    return value


def pretty(tools: Iterable[Tool]) -> str:
    """The listing as JSON for people and snapshots."""
    return orjson.dumps(_wire(tools), option=orjson.OPT_INDENT_2).decode()


def tokens(tools: Iterable[Tool]) -> int:
    """What the listing costs a model that is shown all of it: characters as sent, divided by four."""
    return round(len(orjson.dumps(_wire(tools)).decode()) / CHARS_PER_TOKEN)


def _wire(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
