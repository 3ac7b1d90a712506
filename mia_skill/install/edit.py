"""Set or remove one entry of a JSON, JSONC or JSON5 text. All else - comments, order, spacing - stays as it is."""

import copy
import json
import re
from collections.abc import Sequence

from mia_skill.core.errors import InputError
from mia_skill.install.json5 import Json, Member, Node, parse

__all__ = ["lookup", "removed", "with_entry"]

DEFAULT_INDENT = "  "
REMARK = re.compile(r"(?:[ \t]*/\*[^\n]*?\*/)*[ \t]*(?://[^\n]*)?")


def lookup(text: str, path: Sequence[str]) -> Json:
    """The value at `path`, or None.

    Raises:
        InputError: the text is no JSON5.
    """
    value = parse(text).value if text.strip("\ufeff \t\r\n") else None
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def with_entry(text: str, path: Sequence[str], entry: Json) -> str:
    """`text` with `entry` at `path`; objects on the way are made. An empty text becomes a document.

    Raises:
        InputError: the text is no JSON5, or something on the way is not an object.
    """
    if not text.strip("\ufeff \t\r\n"):
        return written(nested(path, entry), "", DEFAULT_INDENT) + "\n"
    if "\r\n" in text and text.count("\n") == text.count("\r\n"):
        return with_entry(text.replace("\r\n", "\n"), path, entry).replace("\n", "\r\n")
    root = parse(text)
    node, depth = root, 0
    while depth < len(path):
        if not isinstance(node.value, dict):
            raise InputError(f"{'.'.join(path[:depth]) or 'the document'} is not an object")
        member = next((one for one in node.members if one.key == path[depth]), None)
        if member is None:
            break
        node, depth = member.node, depth + 1
    step = indent_step(text, root)
    if depth == len(path):
        if same(node.value, entry):
            return text
        body = written(entry, margin(text, node.start), step)
        edited = text[: node.start] + body + text[node.end :]
    else:
        edited = inserted(text, node, path[depth], nested(path[depth + 1 :], entry), step)
    return checked(edited, expected(root.value, path, entry))


def removed(text: str, path: Sequence[str]) -> str:
    """`text` without the entry at `path`; unchanged when there is none.

    Raises:
        InputError: the text is no JSON5.
    """
    if lookup(text, path[:-1]) is None:
        return text
    root = parse(text)
    node = root
    for key in path[:-1]:
        node = next(one.node for one in node.members if one.key == key)
    position = next((at for at, one in enumerate(node.members) if one.key == path[-1]), None)
    if position is None:
        return text
    wanted = copy.deepcopy(root.value)
    holder = wanted
    for key in path[:-1]:
        holder = holder[key] if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        del holder[path[-1]]
    return checked(cut(text, node, position), wanted)


def inserted(text: str, node: Node, key: str, value: Json, step: str) -> str:
    """A new last member of the object `node`, in the style of its last one."""
    outer = margin(text, node.start)
    if not node.members:
        inside = text[node.start + 1 : node.end - 1]
        inner = outer + step
        kept = inside.rstrip() if inside.strip() else ""
        line = f"\n{inner}{json.dumps(key)}: {written(value, inner, step)}\n{outer}"
        return text[: node.start + 1] + kept + line + text[node.end - 1 :]
    last = node.members[-1]
    after = last.node.end if last.comma is None else last.comma + 1
    end = after + len(remark(text[after : node.end - 1]))
    one_line = "\n" not in text[node.start : last.start] and end == after
    inner = margin(text, last.start) if "\n" in text[node.start : last.start] else outer + step
    gap = " " if one_line else f"\n{inner}"
    line = f"{gap}{json.dumps(key, ensure_ascii=False)}: {written(value, inner, step)}"
    if last.comma is not None:
        return text[:end] + line + "," + text[end:]
    return text[:after] + "," + text[after:end] + line + text[end:]


def cut(text: str, node: Node, position: int) -> str:
    """The object's text without one member: the exact reverse of an insertion at its end."""
    member = node.members[position]
    before: Member | None = node.members[position - 1] if position else None
    if member.comma is None and before is not None and before.comma is not None:
        return (
            text[: before.comma] + text[before.comma + 1 : blank_before(text, member.start)] + text[member.node.end :]
        )
    end = member.node.end if member.comma is None else member.comma + 1
    start = blank_before(text, member.start)
    if before is None and len(node.members) == 1 and text[node.start + 1 : start] == "":
        rest = len(text[end:]) - len(text[end:].lstrip())
        end += rest if text[end + rest] == "}" else 0
    return text[:start] + text[end:]


def blank_before(text: str, at: int) -> int:
    """Where the white space before `at` begins."""
    return len(text[:at].rstrip())


def remark(text: str) -> str:
    """The comment that stands on the same line, and so belongs to what stands before it."""
    return REMARK.match(text)[0].rstrip()  # type: ignore[index]  # matches always


def nested(path: Sequence[str], entry: Json) -> Json:
    """`entry` below the keys of `path`."""
    for key in reversed(path):
        entry = {key: entry}
    return entry


def expected(root: Json, path: Sequence[str], entry: Json) -> Json:
    """What the edited text has to say."""
    wanted = copy.deepcopy(root)
    holder = wanted
    for key in path[:-1]:
        holder = holder.setdefault(key, {}) if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        holder[path[-1]] = entry
    return wanted


def checked(text: str, wanted: Json) -> str:
    """The edited text, once read again: an edit that says anything else than what was meant is never written."""
    if not same(parse(text).value, wanted):
        raise InputError("the file is written in a way that cannot be edited safely")
    return text


def same(one: Json, other: Json) -> bool:
    """Equal, with NaN equal to itself and the order of keys kept."""
    return json.dumps(one) == json.dumps(other)


def written(value: Json, outer: str, step: str) -> str:
    """`value` as plain JSON, its lines indented below `outer`."""
    return json.dumps(value, indent=step, ensure_ascii=False).replace("\n", f"\n{outer}")


def margin(text: str, at: int) -> str:
    """The indentation of the line in which `at` stands."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return re.match(r"[ \t]*", line)[0]  # type: ignore[index]  # matches always


def indent_step(text: str, root: Node) -> str:
    """One level of indentation as this file has it."""
    if root.members and "\n" in text[root.start : root.members[0].start]:
        return margin(text, root.members[0].start) or DEFAULT_INDENT
    return DEFAULT_INDENT
