"""Spec section 8, the lines that concern training: where the published code left the paper, we follow the paper.

| line | test |
|---|---|
| tool reward: a successful, well-formed call, not any named call | here |
| loss per sequence, then per group, not per token | test_reward, onverl/test_settings |
| unsupervised reward is eq. 4 | here, test_onverl_parts |
| the same tool text in training and in serving | here, onverl/test_loops, test_token_policy |
| a trained Planner, never another one in its place | here |
| the judge with the gold answer decides on the replan of stage 1; at most one | here, onverl/test_loops |
| no bonus beyond the paper's 1.0 | here |
| budget: no turn more than allowed, no replan after it | here |
| state of a rollout is its own | onverl/test_loops |
| an outage is no sample, never a wrong answer | test_onverl_parts, onverl/test_loops |
| no test set in the training or validation file | test_train_data |
| veRL is imported, nothing of it vendored | test_house_rules |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from letters import END, Letters, renderer

from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import ModelUnreachableError, SearchError
from mia_skill.core.toolformat import ToolCall, render_answer, render_call, render_result
from mia_skill.core.types import Passage
from retrieval.world import WorldQuestion
from training.coldstart import plan_text
from training.onverl.services import Patience, PatientFinder
from training.onverl.settings import ServiceLimits
from training.policy import Sampled, TokenPolicy
from training.reward import PlannerOutcome, planner_reward
from training.rollout import Rollout, Setting, roll_out
from training.task import Task, WorldShelf, world_tasks


@dataclass
class Says:
    texts: list[str]
    seen: list[str] = field(default_factory=list)

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        self.seen.append(Letters().decode(prompt_ids))
        ids = [*map(ord, self.texts.pop(0)), END]
        return Sampled(tuple(ids), (-0.5,) * len(ids))


def stage() -> tuple[Task, WorldQuestion, WorldShelf]:
    tasks, questions, world = world_tasks(5, 40, hops=(2,), limit=1)
    return tasks[0], questions[0], WorldShelf(world)


def call(query: str, name: str = "search") -> str:
    return render_call(ToolCall(name=name, arguments={"query": query}))


async def executor(*texts: str, other: ScriptedChat | None = None, steps: int = 5) -> tuple[Rollout, Says]:
    task, _, shelf = stage()
    says = Says(list(texts))
    policy = TokenPolicy(says, renderer(), context=100_000)
    limits = BudgetConfig(steps=steps, searches=9)
    return await roll_out(task, Setting("executor", shelf, policy, other, k=1, limits=limits)), says


async def test_a_call_that_only_names_a_tool_earns_no_tool_reward() -> None:
    _, question, _ = stage()
    named, _ = await executor(call("", "search"), render_answer("unknown"))
    failed, _ = await executor(call("x", "browse"), render_answer("unknown"))
    found, _ = await executor(call(question.queries[0]), render_answer("unknown"))
    assert [made.reward for made in (named, failed, found)] == pytest.approx([0.1, 0.1, 0.3])


async def test_a_right_answer_earns_one_at_most() -> None:
    _, question, _ = stage()
    made, _ = await executor(*map(call, question.queries), render_answer(question.answer))
    assert made.reward == pytest.approx(1.0)


async def test_the_unsupervised_planner_is_paid_by_equation_4_on_the_panels_verdicts() -> None:
    outcome = PlannerOutcome(first="incorrect", final="correct", replanned=True, format_ok=True)
    assert planner_reward(outcome) == pytest.approx(0.7 + 0.05 + 0.05)


async def test_what_a_tool_says_in_training_is_what_it_says_in_serving_to_the_letter() -> None:
    _, question, shelf = stage()
    _, says = await executor(*map(call, question.queries), render_answer(question.answer))
    (page,) = await shelf.search(question.queries[0], 1)
    served = render_result(f"[{page.id}] {page.title}\n{page.text}")
    assert f"<|user|>{served}<|im_end|>\n<|assistant|>" in says.seen[1]


async def test_the_judge_with_the_gold_answer_asks_for_one_replan_and_for_no_second() -> None:
    _, question, _ = stage()
    change = orjson.dumps({"need_replan": True, "reason": "wrong", "steps": ["Try again."]}).decode()
    planner = ScriptedChat([change])
    texts = [render_answer("unknown"), *map(call, question.queries), render_answer("still wrong")]
    made, says = await executor(*texts, other=planner)
    assert not says.texts
    assert len(planner.seen) == 1
    assert made.right is False
    right, _ = await executor(*map(call, question.queries), render_answer(question.answer), other=ScriptedChat([]))
    assert right.right is True


async def test_no_turn_more_than_allowed_and_no_replan_after_the_budget() -> None:
    _, question, _ = stage()
    made, says = await executor(*[call(question.queries[0])] * 5, other=ScriptedChat([]), steps=3)
    assert len(says.seen) == 3
    assert made.right is False
    assert made.episode is not None
    assert made.episode.replan is None


async def test_a_frozen_planner_that_is_dead_makes_no_sample_and_nobody_takes_its_place() -> None:
    made, _says = await executor(render_answer("unknown"), other=ScriptedChat([ModelUnreachableError("gone")]))
    assert made.reward is None
    assert "gone" in made.lost
    task, _, shelf = stage()
    policy = TokenPolicy(Says([plan_text(task.plan)]), renderer(), context=100_000)
    dead = ScriptedChat([ModelUnreachableError("gone")])
    lost = await roll_out(task, Setting("planner", shelf, policy, dead))
    assert lost.reward is None
    assert lost.outcome is None


async def test_a_search_service_that_stays_down_is_no_sample_and_no_words_in_a_run() -> None:
    task, question, _ = stage()

    class Dead:
        async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
            raise SearchError("connection refused", engine="corpus")

    finder = PatientFinder(Dead(), Patience("the search service", ServiceLimits(patience_s=0), say=lambda _: None))
    says = Says([call(question.queries[0]), render_answer("unknown")])
    policy = TokenPolicy(says, renderer(), context=100_000)
    made = await roll_out(task, Setting("executor", finder, policy))
    assert made.reward is None
    assert "has been down for" in made.lost
    assert len(says.seen) == 1
