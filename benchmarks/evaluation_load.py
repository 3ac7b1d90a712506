"""Throughput of an evaluation against a running endpoint, and where the time goes.

python -m benchmarks.evaluation_load --url http://127.0.0.1:8000/v1 --model NAME --dataset sandbox --methods all \
    --limit 64 --concurrency 64 --out OUT [--set budget.steps=4 ...]

A run that ended before its time is taken up by the same command: figures are of what was asked now.
"""

import argparse
import resource
import time
from pathlib import Path

import anyio

from mia_skill.core.config import json_or_text, load_config
from mia_skill.evaluation.runner import Progress
from mia_skill.evaluation.stage import Order, carry_out
from mia_skill.evaluation.summary import Line, summarise

HEAD = "| method | asked | no sample | answering s | learning s | episodes/min | at once | model % | tools % | rest % |"


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", default="sandbox")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--together", type=int, default=1, help="Methods at a time.")
    parser.add_argument("--seconds", type=float, default=150.0, help="The run is stopped after this long.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    anyio.run(measure, given)


async def measure(given: argparse.Namespace) -> None:
    """One evaluation under a clock."""
    flags: dict[str, object] = {
        "home": str(given.out / "home"),
        "models.default.base_url": given.url,
        "models.default.model": given.model,
        "models.default.max_connections": given.concurrency * given.together,
        "memory.embedder": "hash",
    }
    flags |= {key: json_or_text(value) for key, _, value in (one.partition("=") for one in given.set)}
    order = Order(
        dataset=given.dataset,
        methods=given.methods,
        limit=given.limit,
        concurrency=given.concurrency,
        together=given.together,
        out=given.out,
        agent="models",
    )
    last: dict[str, Progress] = {}

    def watch(progress: Progress) -> None:
        last[progress.method] = progress

    began, spent = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    with anyio.move_on_after(given.seconds) as scope:
        await carry_out(load_config(environment={}, flags=flags), order, watch)
    wall, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    lines = {one.method: one for one in summarise(given.out).lines}
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    for method, progress in last.items():
        print(row(lines[method], progress))
    asked = sum(one.done for one in last.values())
    stopped = ", stopped by the clock" if scope.cancelled_caught else ""
    print(
        f"{asked} episodes in {wall:.1f} s{stopped}: {60 * asked / wall:.1f} episodes/min; this process used "
        f"{cpu:.1f} s of CPU ({100 * cpu / wall:.0f} % of one core)"
    )


def row(line: Line, progress: Progress) -> str:
    """A method's row. `at once`: episodes under way on average while answering."""
    wall = progress.answering_s + progress.learning_s
    whole = line.seconds * (line.asked - line.no_sample)
    share = [100 * part / line.seconds if line.seconds else 0.0 for part in (line.model_seconds, line.tool_seconds)]
    cells = [
        line.method,
        str(progress.done),
        str(line.no_sample),
        f"{progress.answering_s:.1f}",
        f"{progress.learning_s:.1f}",
        f"{60 * progress.done / wall:.1f}" if wall else "-",
        f"{whole / progress.answering_s:.1f}" if progress.answering_s else "-",
        *(f"{part:.0f}" for part in share),
        f"{100 - sum(share):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
