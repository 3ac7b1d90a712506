"""veRL's own trainer from start to end on a CPU: our loops, rewards and data, live searches over HTTP, real updates."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from verl_stage import Service, cold_start, frozen_agent, serving_world, train, write_rows

from training.launch import Leg, alternation, environment_for
from training.legs import export, run_legs

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    model, tasks, world = cold_start(folder, steps=160)
    with serving_world(world) as service:
        yield folder, model, list(tasks), service


BY_LAUNCH = ("data.train_files", "data.val_files", "actor_rollout_ref.model.path", "trainer.default_local_dir")
"""Settings that an alternation makes itself."""
STAGE_1 = ("data.mia_stage=executor", "mia.services.pause_s=0.2", "trainer.logger=[console,tensorboard]")


def sizes(model: Path, train_file: Path, out: Path, *, steps: int) -> list[str]:
    rollout = "actor_rollout_ref.rollout"
    actor = "actor_rollout_ref.actor"
    return [
        f"data.train_files={train_file}",
        f"data.val_files={train_file}",
        "data.train_batch_size=4",
        "data.val_batch_size=4",
        "data.max_prompt_length=640",
        "data.max_response_length=640",
        f"actor_rollout_ref.model.path={model}",
        f"{actor}.ppo_mini_batch_size=4",
        f"{actor}.ppo_max_token_len_per_gpu=8192",
        f"{actor}.optim.lr=1e-3",
        f"{rollout}.n=4",
        f"{rollout}.log_prob_max_token_len_per_gpu=8192",
        "mia.k=1",
        "mia.reply_tokens=48",
        "mia.limits.steps=3",
        f"trainer.default_local_dir={out}",
        f"trainer.total_training_steps={steps}",
        "trainer.save_freq=2",
        "trainer.total_epochs=10",
    ]


def the_page_of_the_run_shows_its_looks(out: Path, looks: list[float]) -> None:
    lines = [orjson.loads(line) for line in (out / "log.jsonl").read_bytes().splitlines()]
    in_order = [("look", 0), ("executor", 1), ("look", 2), ("executor", 2)]
    assert [(line["kind"], line["step"]) for line in lines] == in_order
    assert [line["right"] for line in lines if line["kind"] == "look"] == pytest.approx(looks, abs=1e-6)
    page = (out / "curve.html").read_text()
    assert "executor: reward" in page
    assert "dots: looks at unseen questions" in page


def test_both_stages_run_with_live_tools_resume_and_leave_a_folder_that_loads(stage: Any) -> None:
    folder, model, tasks, service = stage
    assert isinstance(service, Service)
    rows = write_rows(tasks[:8], folder / "train.parquet", service.url)
    out = folder / "run"
    service.down = 40
    run = train(*sizes(model, rows, out, steps=2), *STAGE_1, "trainer.val_before_train=true", "trainer.test_freq=2")
    assert run.code == 0, run.log[-6000:]
    rewards = run.series("critic/score/mean")
    assert len(rewards) == 2
    assert all(0 <= one <= 1 for one in rewards)
    assert max(run.series("actor/grad_norm")) > 0
    assert max(run.series("training/rollout_probs_diff_max")) < 1e-2
    assert len(service.requests) > 48
    assert "is down, so the run pauses" in run.log
    assert "answers again" in run.log
    assert max(run.series("mia/searches/mean")) > 0
    assert max(run.series("mia/tool_s/mean")) > 0
    the_page_of_the_run_shows_its_looks(out, run.series("val-core/world/acc/mean@1"))
    drawn = curve_of(out / "tensorboard", "critic/score/mean")
    assert [step for step, _ in drawn] == [1, 2]
    assert [value for _, value in drawn] == pytest.approx(rewards, abs=1e-3)
    assert (out / "latest_checkpointed_iteration.txt").read_text() == "2"

    # The other stage goes on where the first stopped: what it resumes is the policy that was trained.
    again = train(*sizes(model, rows, out, steps=3), "data.mia_stage=planner", "+mia.other=policy")
    assert again.code == 0, again.log[-6000:]
    assert again.series("training/global_step") == [3.0]
    assert len(again.series("critic/score/mean")) == 1

    exported = export(out / "global_step_2", folder / "exported", environment_for("cpu"))
    moved, began = weights(exported), weights(model)
    assert moved.keys() == began.keys()
    assert any((moved[name] - began[name]).abs().max() > 1e-4 for name in began)


def test_what_an_adapter_learnt_is_in_the_exported_weights(stage: Any, tmp_path: Path) -> None:
    """veRL's merger writes the adapter beside the weights that it began with; served, those would be untrained."""
    _, model, tasks, service = stage
    rows = write_rows(tasks[:8], tmp_path / "train.parquet", service.url)
    lora = ("actor_rollout_ref.model.lora_rank=4", "actor_rollout_ref.model.lora_alpha=16", "trainer.save_freq=1")
    run = train(*sizes(model, rows, tmp_path / "run", steps=1), *STAGE_1, *lora)
    assert run.code == 0, run.log[-6000:]
    exported = export(tmp_path / "run" / "global_step_1", tmp_path / "exported", environment_for("cpu"))
    moved, began = weights(exported), weights(model)
    assert moved.keys() == began.keys()
    assert any((moved[name] - began[name]).abs().max() > 1e-4 for name in began)
    assert (exported / "lora_adapter" / "adapter_config.json").is_file()


def test_a_run_whose_every_question_is_lost_stops_with_the_reason_and_the_way_on(stage: Any, tmp_path: Path) -> None:
    """veRL would ask fresh questions for ever; here no prompt fits into the context, as with a judge that is gone."""
    _, model, tasks, service = stage
    rows = write_rows(tasks[:8], tmp_path / "train.parquet", service.url)
    narrow = ("data.max_prompt_length=16", "data.max_response_length=16")
    run = train(*sizes(model, rows, tmp_path / "run", steps=2), *STAGE_1, *narrow)
    assert run.code != 0
    assert "questions gave no sample in one step" in run.log, run.log[-4000:]
    assert "start the same command again" in run.log
    assert "tokens fill the context of 32" in run.log
    assert run.series("critic/score/mean") == []


def test_the_stages_of_an_alternation_train_export_and_hand_on_what_they_trained(stage: Any, tmp_path: Path) -> None:
    _, model, tasks, service = stage
    for name in ("train", "dev"):
        write_rows(tasks[:8], tmp_path / f"{name}.parquet", service.url)
    given = [one for one in sizes(model, tmp_path, tmp_path, steps=1) if not one.startswith(BY_LAUNCH)]
    legs = alternation(
        2, data=tmp_path, executor=model, planner=model, out=tmp_path / "runs", machine="cpu", port=free_port(),
        overrides=[*given, "trainer.save_freq=1"],
    )  # fmt: skip
    asked: list[int] = []

    @contextmanager
    def serve(leg: Leg, environment: Mapping[str, str], say: Callable[[str], None]) -> Iterator[None]:
        reply = '{"need_replan": false}' if leg.launch.stage == "executor" else "<answer>unknown</answer>"
        with frozen_agent(leg.port, reply) as agent:
            yield
        asked.append(len(agent.requests))

    last = run_legs(legs, lambda _: None, serve=serve)
    assert last == legs[1].exported
    assert all(asked)
    assert legs[1].served == legs[0].exported
    for leg in legs:
        assert weights(leg.exported).keys() == weights(model).keys()
        assert (leg.launch.out / "latest_checkpointed_iteration.txt").read_text() == "1"
        assert '"kind":"' + leg.launch.stage in (leg.launch.out / "log.jsonl").read_text()
    assert run_legs(legs, lambda _: None, serve=serve) == last
    assert len(asked) == 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def curve_of(folder: Path, name: str) -> list[tuple[int, float]]:
    """A curve as TensorBoard reads it from the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = EventAccumulator(str(folder))
    held.Reload()
    return [(point.step, point.value) for point in held.Scalars(name)]


def weights(model: Path) -> Any:
    """As transformers loads them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoTokenizer.from_pretrained(model).chat_template
    return AutoModelForCausalLM.from_pretrained(model, dtype="float32").state_dict()
