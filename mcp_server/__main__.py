"""`mia-mcp`: the server as a host starts it. stdout carries JSON-RPC only."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from mia_skill import __version__

if TYPE_CHECKING:
    from mia_skill.core.config import MiaConfig

__all__ = ["main", "serve_http", "serve_stdio"]

FOR_A_HOST = """MIA serves MCP on stdin and stdout, for a host that starts it (mia install HOST); Ctrl-D ends it.
Over HTTP: --http
"""


def serve_stdio(config: "MiaConfig") -> None:
    """Serve over stdin and stdout until the host is gone."""
    from mcp_server.audit import enable_audit
    from mcp_server.server import build_server
    from mcp_server.stdio import run_stdio

    if config.server.audit == "on":
        enable_audit()
    if sys.stdin.isatty():
        sys.stderr.write(FOR_A_HOST)
    anyio.run(run_stdio, build_server(config))


def serve_http(config: "MiaConfig") -> None:
    """Serve streamable HTTP until interrupted.

    Raises:
        ConfigError: see the message.
    """
    from mcp_server.audit import enable_audit
    from mcp_server.http import run_http
    from mcp_server.server import build_server

    if config.server.audit != "off":
        enable_audit()
    anyio.run(run_http, build_server(config), config.server)


def print_listing(config: "MiaConfig") -> None:
    """The tools as a host is shown them."""
    from mcp_server.listing import pretty, tokens
    from mcp_server.server import build_server

    tools = anyio.run(build_server(config).list_tools)
    click.echo(pretty(tools))
    click.echo(f"{len(tools)} tools, about {tokens(tools)} tokens", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--stdio", "transport", flag_value="stdio", default="stdio", help="Over stdin and stdout (default).")
@click.option("--http", "transport", flag_value="http", help="Streamable HTTP at http://HOST:PORT/mcp.")
@click.option("--host", help="Address for --http (default 127.0.0.1; others need server.token).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for --http (default 8756; 0 picks a free one).")
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), help="A TOML file of settings.")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Folder of the bank and the caches.")
@click.option("--read-only", is_flag=True, help="Leave out every tool that writes.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. server.prompts=false.")
@click.option("--print-tools", is_flag=True, help="Print the tool listing as JSON, its size on stderr, and end.")
@click.version_option(__version__, prog_name="mia-mcp")
def command(
    transport: str,
    host: str | None,
    port: int | None,
    file: Path | None,
    home: Path | None,
    read_only: bool,
    pairs: tuple[str, ...],
    print_tools: bool,
) -> None:
    """Serve MIA's tools over MCP: memory, planning, search and judgment for host agents.

    \b
    Settings come from a TOML file (--config, $MIA_CONFIG or HOME/config.toml), then from MIA_*
    variables (MIA_MODELS__DEFAULT__BASE_URL), then from these flags. None is needed.
    Logs go to stderr; with --stdio, stdout carries JSON-RPC only.
    """
    from mia_skill.core.config import json_or_text, load_config
    from mia_skill.core.errors import MiaError

    flags: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not {pair!r}")
        flags[key.strip()] = json_or_text(value)
    given = {"home": home, "server.host": host, "server.port": port, "server.read_only": read_only or None}
    flags |= {key: value for key, value in given.items() if value is not None}
    try:
        config = load_config(file, flags=flags)
        (print_listing if print_tools else serve_http if transport == "http" else serve_stdio)(config)
    except MiaError as error:
        click.echo(f"mia-mcp: {error}", err=True)
        sys.exit(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    command.main(args=list(argv) if argv is not None else None, prog_name="mia-mcp")


if __name__ == "__main__":
    main()
