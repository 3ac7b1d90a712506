"""Training data and launches: memories collected in advance, leaks, files that are refused, commands that are right."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from small_disk import file_limit

from mia_skill.agents.planner import Planner
from mia_skill.cli.main import main
from mia_skill.cli.train_doctor import PINS
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.errors import InputError, MissingExtraError, ModelUnreachableError, UnwritableError
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Hit, Recall
from training.collect import Leaks, collect, find_leaks, write_data
from training.launch import Launch, Leg, alternation, check_launch, environment_for, export_command
from training.legs import StageFailed, export, run_legs, serve_command, serving
from training.record import task_of
from training.rollout import Preset
from training.task import Task, world_tasks

ROOT = Path(__file__).resolve().parents[1]


def mia(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    done = mia("train", "data", "--world", 1, "--dev-world", 11, "--size", 60, "--limit", 12, "--out", out)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    shape = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 100}
    (made / "config.json").write_bytes(orjson.dumps(shape))
    (made / "model.safetensors").write_bytes(b"0" * 100)
    return made


# -- data -------------------------------------------------------------------------------------------------------------


def test_data_from_worlds_holds_plans_and_memories_and_a_card(folder: Path) -> None:
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    tasks = [task_of(row) for row in rows]
    assert len(tasks) == 12
    assert all(task.plan and task.recall.hits for task in tasks)
    assert {task.corpus for task in tasks} == {"world:1:60"}
    assert {task_of(row).corpus for row in pq.read_table(folder / "dev.parquet").to_pylist()} == {"world:11:60"}
    card = (folder / "README.md").read_text()
    assert "| train | 12 |" in card
    assert "| dev | 12 |" in card


def test_a_folder_that_cannot_be_written_is_named_before_a_model_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    out = tmp_path / "file" / "in"
    told = mia("train", "data", "--world", 1, "--dev-world", 11, "--out", out)
    assert told.exit_code == 1
    assert f"UnwritableError: cannot write {out}" in told.stderr
    assert "give another --out" in told.stderr


def test_a_disk_that_is_full_is_named_and_no_bank_is_blamed(tmp_path: Path, folder: Path) -> None:
    tasks = [task_of(row) for row in pq.read_table(folder / "train.parquet").to_pylist()]
    with file_limit(500), pytest.raises(UnwritableError, match=r"cannot write .*: make room on its disk"):
        write_data(tmp_path, {"train": tasks}, stages=["executor"], source="world", leaks=Leaks(), lost={}, command="")


def test_a_key_given_on_the_command_line_is_not_in_the_card(tmp_path: Path, folder: Path) -> None:
    tasks = [task_of(row) for row in pq.read_table(folder / "train.parquet").to_pylist()]
    command = "mia --set models.default.api_key=verysecretvalue99 train data --world 1"
    write_data(tmp_path, {"train": tasks}, stages=["executor"], source="world", leaks=Leaks(), lost={}, command=command)
    written = (tmp_path / "README.md").read_text() + (tmp_path / "facts.json").read_text()
    assert "train data --world 1" in written
    assert "verysecretvalue99" not in written


def test_the_columns_are_those_of_the_published_files(folder: Path) -> None:
    names = set(pq.read_table(folder / "train.parquet").column_names)
    published = "prompt data_id data_source reward_model modality image_caption category level memories_context plan"
    assert {*published.split(), "memories_context_2"} <= names


def test_the_same_command_writes_the_same_rows(folder: Path, tmp_path: Path) -> None:
    mia("train", "data", "--world", 1, "--dev-world", 11, "--size", 60, "--limit", 12, "--out", tmp_path)

    def told(place: Path) -> list[tuple[Any, ...]]:
        tasks = [task_of(row) for row in pq.read_table(place / "train.parquet").to_pylist()]
        return [(task.question, task.plan, [hit.unit.workflow for hit in task.recall.hits]) for task in tasks]

    assert told(folder) == told(tmp_path)


def test_a_world_cannot_train_and_test() -> None:
    done = mia("train", "data", "--world", 1, "--dev-world", 1, "--out", "x")
    assert done.exit_code == 1
    assert "cannot be in the training and in the test set" in done.output


def hit(question: str, workflow: str) -> Hit:
    unit = MemoryUnit(question=question, workflow=workflow, outcome=Outcome.CORRECT)
    return Hit(unit=unit, score=1.0, similarity=1.0, value=0.0, rarity=0.0, why="w")


async def test_memories_of_the_question_itself_or_with_its_answer_are_taken_out() -> None:
    (task, *_), _, _ = world_tasks(5, 40, limit=1)
    own = hit(task.question.text.upper(), "1. find it (name -> place)")
    telling = hit("another question?", f"1. find it (name -> {task.gold[0]})")
    fine = hit("another question?", "1. find it (name -> place)")
    got = await collect([task], memory=Preset(Recall(successes=(own, telling, fine))))
    (kept,) = got.tasks
    assert kept.recall.hits == (fine,)
    assert (got.own_memory, got.told_answer) == (1, 1)


async def test_a_question_without_a_plan_is_left_out_and_named() -> None:
    tasks = [task.model_copy(update={"plan": ()}) for task in world_tasks(5, 40, limit=2)[0]]
    plan = '{"steps": ["Find it."], "memory_ids": []}'
    planner = Planner(ScriptedChat([ModelUnreachableError("gone"), plan]))
    got = await collect(tasks, planner=planner)
    assert [task.plan for task in got.tasks] == [("Find it.",)]
    assert got.lost == {tasks[0].name: "gone"}


def test_questions_of_the_test_are_not_trained_on() -> None:
    tasks, _, _ = world_tasks(5, 40, limit=4)
    loud = tasks[0].model_copy(update={"question": tasks[0].question.model_copy(update={"text": "X", "id": "other"})})
    same = Task(question=tasks[1].question.model_copy(update={"id": "new"}), gold=("g",))
    kept, repeated = find_leaks([*tasks, loud], [same, tasks[2]])
    assert repeated == tuple(sorted((tasks[1].name, tasks[2].name)))
    assert loud in kept


def own_files(folder: Path, train: Sequence[object], dev: Sequence[object]) -> list[object]:
    """The flags for two files of one's own."""
    for name, rows in (("train", train), ("dev", dev)):
        body = b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in rows)
        (folder / f"{name}.jsonl").write_bytes(body)
    given = ["--home", folder / "home", "train", "data", "--from", folder / "train.jsonl"]
    return [*given, "--dev", folder / "dev.jsonl", "--no-memory", "--stage", "planner", "--out", folder / "out"]


def test_files_whose_rows_share_numbers_share_no_questions(tmp_path: Path) -> None:
    train = [
        {"question": "Who wrote Dune?", "answer": "Herbert"},
        {"id": "7", "question": "Who built it?", "answer": "Ada"},
    ]
    dev = [
        {"question": "Who wrote Emma?", "answer": "Austen"},
        {"id": "7", "question": "who wrote dune", "answer": "H"},
    ]
    done = mia(*own_files(tmp_path, train, dev), "--json")
    told = orjson.loads(done.output)
    assert told["rows"] == {"train": 1, "dev": 2}
    assert told["leaks"]["repeated"] == ["row1"]


def test_two_pictures_with_the_same_question_are_two_questions() -> None:
    (task, *_), _, _ = world_tasks(5, 40, limit=1)
    towers = [
        task.model_copy(update={"question": task.question.model_copy(update={"caption": caption})})
        for caption in ("a red tower", "a blue tower")
    ]
    assert find_leaks(towers[:1], towers[1:]) == (towers[:1], ())
    assert find_leaks(towers[:1], towers[:1]) == ([], (task.name,))


def test_a_row_of_ones_own_file_that_cannot_be_used_is_named_and_not_passed_over(tmp_path: Path) -> None:
    good = {"question": "Who built it?", "answer": "Ada"}
    done = mia(
        *own_files(tmp_path, [good, {"question": "Who sold it?"}, b"{no"], [{"question": "Who?", "answer": "I"}])
    )
    assert "2 questions that could not be used" in done.output
    left = orjson.loads((tmp_path / "out" / "facts.json").read_bytes())["left_out"]
    assert set(left) == {"train: row 2", "train: row 3"}
    assert "no answer" in left["train: row 2"]
    assert "broken row): 2" in (tmp_path / "out" / "README.md").read_text()


def test_the_hops_of_ones_own_questions_are_kept_and_chosen_by(tmp_path: Path) -> None:
    rows = [{"question": f"Who built {n}?", "answer": "Ada", "hops": n} for n in (1, 2, 4)]
    held = [{"question": "Who sold it?", "answer": "Ada", "level": "2"}]
    given = own_files(tmp_path, rows, held)
    assert mia(*given).exit_code == 0
    levels = [row["level"] for row in pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()]
    assert levels == ["1", "2", "4"]
    assert mia(*given, "--hops", 2).exit_code == 0
    assert [row["level"] for row in pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()] == ["2"]
    silent = own_files(tmp_path, [{"question": "Who?", "answer": "Ada", "level": "hard"}], held)
    refused = mia(*silent, "--hops", 2)
    assert refused.exit_code == 1
    assert "leave --hops out" in refused.output


def test_ones_own_questions_need_a_planner_for_stage_1_and_none_for_stage_2(tmp_path: Path) -> None:
    for name, question in (("train", "Who built it?"), ("dev", "Who sold it?")):
        (tmp_path / f"{name}.jsonl").write_bytes(orjson.dumps({"id": name, "question": question, "answer": "Ada"}))
    given = ["train", "data", "--from", tmp_path / "train.jsonl", "--dev", tmp_path / "dev.jsonl", "--no-memory"]
    home = ["--home", tmp_path / "home"]
    refused = mia(*home, *given, "--out", tmp_path / "out")
    assert refused.exit_code == 1
    assert "models.planner" in refused.output
    done = mia(*home, *given, "--out", tmp_path / "out", "--stage", "planner", "--search", "http://127.0.0.1:8001")
    assert done.exit_code == 0, done.output
    (row,) = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert task_of(row).corpus == "http://127.0.0.1:8001"


# -- launches ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_checks_everything_and_prints_the_command(folder: Path, model: Path, tmp_path: Path) -> None:
    done = mia("train", "executor", "--data", folder, "--model", model, "--out", tmp_path / "o", "--dry-run", "mia.k=5")
    assert done.exit_code == 0, done.output
    words = shlex.split(done.output)
    assert words[1:5] == ["-m", "training.onverl.main", "--config-name", "one_gpu"]
    assert words[-1] == "mia.k=5"
    assert "data.mia_stage=executor" in words
    assert not (tmp_path / "o").exists()


def test_a_dry_run_refuses_a_setting_that_does_not_exist(folder: Path, model: Path, tmp_path: Path) -> None:
    done = mia("train", "executor", "--data", folder, "--model", model, "--out", tmp_path, "--dry-run", "mia.kk=5")
    assert done.exit_code == 1
    assert "unknown setting 'mia.kk'; the nearest is 'mia.k'" in done.output


def test_an_output_layer_with_weights_of_its_own_goes_without_the_chunked_kernel(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    config, off = model / "config.json", "actor_rollout_ref.model.use_fused_kernels=false"
    shape = orjson.loads(config.read_bytes())
    launch = Launch("executor", folder, model, tmp_path / "o")
    for tied in (True, False):
        config.write_bytes(orjson.dumps(shape | {"tie_word_embeddings": tied}))
        assert (off in launch.settings) is not tied
    assert off not in Launch("executor", folder, tmp_path / "an export that is yet to come", tmp_path / "o").settings
    asked = Launch("executor", folder, model, tmp_path / "o", overrides=(off.replace("false", "true"),))
    assert asked.setting("actor_rollout_ref.model.use_fused_kernels") == "true"


def test_curves_for_tensorboard_that_are_asked_for_need_the_package(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    asked = [
        Launch("executor", folder, model, tmp_path / "o", tensorboard=True),
        Launch(
            "executor", folder, model, tmp_path / "o", tensorboard=False, overrides=("trainer.logger=[tensorboard]",)
        ),
    ]
    for launch in asked:
        with pytest.raises(MissingExtraError, match=r"pip install 'mia-skill\[tensorboard\]'"):
            check_launch(launch)
    without = Launch("executor", folder, model, tmp_path / "o", tensorboard=False)
    assert "trainer.logger=[console]" in without.settings
    check_launch(without)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data, model: (data / "dev.parquet").unlink(), "dev.parquet is missing"),
        (lambda data, model: (model / "config.json").unlink(), "holds no model"),
        (lambda data, model: (data / "train.parquet").write_bytes((data / "empty").read_bytes()), "has no rows"),
    ],
)
def test_what_cannot_train_is_refused_before_the_run(
    folder: Path, model: Path, tmp_path: Path, damage: Any, told: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.parquet", "dev.parquet"):
        (data / name).write_bytes((folder / name).read_bytes())
    pq.write_table(pq.read_table(folder / "train.parquet").slice(0, 0), data / "empty")
    damage(data, model)
    with pytest.raises(InputError, match=re.escape(told)):
        check_launch(Launch("executor", data, model, tmp_path / "o"))


def test_rows_that_name_no_place_to_search_need_one_before_the_run(folder: Path, model: Path, tmp_path: Path) -> None:
    rows = [{"question": "Who built it?", "answer": "Ada"}]
    assert mia(*own_files(tmp_path, rows, [{"question": "Who sold it?", "answer": "Ada"}])).exit_code == 0
    given = ["train", "planner", "--data", tmp_path / "out", "--model", model, "--out", tmp_path / "o", "--dry-run"]
    given += ["--other", "http://127.0.0.1:1/v1", "frozen"]
    refused = mia(*given)
    assert refused.exit_code == 1
    assert "names no place to search: give --search" in refused.output
    assert mia(*given, "--search", "http://127.0.0.1:8001").exit_code == 0
    assert mia(*given, "mia.search=world:1:60").exit_code == 0
    both = ["train", "alternate", "--data", folder, "--executor", model, "--planner", model, "--out", tmp_path / "o"]
    done = mia(*both, "--search", "http://127.0.0.1:8001", "--dry-run")
    assert done.output.count("mia.search=http://127.0.0.1:8001") == 2


def test_a_curriculum_without_its_order_is_refused_before_the_run(folder: Path, model: Path, tmp_path: Path) -> None:
    given = ["train", "executor", "--data", folder, "--model", model, "--out", tmp_path / "o", "--dry-run"]
    refused = mia(*given, "data.mia_curriculum=true")
    assert refused.exit_code == 1
    assert "data.shuffle=false" in refused.output
    assert mia(*given, "data.mia_curriculum=true", "data.shuffle=False").exit_code == 0


def test_a_model_without_weights_is_refused_and_so_is_the_second_of_an_alternation(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((model / "config.json").read_bytes())
    with pytest.raises(InputError, match="holds no weights"):
        check_launch(Launch("executor", folder, bare, tmp_path / "o"))
    given = ["train", "alternate", "--data", folder, "--executor", model, "--out", tmp_path / "o", "--dry-run"]
    refused = mia(*given, "--planner", bare)
    assert refused.exit_code == 1
    assert "holds no weights" in refused.output
    assert mia(*given, "--planner", model).exit_code == 0


def test_a_run_without_veRL_says_which_environment_has_it(folder: Path, model: Path, tmp_path: Path) -> None:
    done = mia("train", "executor", "--data", folder, "--model", model, "--out", tmp_path / "o")
    assert done.exit_code == 1
    assert "pip install -r requirements/train.txt" in done.output
    (tmp_path / "global_step_1" / "actor").mkdir(parents=True)
    done = mia("train", "export", "--checkpoint", tmp_path / "global_step_1", "--out", tmp_path / "x")
    assert "needs verl" in done.output


def test_a_checkpoint_of_another_model_is_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    launch = Launch("executor", folder, model, tmp_path / "o")
    held = launch.out / "global_step_3" / "actor" / "huggingface"
    held.mkdir(parents=True)
    (launch.out / "latest_checkpointed_iteration.txt").write_text("3")
    shape = orjson.loads((model / "config.json").read_bytes())
    (held / "config.json").write_bytes(orjson.dumps(shape | {"hidden_size": 16}))
    with pytest.raises(InputError, match=r"another model \(hidden_size differ\)"):
        check_launch(launch)
    (held / "config.json").write_bytes(orjson.dumps(shape))
    check_launch(launch)
    assert launch.checkpoint == launch.out / "global_step_3"


def test_a_disk_without_room_for_a_checkpoint_is_known_before_the_run(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr("training.launch.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match="a checkpoint needs about"):
        check_launch(Launch("executor", folder, model, tmp_path / "o"))


def test_a_planner_without_a_frozen_executor_is_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--other URL MODEL"):
        check_launch(Launch("planner", folder, model, tmp_path / "o"))


def test_each_stage_of_an_alternation_starts_from_its_own_export_beside_the_newest_of_the_other(tmp_path: Path) -> None:
    first, second = tmp_path / "e", tmp_path / "p"
    legs = alternation(3, data=tmp_path, executor=first, planner=second, out=tmp_path / "o")
    assert [leg.launch.stage for leg in legs] == ["executor", "planner", "executor"]
    assert [leg.launch.model for leg in legs] == [first, second, legs[0].exported]
    assert [leg.served for leg in legs] == [second, legs[0].exported, legs[1].exported]


def test_a_run_without_a_gpu_gets_veRLs_platform_and_every_run_stays_off_the_network() -> None:
    cpu, gpu = environment_for("cpu", {}), environment_for("one_gpu", {"HF_HUB_OFFLINE": "0"})
    assert cpu["VERL_PLATFORM"] == "cpu"
    assert "VERL_PLATFORM" not in gpu
    assert cpu["HF_HUB_OFFLINE"] == "1"
    assert gpu["HF_HUB_OFFLINE"] == "0"
    assert cpu["RAY_USAGE_STATS_ENABLED"] == gpu["RAY_USAGE_STATS_ENABLED"] == "0"


def test_export_takes_a_step_or_its_actor() -> None:
    step = export_command(Path("run/global_step_3"), Path("out"), gpu=False)
    assert step == export_command(Path("run/global_step_3/actor"), Path("out"), gpu=False)
    assert step[-1] == "--use_cpu_initialization"


@dataclass
class Trainer:
    """Leaves what veRL leaves: checkpoints of a run, a folder of its merger. `fails` ends with that stage."""

    fails: str = ""
    started: list[str] = field(default_factory=list)

    def __call__(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        given = dict(word.split("=", 1) for word in command if "=" in word)
        if command[2] == "verl.model_merger":
            self.started.append("merge")
            return copied(Path(command[command.index("--target_dir") + 1]))
        self.started.append(given["data.mia_stage"])
        if given["data.mia_stage"] == self.fails:
            return 1
        out = Path(given["trainer.default_local_dir"])
        copied(out / "global_step_5" / "actor" / "huggingface")
        (out / "latest_checkpointed_iteration.txt").write_text("5")
        return 0


def copied(place: Path) -> int:
    place.mkdir(parents=True, exist_ok=True)
    shape = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 100}
    (place / "config.json").write_bytes(orjson.dumps(shape))
    (place / "model.safetensors").write_bytes(b"0" * 100)
    return 0


def test_an_alternation_that_was_stopped_goes_on_with_the_stage_it_was_in(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    legs = alternation(2, data=folder, executor=model, planner=model, out=tmp_path / "o")
    served: list[Path | None] = []

    @contextmanager
    def serve(leg: Leg, environment: Mapping[str, str], say: Callable[[str], None]) -> Iterator[None]:
        served.append(leg.served)
        yield

    failing = Trainer(fails="planner")
    with pytest.raises(StageFailed, match="The same command resumes"):
        run_legs(legs, lambda _: None, failing, serve)
    assert failing.started == ["executor", "merge", "planner"]
    again = Trainer()
    assert run_legs(legs, lambda _: None, again, serve) == legs[1].exported
    assert again.started == ["planner", "merge"]
    assert served == [model, legs[0].exported, legs[0].exported]


def test_a_folder_that_is_no_checkpoint_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="global_step_N"):
        export(tmp_path, tmp_path / "out", {}, Trainer())


def test_a_merger_that_left_no_weights_has_failed(tmp_path: Path) -> None:
    (tmp_path / "global_step_1" / "actor").mkdir(parents=True)
    with pytest.raises(StageFailed, match="no whole model"):
        export(tmp_path / "global_step_1", tmp_path / "out", {}, lambda command, environment: 0)


def test_an_export_that_was_killed_is_made_again_and_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    step = tmp_path / "global_step_1"
    (step / "actor").mkdir(parents=True)

    def killed(command: Sequence[str], environment: Mapping[str, str]) -> int:
        place = Path(command[command.index("--target_dir") + 1])
        copied(place)
        (place / "model.safetensors").unlink()
        return -9

    with pytest.raises(StageFailed, match="GB are free"):
        export(step, tmp_path / "out", {}, killed)
    assert not (tmp_path / "out").exists()
    assert export(step, tmp_path / "out", {}, Trainer()) == tmp_path / "out"
    with pytest.raises(InputError, match="a new folder"):
        export(step, tmp_path / "out", {}, Trainer())


def test_a_server_of_the_frozen_agent_that_dies_is_told_before_training(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    """There is no vLLM where this test runs, so its process ends at once."""
    (leg,) = alternation(1, data=folder, executor=model, planner=model, out=tmp_path / "o", port=9)
    with pytest.raises(ModelUnreachableError, match="did not come up"), serving(leg, os.environ, lambda _: None):
        pass


# -- environments -----------------------------------------------------------------------------------------------------


def test_the_doctors_versions_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements" / "train.txt").read_text().lower().splitlines()
    for name, version in PINS.items():
        assert f"{name.lower()}=={version}" in lock


def test_the_doctor_says_what_training_lacks_and_how_to_get_it() -> None:
    done = mia("doctor", "--train", "--json")
    found = {one["part"]: one for one in orjson.loads(done.output)["findings"]}
    assert found["verl"]["state"] == "problem"
    assert "requirements/train.txt" in found["verl"]["fix"]
    assert done.exit_code == 3


def test_a_port_that_somebody_serves_at_is_refused_and_not_taken_for_the_frozen_agent(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        (leg,) = alternation(1, data=folder, executor=model, planner=model, out=tmp_path / "o", port=port)
        try:
            with pytest.raises(InputError, match="give --port another one"), serving(leg, os.environ, lambda _: None):
                pass
        finally:
            server.shutdown()
            thread.join()


def test_the_server_of_a_run_without_a_gpu_is_of_the_environment_that_was_named(tmp_path: Path) -> None:
    legs = [
        alternation(
            1, data=tmp_path, executor=tmp_path, planner=tmp_path, out=tmp_path, machine=name, python="/serve/py"
        )
        for name in ("cpu", "one_gpu")
    ]
    cpu, gpu = (serve_command(leg) for (leg,) in legs)
    assert cpu[0] == gpu[0] == "/serve/py"
    assert "--gpu-memory-utilization" in gpu
    assert "--gpu-memory-utilization" not in cpu
