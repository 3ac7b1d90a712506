"""The cold start: what an expert would have written, in the very episodes that serving runs.

The expert knows the world's workflows. It plays whole episodes through `run_episode`, so its tokens, prompts and tool
results are those of training and serving; only runs that earn the full reward are kept.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from mia_skill.agents.episode import Episode
from mia_skill.agents.executor import Finder
from mia_skill.agents.planner import Planner
from mia_skill.core.config import BudgetConfig
from mia_skill.core.toolformat import ToolCall, render_answer, render_call
from retrieval.world import WorldQuestion
from training.policy import Conversation, Renderer, Sampled, TokenPolicy
from training.rollout import Setting, run_task
from training.task import GoldJudge, Task

__all__ = ["Example", "expert_examples"]


@dataclass
class ScriptedSampler:
    """Writes given texts, token by token."""

    renderer: Renderer
    texts: list[str]

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        text = self.texts.pop(0)
        ids = self.renderer.encode(text)
        if not any(text.endswith(end) for end in stop):
            ids.append(self.renderer.tokenizer.eos_token_id)
        return Sampled(tuple(ids), (0.0,) * len(ids))


@dataclass(frozen=True)
class Example:
    """One expert run: what each agent wrote in it that is worth imitating."""

    task: Task
    planner: tuple[Conversation, ...]
    executor: tuple[Conversation, ...]
    episode: Episode


async def expert_examples(
    tasks: Sequence[Task],
    questions: Sequence[WorldQuestion],
    finder: Finder,
    renderer: Renderer,
    *,
    k: int = 1,
    failures: float = 0.25,
    seed: int = 0,
    context: int = 4096,
) -> tuple[Example, ...]:
    """Expert runs of the tasks that can be solved so. A share of `failures` starts with the plan of another shape and
    is repaired by the one replan; of those the first plan and the first run are not imitated."""
    rng = random.Random(seed)
    made = []
    for task, question in zip(tasks, questions, strict=True):
        others = [other.plan for other in tasks if other.shape != task.shape]
        wrong = rng.choice(others) if others and rng.random() < failures else None
        found = await expert_run(task, question, wrong, finder, renderer, k, context)
        if found is not None:
            made.append(found)
    return tuple(made)


async def expert_run(
    task: Task,
    question: WorldQuestion,
    wrong: tuple[str, ...] | None,
    finder: Finder,
    renderer: Renderer,
    k: int,
    context: int,
) -> Example | None:
    """One run, or None when a gold page was not found by its query."""
    calls = [render_call(ToolCall(name="search", arguments={"query": query})) for query in question.queries]
    work = [*calls, render_answer(question.answer)]
    keep = orjson.dumps({"need_replan": False, "reason": "The evidence states the answer.", "steps": []}).decode()
    change = {"need_replan": True, "reason": "The answer was not found.", "steps": list(task.plan)}
    plans, acts = [plan_text(task.plan), keep], work
    if wrong is not None:
        plans = [plan_text(wrong), orjson.dumps(change).decode()]
        acts = [calls[0], render_answer("unknown"), *work]
    planner = TokenPolicy(ScriptedSampler(renderer, plans), renderer, context=context)
    executor = TokenPolicy(ScriptedSampler(renderer, acts), renderer, context=context)
    limits = BudgetConfig(steps=12, searches=12)
    setting = Setting("planner", finder, planner, executor, k=k, limits=limits)
    judge = GoldJudge(task.gold)
    episode = await run_task(task, Planner(planner), executor, setting, judge)
    read = {passage.id for step in episode.trajectory.steps for passage in step.passages}
    if not set(question.gold_ids) <= read:
        return None
    kept = slice(1, None) if wrong is not None else slice(None)
    return Example(task, tuple(planner.conversations[kept]), tuple(executor.conversations[kept]), episode)


def plan_text(steps: Sequence[str]) -> str:
    return orjson.dumps({"steps": list(steps), "memory_ids": []}).decode()
