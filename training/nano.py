"""The whole paper at small scale: `python -m training.nano --model FOLDER --out FOLDER`.

Cold start -> Executor GRPO (stage 1) -> Planner GRPO (stage 2) -> evaluation on worlds that no stage has seen, without
memory, with memory, and with the trained Planner. Everything is written to `log.jsonl` as it happens.
"""

import argparse
import asyncio
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from mia_skill.agents.manager import Manager
from mia_skill.core.config import BudgetConfig
from retrieval.bank import MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from training.coldstart import expert_examples
from training.curve import write_curve
from training.policy import Renderer, TokenPolicy
from training.rollout import Role, Rollout, Setting, roll_out
from training.task import Task, WorldShelf, world_tasks
from training.tiny import Learner, grpo_step, load

__all__ = ["Nano", "Options", "wilson"]


@dataclass(frozen=True)
class Options:
    """Sizes of a run."""

    model: Path
    out: Path
    device: str = "cpu"
    budget_s: float = 400.0
    """Wall time of everything after loading; a share of it goes to each stage."""
    world_size: int = 400
    hops: tuple[int, ...] = (1, 2)
    cold_steps: int = 24
    cold_batch: int = 32
    cold_target: float = 0.35
    """The cold start stops at this share of right answers, so that there is something left to learn."""
    cold_lr: float = 2e-5
    lr: float = 1e-5
    questions: int = 32
    rollouts: int = 8
    updates: int = 2
    steps: int = 1000
    """At most, in each stage; time usually ends it first."""
    test: int = 300
    probe: int = 64
    probe_every: int = 2
    """Cold-start steps between looks: the form is learnt within a handful of steps, so look often."""
    context: int = 2048
    seed: int = 0
    lora_rank: int = 0
    shares: tuple[float, float, float] = (0.15, 0.3, 0.3)
    """Of the budget: cold start, Executor, Planner. The rest is evaluation."""


def wilson(wins: int, runs: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share."""
    if not runs:
        return 0.0, 1.0
    p, n = wins / runs, runs
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


@dataclass
class Nano:
    """One run."""

    options: Options
    learners: dict[str, Learner] = field(default_factory=dict)
    shelves: dict[str, WorldShelf] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)

    async def run(self) -> dict[str, Any]:
        """Everything, in order; the result is also the log's last line."""
        options = self.options
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "log.jsonl").unlink(missing_ok=True)
        train, test = await self.prepare()
        model, tokenizer = load(options.model, options.device)
        self.began = perf_counter()
        cold = Learner(model, tokenizer, lr=options.cold_lr)
        await self.cold_start(cold, train)
        cold.save(options.out / "cold")
        for role in ("executor", "planner"):
            own, _ = load(options.out / "cold", options.device)
            self.learners[role] = Learner(own, tokenizer, lr=options.lr, lora_rank=options.lora_rank)
        self.learners["cold"] = cold
        report: dict[str, Any] = {}
        bare = [task.model_copy(update={"recall": type(task.recall)()}) for task in test]
        report["executor_start"] = await self.measure("executor", test, executor="cold")
        await self.train("executor", train, options.shares[1])
        report["executor_trained"] = await self.measure("executor", test)
        report["pipeline_no_memory"] = await self.measure("planner", bare, planner="cold")
        report["pipeline_memory"] = await self.measure("planner", test, planner="cold")
        await self.train("planner", train, options.shares[2])
        report["pipeline_trained_planner"] = await self.measure("planner", test)
        report["pipeline_trained_planner_no_memory"] = await self.measure("planner", bare)
        for role in ("executor", "planner"):
            self.learners[role].save(options.out / role)
        self.log("report", seconds=perf_counter() - self.began, **report)
        write_curve(options.out / "log.jsonl", options.out / "curve.html")
        return report

    # -- data ---------------------------------------------------------------------------------------------------

    async def prepare(self) -> tuple[list[Task], list[Task]]:
        """Three kinds of worlds that share nothing: one fills the memory, some train, others test."""
        options, seed = self.options, 1000 * self.options.seed
        train = self.world(seed + 1) + self.world(seed + 2)
        test = self.world(seed + 11) + self.world(seed + 12)
        random.Random(options.seed).shuffle(train)
        random.Random(options.seed).shuffle(test)
        with tempfile.TemporaryDirectory() as folder:
            bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder(256))
            manager = Manager(bank)
            await self.fill(manager, seed + 3)
            train = [await recalled(manager, task) for task in train]
            test = [await recalled(manager, task) for task in test[: options.test]]
            bank.close()
        found = sum(any(hit.unit.category == task.shape for hit in task.recall.hits) for task in test)
        self.log("data", train=len(train), test=len(test), memory_fits=found)
        return train, test

    def world(self, seed: int) -> list[Task]:
        tasks, _, world = world_tasks(seed, self.options.world_size, hops=self.options.hops)
        self.shelves[tasks[0].corpus] = WorldShelf(world)
        return list(tasks)

    async def fill(self, manager: Manager, seed: int) -> None:
        """The memory: expert runs in a world of its own, compressed as every run is."""
        from transformers import AutoTokenizer

        packed = sorted(self.options.model.glob("*.gguf"))
        gguf = {"gguf_file": packed[0].name} if packed else {}
        renderer = Renderer(AutoTokenizer.from_pretrained(self.options.model, **gguf))
        renderer.check()
        tasks, questions, world = world_tasks(seed, self.options.world_size, hops=self.options.hops)
        shelf = WorldShelf(world)
        for example in await expert_examples(tasks, questions, shelf, renderer, failures=0.0):
            await manager.consolidate([example.episode.run])

    # -- cold start ---------------------------------------------------------------------------------------------

    async def cold_start(self, learner: Learner, train: Sequence[Task]) -> None:
        """Imitate the expert until the whole pipeline gets something right."""
        options, until = self.options, self.clock() + self.options.shares[0] * self.options.budget_s
        talks = []
        for seed in (1, 2):
            tasks, questions, world = world_tasks(1000 * options.seed + seed, options.world_size, hops=options.hops)
            memories = {task.name: task.recall for task in train}
            rng = random.Random(seed)
            shown = [
                one.model_copy(update={"recall": memories[one.name]}) if rng.random() < 0.5 else one for one in tasks
            ]
            made = await expert_examples(shown, questions, WorldShelf(world), learner.renderer, seed=seed)
            talks += [talk for one in made for talk in (*one.planner, *one.executor)]
        rng = random.Random(options.seed)
        for step in range(options.cold_steps):
            stats = learner.imitate(rng.sample(talks, min(options.cold_batch, len(talks))))
            line: dict[str, Any] = {"step": step, **asdict(stats)}
            if step % options.probe_every == options.probe_every - 1 or step == options.cold_steps - 1:
                probe = await self.play_all("planner", train[: options.probe], learner, learner)
                line["right"] = share(probe)
                line["plans"] = sum(one.episode is not None for one in probe) / len(probe)
            self.log("cold", **line)
            if line.get("right", 0.0) >= options.cold_target or self.clock() > until:
                break

    # -- stages -------------------------------------------------------------------------------------------------

    async def train(self, role: Role, tasks: Sequence[Task], part: float) -> None:
        """GRPO of one role, the other frozen, until its part of the time is spent."""
        options, until = self.options, self.clock() + part * self.options.budget_s
        learner, rng = self.learners[role], random.Random(f"{role} {options.seed}")
        for step in range(options.steps):
            chosen = rng.sample(list(tasks), min(options.questions, len(tasks)))
            groups, stats, played = await grpo_step(
                learner, chosen, self.player(role), rollouts=options.rollouts, updates=options.updates, rng=rng
            )
            made = [one for group in groups for one in group]
            kept = [one for one in made if one.reward is not None]
            written = sum(talk.written for one in made for talk in one.conversations)
            self.log(
                role,
                step=step,
                reward=sum(one.reward or 0.0 for one in kept) / max(1, len(kept)),
                right=share(made),
                lost=len(made) - len(kept),
                flat=sum(len({one.reward for one in group}) == 1 for group in groups),
                tokens_per_rollout=written / len(made),
                play_s=played,
                update_s=sum(one.seconds for one in stats),
                **{name: sum(getattr(one, name) for one in stats) / len(stats) for name in MEANS},
            )
            stop = alarm(stats, kept, written / len(made))
            if stop:
                self.log("stopped", role=role, step=step, why=stop)
                break
            if self.clock() > until:
                break

    def player(self, role: Role, *, planner: str = "planner", executor: str = "executor", warm: float = 1.0) -> Any:
        policy = self.learners[planner if role == "planner" else executor]
        other = self.learners[executor]

        async def play(task: Task) -> Rollout:
            return await self.play(role, task, policy, other, warm)

        return play

    async def play(self, role: Role, task: Task, own: Learner, other: Learner, warm: float) -> Rollout:
        context = self.options.context
        policy = TokenPolicy(own.sampler, own.renderer, temperature=warm, context=context)
        frozen = TokenPolicy(other.sampler, other.renderer, temperature=0.0, context=context)
        # Stage 1 runs without a replan: the plan is given and right.
        setting = Setting(role, self.shelves[task.corpus], policy, frozen if role == "planner" else None, limits=LIMITS)
        return await roll_out(task, setting)

    async def play_all(self, role: Role, tasks: Sequence[Task], own: Learner, other: Learner) -> list[Rollout]:
        return list(await asyncio.gather(*(self.play(role, task, own, other, 0.0) for task in tasks)))

    async def measure(
        self, role: Role, tasks: Sequence[Task], *, planner: str = "planner", executor: str = "executor"
    ) -> dict[str, Any]:
        """Share of right answers at temperature 0, with its interval. A lost run is not right."""
        began = perf_counter()
        own, other = self.learners[planner if role == "planner" else executor], self.learners[executor]
        made = await self.play_all(role, tasks, own, other)
        wins = sum(bool(one.right) for one in made)
        low, high = wilson(wins, len(made))
        got = {"right": wins / len(made), "low": low, "high": high, "runs": len(made)}
        by_hops = {f"hops{hops}": share([one for one in made if one.task.hops == hops]) for hops in self.options.hops}
        self.log("test", role=role, planner=planner, executor=executor, s=perf_counter() - began, **got, **by_hops)
        return got

    def clock(self) -> float:
        return perf_counter() - self.began

    def log(self, kind: str, **fields: Any) -> None:
        line = orjson.dumps({"kind": kind, "at_s": round(self.clock(), 2), **fields})
        with (self.options.out / "log.jsonl").open("ab") as file:
            file.write(line + b"\n")
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()


MEANS = ("entropy", "drift", "clipped", "grad_norm")
LIMITS = BudgetConfig(steps=5, searches=5, tokens=1_000_000)
LONGEST = 600
"""Written tokens a rollout; a policy that writes more has begun to ramble."""


def alarm(stats: Sequence[Any], kept: Sequence[Rollout], length: float) -> str:
    """Why training must stop; empty when all is well."""
    if not kept:
        return "every rollout was lost: see the reasons in the log, nothing can be learnt"
    if any(one.grad_norm != one.grad_norm for one in stats):
        return "the gradient is not a number: lower the learning rate"
    if stats and all(one.rows for one in stats) and max(one.entropy for one in stats) > 4.0:
        return "the entropy rose above 4 nats: the policy writes noise; lower the learning rate"
    if length > LONGEST:
        return f"rollouts are {length:.0f} tokens long: the policy rambles"
    return ""


def share(made: Sequence[Rollout]) -> float:
    return sum(bool(one.right) for one in made) / max(1, len(made))


async def recalled(manager: Manager, task: Task) -> Task:
    found = await manager.recall(MemoryQuery(text=task.question.text, k_failure=0))
    return task.model_copy(update={"recall": found})


def options_of(arguments: Sequence[str]) -> Options:
    """Flags are named as the fields."""
    base = Options(model=Path(), out=Path())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(base).items():
        many = isinstance(value, tuple)
        kind = type(value[0]) if many else (Path if isinstance(value, Path) else type(value))
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=value, nargs="+" if many else None, required=kind is Path)
    given = vars(parser.parse_args(arguments))
    chosen: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
    return replace(base, **chosen)


if __name__ == "__main__":
    asyncio.run(Nano(options_of(sys.argv[1:])).run())
