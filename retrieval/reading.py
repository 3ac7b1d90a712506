"""The text of a fetched page. Runs in a process of its own, for parsers can loop, crash or eat all memory.

`python -m retrieval.reading` answers requests on stdin until it is closed; `retrieval.reader` is the other end.
"""

import codecs
import os
import re
import struct
import sys
from io import BytesIO
from typing import Any, BinaryIO

import orjson

__all__ = ["decoded", "kind_of", "read_page"]

MEMORY_BYTES = 3 << 30
"""Address space; the libraries alone map about half of it."""
LONGEST_TEXT = 2_000_000
"""Characters; what comes after is left out and said to be."""
MOST_PAGES = 500
"""Of a PDF."""
TEXTUAL = ("text/", "application/json", "application/xml", "application/javascript", "application/x-ndjson")
HTML = ("text/html", "application/xhtml+xml")
MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|article|div|p|table)\b", re.IGNORECASE)
DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"})
"""Codecs of Python that are no encodings of pages; some take quadratic time."""


class Unreadable(Exception):
    """This body holds no text that could be read; the message says why."""


def read_page(body: bytes, media_type: str, charset: str, url: str) -> dict[str, Any]:
    """`title` and `text` of a page, and whether it was `cut`.

    Raises:
        Unreadable: no text is in it, or it is of a kind that is not read.
    """
    kind = kind_of(body, media_type)
    if kind == "pdf":
        title, text = _pdf(body)
    elif kind == "html":
        title, text = _html(decoded(body, charset), url)
    else:
        title, text = "", decoded(body, charset)
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise Unreadable("no text was found on it: it may be made by scripts, or be pictures only")
    return {"title": " ".join(title.split())[:500], "text": text[:LONGEST_TEXT], "cut": len(text) > LONGEST_TEXT}


def kind_of(body: bytes, media_type: str) -> str:
    """What a body is: "pdf", "html" or "text". The bytes decide, for servers err and lie.

    Raises:
        Unreadable: none of these.
    """
    head = body[:2048]
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unreadable(f"it is no text (the server calls it {media_type or 'nothing'})")
    if media_type in HTML or MARKUP.search(head):
        return "html"
    if media_type == "application/pdf":
        raise Unreadable("it is called a PDF and is none")
    if media_type.startswith(TEXTUAL) or media_type.endswith(("+json", "+xml")):
        return "text"
    if not media_type or media_type == "application/octet-stream":
        try:
            head[:-4].decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("it is no text, and its server does not say what it is") from None
        return "text"
    raise Unreadable(f"pages of the kind {media_type} are not read: only HTML, PDF and plain text are")


def decoded(body: bytes, charset: str) -> str:
    """The characters of a page: by its mark, its server's word, its own word, else UTF-8. Never fails."""
    marked = next((name for bom, name in BOMS if body.startswith(bom)), None)
    own = DECLARED.search(body[:4096])
    for name in (marked, charset, own.group(1).decode("ascii") if own else "", "utf-8"):
        if name and (codec := _codec(name)):
            text = body.decode(codec, "replace")
            # A server's word that leaves many bytes unread was wrong.
            if name == "utf-8" or text.count("�") * 50 <= len(text):
                break
    return text.replace("\x00", "")


def _codec(name: str) -> str | None:
    try:
        info = codecs.lookup(name)
    except LookupError:
        return None
    plain = info.name.replace("-", "_")
    return info.name if getattr(info, "_is_text_encoding", False) and plain not in NO_CHARSETS else None


def _html(text: str, url: str) -> tuple[str, str]:
    import trafilatura

    found = trafilatura.bare_extraction(
        text, url=url, with_metadata=True, include_comments=False, include_tables=True, favor_recall=True
    )
    title = (getattr(found, "title", None) or _title(text)) if found else _title(text)
    main = (getattr(found, "text", None) or "") if found else ""
    return title, main or trafilatura.html2txt(text) or ""


def _title(text: str) -> str:
    found = re.search(r"<title[^>]{0,200}>([^<]{0,500})", text[:20_000], re.IGNORECASE)
    return found.group(1) if found else ""


def _pdf(body: bytes) -> tuple[str, str]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(BytesIO(body))
        title = str((reader.metadata.title if reader.metadata else "") or "")
        pages, length = [], 0
        for page in reader.pages[:MOST_PAGES]:
            pages.append(page.extract_text())
            length += len(pages[-1])
            if length > LONGEST_TEXT:
                break
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as cause:
        raise Unreadable(f"the PDF is damaged or locked ({str(cause)[:100] or type(cause).__name__})") from cause
    return title, "\n\n".join(pages)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests (two lengths, a JSON head, a body) until there are no more."""
    while len(lengths := source.read(8)) == 8:
        head_length, body_length = struct.unpack("!II", lengths)
        head = orjson.loads(source.read(head_length))
        body = source.read(body_length)
        try:
            answer = read_page(body, head["media_type"], head["charset"], head["url"])
        except Unreadable as why:
            answer = {"unreadable": str(why)}
        except MemoryError:
            answer = {"unreadable": "reading it took too much memory"}
        except ImportError as missing:
            answer = {"missing": missing.name or str(missing)}
        encoded = orjson.dumps({name: _sendable(value) for name, value in answer.items()})
        sink.write(struct.pack("!I", len(encoded)) + encoded)
        sink.flush()


def _sendable(value: object) -> object:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def main() -> None:
    """A process that reads pages: little memory, and nothing but answers on stdout."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
