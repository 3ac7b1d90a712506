"""JSON-RPC lines: what cannot be parsed is repaired or answered, what cannot be written is cleaned."""

import json
import re

from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter
from pydantic_core import PydanticSerializationError

from mia_skill.core.types import clean_text

__all__ = ["clean", "dump", "has_id", "refusal", "rescue"]

ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.){0,200}"|-?\d{1,15})(?=\s*[,}])')
EDGE = 2000
"""Where the id of a broken line is looked for, from both ends: bytes."""
BOM = b"\xef\xbb\xbf"


def dump(message: JSONRPCMessage) -> bytes:
    """One line. Lone surrogates become replacement characters."""
    try:
        text = message.model_dump_json(by_alias=True, exclude_unset=True)
    except PydanticSerializationError:
        text = json.dumps(clean(message.model_dump(by_alias=True, exclude_unset=True)), ensure_ascii=False)
    return text.encode() + b"\n"


def rescue(line: bytes) -> tuple[JSONRPCMessage | None, JSONRPCMessage | None]:
    """For a line that is no message: the repaired message, or the error to answer, or neither for an empty line."""
    if not line.strip():
        return None, None
    try:
        read = json.loads(line.removeprefix(BOM).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None, refusal(PARSE_ERROR, "Parse error", found_id(line))
    try:
        return jsonrpc_message_adapter.validate_python(clean(read), by_name=False), None
    except (ValueError, RecursionError):
        given = read.get("id") if isinstance(read, dict) else None
        asked = given if type(given) in (int, str) else None
        return None, refusal(INVALID_REQUEST, "Invalid request", asked)


def has_id(line: bytes) -> bool:
    """Does the object in `line` have an id at its top? Then it is a request, whatever the id looks like."""
    read = json.loads(line)
    return isinstance(read, dict) and "id" in read


def refusal(code: int, message: str, asked: int | str | None) -> JSONRPCError:
    """A JSON-RPC error; `asked` is the id of the request, where one could be made out."""
    return JSONRPCError(jsonrpc="2.0", id=asked, error=ErrorData(code=code, message=message))


def found_id(line: bytes) -> int | str | None:
    """The id in a line that is no JSON."""
    found = ID.search(line[:EDGE]) or ID.search(line[-EDGE:])
    if found is None:
        return None
    try:
        read: int | str = json.loads(found.group(1))
    except ValueError:
        return None
    return clean_text(read) if isinstance(read, str) else read


def clean(value: object) -> object:
    """`value` without lone surrogates, at any depth, keys included."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {clean(key): clean(one) for key, one in value.items()}
        case list() | tuple():
            return [clean(one) for one in value]
        case _:
            return value
