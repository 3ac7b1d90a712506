"""The pictures of `docs/ui.md`, of the seeded world: `make test-browser` once, then

    PYTHONPATH=tests .venv/bin/python -m browser.pictures docs/images

A rule-based agent answers 120 questions, its runs are the memories. Outcomes with and without memory, and memories from
the web, are drawn from a seed on top, so that every part of the page has something to show.
"""

import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from browser.conftest import MIA, serving
from browser.prepare import FLAGS, found
from mia_skill.app import open_bank
from mia_skill.core.config import MiaConfig
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance
from retrieval.bank import Bank, Consolidation
from retrieval.gate import Arm, Draw, Trial

SHOTS = (
    ("overview", "", "light"),
    ("recall", "units?how=recall&text={asked}", "light"),
    ("memory", "unit/{parent}", "dark"),
    ("map", "map?colour=category", "light"),
    ("quarantine", "review", "light"),
    ("evaluation", "run/world", "dark"),
)
FROM_THE_WEB = {
    "Which shipyard built the Grey Heron?": "1. search the ship and shipyard\n2. read the page that names its yard",
    "Who wrote the anthem of the harbour town?": "1. search the town and anthem\n2. trust the first page that answers",
    "In which year was the old observatory opened?": "1. search the observatory\n2. take the year beside opened",
}


def seeded(home: Path, runs: Path) -> dict[str, str]:
    """Fill a bank and a folder of traces; returns what the addresses need."""
    words = ["--dataset", "world", "--methods", "none,memento,mia", "--limit", "120", "--out", str(runs / "world")]
    subprocess.run([*MIA, "--home", str(home), "eval", "run", *words], check=True, capture_output=True)
    shutil.copy(runs / "world" / "banks" / "0" / "mia.sqlite3", home / "memory.sqlite3")
    bank = open_bank(MiaConfig(home=home))
    try:
        return dressed(bank)
    finally:
        bank.close()


def dressed(bank: Bank) -> dict[str, str]:
    """Memories from elsewhere, another namespace, and outcomes of both arms."""
    chance = random.Random(7)
    units = list(bank.list(limit=200).units)
    web = [
        MemoryUnit(question=question, workflow=workflow, outcome=Outcome.CORRECT,
                   provenance=Provenance(origins=(Origin.WEB,), sources=("https://pages.example/ports",)))
        for question, workflow in FROM_THE_WEB.items()
    ]  # fmt: skip
    own = [unit.model_copy(update={"id": f"{unit.id}w", "namespace": "work"}) for unit in units[:24]]
    bank.consolidate(Consolidation(units=(*web, *own), merge=False))
    best = sorted(units, key=lambda unit: -unit.uses)[:6]
    trials = []
    for number in range(240):
        held = number % 4 == 0
        shown = tuple(one.id for one in chance.sample(best, 2))
        named = {"task": f"task-{number}", "namespace": "default", "category": chance.choice(("chain", "comparison"))}
        drawn = {"arm": Arm.WITHHELD, "withheld": shown} if held else {"arm": Arm.SHOWN, "shown": shown}
        won = chance.random() < (0.36 if held else 0.61)
        trials.append(Trial(draw=Draw(randomised=True, **named, **drawn), won=won, judged_by="gold"))
    bank.consolidate(Consolidation(trials=tuple(trials)))
    kin = [unit for unit in best if unit.provenance.parents and bank.uses(unit.id).children] or best
    return {"asked": "Which city was the builder of the Sunken Mirror from?", "parent": kin[0].id}


def shoot(page: Page, target: Path, where: str) -> None:
    """One picture."""
    page.evaluate("where => { location.hash = where }", f"#/{where}")
    page.wait_for_load_state("networkidle")
    page.locator("h1").wait_for()
    if where.startswith("map"):
        page.locator("svg.map").focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
    page.screenshot(path=target)


def main(folder: Path) -> None:
    """All of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made, sync_playwright() as driver:
        home, runs = Path(made) / "home", Path(made) / "runs"
        names = seeded(home, runs)
        browser = driver.chromium.launch(executable_path=found(), args=list(FLAGS))
        with serving(home, "--traces", str(runs)) as address:
            for name, where, scheme in SHOTS:
                view = {"width": 1180, "height": 740}
                page = browser.new_page(viewport=view, color_scheme=scheme)
                page.goto(address)
                page.locator("h1").wait_for()
                shoot(page, folder / f"{name}.png", where.format(**names))
                page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
