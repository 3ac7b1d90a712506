"""`mia corpus`: build, check and serve a corpus."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import anyio
import click

from mia_skill.cli.console import Settings, as_json, json_flag, offer_passages
from mia_skill.core.config import MiaConfig

__all__ = ["corpus", "serve_corpus"]

PORT = 8001
"""Spec section 11."""


@click.group()
def corpus() -> None:
    """Passages to search: build an index of your own, check it, serve it to others."""


@corpus.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to make.")
@click.option("--chunk-chars", default=2000, show_default=True, help="Cut longer texts; 0 leaves them whole.")
@click.option("--overlap-chars", default=200, show_default=True, help="What neighbouring pieces share.")
@click.option("--index", type=click.Choice(["flat", "hnsw", "ivfpq"]), help="Of the vectors; by size if not given.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), help="Of the vectors in the index.")
@click.option("--words-only", is_flag=True, help="BM25 without embeddings: no model, much faster to build.")
@json_flag
@click.pass_obj
def build(
    settings: Settings,
    files: tuple[Path, ...],
    out: Path,
    chunk_chars: int,
    overlap_chars: int,
    index: str | None,
    precision: str | None,
    words_only: bool,
    json_: bool,
) -> None:
    """Index FILES (jsonl, jsonl.gz or parquet of id, title, text, or of Search-R1's id, contents) into one folder.

    Works from disk to disk in bounded memory. Stop it at any time: the same command goes on where it was. The
    packaged embedder makes about 25 passages a second on one core; memory.embedder names a faster one.
    """
    from retrieval.build import build_corpus
    from retrieval.embed import build_embedder
    from retrieval.manifest import BuildOptions

    config = settings.load()
    wishes = {
        "chunk_chars": chunk_chars,
        "overlap_chars": overlap_chars,
        "index": index,
        "precision": precision,
    }
    embedder = None if words_only else build_embedder(config.memory, None)
    with shown_progress() as tell:
        made = build_corpus(files, out, embedder, BuildOptions.model_validate(wishes), tell)
    if json_:
        click.echo(as_json(made))
        return
    vectors = f"{made.layout.kind} {made.layout.precision} vectors" if made.layout else "words only"
    click.echo(f"{made.passages} passages of {made.documents} documents in {out} ({vectors})")
    click.echo(f"{offer_passages(out)}\nserve them to others: mia corpus serve {out}")


@corpus.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_flag
def check(folder: Path, json_: bool) -> None:
    """Is the corpus in FOLDER whole, and of its sources as they are now? Reads every byte."""
    from retrieval.manifest import read_manifest

    made = read_manifest(folder)
    made.check(folder, "whole")
    click.echo(as_json(made) if json_ else f"{made.passages} passages, {len(made.files)} files, all as written")


@corpus.command("serve")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--host", help="Address to bind (default 127.0.0.1); beyond loopback a server.token is needed.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--how", type=click.Choice(["reranked", "fused", "bm25", "dense"]), help="Best there is if not given.")
@click.pass_obj
def serve_(settings: Settings, folder: Path | None, host: str | None, port: int, how: str | None) -> None:
    """Serve FOLDER, or the corpus of the settings: POST /retrieve as Search-R1's server, GET /health, GET /metrics."""
    pairs = [*settings.pairs, f"server.port={port}"]
    pairs += [f'search.corpus=["{folder}"]'] if folder is not None else []
    pairs += [f"server.host={host}"] if host else []
    config = Settings(settings.file, settings.home, tuple(pairs)).load()
    serve_corpus(config, how)


def serve_corpus(config: MiaConfig, how: str | None = None) -> None:
    """Open the corpus, then serve it until a signal.

    Raises:
        MiaError: it cannot be opened, or the address cannot be bound.
    """
    from functools import partial

    from mcp_server.http import allowed_names, bearer, refuse_open_door, run_app
    from mia_skill.app import open_corpus
    from retrieval.corpus import How, Ranking
    from retrieval.service import RetrieveService

    way: How | None = next((one for one in get_args(How) if one == how), None)
    refuse_open_door(config.server)
    with shown_progress() as tell:
        opened = open_corpus(config, progress=partial(tell, "embed"))
    service = RetrieveService(Ranking(opened, way), hosts=allowed_names(config.server))
    app = bearer(service, config.server)
    anyio.run(run_app, app, config.server, f"{len(opened)} passages", "/retrieve")


@contextmanager
def shown_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """One bar a stage on stderr, from the first word of it on; stdout stays for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def tell(stage: str, done: int, total: int | None) -> None:
        shown.start()
        if stage not in tasks:
            tasks[stage] = shown.add_task(stage, total=total)
        shown.update(tasks[stage], completed=done, total=total)

    try:
        yield tell
    finally:
        if tasks:
            shown.stop()
