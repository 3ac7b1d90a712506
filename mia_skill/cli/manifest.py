"""`mia manifest` and `mia bundle`: what a release ships for hosts and registries, made from the live server."""

import sys
from pathlib import Path
from typing import Any

import anyio
import click
import orjson

from mia_skill import __version__
from mia_skill.cli.console import ANSWER_IS_NO
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import InputError
from mia_skill.install.assets import checkout
from mia_skill.install.bundles import build_bundles
from mia_skill.install.manifest import build_manifest, read_manifest, rendered
from mia_skill.install.registry import server_json

__all__ = ["bundle", "manifest", "written_files"]


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 3 when a file is stale.")
def manifest(check: bool) -> None:
    """Write skill.json and server.json of this checkout from pyproject and the live tool listing."""
    root = checkout()
    stale = [path for path, text in written_files(root).items() if current(path) != text]
    for path in stale:
        click.echo(f"{path.name} {'is stale: run mia manifest' if check else 'written'}")
    if not stale:
        click.echo("skill.json and server.json are up to date")
    elif check:
        sys.exit(ANSWER_IS_NO)
    else:
        for path, text in written_files(root).items():
            path.write_text(text, encoding="utf-8")


def written_files(root: Path) -> dict[Path, str]:
    """The generated files of a checkout and what they should hold."""
    made = build_manifest(root / "pyproject.toml", __version__, live_listing())
    return {
        root / "skill.json": rendered(made),
        root / "server.json": rendered(server_json(made, root / "pyproject.toml")),
    }


def live_listing() -> list[dict[str, Any]]:
    """`tools/list` of the server with default settings, as sent."""
    from mcp_server.listing import pretty
    from mcp_server.server import build_server

    listed: list[dict[str, Any]] = orjson.loads(pretty(anyio.run(build_server(MiaConfig()).list_tools)))
    return listed


def current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("dist"), show_default=True)
@click.option("--here", is_flag=True, help="Name this interpreter by its absolute path, for this machine only.")
def bundle(out: Path, here: bool) -> None:
    """Write the bundles: a Claude plugin (Claude Code, OpenClaw), an Agent Plugin, and an .mcpb for Claude Desktop.

    By default they start `mia-mcp`, which must be installed: hosts run no pip for a bundle.
    """
    try:
        made = build_bundles(read_manifest(), out, command=sys.executable if here else None)
    except OSError as cause:
        raise InputError(f"cannot write {cause.filename}: {cause.strerror}") from None
    for path in made:
        click.echo(path)
