"""Read JSON, JSON with comments and JSON5 and remember where every value stands, so that a file can be edited in place.

Grammar: json5.org 1.0.0. Positions count characters of the text as given.
"""

import re
from dataclasses import dataclass

from mia_skill.core.errors import InputError

__all__ = ["Json", "Member", "Node", "parse"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

BLANK = re.compile(r"(?:[\s\ufeff]|//[^\n\r\u2028\u2029]*|/\*.*?\*/)*", re.DOTALL)
WORD = re.compile(r"[$_\w\u200c\u200d]+")
NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
ENDS = {'"': re.compile(r'["\\\n\r]'), "'": re.compile(r"['\\\n\r]")}
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
NAMES: dict[str, Json] = {"true": True, "false": False, "null": None}
DEEPEST = 100
"""No configuration nests deeper; a file that does is refused before the interpreter's own limit."""


@dataclass(frozen=True)
class Node:
    """One value: `text[start:end]` is how it is written."""

    value: Json
    start: int
    end: int
    members: "tuple[Member, ...]" = ()
    """Of an object, in order."""
    trailing_comma: int | None = None
    """Where an object's last comma stands, when nothing follows it."""


@dataclass(frozen=True)
class Member:
    """One `key: value` of an object."""

    key: str
    start: int
    """Where the key begins."""
    node: Node
    comma: int | None
    """Where the comma after it stands."""


def parse(text: str) -> Node:
    """The document.

    Raises:
        InputError: it is no JSON5; the message names line and column, never a value.
    """
    reader = Reader(text)
    start = reader.skip(0)
    node = reader.value(start, 0)
    end = reader.skip(node.end)
    if end != len(text):
        raise reader.error(end, "text after the document's end")
    return node


@dataclass(frozen=True)
class Reader:
    """A recursive descent over one text."""

    text: str

    def error(self, at: int, what: str) -> InputError:
        """What is wrong, and where."""
        before = self.text[:at]
        return InputError(f"line {before.count(chr(10)) + 1}, column {at - before.rfind(chr(10))}: {what}")

    def skip(self, at: int) -> int:
        """Past white space and comments."""
        match = BLANK.match(self.text, at)
        end = match.end() if match else at
        if self.text.startswith("/*", end):
            raise self.error(end, "a comment that does not end")
        return end

    def value(self, at: int, depth: int) -> Node:
        """The value that begins at `at`."""
        if depth > DEEPEST:
            raise self.error(at, f"nested deeper than {DEEPEST}")
        first = self.text[at : at + 1]
        if first == "{":
            return self.object(at, depth)
        if first == "[":
            return self.array(at, depth)
        if first in ENDS:
            string, end = self.string(at)
            return Node(string, at, end)
        return self.scalar(at)

    def scalar(self, at: int) -> Node:
        """A number, true, false or null."""
        if match := NUMBER.match(self.text, at):
            return Node(number(match.group()), at, match.end())
        word = WORD.match(self.text, at)
        if word and word.group() in NAMES:
            return Node(NAMES[word.group()], at, word.end())
        raise self.error(at, "a value is missing or is not JSON")

    def array(self, at: int, depth: int) -> Node:
        """A list."""
        found: list[Json] = []
        at_item = self.skip(at + 1)
        while not self.text.startswith("]", at_item):
            node = self.value(at_item, depth + 1)
            found.append(node.value)
            at_item = self.skip(node.end)
            if self.text.startswith(",", at_item):
                at_item = self.skip(at_item + 1)
            elif not self.text.startswith("]", at_item):
                raise self.error(at_item, "expected a comma or the end of the list")
        return Node(found, at, at_item + 1)

    def object(self, at: int, depth: int) -> Node:
        """An object; a key that comes twice is an error, for nobody can tell which one counts."""
        members: list[Member] = []
        at_key = self.skip(at + 1)
        while not self.text.startswith("}", at_key):
            key, end = self.key(at_key)
            if any(member.key == key for member in members):
                raise self.error(at_key, "the same key twice in one object")
            colon = self.skip(end)
            if not self.text.startswith(":", colon):
                raise self.error(colon, "expected a colon")
            node = self.value(self.skip(colon + 1), depth + 1)
            after = self.skip(node.end)
            comma = after if self.text.startswith(",", after) else None
            members.append(Member(key, at_key, node, comma))
            if comma is None and not self.text.startswith("}", after):
                raise self.error(after, "expected a comma or the end of the object")
            at_key = after if comma is None else self.skip(comma + 1)
        value: Json = {member.key: member.node.value for member in members}
        return Node(value, at, at_key + 1, tuple(members), members[-1].comma if members else None)

    def key(self, at: int) -> tuple[str, int]:
        """A quoted key or a bare word."""
        if self.text[at : at + 1] in ENDS and at < len(self.text):
            return self.string(at)
        match = WORD.match(self.text, at)
        if match is None or match.group()[0].isdigit():
            raise self.error(at, "expected a key")
        return match.group(), match.end()

    def string(self, at: int) -> tuple[str, int]:
        """A quoted string and its end."""
        quote, parts, here = self.text[at], [], at + 1
        while True:
            match = ENDS[quote].search(self.text, here)
            if match is None or match.group() in "\n\r":
                raise self.error(at, "a string that does not end")
            parts.append(self.text[here : match.start()])
            if match.group() == quote:
                return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace"), match.end()
            part, here = self.escape(match.end())
            parts.append(part)

    def escape(self, at: int) -> tuple[str, int]:
        """What stands after a backslash."""
        letter = self.text[at : at + 1]
        width = {"u": 4, "x": 2}.get(letter)
        if width is None:
            if letter in "\n\r\u2028\u2029":
                return "", at + (2 if self.text.startswith("\r\n", at) else 1)
            return ESCAPES.get(letter, letter), at + 1
        digits = self.text[at + 1 : at + 1 + width]
        if not re.fullmatch(rf"[0-9a-fA-F]{{{width}}}", digits):
            raise self.error(at, "a broken escape in a string")
        return chr(int(digits, 16)), at + 1 + width


def number(text: str) -> int | float:
    """A number as Python has it."""
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        return sign * int(digits, 16)
    if digits.isdigit():
        return sign * int(digits)
    return sign * float({"Infinity": "inf", "NaN": "nan"}.get(digits, digits))
