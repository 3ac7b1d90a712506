"""Pages that hosts show inside a conversation (MCP Apps): the trust report of `judge`."""

from importlib.resources import files

from mcp.server.apps import Apps

__all__ = ["TRUST", "trust_app"]

TRUST = "ui://mia/trust.html"


def trust_app() -> Apps:
    """The extension with its one page; a host without it shows the result as it is."""
    apps = Apps()
    page = files(__package__).joinpath("trust.html").read_text(encoding="utf-8")
    apps.add_html_resource(TRUST, page, name="trust", title="How far to trust this answer", prefers_border=True)
    return apps
