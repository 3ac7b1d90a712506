"""The nano run with a random model: every stage runs, everything is logged, and a killed run goes on."""

import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest
from random_llama import model, saved

from mia_skill.core.errors import InputError

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning"),  # 5.9 knows no other
]

STAGES = [
    "executor_start", "executor_trained", "planner_start_no_memory", "planner_start_memory",
    "planner_trained_no_memory", "planner_trained_memory",
]  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def nano(folder: Path, out: Path, **options: Any) -> Any:
    from training.nano import Nano, Options

    sizes = Options(
        folder, out, world_size=40, worlds=1, hops=(1,), cold_steps=1, cold_batch=2, questions=2, rollouts=2,
        updates=1, steps=2, test=3, probe=1, context=4096, keep_every=1,
    )  # fmt: skip
    return Nano(dataclasses.replace(sizes, **options))


def lines(out: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (out / "log.jsonl").read_bytes().splitlines()]


@pytest.mark.slow
async def test_a_run_goes_through_every_stage_and_leaves_a_log_a_curve_and_three_model_folders(
    folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    report = await nano(folder, tmp_path / "run").run()
    assert list(report) == STAGES
    assert all(0 <= one["low"] <= one["right"] <= one["high"] <= 1 for one in report.values())
    kinds = [line["kind"] for line in lines(tmp_path / "run")]
    assert kinds.count("executor") == kinds.count("planner") == 2
    assert "Training curves" in (tmp_path / "run" / "curve.html").read_text(encoding="utf-8")
    for role in ("cold", "executor", "planner"):
        assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / role)
        assert AutoTokenizer.from_pretrained(tmp_path / "run" / role).chat_template
    with pytest.raises(InputError, match="holds a run"):
        await nano(folder, tmp_path / "run").run()


@pytest.mark.slow
async def test_a_killed_run_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    from training.nano import Nano

    class Killed(Exception):
        pass

    class Dying(Nano):
        def log(self, kind: str, **fields: Any) -> None:
            super().log(kind, **fields)
            if kind == "executor" and fields["step"] == 1:
                raise Killed

    run = nano(folder, tmp_path / "run")
    with pytest.raises(Killed):
        await Dying(run.options).run()
    report = await nano(folder, tmp_path / "run", resume=True).run()
    assert list(report) == STAGES
    told = lines(tmp_path / "run")
    assert [line["step"] for line in told if line["kind"] == "executor"] == [0, 1, 1]
    assert sum(line["kind"] == "cold" for line in told) == 1


@pytest.mark.slow
async def test_a_stage_leaves_the_best_policy_that_a_look_has_seen_and_not_its_last(
    folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from training.nano import Nano

    class Sinking(Nano):
        """Rewards that move the weights, and every look worse than the one before."""

        looks = 0

        async def play_all(self, role: Any, tasks: Any, own: Any, other: Any) -> Any:
            made = await super().play_all(role, tasks, own, other)
            self.looks += 1
            return [dataclasses.replace(one, right=self.looks == 2) for one in made]

        async def play(self, *arguments: Any) -> Any:
            one = await super().play(*arguments)
            return dataclasses.replace(one, reward=float(sum(one.conversations[0].ids) % 7))

    run = Sinking(nano(folder, tmp_path / "run", look_every=1).options)
    await run.run()
    told = [line for line in lines(tmp_path / "run") if line["kind"] == "look" and line["role"] == "executor"]
    assert [line["step"] for line in told] == [0, 1]
    assert told[0]["right"] > told[1]["right"]
    assert any(line["grad_norm"] > 0 for line in lines(tmp_path / "run") if line["kind"] == "executor")
    cold, left = (load_file(tmp_path / "run" / name / "model.safetensors") for name in ("cold", "executor"))
    assert all((cold[name] == left[name]).all() for name in cold)


@pytest.mark.slow
async def test_a_planner_is_trained_without_memories_beside_an_executor_that_is_there(
    folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from training.nano import Nano

    class Watched(Nano):
        taught_with: list[bool]

        async def play(self, role: Any, task: Any, own: Any, other: Any, warm: float) -> Any:
            if warm:
                self.taught_with.append(bool(task.recall.hits))
            return await super().play(role, task, own, other, warm)

    given = saved(tmp_path / "given")
    run = Watched(nano(folder, tmp_path / "run", executor=given, cold_steps=0, without_memory=True).options)
    run.taught_with = []
    assert list(await run.run()) == STAGES[1:]
    assert run.taught_with
    assert not any(run.taught_with)
    assert not [name for name in ("cold", "executor") if (tmp_path / "run" / name).exists()]
    used, there = run.learner("executor").model.state_dict(), load_file(given / "model.safetensors")
    assert all((used[name] == weight).all() for name, weight in there.items())


async def test_a_folder_without_a_model_is_named_and_nothing_is_made(folder: Path, tmp_path: Path) -> None:
    for wrong in (nano(tmp_path / "none", tmp_path / "run"), nano(folder, tmp_path / "run", executor=tmp_path)):
        with pytest.raises(InputError, match="holds no model: give a folder"):
            await wrong.run()
    assert not (tmp_path / "run").exists()


async def test_there_must_be_a_run_to_resume(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        await nano(folder, tmp_path / "none", resume=True).run()


async def test_a_checkpoint_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    from training.tiny import Learner, load

    own, words = load(folder, "cpu")
    learner = Learner(own, words)
    Learner(model(64), words).checkpoint(tmp_path / "other.pt")
    with pytest.raises(InputError, match="another model"):
        learner.restore(tmp_path / "other.pt")
    learner.checkpoint(tmp_path / "own.pt")
    learner.restore(tmp_path / "own.pt")
