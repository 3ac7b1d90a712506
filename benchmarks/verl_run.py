"""veRL with our loops against veRL's own single-turn example of the same sizes: step time, its parts, tokens a second.

    python -m benchmarks.verl_run cold  --model FOLDER --out FOLDER      the cold start: imitates the world's expert
    python -m benchmarks.verl_run data  --model FOLDER --out FOLDER      rows for both, from seeded worlds
    python -m benchmarks.verl_run ours  --model COLD --data FOLDER --out FOLDER --steps 20 [KEY=VALUE ...]
    python -m benchmarks.verl_run stock --model COLD --data FOLDER --out FOLDER --steps 5  [KEY=VALUE ...]
    python -m benchmarks.verl_run tiny  --model COLD --out FOLDER --steps 20 --updates 4 [--seconds 300]
    python -m benchmarks.verl_run report OUT...

`tiny` is training/tiny.py on the same tasks, held-out questions, rewards and sizes, in one process without veRL.

Needs the environment of requirements/train.txt (with `--machine cpu` that of train-cpu.txt, for a rehearsal).
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from mia_skill.core.require import require
from mia_skill.core.script import script
from retrieval.world import build_world
from training.coldstart import expert_examples
from training.launch import environment_for
from training.record import row_of
from training.task import Task, WorldShelf, world_tasks

TRAIN, HELD_OUT = (1, 2), (11, 12)
PARTS = ("gen", "old_log_prob", "adv", "update_actor", "update_weights", "step")
SHARED = (
    "algorithm.adv_estimator=grpo",
    "algorithm.use_kl_in_reward=False",
    "actor_rollout_ref.actor.use_kl_loss=False",
    "actor_rollout_ref.actor.strategy=fsdp2",
    "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.4",
    "actor_rollout_ref.rollout.enforce_eager=True",
    "actor_rollout_ref.rollout.agent.num_workers=2",
    "trainer.logger=[console]",
    "trainer.total_epochs=1000",
    "trainer.resume_mode=disable",
    "trainer.save_freq=-1",
)

CPU = (
    "actor_rollout_ref.rollout.agent.num_workers=1",
    "actor_rollout_ref.model.external_lib=training.onverl.cpu",
    "actor_rollout_ref.model.enable_gradient_checkpointing=False",
    "actor_rollout_ref.actor.use_torch_compile=False",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32",
    "actor_rollout_ref.rollout.free_cache_engine=False",
    "trainer.device=cpu",
    "ray_kwargs.ray_init.num_cpus=8",
    "+ray_kwargs.ray_init.num_gpus=1",
    "+ray_kwargs.ray_init.include_dashboard=False",
)
"""What `config/cpu.yaml` says, for veRL's own entry."""


def tasks_of(seeds: Sequence[int], size: int, most: int) -> list[Task]:
    """Chain questions of some worlds, mixed."""
    found = [task for seed in seeds for task in world_tasks(seed, size, hops=(1, 2))[0]]
    random.Random(0).shuffle(found)
    return found[:most]


def cold(options: argparse.Namespace) -> None:
    """Imitate the expert for some steps, so that there is something to reward."""
    from training.tiny import Learner, load

    torch = require("torch", extra="rl")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load(options.model, device)
    learner = Learner(model, tokenizer, lr=options.lr)
    learner.renderer.check()
    talks = []
    for seed in TRAIN:
        tasks, questions, world = world_tasks(seed, options.size, hops=(1, 2), limit=options.examples)
        made = asyncio.run(
            expert_examples(tasks, questions, WorldShelf(world), learner.renderer, failures=0.0, k=1, context=4096)
        )
        talks += [talk for one in made for talk in (*one.executor, *one.planner)]
    rng = random.Random(0)
    began = time.perf_counter()
    for step in range(options.steps):
        stats = learner.imitate(rng.sample(talks, min(options.batch, len(talks))))
        if step % 8 == 7 or step == options.steps - 1:
            print(orjson.dumps({"step": step, "entropy": stats.entropy, "drift": stats.drift}).decode(), flush=True)
    learner.save(options.out)
    print(
        f"cold start: {len(talks)} conversations, {options.steps} steps, {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def data(options: argparse.Namespace) -> None:
    """`train.parquet` and `dev.parquet` for our loops; `stock.parquet` asks the same, its whole prompt in the row."""
    pa, pq = require("pyarrow", extra="corpus"), require("pyarrow.parquet", extra="corpus")

    from mia_skill.agents.executor import Executor
    from mia_skill.core.types import Plan

    options.out.mkdir(parents=True, exist_ok=True)
    sets = {"train": tasks_of(TRAIN, options.size, options.rows), "dev": tasks_of(HELD_OUT, options.size, options.dev)}
    for name, tasks in sets.items():
        rows = [row_of(task, n, source="world") for n, task in enumerate(tasks)]
        pq.write_table(pa.Table.from_pylist(rows), options.out / f"{name}.parquet")
    writer = Executor(model=None, finder=None)  # type: ignore[arg-type]
    stock = []
    for n, task in enumerate(sets["train"]):
        text = writer.prompt(task.question, Plan(steps=task.plan), ())
        page = "\n".join(task.question.text for _ in range(4))
        row = row_of(task, n, source="world")
        stock.append({**row, "prompt": [{"role": "user", "content": f"{text}\n{page}"}], "extra_info": {"index": n}})
    pq.write_table(pa.Table.from_pylist(stock), options.out / "stock.parquet")
    print({name: len(tasks) for name, tasks in sets.items()})


def tiny(options: argparse.Namespace) -> None:
    """`training/tiny.py` on the tasks of `data`."""
    from benchmarks.tiny_run import Run

    train = tasks_of(TRAIN, options.size, options.rows)
    held_out = tasks_of(HELD_OUT, options.size, options.dev)
    worlds = {f"world:{seed}:{options.size}": build_world(seed, options.size) for seed in TRAIN + HELD_OUT}
    run = Run(options, train, held_out, {name: WorldShelf(world) for name, world in worlds.items()})
    asyncio.run(run.course())
    run.learner.save(options.out)


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any) -> float:
    """The stock example's reward: the answer stands in the reply, or the form at least."""
    return float(ground_truth in solution_str) + 0.1 * ("<answer>" in solution_str)


def ours(options: argparse.Namespace) -> None:
    """Our Executor loop: live searches, given plans."""
    given = [
        "data.mia_stage=executor",
        f"data.train_files={options.data / 'train.parquet'}",
        f"data.val_files={options.data / 'dev.parquet'}",
        f"data.max_prompt_length={options.prompt}",
        f"data.max_response_length={options.response}",
        "mia.k=1",
        f"mia.reply_tokens={options.reply}",
        "mia.limits.steps=4",
        f"trainer.test_freq={options.test_every}",
        f"trainer.val_before_train={options.test_every > 0}",
        "trainer.v1.sampler.sync_refill_failed_groups=False",
    ]
    entry = [sys.executable, "-m", "training.onverl.main", "--config-name", options.machine]
    run(options, entry, [*sizes(options), *SHARED, *given, *(CPU[:1] if options.machine == "cpu" else ())])


def stock(options: argparse.Namespace) -> None:
    """veRL's single-turn example: same model, batch, rollouts, lengths, optimizer; no tools, and no code of ours but
    what a machine without a GPU needs."""
    cpu = options.machine == "cpu"
    given = [
        f"data.train_files={options.data / 'stock.parquet'}",
        f"data.val_files={options.data / 'stock.parquet'}",
        f"data.max_prompt_length={options.prompt}",
        f"data.max_response_length={options.reply}",
        "data.filter_overlong_prompts=False",
        "data.dataloader_num_workers=0",
        f"reward.custom_reward_function.path={Path(__file__).resolve()}",
        "reward.num_workers=1",
        f"actor_rollout_ref.rollout.name={'hf' if cpu else 'vllm'}",
        f"actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu={options.batch}",
        f"actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu={2 * options.batch}",
        "actor_rollout_ref.model.use_remove_padding=False",
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        "trainer.n_gpus_per_node=1",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    ]
    entry = [sys.executable, "-m", "verl.trainer.main_ppo"]
    run(options, entry, [*sizes(options), *SHARED, *given, *(CPU if cpu else ())])


def sizes(options: argparse.Namespace) -> list[str]:
    """What both runs share."""
    return [
        f"actor_rollout_ref.model.path={options.model}",
        f"data.train_batch_size={options.batch}",
        f"data.val_batch_size={options.val_batch}",
        f"actor_rollout_ref.rollout.n={options.n}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={options.batch}",
        f"actor_rollout_ref.actor.optim.lr={options.lr}",
        f"trainer.total_training_steps={options.steps}",
        f"trainer.default_local_dir={options.out}",
    ]


def run(options: argparse.Namespace, entry: list[str], given: list[str]) -> None:
    """Start it, keep its output, read the figures."""
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "run.log"
    began = time.perf_counter()
    with log.open("wb") as file:
        command = [*entry, *given, *options.overrides]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment_for(options.machine))
    print(f"{options.out}: code {done.returncode} after {time.perf_counter() - began:.0f} s", flush=True)
    report([options.out])


def series(log: str, name: str) -> list[float]:
    """A metric, step by step, as veRL's console prints it."""
    found = re.findall(rf"(?<![\w/]){re.escape(name)}:(?:np\.\w+\()?(-?[\d.]+(?:e[+-]?\d+)?|nan|inf)", log)
    return [float(one) for one in found]


def report(folders: Sequence[Path]) -> None:
    """Medians over the steps after the first two, and the curve."""
    for folder in folders:
        log = (folder / "run.log").read_text(errors="replace")
        told: dict[str, Any] = {"run": str(folder)}
        for part in PARTS:
            values = series(log, f"timing_s/{part}")
            told[part] = (
                {"first": values[0], "median": median(values[2:] or values), "n": len(values)} if values else None
            )
        tokens = series(log, "perf/total_num_tokens")
        steps = series(log, "timing_s/step")
        rates = [a / b for a, b in zip(tokens, steps, strict=False)]
        told["tokens_per_s"] = median(rates[2:] or rates) if rates else None
        told["mfu"] = series(log, "perf/mfu/actor")[-1:]
        for name in ("tool_s", "generate_s", "acc", "tool_ok", "format_ok", "searches"):
            told[name] = series(log, f"mia/{name}/mean")
        told["score"] = series(log, "critic/score/mean")
        told["entropy"] = series(log, "actor/entropy")
        told["response_tokens"] = series(log, "response_length/mean")[-1:]
        told["prompt_tokens"] = series(log, "prompt_length/mean")[-1:]
        told["held_out"] = {
            name: series(log, name)
            for name in sorted(set(re.findall(r"val-[\w/-]+(?:/mean@1|/mean)", log)))
            if "acc" in name or "reward" in name
        }
        print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cold", "data", "ours", "stock", "tiny", "report"])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--machine", default="one_gpu")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--dev", type=int, default=512)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--val-batch", type=int, default=512)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--response", type=int, default=1024)
    parser.add_argument("--reply", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--updates", type=int, default=1, help="optimizer steps a step (tiny)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no step after so long (tiny)")
    parser.add_argument("--test-every", type=int, default=-1)
    options = parser.parse_intermixed_args()  # overrides may follow the flags
    if options.what == "report":
        report([Path(one) for one in options.overrides])
    else:
        {"cold": cold, "data": data, "ours": ours, "stock": stock, "tiny": tiny}[options.what](options)


if __name__ == "__main__":
    script(main)
