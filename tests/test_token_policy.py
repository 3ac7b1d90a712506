"""What training learns from is what was sampled: ids, mask and text agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import END, Letters, Trimming, renderer

from mia_skill.core.chat import Message
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import InputError
from retrieval.remote import RemoteCorpus
from retrieval.world import build_world
from training.coldstart import expert_examples
from training.policy import ContextFull, Sampled, TemplateError, TokenPolicy
from training.rollout import Role, Setting, roll_out
from training.task import WorldShelf, world_tasks


@dataclass
class Says:
    """A sampler that writes given texts; `ends` closes each with the special token."""

    texts: list[str]
    ends: bool = True

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        ids = [*map(ord, self.texts.pop(0)), *([END] if self.ends else [])]
        return Sampled(tuple(ids), (-0.5,) * len(ids))


text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20)


@given(replies=st.lists(text, min_size=1, max_size=4), told=text, ends=st.booleans())
async def test_the_masked_tokens_are_what_the_episode_saw_and_all_tokens_are_the_rendered_conversation(
    replies: list[str], told: str, ends: bool
) -> None:
    policy = TokenPolicy(Says(list(replies), ends), renderer())
    messages = [Message(role="user", content="question")]
    for reply in replies:
        (got,) = await policy.complete(messages)
        assert got.text == reply
        messages += [Message(role="assistant", content=got.text), Message(role="user", content=told)]
    (talk,) = policy.conversations
    written = [one for one, own in zip(talk.ids, talk.mask, strict=True) if own]
    assert Letters().decode(written, skip_special_tokens=True) == "".join(replies)
    assert all((logp == -0.5) == own for logp, own in zip(talk.logprobs, talk.mask, strict=True))
    rendered = renderer().text(messages[:-2]) + replies[-1]
    assert Letters().decode(talk.ids).removesuffix(Letters.eos_token if ends else "") == rendered


async def test_another_prompt_begins_another_conversation() -> None:
    policy = TokenPolicy(Says(["plan", "keep"]), renderer())
    await policy.complete([Message(role="user", content="plan it")])
    await policy.complete([Message(role="user", content="look back")])
    assert [talk.replies for talk in policy.conversations] == [["plan"], ["keep"]]


async def test_a_closing_tag_that_the_episode_adds_is_not_the_models() -> None:
    policy = TokenPolicy(Says(["<answer>a", "b"]), renderer())
    first = [Message(role="user", content="q")]
    await policy.complete(first)
    await policy.complete(
        [*first, Message(role="assistant", content="<answer>a</answer>"), Message(role="user", content="more")]
    )
    (talk,) = policy.conversations
    assert sum(talk.mask) == len("<answer>a") + len("b") + 2


async def test_a_template_that_changes_earlier_turns_is_refused_before_the_run_and_during_it() -> None:
    with pytest.raises(TemplateError, match="only appends"):
        renderer(Trimming()).check()
    renderer().check()
    policy = TokenPolicy(Says([" a ", "b"]), renderer(Trimming()))
    first = [Message(role="user", content="q")]
    await policy.complete(first)
    with pytest.raises(TemplateError):
        await policy.complete([*first, Message(role="assistant", content=" a "), Message(role="user", content="x")])


async def test_a_full_context_and_several_replies_are_typed_errors() -> None:
    with pytest.raises(ContextFull):
        await TokenPolicy(Says([]), renderer(), context=10).complete([Message(role="user", content="too long for it")])
    with pytest.raises(InputError):
        await TokenPolicy(Says([]), renderer()).complete([Message(role="user", content="q")], n=2)


async def test_an_expert_of_the_world_earns_the_full_reward_in_the_episode_that_serves() -> None:
    tasks, questions, world = world_tasks(5, 40, limit=6)
    examples = await expert_examples(
        tasks, questions, WorldShelf(world), renderer(), failures=0.5, k=2, context=100_000
    )
    assert len(examples) >= 4
    for example in examples:
        assert example.episode.verdict is not None
        assert example.episode.verdict.label == "correct"
        assert example.planner
        assert example.executor


async def test_no_plan_from_a_trained_planner_is_a_sample_and_no_plan_for_an_executor_is_none() -> None:
    (task, *_), _, world = world_tasks(5, 40, limit=2)
    shelf = WorldShelf(world)
    other = TokenPolicy(Says([]), renderer())
    planner = TokenPolicy(Says(["no json"]), renderer(), context=100_000)
    made = await roll_out(task, Setting("planner", shelf, planner, other, limits=BudgetConfig(steps=3)))
    assert made.reward == 0.0
    executor = TokenPolicy(Says([]), renderer())
    none = await roll_out(task.model_copy(update={"plan": ()}), Setting("executor", shelf, executor))
    assert none.reward is None
    assert none.lost.startswith("plan")


@pytest.mark.parametrize("role", ["executor", "planner"])
async def test_a_search_service_that_is_down_makes_no_sample_for_whoever_is_trained(role: Role) -> None:
    (task, *_), _, _ = world_tasks(5, 40, limit=2)
    call = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
    lines = {"planner": ['{"steps": ["search"]}'], "executor": [call, "<answer>unknown</answer>"]}
    policies = {name: TokenPolicy(Says(said), renderer(), context=100_000) for name, said in lines.items()}
    other = policies["executor" if role == "planner" else "planner"]
    made = await roll_out(task, Setting(role, RemoteCorpus("http://127.0.0.1:9"), policies[role], other))
    assert made.reward is None
    assert made.lost.startswith("ToolOutage: search is down")


async def test_an_executor_that_only_answers_earns_format_but_not_tool() -> None:
    (task, *_), _, world = world_tasks(5, 40, limit=2)
    policy = TokenPolicy(Says([f"<answer>{task.gold[0]}</answer>"]), renderer(), context=100_000)
    made = await roll_out(task, Setting("executor", WorldShelf(world), policy))
    assert made.reward == pytest.approx(0.8)


def test_the_worlds_plans_name_what_the_question_names() -> None:
    tasks, questions, _ = world_tasks(5, 40)
    assert build_world(5, 40).questions
    for task, question in zip(tasks, questions, strict=True):
        assert len(task.plan) == question.hops
        assert question.entities[0] in task.plan[0]
