"""Pages that hosts show inside a conversation (MCP Apps): the trust report of `judge`, and remembered runs."""

import json
from collections.abc import Mapping
from importlib.resources import files

from mcp.server.apps import Apps

__all__ = ["MEMORY", "TRUST", "page", "pages_app", "standalone"]

TRUST = "ui://mia/trust.html"
MEMORY = "ui://mia/memory.html"


def pages_app() -> Apps:
    """The extension with its two pages; a host without it shows the results as they are."""
    apps = Apps()
    apps.add_html_resource(
        TRUST, page("trust.html"), name="trust", title="How far to trust this answer", prefers_border=True
    )
    apps.add_html_resource(MEMORY, page("memory.html"), name="memories", title="Remembered runs", prefers_border=True)
    return apps


def standalone(verdict: Mapping[str, object]) -> str:
    """The trust page with a verdict inside: one file, which loads nothing and runs no text of the verdict."""
    told = json.dumps(verdict, ensure_ascii=True).replace("<", "\\u003c")
    rule = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{rule}">'
    data = f'<script type="application/json" id="verdict">{told}</script>\n<main id="report">'
    whole = page("trust.html")
    return whole.replace('<meta charset="utf-8">', head, 1).replace('<main id="report">', data, 1)


def page(name: str) -> str:
    """A page as one document: a host shows it in a frame that can load nothing, so the shared script is put inside."""
    script = f"<script>\n{_text('bridge.js')}</script>"
    return _text(name).replace('<script src="bridge.js"></script>', script, 1)


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
