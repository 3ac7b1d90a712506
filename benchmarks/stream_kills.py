"""Kill the trainer, the server and the client of a stream again and again: is anything lost that was acknowledged?

    python benchmarks/stream_kills.py [--kills 100]

Three rounds of `--kills` SIGKILLs each. **trainer**: the process of an update, at a random moment of it; the server
must go on, and the policy it serves must be a whole version. **server**: the process that samples, takes feedback and
updates; its folder is opened again and every line that it ever acknowledged is looked for. **client**: the process that
streams to a server over HTTP; the next one sends the whole stream again, and nothing may be learnt from twice.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson

from mia_skill.core.errors import TrainingError
from training.outside import OutsideLearner
from training.policy_store import ScriptedLearner, ScriptedPolicy
from training.stream import StreamTrainer

CHILD = [sys.executable, __file__]
QUESTIONS = 40
"""Of the client's stream."""


def opened(folder: Path) -> StreamTrainer:
    """The trainer of a folder."""
    return StreamTrainer(folder, ScriptedLearner(), groups_per_update=2, width=2, shorten_from=1)


async def work(folder: Path) -> None:
    """The server's round, until killed."""
    one = opened(folder)
    number = len(one.groups)
    while True:
        made = await one.sample(f"s{number}", "?")
        print("sampled", number, flush=True)
        one.feedback(made.id, made.ticket, [1.0, 0.0])
        print("fed", number, flush=True)
        if await one.update():
            print("version", one.version, flush=True)
        number += 1


def server_killed(kills: int, rng: random.Random) -> str:
    """Kill the server."""
    told: list[list[str]] = []
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        for _ in range(kills):
            child = subprocess.Popen([*CHILD, "--work", name], stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            told += [child.stdout.readline().split() for _ in range(rng.randrange(1, 40))]
            child.kill()
            told += [line.split() for line in child.stdout.read().splitlines()]
            child.wait()
        one = opened(Path(name))
        for kind, number in (line for line in told if len(line) == 2):
            if kind == "version":
                lost += one.latest < int(number)
            else:
                group = one.groups.get(f"s{number}")
                lost += group is None or (kind == "fed" and group.rollouts[0].reward != 1.0)
        halves = len(one.consumed) - 2 * one.updates
        one.close()
    return f"{len(told)} acknowledged, {lost} lost, {halves} groups learnt from by half, {one.updates} updates"


class Doomed(OutsideLearner):
    """A trainer whose process is killed at a random moment of its update, unless it is through before."""

    rng = random.Random(1)

    def _run(self, places: dict[str, str]) -> None:
        child = subprocess.Popen([part.format_map(places) for part in self.command], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            child.stdout.readline()  # it has begun: the kill falls into its work, not into its imports
        killer = threading.Timer(self.rng.uniform(0, 0.8), child.kill)
        killer.start()
        code = child.wait()
        killer.cancel()
        if code:
            raise TrainingError(f"the trainer ended with {code}")


def train(parent: str, groups: str, out: str) -> None:
    """One update in a child, in steps that can be interrupted: everything but the last writes beside `out`."""
    from training.outside import read_groups

    learner = ScriptedLearner()
    print("begun", flush=True)
    time.sleep(0.05)
    made, _ = learner.update(learner.load(Path(parent)), read_groups(Path(groups)))
    partial = Path(out).with_name("partial")
    partial.mkdir()
    made.save(partial)
    time.sleep(0.05)
    partial.rename(out)


async def trainer_killed(kills: int) -> str:
    """Kill the trainer until so many kills hit, while the server samples."""
    with tempfile.TemporaryDirectory() as name:
        command = [*CHILD, "--train", "{parent}", "{groups}", "{out}"]
        doomed = Doomed(ScriptedLearner(), command, Path(name) / "outside")
        one = StreamTrainer(Path(name) / "s", doomed, groups_per_update=1, width=2)
        hit = served = torn = aside = 0
        number = 0
        while hit < kills:
            made = await one.sample(f"s{number}", "?")
            one.feedback(made.id, made.ticket, [1.0, 0.0])
            before, policy = one.version, one.policy
            try:
                await one.update()
            except TrainingError:
                hit += 1
                torn += one.version != before or one.policy is not policy
            answer = await one.sample(f"after{number}", "?")
            served += answer.version == one.version
            number += 1
        kept = one._store.versions
        whole = sum(whole_version(one, version) for version in kept)
        aside = one.set_aside
        one.close()
    return (
        f"{number} updates tried, {one.updates} done, {torn} half served, {served} of {number} requests right after "
        f"answered, {whole} of {len(kept)} kept versions whole, {aside} groups set aside after three kills"
    )


def whole_version(one: StreamTrainer, version: int) -> bool:
    """Can it be loaded?"""
    policy = one._store.load(version)
    return isinstance(policy, ScriptedPolicy) and bool(policy.weights)


def client_killed(kills: int, rng: random.Random) -> str:
    """Kill clients of one server; the last one is let through."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        rows = [{"data_id": f"d{n}", "question": f"is it {n}?", "ground_truth": "no"} for n in range(QUESTIONS)]
        (home / "q.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
        mia = [sys.executable, "-m", "mia_skill.cli", "--home", name]
        server = subprocess.Popen([*mia, "stream", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split()[-1].removesuffix("/health")
            threading.Thread(target=server.stderr.read, daemon=True).start()
            cut = 0
            for _ in range(kills):
                child = subprocess.Popen([*CHILD, "--send", str(home / "q.jsonl"), url], stdout=subprocess.PIPE)
                assert child.stdout is not None
                for _ in range(rng.randrange(0, 6)):
                    child.stdout.readline()
                child.kill()
                child.wait()
                child.stdout.close()
                cut += 1
            subprocess.run([*CHILD, "--send", str(home / "q.jsonl"), url], check=True, stdout=subprocess.DEVNULL)
            health = httpx.get(f"{url}/health", trust_env=False).json()
        finally:
            server.terminate()
            server.wait()
    return (
        f"{cut} cut off, then {health['global_steps']} updates of {QUESTIONS // 2}, {health['waiting']} samples "
        f"left waiting, status {health['status']}"
    )


def send(questions: str, url: str) -> None:
    """A client: one line a sample."""
    rows = [orjson.loads(line) for line in Path(questions).read_bytes().splitlines()]
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        golds = [{"data_id": row["data_id"], "ground_truth": row["ground_truth"]} for row in rows]
        client.post("/register_gts", json={"entries": golds}).raise_for_status()
        for row in rows:
            client.post("/submit_sample", json={"rollout": row}).raise_for_status()
            print(row["data_id"], flush=True)


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", choices=("trainer", "server", "client"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        anyio.run(work, given.work)
    elif given.train:
        train(*given.train)
    elif given.send:
        send(*given.send)
    else:
        rounds: dict[str, Callable[[], Any]] = {
            "trainer": lambda: anyio.run(trainer_killed, given.kills),
            "server": lambda: server_killed(given.kills, random.Random(0)),
            "client": lambda: client_killed(given.kills, random.Random(2)),
        }
        for name in [given.only] if given.only else list(rounds):
            began = time.monotonic()
            print(f"{name}: {given.kills} kills, {rounds[name]()}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
