"""Our agent loops in the installed veRL, without Ray: a fake rollout server, live searches in the seeded world."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from small_model import small_tokenizer

from mia_skill.core.errors import ConfigError, InputError, JudgeError
from mia_skill.core.toolformat import ToolCall, render_answer, render_call
from retrieval.world import WorldQuestion
from training.coldstart import plan_text
from training.record import row_of
from training.task import Task, world_tasks

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]

KEEP = orjson.dumps({"need_replan": False, "reason": "found", "steps": []}).decode()
CHANGE = orjson.dumps({"need_replan": True, "reason": "not found", "steps": ["Look again."]}).decode()


@pytest.fixture(scope="module")
def world() -> tuple[Task, WorldQuestion]:
    tasks, questions, _ = world_tasks(5, 40, hops=(2,), limit=1)
    return tasks[0], questions[0]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    _, _, made = world_tasks(5, 40, limit=1)
    return small_tokenizer([page.text for page in made.pages], 600)


@dataclass
class FakeServer:
    """Says what it was told to, in this tokenizer's tokens, as veRL's client answers."""

    tokenizer: Any
    texts: list[str]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **more: Any
    ) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        self.asked.append((request_id, sampling_params))
        text = self.texts.pop(0)
        stopped = any(text.endswith(stop) for stop in sampling_params.get("stop", ()))
        ids = self.tokenizer.encode(text + ("" if stopped else "<|im_end|>"), add_special_tokens=False)
        return TokenOutput(
            token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed", extra_fields={"global_steps": 7}
        )


def loop(role: str, server: FakeServer, *, model_type: str = "llama", **mia: Any) -> Any:
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from training.onverl import loops

    rollout = {"prompt_length": 2048, "response_length": 2048, "multi_turn": {}}
    data = {"apply_chat_template_kwargs": {}}
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout, "model": {}}, "data": data, "mia": mia})
    kind = {"executor": loops.ExecutorLoop, "planner": loops.PlannerLoop}[role]
    return kind(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=server.tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type=model_type,
    )


def calls(question: WorldQuestion) -> list[str]:
    return [render_call(ToolCall(name="search", arguments={"query": query})) for query in question.queries]


def row(task: Task, **changed: Any) -> dict[str, Any]:
    made = row_of(task.model_copy(update=changed), 0, source="world")
    return {**made, "raw_prompt": made["prompt"], "uid": "u", "index": 0, "tools_kwargs": {}}


PARAMS = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}


def written(tokenizer: Any, output: Any) -> str:
    own = [token for token, mine in zip(output.response_ids, output.response_mask, strict=True) if mine]
    return str(tokenizer.decode(own, skip_special_tokens=True))


async def test_the_executors_loop_trains_on_what_it_wrote_and_on_nothing_that_a_tool_said(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    said = [*calls(question), render_answer(question.answer)]
    server = FakeServer(tokenizer, list(said))
    (output,) = await loop("executor", server).run(dict(PARAMS), **row(task))
    assert written(tokenizer, output) == "".join(said)
    runs = [mine for mine, _ in itertools.groupby(output.response_mask)]
    assert runs == [1, 0, 1, 0, 1]
    told = tokenizer.decode(output.response_ids)
    assert "<tool_response>" in told
    assert len(output.response_logprobs) == len(output.response_ids) == len(output.response_mask)
    assert output.extra_fields["mia"]["searches"] == 2
    assert output.extra_fields["min_global_steps"] == output.extra_fields["max_global_steps"] == 7
    assert len({request for request, _ in server.asked}) == 1
    assert output.reward_score is None


async def test_all_tokens_of_an_output_are_the_conversation_as_serving_renders_it(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    server = FakeServer(tokenizer, [*calls(question), render_answer(question.answer)])
    (output,) = await loop("executor", server).run(dict(PARAMS), **row(task))
    text = tokenizer.decode(output.prompt_ids + output.response_ids)
    parts = [part.split("\n", 1) for part in text.split("<|im_start|>")[1:]]
    turns = [{"role": role, "content": body.split("<|im_end|>")[0]} for role, body in parts]
    again = tokenizer.apply_chat_template(turns, tokenize=False)
    assert again.startswith(text)


async def test_veRLs_builder_and_the_template_give_the_same_tokens_for_chatml(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    from training.onverl.render import BuilderRenderer

    task, question = world
    said = [*calls(question), render_answer(question.answer)]
    outputs = []
    for way in ("template", "builder"):
        made = loop("executor", FakeServer(tokenizer, list(said)), model_type="qwen2")
        if way == "builder":
            made.renderer = BuilderRenderer(tokenizer, builder=made.continuous_token_builder)
        (output,) = await made.run(dict(PARAMS), **row(task))
        outputs.append((output.prompt_ids, output.response_ids, output.response_mask))
    assert outputs[0] == outputs[1]


async def test_the_judge_makes_the_frozen_planner_replan_once_and_the_rest_is_trained_too(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    said = [render_answer("unknown"), CHANGE, *calls(question), render_answer(question.answer)]
    server = FakeServer(tokenizer, list(said))
    outputs = await loop("executor", server, other="policy").run(dict(PARAMS), **row(task))
    assert [written(tokenizer, one) for one in outputs] == [said[0], "".join(said[2:])]
    assert outputs[-1].extra_fields["mia"]["outcome"]["verdict"] == "correct"
    assert "need_replan" not in written(tokenizer, outputs[0]) + written(tokenizer, outputs[1])


async def test_a_right_first_answer_is_not_replanned(world: tuple[Task, WorldQuestion], tokenizer: Any) -> None:
    task, question = world
    server = FakeServer(tokenizer, [*calls(question), render_answer(question.answer)])
    (output,) = await loop("executor", server, other="policy").run(dict(PARAMS), **row(task))
    assert not server.texts
    assert output.num_turns == 6


async def test_the_planners_loop_trains_plan_and_decision_and_never_the_frozen_executor(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    plan = plan_text(task.plan)
    said = [plan, render_answer("unknown"), CHANGE, *calls(question), render_answer(question.answer)]
    server = FakeServer(tokenizer, list(said))
    first, second = await loop("planner", server, other="policy").run(dict(PARAMS), **row(task))
    assert written(tokenizer, first) == plan
    assert written(tokenizer, second) == CHANGE
    outcome = second.extra_fields["mia"]["outcome"]
    assert (outcome["first"], outcome["final"], outcome["replanned"]) == ("incorrect", "correct", True)


async def test_a_planner_that_keeps_its_plan_is_judged_on_one_answer(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    said = [plan_text(task.plan), *calls(question), render_answer(question.answer), KEEP]
    outputs = await loop("planner", FakeServer(tokenizer, list(said)), other="policy").run(dict(PARAMS), **row(task))
    assert [written(tokenizer, one) for one in outputs] == [said[0], KEEP]
    outcome = outputs[-1].extra_fields["mia"]["outcome"]
    assert (outcome["first"], outcome["final"], outcome["replanned"]) == ("correct", "correct", False)


async def test_the_variant_of_the_planners_reward_is_the_one_that_is_set(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    from training.onverl.outcome import KEY, compute_score

    task, question = world
    said = [plan_text(task.plan), render_answer("unknown"), CHANGE, *calls(question), render_answer(question.answer)]
    for variant, reward in (("paper", 0.7 + 0.05 + 0.05), ("unsupervised", 0.9 + 0.1)):
        made = loop("planner", FakeServer(tokenizer, list(said)), other="policy", planner_variant=variant)
        *_, output = await made.run(dict(PARAMS), **row(task))
        got = await compute_score("world", "", "", {KEY: output.extra_fields[KEY]})
        assert got["score"] == pytest.approx(reward), variant


async def test_an_executor_may_be_paid_without_the_term_for_its_calls(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    from training.onverl.outcome import KEY, reward_of

    task, question = world
    for variant, reward in (("paper", 1.0), ("without_tool", 0.8)):
        server = FakeServer(tokenizer, [*calls(question), render_answer(question.answer)])
        (output,) = await loop("executor", server, executor_variant=variant).run(dict(PARAMS), **row(task))
        assert reward_of(output.extra_fields[KEY]) == pytest.approx(reward), variant


async def test_what_the_loops_report_is_what_the_guards_of_length_and_idleness_look_at(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    from training.guards import Guard, GuardLimits
    from training.onverl.outcome import KEY
    from training.onverl.trainer import figures_of, means_of

    task, question = world
    right = [plan_text(task.plan), *calls(question), render_answer(question.answer), KEEP]
    outputs = await loop("planner", FakeServer(tokenizer, right), other="policy").run(dict(PARAMS), **row(task))
    figures = figures_of(means_of([one.extra_fields[KEY] for one in outputs]))
    assert figures["length"] == sum(sum(one.response_mask) for one in outputs)
    assert figures["flat"] == 1.0
    stop = Guard(GuardLimits(idle=1)).look(figures)
    assert "no group had rewards that differ" in str(stop)
    stop = Guard(GuardLimits(most_length=1, patience=1)).look(figures)
    assert "length" in str(stop)


async def test_no_plan_from_the_trained_planner_is_a_sample_worth_nothing(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    from training.onverl.outcome import reward_of

    task, _ = world
    (output,) = await loop("planner", FakeServer(tokenizer, ["no json"]), other="policy").run(dict(PARAMS), **row(task))
    assert reward_of(output.extra_fields["mia"]) == 0.0


async def test_an_outage_of_judge_server_or_frozen_agent_is_no_sample(
    world: tuple[Task, WorldQuestion], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _ = world

    async def silent(*_: Any) -> Any:
        raise JudgeError("the judge is out", raw="")

    made = loop("executor", FakeServer(tokenizer, [render_answer("unknown")]))
    monkeypatch.setattr(type(made.staff), "judge", lambda *_: silent)
    with pytest.raises(JudgeError, match="no sample"):
        await made.run(dict(PARAMS), **row(task))

    class Gone(FakeServer):
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            got = await super().generate(*args, **kwargs)
            return got.model_copy(update={"stop_reason": "aborted"})

    with pytest.raises(JudgeError, match="no sample"):
        await loop("executor", Gone(tokenizer, ["x"])).run(dict(PARAMS), **row(task))


async def test_rollouts_of_one_question_share_nothing_that_they_change(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, question = world
    shared = row(task)
    before = orjson.dumps(shared)
    right = [plan_text(task.plan), *calls(question), render_answer(question.answer), KEEP]
    good = loop("planner", FakeServer(tokenizer, right), other="policy")
    wrong = [plan_text(["Guess."]), render_answer("unknown"), KEEP]
    bad = loop("planner", FakeServer(tokenizer, wrong), other="policy")
    (first, *_), (second, *_) = await good.run(dict(PARAMS), **shared), await bad.run(dict(PARAMS), **shared)
    assert orjson.dumps(shared) == before
    assert written(tokenizer, first) != written(tokenizer, second)


async def test_a_stage_that_lacks_its_frozen_agent_or_plan_says_so(
    world: tuple[Task, WorldQuestion], tokenizer: Any
) -> None:
    task, _ = world
    with pytest.raises(ConfigError, match=r"mia\.other"):
        await loop("planner", FakeServer(tokenizer, [])).run(dict(PARAMS), **row(task))
    with pytest.raises(ConfigError, match="keys of mia"):
        loop("planner", FakeServer(tokenizer, []), serach="x")
    with pytest.raises(JudgeError, match="mia train data"):
        await loop("executor", FakeServer(tokenizer, [])).run(dict(PARAMS), **row(task, plan=()))


@pytest.fixture
def parquet(tmp_path: Any) -> Callable[..., Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from omegaconf import OmegaConf

    def write(rows: list[dict[str, Any]], stage: str, tokenizer: Any, **more: Any) -> Any:
        from training.onverl.dataset import MiaDataset

        file = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file)
        config = OmegaConf.create(
            {
                "mia_stage": stage,
                "filter_overlong_prompts": False,
                "cache_dir": str(tmp_path),
                "return_raw_chat": True,
                **more,
            }
        )
        return MiaDataset([str(file)], tokenizer, config)

    return write


def test_the_data_set_gives_the_loops_their_rows(
    world: tuple[Task, WorldQuestion], tokenizer: Any, parquet: Any
) -> None:
    from training.record import task_of

    task, _ = world
    data = parquet([row_of(task, 0, source="world")], "executor", tokenizer)
    assert len(data) == 1
    assert data[0]["agent_name"] == "mia_executor"
    assert task_of(data[0]) == task


def test_a_file_that_a_stage_cannot_use_is_refused_before_the_run(
    world: tuple[Task, WorldQuestion], tokenizer: Any, parquet: Any
) -> None:
    bare = row_of(world[0].model_copy(update={"plan": ()}), 0, source="world")
    with pytest.raises(InputError, match="row 1 has no plan"):
        parquet([bare], "executor", tokenizer)
    assert len(parquet([bare], "planner", tokenizer)) == 1


def test_a_curriculum_starts_with_the_fewest_hops_and_wants_an_order(
    world: tuple[Task, WorldQuestion], tokenizer: Any, parquet: Any
) -> None:
    rows = [row_of(world[0].model_copy(update={"hops": hops}), hops, source="w") for hops in (3, 1, 2)]
    data = parquet(rows, "executor", tokenizer, mia_curriculum=True, shuffle=False)
    assert [data[place]["level"] for place in range(3)] == ["1", "2", "3"]
    with pytest.raises(InputError, match=r"data\.shuffle=False"):
        parquet(rows, "executor", tokenizer, mia_curriculum=True, shuffle=True)
