"""What a question of the page costs in a large bank: processor seconds and bytes, over the page's own door.

python -m benchmarks.page --units 100000
"""

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import click
import httpx

from mia_skill.core.config import MiaConfig
from mia_skill.core.types import MemoryUnit, Outcome
from mia_skill.ui.serve import build_page
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.gate import Draw, Trial
from retrieval.sqlite_bank import SqliteBank

BATCH = 500
TRIALS = 50_000
TOKEN = "benchmark-of-the-page"
WORKFLOW = "1. search for the thing and read its page\n" * 12


def fill(bank: SqliteBank, count: int) -> str:
    """Units of three namespaces, and outcomes of the last hundred; returns the id of one."""
    chance = random.Random(1)
    outcomes, spaces = list(Outcome), ("default", "work", "lab")
    for start in range(0, count, BATCH):
        units = tuple(
            MemoryUnit(
                question=f"who made the thing{number} of {chance.random()}",
                workflow=WORKFLOW,
                outcome=chance.choice(outcomes),
                namespace=chance.choice(spaces),
            )
            for number in range(start, min(count, start + BATCH))
        )
        bank.consolidate(Consolidation(units=units, merge=False))
    ids = [unit.id for unit in bank.list(limit=100).units]
    for start in range(0, TRIALS, BATCH):
        draws = [
            Draw(task=str(start + n), namespace="default", shown=tuple(chance.sample(ids, 2)), randomised=True)
            for n in range(BATCH)
        ]
        trials = tuple(Trial(draw=draw, won=chance.random() < 0.5, judged_by="gold") for draw in draws)
        bank.consolidate(Consolidation(trials=trials))
    return ids[0]


async def ask_all(bank: SqliteBank, unit_id: str) -> None:
    """Each question twice; the second time is what is printed."""
    door = build_page(bank, MiaConfig(), token=TOKEN)
    headers = {"authorization": f"Bearer {TOKEN}"}
    questions: tuple[tuple[str, dict[str, object]], ...] = (
        ("overview", {}),
        ("units", {}),
        ("units", {"text": "nothinglikethis"}),
        ("units", {"status": "quarantined"}),
        ("unit", {"id": unit_id}),
        ("log", {}),
        ("map", {}),
        ("map", {"namespace": "lab", "by": "question"}),
    )
    transport = httpx.ASGITransport(app=door)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as page:
        print(f"{'question':46} {'CPU s':>7} {'bytes':>8}")
        for name, form in questions:
            for _ in range(2):
                start = time.process_time()
                answer = await page.post(f"/api/{name}", json=form)
                spent = time.process_time() - start
            answer.raise_for_status()
            shown = "" if "id" in form else " ".join(f"{key}={value}" for key, value in form.items())
            print(f"{name + ' ' + shown:46} {spent:7.3f} {len(answer.content):8,}")


@click.command()
@click.option("--units", default=100_000, show_default=True, type=click.IntRange(100))
def main(units: int) -> None:
    """Fill a bank, ask everything."""
    with TemporaryDirectory() as folder:
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        unit_id = fill(bank, units)
        anyio.run(ask_all, bank, unit_id)
        bank.close()


if __name__ == "__main__":
    main()
