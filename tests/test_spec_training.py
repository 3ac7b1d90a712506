"""Spec section 8, the lines that concern training: where the published code left the paper, we follow the paper.

`LINES` says which tests hold each line, `BAD_INPUT` which hold what a run may be given wrongly; that they exist is a
test too.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from letters import END, Letters, renderer

from mia_skill.app import build
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import BudgetConfig, load_config
from mia_skill.core.errors import ModelUnreachableError, SearchError
from mia_skill.core.prompts import load_prompt
from mia_skill.core.toolformat import ToolCall, render_answer, render_call, render_result
from mia_skill.core.types import MemoryUnit, Outcome, Passage, Question
from retrieval.bank import Hit, Recall
from retrieval.world import WorldQuestion
from training.coldstart import plan_text
from training.onverl.services import Patience, PatientFinder
from training.onverl.settings import ServiceLimits
from training.policy import Sampled, TokenPolicy
from training.reward import PlannerOutcome, planner_reward
from training.rollout import Rollout, Setting, roll_out
from training.task import Task, WorldShelf, world_tasks

LINES: dict[str, tuple[str, ...]] = {
    "tool reward: a successful, well-formed call, not any named call averaged over segments": (
        "test_spec_training::test_a_call_that_only_names_a_tool_earns_no_tool_reward",
        "test_reward::test_the_executor_is_paid_by_equation_2",
    ),
    "no bonus beyond the paper's 1.0": ("test_spec_training::test_a_right_answer_earns_one_at_most",),
    "unsupervised reward is eq. 4, not 0.9 correct + 0.1 format": (
        "test_spec_training::test_the_unsupervised_planner_is_paid_by_equation_4_on_the_panels_verdicts",
        "test_reward::test_the_published_unsupervised_reward_is_kept_for_comparison",
        "test_ttl::test_all_plans_are_rewarded_by_equation_4",
    ),
    "loss per sequence, then over the group; not per token over the batch": (
        "test_reward::test_the_papers_mean_weighs_rollouts_alike_and_token_mean_weighs_tokens_alike",
        "onverl/test_settings::test_the_method_is_the_papers",
        "test_tiny::test_every_rollout_weighs_the_same_however_long_it_is",
    ),
    "one form of tool results in training and in serving, closed and without a stray backslash": (
        "test_spec_training::test_what_a_tool_says_in_training_is_what_it_says_in_serving_to_the_letter",
        "test_token_policy::test_the_masked_tokens_are_what_the_episode_saw_and_all_tokens_are_the_rendered_conversation",
        "onverl/test_loops::test_all_tokens_of_an_output_are_the_conversation_as_serving_renders_it",
    ),
    "the trained Planner plans, and no larger model in its place when memories are few": (
        "test_spec_training::test_a_frozen_planner_that_is_dead_makes_no_sample_and_nobody_takes_its_place",
        "test_spec_training::test_the_trained_planner_writes_the_plan_with_many_memories_and_with_none",
        "test_planner::test_a_dead_planner_raises_and_nothing_is_made_up",
    ),
    "a prompt speaks of memories only where it shows them": (
        "test_spec_training::test_only_a_prompt_that_shows_memories_speaks_of_them",
    ),
    "the judge with the gold answer decides on the replan of stage 1, at most one": (
        "test_spec_training::test_the_judge_with_the_gold_answer_asks_for_one_replan_and_for_no_second",
        "onverl/test_loops::test_the_judge_makes_the_frozen_planner_replan_once_and_the_rest_is_trained_too",
        "onverl/test_loops::test_a_right_first_answer_is_not_replanned",
    ),
    "budget: no turn more than allowed, no replan after it": (
        "test_spec_training::test_no_turn_more_than_allowed_and_no_replan_after_the_budget",
    ),
    "one budget with and without test-time learning": (
        "test_spec_training::test_learning_while_testing_has_the_budget_of_an_ordinary_question",
    ),
    "unsupervised test-time learning picks by the Router, before anything is judged; not among self-judged answers": (
        "test_explore::test_one_plan_is_picked_before_any_is_carried_out_and_then_all_are_and_are_learnt_from",
        "test_ttl::test_every_answer_of_a_batch_is_recorded_before_any_is_judged_learnt_or_stored",
    ),
    "the pick is shown the most similar plan pairs": (
        "test_ttl::test_the_pick_is_shown_the_most_similar_plan_pairs_first",
    ),
    "credit goes to the units that were shown, by id": (
        "test_manager::test_one_question_is_one_transaction_of_units_pair_and_credit",
        "test_planner::test_a_plan_is_written_with_the_memories_quoted_in_a_user_turn_and_credits_what_was_shown",
    ),
    "no test set in the training or validation file": (
        "test_train_data::test_questions_of_the_test_are_not_trained_on",
        "test_train_data::test_files_whose_rows_share_numbers_share_no_questions",
        "test_train_data::test_a_world_cannot_train_and_test",
        "test_train_data::test_memories_of_the_question_itself_or_with_its_answer_are_taken_out",
    ),
    "a verdict is a letter or none: 'THE ANSWER IS B' is not correct": (
        "test_verdict_parser::test_talk_lower_case_and_look_alikes_are_errors_that_keep_the_reply",
    ),
    "an outage or a missing verdict is no sample, never a wrong answer": (
        "test_spec_training::test_a_search_service_that_stays_down_is_no_sample_and_no_words_in_a_run",
        "test_reward::test_a_missing_verdict_is_no_sample_and_not_a_zero",
        "test_onverl_parts::test_a_missing_verdict_is_no_reward_and_never_zero",
        "onverl/test_loops::test_an_outage_of_judge_server_or_frozen_agent_is_no_sample",
    ),
    "state of a rollout is its own": (
        "onverl/test_loops::test_rollouts_of_one_question_share_nothing_that_they_change",
    ),
    "veRL is imported, nothing of it vendored": ("test_house_rules::test_no_package_is_vendored",),
}


BAD_INPUT: dict[str, tuple[str, ...]] = {
    "missing columns": (
        "test_onverl_parts::test_a_row_that_a_stage_cannot_use_is_named_with_what_is_missing",
        "onverl/test_loops::test_a_file_that_a_stage_cannot_use_is_refused_before_the_run",
        "test_train_data::test_rows_that_name_no_place_to_search_need_one_before_the_run",
        "test_train_data::test_a_row_of_ones_own_file_that_cannot_be_used_is_named_and_not_passed_over",
    ),
    "empty groups": ("test_tiny::test_equal_rewards_and_missing_ones_move_no_weight_and_an_empty_group_is_refused",),
    "all rewards equal": (
        "test_reward::test_equal_rewards_and_single_samples_teach_nothing",
        "test_tiny::test_equal_rewards_and_missing_ones_move_no_weight_and_an_empty_group_is_refused",
    ),
    "rollouts that were cut": (
        "test_onverl_parts::test_a_reply_at_its_limit_is_told_from_one_that_ended_although_veRL_calls_both_completed",
        "test_token_policy::test_a_full_context_and_several_replies_are_typed_errors",
    ),
    "a judge that is down": (
        "test_onverl_parts::test_the_frozen_agent_and_the_judge_are_waited_for_too",
        "onverl/test_loops::test_an_outage_of_judge_server_or_frozen_agent_is_no_sample",
    ),
    "a tokenizer or template of another model": (
        "test_token_policy::test_a_template_that_changes_earlier_turns_is_refused_before_the_run_and_during_it",
        "test_onverl_parts::test_a_tokenizer_of_another_model_is_refused_before_the_run",
        "onverl/test_settings::test_a_model_whose_parts_belong_to_others_is_refused_before_the_run",
    ),
    "a checkpoint of another model": (
        "test_train_data::test_a_checkpoint_of_another_model_is_refused",
        "test_nano::test_a_checkpoint_of_another_model_is_refused",
    ),
    "a full disk": (
        "test_train_data::test_a_disk_without_room_for_a_checkpoint_is_known_before_the_run",
        "test_tiny::test_a_full_disk_ends_a_run_and_leaves_the_checkpoint_before",
        "test_train_data::test_an_export_that_was_killed_is_made_again_and_never_taken_for_a_whole_one",
    ),
    "a run that gives no sample": (
        "onverl/test_whole_run::test_a_run_whose_every_question_is_lost_stops_with_the_reason_and_the_way_on",
    ),
    "settings that do not exist": (
        "test_train_settings::test_a_setting_that_is_unknown_or_unfit_is_refused_with_the_nearest_one",
        "onverl/test_settings::test_a_setting_that_verl_does_not_know_is_refused_with_the_nearest_one",
    ),
}


@pytest.mark.parametrize("line", LINES | BAD_INPUT)
def test_every_line_is_held_by_tests_that_exist(line: str) -> None:
    for place in (LINES | BAD_INPUT)[line]:
        file, _, name = place.partition("::")
        tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, place


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


async def test_the_trained_planner_writes_the_plan_with_many_memories_and_with_none() -> None:
    task, question, shelf = stage()
    unit = MemoryUnit(question="Who leads it?", workflow="1. search (name -> page)", outcome=Outcome.CORRECT)
    hits = tuple(Hit(unit=unit, score=1.0, similarity=1.0, value=0.0, rarity=0.0, why="w") for _ in range(3))
    keep = orjson.dumps({"need_replan": False}).decode()
    for recall in (Recall(), Recall(successes=hits)):
        says = Says([plan_text(task.plan), keep])
        policy = TokenPolicy(says, renderer(), context=100_000)
        frozen = ScriptedChat([*map(call, question.queries), render_answer(question.answer)])
        asked = task.model_copy(update={"recall": recall})
        made = await roll_out(
            asked, Setting("planner", shelf, policy, frozen, limits=BudgetConfig(steps=9, searches=9))
        )
        assert made.right is True
        assert not says.texts
        assert ("1. search (name -> page)" in says.seen[0]) is bool(recall.hits)


def test_only_a_prompt_that_shows_memories_speaks_of_them() -> None:
    speaks = {name for name in ("plan", "replan", "executor", "router") if "memor" in load_prompt(name).text.lower()}
    assert speaks == {name for name in speaks if "$memories" in load_prompt(name).text} == {"plan"}


async def test_learning_while_testing_has_the_budget_of_an_ordinary_question(tmp_path: Path) -> None:
    flags = {"home": str(tmp_path), "memory.embedder": "hash", "budget.steps": 2}
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(orjson.dumps({"id": "p", "title": "Velmora", "text": "Velmora makes bells."}))
    config = load_config(environment={}, flags={**flags, "search.corpus": [str(corpus)], "search.dense": False})
    one, turns = orjson.dumps({"steps": ["look"]}).decode(), [call("bells")] * 9
    used = {}
    async with build(config) as mia:
        for way in ("ask", "explore"):
            mia.models["planner"] = ScriptedChat([one, *[orjson.dumps({"need_replan": False}).decode()] * 2])
            mia.models["executor"] = chat = ScriptedChat(list(turns))
            mia.models["router"] = ScriptedChat([orjson.dumps({"choice": 1}).decode()] * 2)
            question = Question(text=f"What does Velmora make, {way}?")
            await (mia.ask(question) if way == "ask" else mia.explore(question, width=1))
            used[way] = len(chat.seen)
    assert used == {"ask": 2, "explore": 2}
