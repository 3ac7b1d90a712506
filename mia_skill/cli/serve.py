"""`mia serve`, `mia demo`, `mia world`."""

from pathlib import Path

import click

from mia_skill.cli.console import Settings, as_json, json_flag, offer_passages
from mia_skill.cli.corpus import serve_corpus
from mia_skill.cli.rest import REST_PORTS, serve_rest
from mia_skill.core.config import MiaConfig

__all__ = ["demo", "serve", "world"]


@click.command()
@click.option("--stdio", "transport", flag_value="stdio", default="stdio", help="Over stdin/stdout (default).")
@click.option(
    "--http", "transport", flag_value="http", help="Streamable HTTP at /mcp; loopback unless server.host says else."
)
@click.option(
    "--rest",
    type=click.Choice(list(REST_PORTS)),
    help="A plain HTTP service instead: POST /retrieve over the corpus (8001), GET /server/search of the web (8002), "
    "the published Memory-Planner (5000), Executor (9876) and test-time (5001) services.",
)
@click.option("--host", help="Address to bind; beyond loopback a server.token is needed.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for --http (default 8756) or --rest.")
@click.option("--read-only", is_flag=True, help="Leave out every tool that writes.")
@click.pass_obj
def serve(
    settings: Settings, transport: str, rest: str | None, host: str | None, port: int | None, read_only: bool
) -> None:
    """Serve the tools over MCP. With --stdio, stdout carries JSON-RPC only."""
    if rest and port is None:
        port = REST_PORTS[rest]
    extra = [f"server.host={host}"] * bool(host) + [f"server.port={port}"] * (port is not None)
    extra += ["server.read_only=true"] * read_only
    config = Settings(settings.file, settings.home, (*settings.pairs, *extra)).load()
    if rest == "search":
        serve_search(config)
        return
    if rest in ("planner", "executor", "ttl"):
        serve_rest(config, rest)
        return
    if rest:
        serve_corpus(config)
        return
    from mcp_server import __main__ as server

    if transport == "http":
        server.serve_http(config)
    else:
        server.serve_stdio(config)


def serve_search(config: MiaConfig) -> None:
    """Serve the configured web engines until a signal.

    Raises:
        ConfigError: a setting cannot be used, or the address cannot be bound.
        InputError: no engine is configured.
    """
    import anyio

    from mcp_server.http import allowed_names, bearer, refuse_open_door, run_app
    from mia_skill.app import open_sources
    from retrieval.web_service import WebService

    refuse_open_door(config.server)
    sources = open_sources(config)
    engine = sources.pick("web")

    async def serve_it() -> None:
        try:
            service = WebService(engine, hosts=allowed_names(config.server))
            await run_app(bearer(service, config.server), config.server, engine.name, "/server/search")
        finally:
            with anyio.CancelScope(shield=True):
                await sources.aclose()

    anyio.run(serve_it)


@click.command()
@click.option("--questions", default=75, show_default=True, type=click.IntRange(2, 2000), help="Length of the stream.")
@click.option("--size", default=1500, show_default=True, type=click.IntRange(60, 5000), help="Entities in the world.")
@click.option(
    "--recur", default=25, show_default=True, type=click.IntRange(2, 200), help="How often a shape of question comes."
)
@click.option("--seed", default=7, show_default=True, help="Another seed is another world.")
@click.option("--quiet", is_flag=True, help="Only the table at the end.")
@click.option("--verbose", is_flag=True, help="Every question step by step, not only the first ones.")
@json_flag
@click.pass_obj
def demo(
    settings: Settings,
    questions: int,
    size: int,
    recur: int,
    seed: int,
    quiet: bool,
    verbose: bool,
    json_: bool,
) -> None:
    """A small host agent works through a stream of questions: without memory, with it, and with a user's feedback.

    A few shapes of question come again and again with other names, as tasks do: what memory is for.

    The server runs as a separate process; the agent is a real MCP client and knows only what the tools return. With
    a model endpoint configured, its planner and judge are used; without one the agent completes briefs itself.
    """
    from mia_skill.demo.show import Screen, Show, table
    from mia_skill.demo.stage import run_demo

    config = settings.load()
    planner = config.models.of("planner")
    console = Screen()
    show = Show(console, quiet=quiet or json_, full=verbose)
    click.echo(f"a world of {size:,} things (seed {seed}), {questions} questions, three passes", err=True)
    result = run_demo(
        settings.environment(),
        questions=questions,
        size=size,
        seed=seed,
        recur=recur,
        watch=show.watch,
        brain=planner.model if planner else "none",
    )
    if json_:
        click.echo(as_json(result))
    else:
        console.print(table(result))


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option("--seed", default=7, show_default=True)
@click.option("--size", default=300, show_default=True, type=click.IntRange(20, 100_000), help="Number of entities.")
@json_flag
def world(out: Path, seed: int, size: int, json_: bool) -> None:
    """Write the seeded fictional encyclopedia: corpus.jsonl and questions.jsonl.

    Nothing in it can be known from pre-training, so right answers come from searching.
    """
    from retrieval.world import build_world

    made = build_world(seed=seed, size=size)
    made.write(out)
    counts = {"pages": len(made.pages), "questions": len(made.questions), "folder": str(out)}
    if json_:
        click.echo(as_json(counts))
    else:
        click.echo(f"{counts['pages']} pages and {counts['questions']} questions in {out}")
        click.echo(offer_passages(out / "corpus.jsonl"))
