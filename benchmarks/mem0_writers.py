"""Started by benchmarks/durability.py in the peers' environment: forks a mem0 writer for every line it reads.

A line is `FOLDER STORE NAME`. With `--held FOLDER STORE` it prints the ids that a fresh opening finds, as JSON.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers import Mem0, Mem0Qdrant
from stub import Topical

STORES = {"faiss": Mem0, "qdrant": Mem0Qdrant}


def write_for_ever(folder: str, store: str, name: str) -> None:
    """Store memories until killed; a store that cannot be opened or refuses ends the child's writing, not its life."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    say(f"pid {os.getpid()}")
    with contextlib.suppress(Exception):
        mem0, embedder, number = STORES[store](Path(folder)), Topical(), 0
        while not told:
            number += 1
            text = f"{name} stored {number}"
            mem0._row = embedder.embed([text])[0]
            added = mem0._memory.add(text, user_id="everyone", infer=False)
            say(f"ack {added['results'][0]['id']}")
    while not told:
        signal.pause()


def held(folder: str, store: str) -> list[str]:
    """Ids of every memory that is there."""
    memory = STORES[store](Path(folder))._memory
    found = memory.get_all(filters={"user_id": "everyone"}, top_k=1_000_000)
    return [one["id"] for one in found["results"]]


def say(line: str) -> None:
    """One line to the benchmark, in one write."""
    os.write(1, f"{line}\n".encode())


def main() -> None:
    if sys.argv[1:2] == ["--held"]:
        sys.stdout.write("\n" + json.dumps(held(*sys.argv[2:4])) + "\n")
        return
    import mem0

    assert mem0.Memory
    # The kernel reaps the killed children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            write_for_ever(*line.split())
            say("bye 0")
            os._exit(0)


if __name__ == "__main__":
    main()
