"""The parts of our veRL adapters that need no veRL: sampler, tokens between turns, rows, reward hook, services."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from letters import END, Letters, Trimming, renderer

from mia_skill.core.chat import Message, ScriptedChat
from mia_skill.core.errors import (
    ConfigError,
    InputError,
    JudgeError,
    ModelReplyError,
    ModelStatusError,
    SearchError,
)
from mia_skill.core.types import Modality, Outcome, Passage
from training.onverl.outcome import KEY, compute_score, report, reward_of
from training.onverl.render import BuilderRenderer, renderer_for
from training.onverl.sampler import ServerSampler
from training.onverl.services import Patience, PatientChat, PatientFinder, ServiceDown
from training.onverl.settings import LoopSettings, ServiceLimits, read_limits, read_settings
from training.onverl.staff import Staff
from training.policy import TemplateError, TokenPolicy
from training.record import check_row, row_of, task_of
from training.reward import ExecutorOutcome, PlannerOutcome
from training.rollout import Rollout
from training.task import Task, world_tasks

# -- the sampler over veRL's server -----------------------------------------------------------------------------------


@dataclass
class Made:
    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: str = "completed"
    num_preempted: int = 0
    extra_fields: dict[str, int] = field(default_factory=lambda: {"global_steps": 3})


@dataclass
class Scripted:
    """A rollout server that says what it was told to."""

    texts: list[str]
    ends: bool = True
    reason: str = "completed"
    logs: bool = True
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **more: Any
    ) -> Made:
        self.asked.append((request_id, sampling_params))
        ids = [*map(ord, self.texts.pop(0)), *([END] if self.ends else [])]
        return Made(ids, [-0.5] * len(ids) if self.logs else None, self.reason)


def sampler(server: Scripted) -> ServerSampler:
    return ServerSampler(server, renderer(), {"top_p": 1.0, "logprobs": True}, {END})


async def test_a_rollout_asks_one_server_for_tokens_with_veRLs_own_settings_and_its_stop_strings() -> None:
    server = Scripted(["<answer>a</answer>", "b"])
    asks = sampler(server)
    first = await asks.generate([1, 2], temperature=0.7, max_tokens=50, stop=("</answer>",))
    second = await asks.generate([1, 2, 3], temperature=0.7, max_tokens=50, stop=())
    assert first.finish == second.finish == "stop"
    assert first.token_ids[-1] == END
    assert first.logprobs == (-0.5,) * len(first.token_ids)
    (one, sent), (two, plain) = server.asked
    assert one == two
    assert sent == {
        "top_p": 1.0, "logprobs": True, "temperature": 0.7, "max_tokens": 50, "stop": ["</answer>"],
        "include_stop_str_in_output": True,
    }  # fmt: skip
    assert "stop" not in plain
    assert asks.versions == [3, 3, 3, 3]


async def test_a_reply_at_its_limit_is_told_from_one_that_ended_although_veRL_calls_both_completed() -> None:
    cut = await sampler(Scripted(["abcd"], ends=False)).generate([1], temperature=1.0, max_tokens=4, stop=("!",))
    ended = await sampler(Scripted(["abc!"], ends=False)).generate([1], temperature=1.0, max_tokens=4, stop=("!",))
    assert (cut.finish, ended.finish) == ("length", "stop")


async def test_a_request_that_the_server_gave_up_is_no_reply() -> None:
    with pytest.raises(ModelReplyError, match="gave up"):
        await sampler(Scripted(["a"], reason="aborted")).generate([1], temperature=1.0, max_tokens=4, stop=())
    with pytest.raises(ModelReplyError, match="log-prob"):
        await sampler(Scripted(["a"], logs=False)).generate([1], temperature=1.0, max_tokens=4, stop=())


# -- tokens between two replies ---------------------------------------------------------------------------------------


@dataclass
class Merged:
    token_ids: list[int]


class Appending:
    """As veRL's builders: knows how a turn is appended, and never renders what was said."""

    spoils = False

    def build_initial_tokens(self, messages: list[dict[str, Any]]) -> list[int]:
        return Letters().encode(Letters().apply_chat_template(messages))

    def merge_context_tokens(
        self,
        previous_messages: list[dict[str, Any]],
        updated_messages: list[dict[str, Any]],
        runtime_token_ids: list[int],
    ) -> Merged:
        assert updated_messages[: len(previous_messages)] == previous_messages
        more = updated_messages[len(previous_messages) :]
        kept = runtime_token_ids[:-1] if self.spoils else runtime_token_ids
        return Merged([*kept, ord("\n"), *Letters().encode(Letters().apply_chat_template(more))])


class Spoiling(Appending):
    spoils = True


@pytest.mark.parametrize("ends", [True, False])
async def test_a_builder_gives_the_tokens_of_the_template_where_both_can_be_had(ends: bool) -> None:
    told = []
    for way in (renderer(), BuilderRenderer(Letters(), builder=Appending())):  # type: ignore[arg-type]
        policy = TokenPolicy(sampler(Scripted(["<answer>a", "b"], ends)), way)
        first = [Message(role="user", content="q")]
        await policy.complete(first)
        more = [Message(role="assistant", content="<answer>a</answer>"), Message(role="user", content="more")]
        await policy.complete([*first, *more])
        (talk,) = policy.conversations
        told.append((talk.ids, talk.mask, talk.logprobs))
    if ends:
        assert told[1][0].count(END) == 4
        assert sum(told[0][1]) == sum(told[1][1])
    else:
        assert told[0] == told[1]


def test_the_template_is_used_where_it_appends_and_the_builder_where_it_rewrites() -> None:
    assert type(renderer_for(Letters(), Appending())).__name__ == "Renderer"  # type: ignore[arg-type]
    assert isinstance(renderer_for(Trimming(), Appending()), BuilderRenderer)  # type: ignore[arg-type]


def test_a_tokenizer_of_another_model_is_refused_before_the_run() -> None:
    class Foreign(Letters):
        eos_token = "</s>"

        def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
            return Letters().apply_chat_template(*args, **kwargs)

    with pytest.raises(TemplateError, match="another model"):
        renderer_for(Foreign(), Appending())  # type: ignore[arg-type]


async def test_a_builder_that_changes_sampled_tokens_is_refused() -> None:
    policy = TokenPolicy(sampler(Scripted(["a", "b"])), BuilderRenderer(Letters(), builder=Spoiling()))  # type: ignore[arg-type]
    first = [Message(role="user", content="q")]
    await policy.complete(first)
    with pytest.raises(TemplateError):
        await policy.complete([*first, Message(role="assistant", content="a"), Message(role="user", content="x")])


# -- rows -------------------------------------------------------------------------------------------------------------


def a_task() -> Task:
    (task, *_), _, _ = world_tasks(5, 40, limit=1)
    return task


def test_a_task_goes_through_a_row_and_back_unchanged() -> None:
    task = a_task()
    row = row_of(task, 3, source="world")
    assert task_of(row) == task
    assert task_of(row) == task
    assert row["extra_info"]["index"] == 3


def test_a_published_row_without_our_extra_columns_is_a_task() -> None:
    row = {
        "prompt": [{"role": "user", "content": "<image>Who built it?"}],
        "reward_model": {"ground_truth": "Ada", "style": "rule"},
        "modality": "text-image",
        "image_caption": "a bridge",
        "plan": "1. Find the bridge.\n2) Find its builder.\n",
        "memories_context": "search the bridge, then its builder",
        "memories_context_2": "",
        "data_id": "fvqa_7",
    }
    task = task_of(row)
    assert task.question.text == "Who built it?"
    assert task.question.modality is Modality.IMAGE
    assert task.plan == ("Find the bridge.", "Find its builder.")
    assert task.gold == ("Ada",)
    (hit,) = task.recall.hits
    assert hit.unit.outcome is Outcome.CORRECT
    check_row(row, "executor", 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"plan": ""}, "row 4 has no plan.*mia train data"),
        ({"reward_model": None}, "row 4 has no reward_model"),
        ({"reward_model": {"ground_truth": ""}, "extra_info": {}}, "no answer"),
        ({"prompt": [{"role": "user", "content": " "}]}, "no question"),
        ({"prompt": []}, "row 4 has no prompt"),
        ({"modality": "text-image"}, "image_caption"),
    ],
)
def test_a_row_that_a_stage_cannot_use_is_named_with_what_is_missing(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_row({**row_of(a_task(), 0, source="w"), **change}, "executor", 4)


# -- the reward hook --------------------------------------------------------------------------------------------------


def told_of(outcome: ExecutorOutcome | PlannerOutcome | None, variant: str = "paper") -> dict[str, Any]:
    return report(Rollout(a_task(), (), 1.0, outcome=outcome), variant)


async def score(told: Mapping[str, Any]) -> dict[str, float]:
    return await compute_score("world", "text", "gold", {KEY: told})


async def test_the_reward_hook_gives_equation_2_and_equation_4() -> None:
    executor = ExecutorOutcome(verdict=Outcome.CORRECT, tool_ok=False, format_ok=True)
    planner = PlannerOutcome(first=Outcome.INCORRECT, final=Outcome.CORRECT, replanned=True, format_ok=True)
    got = await score(told_of(executor))
    assert got["score"] == pytest.approx(0.8)
    assert (got["acc"], got["tool_ok"]) == (1.0, 0.0)
    got = await score(told_of(planner))
    assert got["score"] == pytest.approx(0.7 + 0.05 + 0.05)
    assert (got["acc"], got["first_acc"], got["replanned"]) == (1.0, 0.0, 1.0)
    assert (await score(told_of(planner, "unsupervised")))["score"] == pytest.approx(1.0)


async def test_a_missing_verdict_is_no_reward_and_never_zero() -> None:
    nobody = ExecutorOutcome(verdict=None, tool_ok=True, format_ok=True)
    with pytest.raises(JudgeError):
        await score(told_of(nobody))
    with pytest.raises(JudgeError):
        told_of(None)
    half = PlannerOutcome(first=None, final=Outcome.CORRECT, replanned=True, format_ok=True)
    with pytest.raises(JudgeError):
        reward_of(told_of(half))


async def test_a_rollout_of_another_loop_has_no_reward_here() -> None:
    with pytest.raises(InputError, match="agent loop"):
        await compute_score("world", "text", "gold", {"index": 1})
    with pytest.raises(InputError, match="agent loop"):
        reward_of({"kind": "planner", "outcome": {"first": "maybe"}})


# -- services ---------------------------------------------------------------------------------------------------------


@dataclass
class Flaky:
    """A search that fails as its script says; None answers."""

    script: list[Exception | None]
    calls: int = 0
    at_once: int = 0
    most: int = 0

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        self.calls += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await anyio.lowlevel.checkpoint()
        self.at_once -= 1
        failure = self.script.pop(0) if self.script else None
        if failure is not None:
            raise failure
        return (Passage(id="p", title="t", text=query),)


@dataclass
class Time:
    now: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await anyio.lowlevel.checkpoint()

    def clock(self) -> float:
        return self.now


def patience(said: list[str], time: Time, **limits: float) -> Patience:
    return Patience(
        "the search service", ServiceLimits(**limits), say=said.append, sleep=time.sleep, clock=time.clock  # type: ignore[arg-type]
    )  # fmt: skip


def outage() -> SearchError:
    return SearchError("connection refused", engine="corpus")


async def test_a_dead_service_pauses_the_rollouts_with_one_message_and_they_go_on_when_it_is_back() -> None:
    said: list[str] = []
    time = Time()
    flaky = Flaky([outage() for _ in range(12)])
    finder = PatientFinder(flaky, patience(said, time, pause_s=5))
    got: list[tuple[Passage, ...]] = []

    async def ask() -> None:
        got.append(await finder.search("q"))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask)
    assert len(got) == 4
    assert all(passages[0].text == "q" for passages in got)
    assert "the run pauses" in said[0]
    assert "answers again" in said[1]
    assert len(said) == 2
    assert finder.patience.waited_s > 0


async def test_a_service_that_stays_down_ends_the_wait_with_the_way_to_resume() -> None:
    time = Time()
    finder = PatientFinder(Flaky([outage() for _ in range(99)]), patience([], time, pause_s=10, patience_s=60))
    with pytest.raises(ServiceDown, match="resume the run"):
        await finder.search("q")
    assert time.now == 60


async def test_a_query_that_is_refused_is_the_models_doing_and_is_not_tried_again() -> None:
    flaky = Flaky([SearchError("too long", engine="corpus", kind="bad_request")])
    with pytest.raises(SearchError, match="too long"):
        await PatientFinder(flaky, patience([], Time())).search("q")
    assert flaky.calls == 1


async def test_no_more_calls_than_allowed_reach_a_service_at_once() -> None:
    flaky = Flaky([])
    finder = PatientFinder(flaky, patience([], Time(), calls=3))
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(finder.search, "q")
    assert flaky.calls == 20
    assert flaky.most == 3


async def test_a_call_without_an_end_is_an_outage() -> None:
    class Silent:
        tries = 0

        async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
            self.tries += 1
            if self.tries == 1:
                await anyio.sleep_forever()
            return ()

    silent = Silent()
    assert await PatientFinder(silent, patience([], Time(), call_s=0.01)).search("q") == ()
    assert silent.tries == 2


async def test_the_frozen_agent_and_the_judge_are_waited_for_too() -> None:
    said: list[str] = []
    model = ScriptedChat([ModelStatusError("busy", status=503), ModelStatusError("busy", status=503), "hello"])
    chat = PatientChat(model, patience(said, Time()))
    (reply,) = await chat.complete([Message(role="user", content="q")])
    assert reply.text == "hello"
    refused = PatientChat(ScriptedChat([ModelStatusError("no such model", status=404)]), patience([], Time()))
    with pytest.raises(ModelStatusError):
        await refused.complete([Message(role="user", content="q")])


# -- settings --------------------------------------------------------------------------------------------------------


def test_an_unknown_setting_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"mia\.serach.*search"):
        read_settings({"serach": "x"})
    assert read_settings(None) == LoopSettings()
    with pytest.raises(ConfigError, match=r"mia_guards\.least_entropie.*least_entropy"):
        read_limits({"least_entropie": 1})


def test_a_row_without_a_place_to_search_is_a_setting_that_is_missing() -> None:
    bare = a_task().model_copy(update={"corpus": ""})
    with pytest.raises(ConfigError, match=r"mia\.search"):
        Staff(LoopSettings()).finder(bare)
    staff = Staff(LoopSettings())
    assert staff.finder(a_task()) is staff.finder(a_task())
