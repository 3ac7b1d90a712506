"""veRL's agent loops that play the same episode as everybody else, with the trained part on veRL's rollout server.

`ExecutorLoop` (stage 1): the plan is given, the tools are live, the judge with the gold answer decides on the one
replan. `PlannerLoop` (stage 2): plan, frozen Executor, keep or change, frozen Executor. Each conversation of the
trained model is one output; veRL gives all outputs of a rollout the advantage of its last.

`actor_rollout_ref.model.external_lib=training.onverl.loops` makes veRL import this in each of its processes.
"""

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, ClassVar

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

import training.onverl.rollouts  # noqa: F401  makes `rollout.name=hf` known beside veRL's own
from mia_skill.agents.executor import Finder
from mia_skill.core.errors import ConfigError, JudgeError
from mia_skill.core.types import Passage
from training.onverl.outcome import KEY, report
from training.onverl.sampler import ServerSampler
from training.onverl.settings import LoopSettings, read_settings
from training.onverl.staff import Staff
from training.policy import Conversation, TokenPolicy
from training.record import task_of
from training.rollout import Role, Rollout, Setting, roll_out
from training.task import Task

__all__ = ["ExecutorLoop", "MiaAgentLoop", "PlannerLoop"]


@lru_cache(maxsize=8)
def staff_of(settings: LoopSettings) -> Staff:
    """One staff per process: veRL makes a loop object for each rollout, and hands it nothing that lives longer."""
    return Staff(settings)


@dataclass
class TimedFinder:
    """How long one rollout waited for its searches."""

    finder: Finder
    seconds: float = 0.0

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        began = perf_counter()
        try:
            return await self.finder.search(query, k)
        finally:
            self.seconds += perf_counter() - began


class MiaAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """One rollout. Its state is in this object: rows, and their `extra_info`, are shared by all rollouts of a group."""

    role: ClassVar[Role]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Raises: ConfigError, TemplateError: the settings, or the model's template, cannot be used."""
        super().__init__(*args, **kwargs)
        given = OmegaConf.select(self.config, "mia")
        self.settings = read_settings(OmegaConf.to_container(given, resolve=True) if given is not None else None)
        self.staff = staff_of(self.settings)
        self.renderer = self.staff.renderer(self.tokenizer, self.continuous_token_builder)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        """The rollout's conversations.

        Raises:
            JudgeError: no sample: veRL leaves this rollout out of its group.
            MiaError: the row or the settings cannot be used.
        """
        task = task_of(row)
        sampler = self.sampler(sampling_params)
        policy = self.policy(sampler, float(sampling_params.get("temperature", 1.0)))
        finder = TimedFinder(self.staff.finder(task))
        made = await roll_out(task, self.setting(policy, task, finder))
        if made.reward is None:
            raise JudgeError(f"no sample of {task.name!r}: {made.lost}", raw="")
        return self.outputs(made, sampler, finder.seconds)

    def sampler(self, sampling_params: dict[str, Any]) -> ServerSampler:
        ends = set(self.tokenizer.all_special_ids)
        return ServerSampler(self.server_manager, self.renderer, dict(sampling_params), ends)

    def policy(self, sampler: ServerSampler, temperature: float) -> TokenPolicy:
        """A model that keeps its tokens, within the lengths of the run."""
        rollout = self.rollout_config
        return TokenPolicy(
            sampler,
            self.renderer,
            temperature=temperature,
            max_tokens=min(self.settings.reply_tokens, int(rollout.response_length)),
            context=int(rollout.prompt_length) + int(rollout.response_length),
        )

    def setting(self, policy: TokenPolicy, task: Task, finder: Finder) -> Setting:
        """Who plays what."""
        other = self.staff.other()
        if self.settings.other == "policy":
            other = self.policy(self.sampler({"logprobs": False}), policy.temperature)
        if other is None and self.role == "planner":
            raise ConfigError(
                "a Planner is trained with a frozen Executor: set mia.other.base_url and mia.other.model to an "
                "endpoint that serves one, or mia.other=policy"
            )
        return Setting(
            role=self.role,
            finder=finder,
            policy=policy,
            other=other,
            judge=self.staff.judge(task),
            k=self.settings.k,
            limits=self.settings.limits,
        )

    def outputs(self, made: Rollout, sampler: ServerSampler, tools_s: float) -> list[AgentLoopOutput]:
        """One output for each conversation in which the model wrote."""
        paid = {"executor": self.settings.executor_variant, "planner": self.settings.planner_variant}
        told = report(made, paid[self.role]) | {"tool_s": tools_s, "generate_s": sampler.seconds}
        talks = [talk for talk in made.conversations if talk.written]
        versions = sampler.versions or [0]
        spent = AgentLoopMetrics(
            generate_sequences=sampler.seconds, tool_calls=tools_s, num_preempted=sampler.preempted
        )
        return [
            AgentLoopOutput(
                **split(talk),
                num_turns=2 * len(talk.replies),
                metrics=spent,
                extra_fields={
                    KEY: told,
                    "min_global_steps": min(versions),
                    "max_global_steps": max(versions),
                    "global_steps": max(versions),
                },
            )
            for talk in talks
        ]


@register("mia_executor")
class ExecutorLoop(MiaAgentLoop):
    """Stage 1."""

    role = "executor"


@register("mia_planner")
class PlannerLoop(MiaAgentLoop):
    """Stage 2."""

    role = "planner"


def split(talk: Conversation) -> dict[str, Any]:
    """A conversation as veRL stores it: the prompt ends where the model first wrote. What was said to it after its
    last reply is no part of it."""
    first = talk.mask.index(True)
    last = len(talk.mask) - talk.mask[::-1].index(True)
    return {
        "prompt_ids": talk.ids[:first],
        "response_ids": talk.ids[first:last],
        "response_mask": [int(own) for own in talk.mask[first:last]],
        "response_logprobs": talk.logprobs[first:last],
    }
