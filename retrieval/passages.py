"""Reading a corpus: JSON lines of `{id, title, text}` to passages, with every fault named by file and line."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from mia_skill.core.errors import CorpusError
from mia_skill.core.types import Passage
from retrieval.store import split_contents

__all__ = ["Passages", "passage_of_line", "passage_of_row", "read_passages", "shortened"]


class Passages(NamedTuple):
    """A corpus as it was read."""

    items: tuple[Passage, ...]
    digest: str
    """sha256 over the files' bytes: what was derived from other bytes is stale."""


def read_passages(paths: Sequence[Path]) -> Passages:
    """The passages of all files, in order.

    Raises:
        CorpusError: a file is missing, not UTF-8, broken, empty, or repeats an id; the message names file and line.
    """
    if not paths:
        raise CorpusError("no corpus file is given: set search.corpus to jsonl files of id, title, text")
    seen: dict[str, str] = {}
    items: list[Passage] = []
    digest = sha256()
    for path in paths:
        raw = _bytes(path)
        digest.update(len(raw).to_bytes(8, "big") + raw)
        for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            passage = passage_of_line(line, place)
            if passage.id in seen:
                raise CorpusError(f"{place}: id {passage.id!r} was used before, in {seen[passage.id]}")
            seen[passage.id] = place
            items.append(passage)
    if not items:
        raise CorpusError(f"{', '.join(map(str, paths))}: no passage in it, expected lines of id, title, text")
    return Passages(tuple(items), digest.hexdigest())


def shortened(passage: Passage, chars: int) -> Passage:
    """The passage with at most `chars` characters of text; one that was cut says so."""
    if len(passage.text) <= chars:
        return passage
    head = passage.text[:chars]
    kept = head.rsplit(None, 1)[0] if head.strip() else head
    note = f" [cut here: {len(kept)} of {len(passage.text)} characters]"
    return passage.model_copy(update={"text": kept + note})


def _bytes(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as cause:
        raise CorpusError(f"cannot read the corpus file {path}: {cause.strerror}; check search.corpus") from cause


def passage_of_line(line: bytes, place: str) -> Passage:
    """The passage that a line of JSON holds; `place` names it in errors.

    Raises:
        CorpusError: it holds none.
    """
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError as cause:
        raise CorpusError(f"{place}: no valid JSON in UTF-8 ({cause})") from cause
    return passage_of_row(row, place)


def passage_of_row(row: object, place: str) -> Passage:
    """The passage of `{id, title, text}`, or of Search-R1's `{id, contents}`, whose first line in quotes is the title.

    Raises:
        CorpusError: it is no such row.
    """
    if not isinstance(row, dict):
        raise CorpusError(f"{place}: expected an object with id, title and text")
    id_, title, text = row.get("id"), row.get("title") or "", row.get("text")
    if text is None and isinstance(row.get("contents"), str):
        title, text = split_contents(row["contents"])
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    if not isinstance(id_, str) or not id_ or not isinstance(text, str):
        raise CorpusError(f"{place}: id must be a text or a number, and text (or contents) a text")
    if not (text.strip() or str(title).strip()):
        raise CorpusError(f"{place}: title and text are both empty")
    try:
        return Passage(id=id_, title=title, text=text)
    except ValidationError as cause:
        raise CorpusError(f"{place}: {cause.errors()[0]['loc'][0]} {cause.errors()[0]['msg']}") from cause
