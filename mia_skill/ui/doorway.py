"""How a browser is sent to the page without the token standing in its command line, where every user of the machine can
read it: it is given a file that only its owner can read, and the file leads to the page."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from secrets import token_hex

__all__ = ["doorway"]

PAGE = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>MIA</title>'
    '<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">to the page</a>\n'
)


@contextmanager
def doorway(folder: Path, address: str) -> Iterator[str]:
    """The address of a file in `folder` that leads to `address`; it is gone afterwards.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder.absolute() / f"page-{token_hex(8)}.html"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(PAGE.format(address=escape(address)))
    try:
        yield path.as_uri()
    finally:
        path.unlink(missing_ok=True)
