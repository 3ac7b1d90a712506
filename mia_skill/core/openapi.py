"""A table of JSON routes described: as an OpenAPI 3.1 document, and as one page for people that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import orjson
from pydantic import BaseModel, TypeAdapter

__all__ = ["Described", "document", "page"]

Mode = Literal["validation", "serialization"]
PLACE = "#/components/schemas/"
Described = tuple[str, str, str, TypeAdapter[Any] | None, TypeAdapter[Any] | None]
"""Method, path, what it is about, what it takes, what it answers."""


class Problem(BaseModel):
    """What every refusal says."""

    detail: str
    error: str


REFUSED = TypeAdapter(Problem)


def document(title: str, routes: Sequence[Described]) -> dict[str, Any]:
    """Every form is a component of its own, so that each reference leads somewhere."""
    wanted: list[tuple[str, Mode, TypeAdapter[Any]]] = [("problem", "serialization", REFUSED)]
    for method, path, _, takes, gives in routes:
        wanted += [(f"{method} {path}", "validation", takes)] if takes is not None else []
        wanted += [(f"{method} {path}", "serialization", gives)] if gives is not None else []
    schemas, shared = TypeAdapter.json_schemas(wanted, ref_template=PLACE + "{model}")
    paths: dict[str, dict[str, Any]] = {}
    for method, path, about, takes, gives in routes:
        answer: dict[str, Any] = {"description": "the answer"}
        if gives is not None:
            answer |= carried(schemas[f"{method} {path}", "serialization"])
        refused = {"description": "refused; the text says why"} | carried(schemas["problem", "serialization"])
        told: dict[str, Any] = {"summary": about, "responses": {"200": answer, "default": refused}}
        if takes is not None:
            told["requestBody"] = {"required": True} | carried(schemas[f"{method} {path}", "validation"])
        paths.setdefault(path, {})[method.lower()] = told
    made = {"openapi": "3.1.0", "info": {"title": title, "version": "1"}, "paths": paths}
    return made | {"components": {"schemas": shared.get("$defs", {})}}


def carried(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
pre{{background:#f4f4f4;padding:.6em;overflow:auto}}summary{{cursor:pointer}}code{{font-size:95%}}</style>
<h1>{title}</h1><p>The same as a document for programs: <a href="openapi.json">openapi.json</a>. A refusal is a status
of 400 or more with <code>{{"detail": ..., "error": ...}}</code>.</p>{routes}<h2>Forms</h2>{forms}</html>"""


def page(told: Mapping[str, Any]) -> str:
    """The document for people."""
    routes = [
        f"<details open><summary><code>{method.upper()} {escape(path)}</code> {escape(one['summary'])}</summary>"
        f"{part('takes', one.get('requestBody'))}{part('answers', one['responses']['200'])}</details>"
        for path, methods in told["paths"].items()
        for method, one in methods.items()
    ]
    forms = [
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{shown(schema)}'
        for name, schema in told["components"]["schemas"].items()
    ]
    return PAGE.format(title=escape(told["info"]["title"]), routes="".join(routes), forms="".join(forms))


def part(what: str, body: Mapping[str, Any] | None) -> str:
    """A form that is carried, where there is one."""
    if body is None or "content" not in body:
        return ""
    schema = body["content"]["application/json"]["schema"]
    name = schema.get("$ref", "").removeprefix(PLACE)
    return f'<p>{what}: <a href="#{name}">{name}</a></p>' if name else f"<p>{what}:</p>{shown(schema)}"


def shown(schema: Mapping[str, Any]) -> str:
    return f"<pre>{escape(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())}</pre>"
