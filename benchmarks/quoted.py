"""The commands behind the README's numbers, run as the README quotes them:

    python -m benchmarks.quoted [--list] [--quick] [NAME ...]        (make bench ARGS="...")

Without a name all of them, one after the other: hours, most of them for a bank of a million units and for the embedding
of 18,533 passages. `--quick` runs small versions, some minutes in all: they show that everything works, and their
figures are not the README's. Peers take part where `make peers` has made their environments. What needs data sets that
are not here (MIA_SHARED_DATA, or ../shared/data beside the checkout) is left out, and said. What needs a GPU has a
target of its own (`make nano`).
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUOTED = re.compile(r"`(python (?:-m benchmarks\.|benchmarks/)[^`]+)`")
DATA = frozenset({"search_quality", "trust"})
"""What can show nothing without the data sets."""
QUICK = {
    "bank": "--units 1000,10000",
    "demo_seeds": "--seeds 2 --questions 40 --size 400",
    "durability": "--kills 20 --units 400",
    "procedure_retrieval": "--resamples 100",
    "server": "--starts 3 --calls 60",
    "trust": "--limit 20",
}


@dataclass(frozen=True)
class Command:
    """One quoted command."""

    name: str
    words: tuple[str, ...]
    """After `python`."""

    def without_missing(self, root: Path) -> "Command":
        """Less the options whose environment (a hidden folder of the checkout) is not there."""
        kept: list[str] = []
        for word in self.words:
            if word.startswith(".") and not (root / word).exists():
                kept.pop()
            else:
                kept.append(word)
        return Command(self.name, tuple(kept))

    def quick(self) -> "Command":
        """At a size for looking whether it works: a later option stands above an earlier one."""
        return Command(self.name, (*self.words, *QUICK.get(self.name, "").split()))

    def __str__(self) -> str:
        return shlex.join(("python", *self.words))


def quoted(text: str) -> tuple[Command, ...]:
    """The commands in the order of the README."""
    found = [tuple(shlex.split(one)[1:]) for one in QUOTED.findall(text)]
    return tuple(Command(name_of(words), words) for words in dict.fromkeys(found))


def name_of(words: Sequence[str]) -> str:
    """Of the benchmark, however it is called: `-m benchmarks.trust`, `benchmarks/server.py`."""
    return Path(words[0]).stem if words[0] != "-m" else words[1].rpartition(".")[2]


def run(command: Command, data: Path, quick: bool) -> str:
    """Run it; what became of it, in a word."""
    if command.name in DATA and not data.is_dir():
        return "left out: its data sets are not here (MIA_SHARED_DATA)"
    if command.name == "search_quality" and quick:
        return "left out: the first run embeds 18,533 passages"
    able = command.without_missing(ROOT)
    lacks = "" if able == command else " without peers (make peers)"
    able = able.quick() if quick else able
    print(f"\n$ {able}", flush=True)
    done = subprocess.run([sys.executable, *able.words], cwd=ROOT, check=False)
    return f"done{lacks}" if done.returncode == 0 else f"FAILED with {done.returncode}"


def main() -> int:
    """Run what was asked for; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, by the name of their module")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    parser.add_argument("--quick", action="store_true", help="small versions, to see that they work")
    given = parser.parse_args()
    commands = quoted((ROOT / "README.md").read_text(encoding="utf-8"))
    if unknown := sorted(set(given.names) - {one.name for one in commands}):
        parser.error(f"the README quotes no {', '.join(unknown)}: {', '.join(one.name for one in commands)}")
    chosen = [one for one in commands if not given.names or one.name in given.names]
    if given.list:
        print("\n".join(f"{one.name:20} {one}" for one in chosen))
        return 0
    data = Path(os.environ.get("MIA_SHARED_DATA") or ROOT.parent / "shared" / "data")
    told = {one.name: run(one, data, given.quick) for one in chosen}
    print("\n" + "\n".join(f"{name:20} {what}" for name, what in told.items()))
    return int(any(what.startswith("FAILED") for what in told.values()))


if __name__ == "__main__":
    sys.exit(main())
