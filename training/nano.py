"""The whole paper at small scale: `python -m training.nano --model FOLDER --out FOLDER`.

Cold start -> Executor GRPO (stage 1) -> Planner GRPO (stage 2) -> tests on worlds that no stage has seen: without
memory, with memory, and with the trained Planner. Everything is written to `log.jsonl` as it happens; a run that was
killed goes on with `--resume`.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import orjson

from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import InputError, TrainingError, boundary
from mia_skill.core.proportion import wilson
from mia_skill.core.script import missing, script

try:
    import torch
except ImportError as cause:
    raise missing(cause, __name__, "'mia-skill[rl]'") from None

from training.advantage import Mean
from training.course import Course, forgetful, is_new
from training.curve import draw
from training.guards import Guard, GuardLimits
from training.policy import Renderer, TokenPolicy
from training.rollout import Role, Rollout, Setting, roll_out
from training.task import Task
from training.tiny import Learner, grpo_step, load

__all__ = ["Nano", "Options"]

LIMITS = BudgetConfig(steps=8, searches=8, tokens=1_000_000)
GUARDS = GuardLimits(
    patience=1, idle=8, least_entropy=None, most_entropy=4.0, most_length=600, reward_drop=0.4, window=5
)
"""Stages are short, so that a step that is noise ends one at once."""


@dataclass(frozen=True)
class Options:
    """Sizes of a run."""

    model: Path
    out: Path
    course: Path | None = None
    """File to keep tasks, memories and the expert's conversations in; made when it is missing."""
    executor: Path | None = None
    """A trained Executor: stage 1 is left out."""
    without_memory: bool = False
    """Train the Planner without memories. The tests show it with and without, as ever."""
    device: str = "cpu"
    budget_s: float = 1000.0
    """Wall time of the three stages together; `shares` says how much of it each gets. Tests come on top."""
    shares: tuple[float, float, float] = (0.06, 0.4, 0.54)
    """Of the budget: cold start, Executor, Planner."""
    world_size: int = 400
    worlds: int = 2
    hops: tuple[int, ...] = (1, 2, 3)
    cold_steps: int = 80
    """0: the model had its cold start before."""
    cold_batch: int = 32
    cold_target: float = 0.35
    """The cold start stops at this share of right answers, so that there is something left to learn."""
    cold_lr: float = 5e-5
    cold_near: float = 0.25
    """Loss in nats a token from which on the cold start looks at what the policy gets right; before, it is nothing."""
    lr: float = 2e-5
    questions: int = 64
    rollouts: int = 8
    updates: int = 4
    steps: int = 1000
    """At most, in each stage; time usually ends it first."""
    rise: float = 0.7
    """Share of right answers at which the next number of hops joins."""
    test: int = 2000
    probe: int = 128
    looks: int = 256
    """Questions of the training worlds that no step sees, on which the policies of a stage are compared."""
    look_every: int = 4
    """Steps between two such comparisons. The best policy of a stage is what it leaves, not its last one."""
    context: int = 1024
    seed: int = 0
    lora_rank: int = 0
    mean: str = "sequence"
    """Of the loss: "sequence" (the paper's) or "token" (veRL's default)."""
    keep_every: int = 0
    """Steps between checkpoints within a stage; 0 keeps only finished stages."""
    resume: bool = False


@dataclass
class Nano:
    """One run."""

    options: Options
    course: Course = field(init=False)
    learners: dict[str, Learner] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=lambda: {"done": {}, "stage": {}})
    """What is finished, with its result, and how far each stage is."""
    began: float = field(default_factory=perf_counter)

    async def run(self) -> dict[str, Any]:
        """Everything, in order; the result is also the log's last line.

        Raises:
            InputError: the folder holds another run, or the sizes do not fit each other.
        """
        options = self.options
        options.out.mkdir(parents=True, exist_ok=True)
        if options.mean not in get_args(Mean):
            raise InputError(f"--mean {options.mean}: one of {', '.join(get_args(Mean))}")
        self.open_state()
        model, tokenizer = load(options.model, options.device)
        renderer = Renderer(tokenizer)
        renderer.check()
        course = Course(renderer, options.world_size, options.hops, options.seed, options.worlds, options.test)
        self.course = course
        await course.prepare(options.course or options.out / "course.json")
        fits = sum(any(hit.unit.category == task.shape for hit in task.recall.hits) for task in course.test)
        new = sum(map(is_new, course.test))
        self.log("data", train=len(course.train), test=len(course.test), memory_fits=fits, new_shapes=new)
        self.began = perf_counter()
        await self.once("cold", lambda: self.cold_start(model))
        for name, stage in self.stages():
            await self.once(name, stage)
        report = {name: result for name, result in self.state["done"].items() if result}
        self.log("report", seconds=self.clock(), **report)
        draw(options.out / "log.jsonl")
        return report

    def stages(self) -> list[tuple[str, Callable[[], Awaitable[dict[str, Any]]]]]:
        """What comes after the cold start. The Planner's learner is the cold one until it is trained."""
        test = self.course.test
        bare = [forgetful(task) for task in test]
        stages: list[tuple[str, Callable[[], Awaitable[dict[str, Any]]]]] = [
            ("executor_start", lambda: self.measure("executor", test)),
            ("executor", lambda: self.train("executor", self.options.shares[1])),
            ("executor_trained", lambda: self.measure("executor", test)),
            ("planner_start_no_memory", lambda: self.measure("planner", bare)),
            ("planner_start_memory", lambda: self.measure("planner", test)),
            ("planner", lambda: self.train("planner", self.options.shares[2])),
            ("planner_trained_no_memory", lambda: self.measure("planner", bare)),
            ("planner_trained_memory", lambda: self.measure("planner", test)),
        ]
        return stages[2 if self.options.executor else 0 :]

    # -- going on after a kill ----------------------------------------------------------------------------------

    def open_state(self) -> None:
        file, log = self.options.out / "state.json", self.options.out / "log.jsonl"
        if self.options.resume and file.exists():
            self.state = orjson.loads(file.read_bytes())
        elif self.options.resume or file.exists():
            told = "holds no run to resume" if self.options.resume else "holds a run: resume it, or name another folder"
            raise InputError(f"{self.options.out} {told}")
        else:
            log.unlink(missing_ok=True)

    def keep_state(self) -> None:
        file = self.options.out / "state.json"
        partial = file.with_suffix(".partial")
        with boundary(TrainingError, f"writing {file} (make room, then go on with --resume)", OSError):
            partial.write_bytes(orjson.dumps(self.state))
            partial.replace(file)

    async def once(self, name: str, stage: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Run a stage that is not done yet."""
        if name not in self.state["done"]:
            self.state["done"][name] = await stage()
            self.keep_state()

    def learner(self, role: str) -> Learner:
        """Of a role: its cold start, or as far as it was trained."""
        if role not in self.learners:
            options = self.options
            model, tokenizer = load(self.start_of(role), options.device)
            self.learners[role] = self.made(model, tokenizer, options.lr, options.lora_rank)
            if role in self.state["stage"]:
                self.learners[role].restore(options.out / f"{role}.pt")
        return self.learners[role]

    def start_of(self, role: str) -> Path:
        """The weights that a role begins with."""
        options = self.options
        if role == "executor" and options.executor is not None:
            return options.executor
        return options.out / "cold" if options.cold_steps else options.model

    def made(self, model: Any, tokenizer: Any, lr: float, lora_rank: int = 0) -> Learner:
        torch.manual_seed(self.options.seed)
        mean: Any = self.options.mean
        return Learner(model, tokenizer, lr=lr, lora_rank=lora_rank, context=self.options.context + 128, mean=mean)

    # -- cold start ---------------------------------------------------------------------------------------------

    async def cold_start(self, model: Any) -> dict[str, Any]:
        """Imitate the expert until the whole pipeline gets something right."""
        options, until = self.options, self.clock() + self.options.shares[0] * self.options.budget_s
        learner = self.made(model, self.course.renderer.tokenizer, options.cold_lr)
        rng, best = random.Random(options.seed), -1.0
        talks, probed = self.course.talks, self.course.train[-options.probe :]
        for step in range(options.cold_steps):
            stats = learner.imitate(rng.sample(talks, min(options.cold_batch, len(talks))))
            line: dict[str, Any] = {"step": step, "loss": stats.drift, "entropy": stats.entropy, "s": stats.seconds}
            last = step == options.cold_steps - 1 or self.clock() > until
            if stats.drift < options.cold_near or last:
                probe = await self.play_all("planner", probed, learner, learner)
                line["right"] = share(probe)
                line["plans"] = sum(one.episode is not None for one in probe) / len(probe)
                if line["right"] > best:  # a later step can be worse: what is kept is the best that was seen
                    best = line["right"]
                    learner.save(options.out / "cold")
            self.log("cold", **line)
            if last or best >= options.cold_target:
                break
        return {}

    # -- stages -------------------------------------------------------------------------------------------------

    async def train(self, role: Role, part: float) -> dict[str, Any]:
        """GRPO of one role, the other frozen, until its part of the time is spent."""
        options, learner = self.options, self.learner(role)
        at = self.state["stage"].setdefault(role, {"step": 0, "hops": min(2, max(options.hops)), "spent_s": 0.0})
        before, began, guard = at["spent_s"], self.clock(), Guard(GUARDS)
        if "best" not in at:
            await self.look(role, at)
        while at["step"] < options.steps and at["spent_s"] < part * options.budget_s:
            rng = random.Random(f"{role} {options.seed} {at['step']}")
            torch.manual_seed(rng.getrandbits(32))
            tasks = [task for task in self.taught(role)[: -len(self.looked)] if task.hops <= at["hops"]]
            chosen = rng.sample(tasks, min(options.questions, len(tasks)))
            groups, stats, played = await grpo_step(
                learner, chosen, self.player(role), rollouts=options.rollouts, updates=options.updates, rng=rng
            )
            line = self.told(groups, stats)
            sampler = learner.sampler
            speed = {"sampled": sampler.tokens, "sample_s": sampler.seconds, "sample_steps": sampler.steps}
            self.log(role, step=at["step"], hops=at["hops"], play_s=played, **speed, **line)
            right_now = line["right"] >= options.rise
            at["hops"] = min(at["hops"] + right_now, max(options.hops))
            at["step"] += 1
            if at["step"] % options.look_every == 0:
                await self.look(role, at)
            at["spent_s"] = before + self.clock() - began
            stop = guard.look(figures_of(line))
            if stop:
                self.log("stopped", role=role, step=at["step"], why=stop)
                break
            if options.keep_every and at["step"] % options.keep_every == 0:
                learner.checkpoint(options.out / f"{role}.pt")
                self.keep_state()
        if at["step"] % options.look_every:
            await self.look(role, at)
        learner.restore(options.out / f"{role}.best.pt")
        learner.save(options.out / role)
        learner.checkpoint(options.out / f"{role}.pt")
        return {}

    def taught(self, role: Role) -> Sequence[Task]:
        """The training questions as the role gets them."""
        train = self.course.train
        return [forgetful(task) for task in train] if role == "planner" and self.options.without_memory else train

    @property
    def looked(self) -> Sequence[Task]:
        """What `look` asks."""
        return self.course.train[-max(1, min(self.options.looks, len(self.course.train) // 4)) :]

    async def look(self, role: Role, at: dict[str, Any]) -> None:
        """A longer stage can end worse than it was (docs/lab_notes.md, the nano reproduction): keep the best so far."""
        learner = self.learner(role)
        asked = self.taught(role)[-len(self.looked) :]
        right = share(await self.play_all(role, asked, learner, self.learner("executor")))
        if right > at.get("best", -1.0):
            at["best"] = right
            learner.checkpoint(self.options.out / f"{role}.best.pt")
        self.log("look", role=role, step=at["step"], right=right, best=at["best"])

    def told(self, groups: Sequence[Sequence[Rollout]], stats: Sequence[Any]) -> dict[str, Any]:
        """What one step did, in numbers."""
        made = [one for group in groups for one in group]
        kept = [one for one in made if one.reward is not None]
        updates = [one for one in stats if one.rows]
        return {
            "reward": sum(one.reward or 0.0 for one in kept) / max(1, len(kept)),
            "right": share(made),
            "samples": len(kept),
            "lost": len(made) - len(kept),
            "groups": len(groups),
            "flat": sum(len({one.reward for one in group}) == 1 for group in groups),
            "replanned": sum(bool(one.episode and one.episode.replan and one.episode.replan.plan) for one in made),
            "written": sum(talk.written for one in made for talk in one.conversations) / len(made),
            "update_s": sum(one.seconds for one in stats),
            **{name: sum(getattr(one, name) for one in updates) / max(1, len(updates)) for name in MEANS},
        }

    def player(self, role: Role, warm: float = 1.0) -> Callable[[Task], Awaitable[Rollout]]:
        own, other = self.learner(role), self.learner("executor")

        async def play(task: Task) -> Rollout:
            return await self.play(role, task, own, other, warm)

        return play

    async def play(self, role: Role, task: Task, own: Learner, other: Learner, warm: float) -> Rollout:
        """One rollout. Stage 1 runs without a replan: the plan is given and right."""
        context = self.options.context
        policy = TokenPolicy(own.sampler, own.renderer, temperature=warm, context=context)
        frozen = TokenPolicy(other.sampler, other.renderer, temperature=0.0, context=context)
        shelf = self.course.shelves[task.corpus]
        return await roll_out(task, Setting(role, shelf, policy, frozen if role == "planner" else None, limits=LIMITS))

    async def play_all(self, role: Role, tasks: Sequence[Task], own: Learner, other: Learner) -> list[Rollout]:
        return list(await asyncio.gather(*(self.play(role, task, own, other, 0.0) for task in tasks)))

    async def measure(self, role: Role, tasks: Sequence[Task]) -> dict[str, Any]:
        """Share of right answers at temperature 0, with its interval. A lost run is not right."""
        began, player = self.clock(), self.player(role, warm=0.0)
        made = list(await asyncio.gather(*(player(task) for task in tasks)))
        wins = sum(bool(one.right) for one in made)
        low, high = wilson(wins, len(made))
        got: dict[str, Any] = {"right": wins / len(made), "low": low, "high": high, "runs": len(made)}
        for hops in self.options.hops:
            got[f"hops{hops}"] = share([one for one in made if one.task.hops == hops])
        got["new_shapes"] = share([one for one in made if is_new(one.task)])
        got["no_plan"] = sum(one.episode is None for one in made)
        wins_of = "".join(str(int(bool(one.right))) for one in made)
        self.log("test", role=role, seconds=self.clock() - began, **got, wins=wins_of)
        return got

    def clock(self) -> float:
        return perf_counter() - self.began

    def log(self, kind: str, **fields: Any) -> None:
        line = orjson.dumps({"kind": kind, "at_s": round(self.clock(), 2), **fields})
        log = self.options.out / "log.jsonl"
        told = f"writing {log} (make room, then go on with --resume)"
        with boundary(TrainingError, told, OSError), log.open("ab") as file:
            file.write(line + b"\n")
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()


MEANS = ("entropy", "drift", "clipped", "grad_norm", "rows", "tokens")


def figures_of(line: dict[str, Any]) -> dict[str, float]:
    """What the guard looks at."""
    same = ("samples", "reward", "entropy", "grad_norm")
    return {"flat": line["flat"] / line["groups"], "length": line["written"], **{name: line[name] for name in same}}


def share(made: Sequence[Rollout]) -> float:
    return sum(bool(one.right) for one in made) / max(1, len(made))


def options_of(arguments: Sequence[str]) -> Options:
    """Flags are named as the fields."""
    base = Options(model=Path(), out=Path())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(base).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
            continue
        many = isinstance(value, tuple)
        kind = type(value[0]) if many else Path if value is None or value == Path() else type(value)
        parser.add_argument(flag, type=kind, default=value, nargs="+" if many else None, required=value == Path())
    given = vars(parser.parse_args(arguments))
    chosen: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
    return replace(base, **chosen)


def main() -> None:
    """A whole run."""
    asyncio.run(Nano(options_of(sys.argv[1:])).run())


if __name__ == "__main__":
    script(main)
