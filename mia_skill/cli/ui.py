"""`mia ui`: the page."""

import webbrowser
from contextlib import ExitStack
from pathlib import Path

import anyio
import click

from mia_skill.cli.console import Settings

__all__ = ["ui"]


@click.command()
@click.option("--port", default=8757, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@click.option("--read-only", is_flag=True, help="Look only: nothing can be promoted or forgotten.")
@click.option(
    "--traces",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The --out folder of an evaluation, or a folder of such; may be given several times.",
)
@click.pass_obj
def ui(settings: Settings, port: int, no_browser: bool, read_only: bool, traces: tuple[Path, ...]) -> None:
    """Look at the memory in a browser: search, lineage, uses, lift, a map, quarantine, audit, evaluation traces.

    The page is served on this machine only (127.0.0.1) and needs the token in the printed address, which is a new one
    every time. It works on the bank of the settings, also on PostgreSQL (memory.url), and loads nothing from the
    network. From another machine: `ssh -L 8757:127.0.0.1:8757 HOST`, then open the printed address there.

    \b
    mia ui                          open the page in a browser
    mia ui --no-browser --port 0    print the address, on a free port
    mia ui --traces runs/world      with the episodes of an evaluation
    End it with Ctrl-C.
    """
    from mia_skill.app import open_bank
    from mia_skill.ui.doorway import doorway
    from mia_skill.ui.serve import serve_page

    here = ("server.host=127.0.0.1", f"server.port={port}")
    config = Settings(settings.file, settings.home, (*settings.pairs, *here)).load()
    with ExitStack() as stack:

        def ready(address: str) -> None:
            click.echo(address)
            click.echo("end with Ctrl-C", err=True)
            if not no_browser:
                webbrowser.open(stack.enter_context(doorway(config.home, address)))

        # A bank whose vectors are another embedder's can still be looked at.
        bank = open_bank(config, for_reembed=True)
        stack.callback(bank.close)
        anyio.run(lambda: serve_page(bank, config, traces=traces, read_only=read_only, ready=ready))
