"""`mia train ttl --from`: a small model answers one's own questions, learns from them, and is left as vLLM loads it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from random_llama import model, tokenizer

from mia_skill.cli.main import main

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

REPLIES = ('{"steps":["look"]}', "<answer>Aldric Tesh</answer>")
PAGES = [{"id": "p1", "title": "Velmora Works", "text": "Velmora Works was founded by Aldric Tesh in 1887."}]
QUESTIONS = [
    {"id": "q1", "question": "Who founded Velmora Works?", "answer": "Aldric Tesh"},
    {"id": "q2", "question": "Who built Velmora Works?", "answers": ["A. Tesh", "Aldric Tesh"]},
    {"id": "q3", "question": "When was Velmora Works founded?", "answer": "1887"},
]


def taught(folder: Path, reply: str, enough: float) -> Path:
    """A model that writes one reply to whatever it is asked, as a word of its own, about as surely as its loss says."""
    from mia_skill.core.chat import Message
    from mia_skill.core.prompts import load_prompt
    from training.policy import Conversation, Renderer
    from training.tiny import Learner

    words = tokenizer()
    words.add_tokens(list(REPLIES))
    learner = Learner(model(len(words)), words, lr=5e-3, sample_batch=4, context=128)
    renderer = Renderer(words)
    told = [*renderer.encode(reply), words.eos_token_id]
    assert len(told) == 2
    text = load_prompt("plan").text
    asked = [renderer.begin([Message(role="user", content=text[:end])]) for end in (100, 400, 900, len(text))]
    talks = [
        Conversation((), ids + told, [False] * len(ids) + [True] * len(told), [0.0] * len(ids + told)) for ids in asked
    ]
    for _ in range(400):
        if learner.imitate(talks).drift < enough:
            break
    learner.save(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Planner that often writes no plan, so that its plans differ in reward, and an Executor that has one answer."""
    folder = tmp_path_factory.mktemp("models")
    return taught(folder / "planner", REPLIES[0], 0.6), taught(folder / "executor", REPLIES[1], 0.02)


@pytest.fixture
def play(models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    (tmp_path / "pages.jsonl").write_text("\n".join(map(json.dumps, PAGES)))
    searched = f'search.corpus=["{tmp_path / "pages.jsonl"}"]'
    planner, executor = models

    def played(rows: Sequence[object], *more: str) -> Result:
        (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
        given = ["--from", tmp_path / "questions.jsonl", "--model", planner, "--executor", executor]
        given += [
            "--out",
            tmp_path / "run",
            "--batch",
            2,
            "--width",
            6,
            "--device",
            "cpu",
            "--tokens",
            32,
            "--lr",
            0.01,
        ]
        words = ["--home", tmp_path / "home", "--set", searched, "train", "ttl", *given, *more]
        return CliRunner().invoke(main, [str(one) for one in words])

    return played


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_own_questions_are_answered_learnt_from_and_gone_on_with_where_the_run_stopped(
    play: Callable[..., Result], models: tuple[Path, Path], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    done = play(QUESTIONS[:2])
    assert done.exit_code == 0, done.output
    assert "2 questions, 2 answered; right before learning 2/2" in done.output
    assert "1 updates" in done.output
    assert f"--lora-modules planner={run / 'planner-v1'}" in done.output
    done = play(QUESTIONS)
    assert done.exit_code == 0, done.output
    answers = lines(run / "answers.jsonl")
    assert [(one["id"], one["answer"], one["right"], one["version"]) for one in answers] == [
        ("q1", "Aldric Tesh", True, 0),
        ("q2", "Aldric Tesh", True, 0),
        ("q3", "Aldric Tesh", False, 1),
    ]
    assert [one["rewarded"] for one in lines(run / "batches.jsonl")] == [12, 6]
    assert not (tmp_path / "home" / "memory.sqlite3").exists()
    base = AutoModelForCausalLM.from_pretrained(models[0])
    learnt = PeftModel.from_pretrained(base, run / "planner-v1")
    moved = {name: float(one.abs().max()) for name, one in learnt.named_parameters() if "lora_B" in name}
    assert max(moved.values()) > 0


def test_all_weights_learn_and_what_is_left_is_a_model(
    play: Callable[..., Result], models: tuple[Path, Path], tmp_path: Path
) -> None:
    from training.model_folder import check_model

    done = play(QUESTIONS[:2], "--rank", "0", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["score"]["version"] == 1
    assert check_model(Path(told["score"]["planner"])) == check_model(models[0])
    assert "vllm serve " + told["score"]["planner"] in " ".join(told["use"])


def test_without_gold_what_cannot_be_judged_is_masked_and_nothing_counts_as_right(
    play: Callable[..., Result], tmp_path: Path
) -> None:
    done = play([{"id": one["id"], "question": one["question"]} for one in QUESTIONS], "--judge", "panel")
    assert done.exit_code == 0, done.output
    assert "right" not in done.output.splitlines()[0]
    assert [one["right"] for one in lines(tmp_path / "run" / "answers.jsonl")] == [None] * 3
    taught = lines(tmp_path / "run" / "batches.jsonl")
    assert sum(one["rewarded"] for one in taught) < sum(one["drawn"] for one in taught)


def test_a_folder_of_another_run_is_refused_and_a_run_without_an_updater_learns_memory_only(
    play: Callable[..., Result], tmp_path: Path
) -> None:
    done = play(QUESTIONS, "--updater", "null")
    assert done.exit_code == 0, done.output
    assert "0 updates" in done.output
    assert "vllm" not in done.output
    refused = play(QUESTIONS, "--updater", "tiny")
    assert refused.exit_code == 1
    assert "updater 'null', not 'tiny'" in refused.output


def test_questions_at_which_a_part_failed_are_told_with_the_reason_and_asked_again(
    play: Callable[..., Result], tmp_path: Path
) -> None:
    done = play(QUESTIONS[:2], "--context", "256")
    assert done.exit_code == 0, done.output
    assert "0 questions, 0 answered" in done.output
    assert "2 not answered yet, for a part failed: ContextFull: " in done.output
    assert "2 questions, 2 answered" in play(QUESTIONS[:2]).output
