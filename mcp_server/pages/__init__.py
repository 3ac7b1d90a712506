"""Pages that hosts show inside a conversation (MCP Apps): the trust report of `judge`."""

import json
from collections.abc import Mapping
from importlib.resources import files

from mcp.server.apps import Apps

__all__ = ["TRUST", "standalone", "trust_app"]

TRUST = "ui://mia/trust.html"


def trust_app() -> Apps:
    """The extension with its one page; a host without it shows the result as it is."""
    apps = Apps()
    apps.add_html_resource(TRUST, _page(), name="trust", title="How far to trust this answer", prefers_border=True)
    return apps


def standalone(verdict: Mapping[str, object]) -> str:
    """The same page with a verdict inside: one file, which loads nothing and runs no text of the verdict."""
    told = json.dumps(verdict, ensure_ascii=True).replace("<", "\\u003c")
    rule = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{rule}">'
    data = f'<script type="application/json" id="verdict">{told}</script>\n<main id="report">'
    return _page().replace('<meta charset="utf-8">', head, 1).replace('<main id="report">', data, 1)


def _page() -> str:
    return files(__package__).joinpath("trust.html").read_text(encoding="utf-8")
