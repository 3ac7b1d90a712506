"""Whatever endpoints, tools and disks do during a run: rows say it, nothing is lost, nothing is silently wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest
from evaluation_world import small_evaluation
from small_disk import file_limit

from mia_skill.agents.mia import Mia, Sources
from mia_skill.core.config import BudgetConfig, EndpointConfig, MemoryConfig
from mia_skill.core.errors import SearchError
from mia_skill.core.openai_chat import OpenAIChat
from mia_skill.core.types import Passage, Question
from mia_skill.evaluation.judging import Graders
from mia_skill.evaluation.mind import ModelMind
from mia_skill.evaluation.plan import Evaluation, trace_path
from mia_skill.evaluation.runner import EndpointGone, Protocol
from mia_skill.evaluation.summary import line_of
from mia_skill.evaluation.task import Task, TaskSet
from mia_skill.evaluation.trace import Journal, Row, TraceUnwritable, rows_of
from retrieval.embed import HashEmbedder
from retrieval.search import SearchEngine

PLAN = orjson.dumps({"steps": ["find the founder"]}).decode()
CALL = '<tool_call>{"name": "search", "arguments": {"query": "founder of NUMBER"}}</tool_call>'
TASKS = TaskSet(
    name="four",
    tasks=tuple(Task(id=f"t{n}", question=Question(text=f"Who founded City {n}?"), gold=("Ola",)) for n in range(4)),
)
SICK = "City 2"


class Shelf:
    """Finds a page for everything but what is asked for the sick city's sake, where it is `down`."""

    name = "corpus"

    def __init__(self, *, down: bool = False) -> None:
        self.down = down

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        if self.down and SICK in query:
            raise SearchError("the corpus service cannot be reached", engine="corpus")
        return (Passage(id="p1", title="a city", text=f"{query}: Ola."),)


def said(content: str) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 9}})


def answering(sick: Callable[[], httpx.Response], asked_of: str) -> Callable[[httpx.Request], httpx.Response]:
    """A server with a Planner and an Executor in it; to `asked_of` about the sick city it answers with `sick`."""

    def serve(request: httpx.Request) -> httpx.Response:
        form = orjson.loads(request.content)
        text = "\n".join(str(one["content"]) for one in form["messages"])
        role = "planner" if "response_format" in form else "executor"
        if role == asked_of and SICK in text:
            return sick()
        if role == "planner":
            return said(PLAN)
        city = text[text.index("City ") :][:6]
        return said("<answer>Ola [p1]</answer>" if "Ola." in text else CALL.replace("NUMBER", city))

    return serve


def broken() -> httpx.Response:
    raise httpx.ReadError("the connection was reset")


FAULTS: dict[str, tuple[str, Callable[[], httpx.Response], str]] = {
    "prose in place of a form": ("planner", lambda: said("I would look for the founder."), "PlanError"),
    "half a form": ("planner", lambda: said('{"steps": ["find'), "PlanError"),
    "a web page": ("executor", lambda: httpx.Response(200, text="<html>502</html>"), "ModelReplyError"),
    "an empty reply": ("executor", lambda: said(""), "ModelReplyError"),
    "a reset connection": ("executor", broken, "ModelUnreachableError"),
    "a server error": ("executor", lambda: httpx.Response(500, text="worker died"), "ModelStatusError"),
    "a full context": (
        "executor",
        lambda: httpx.Response(400, json={"error": "the maximum context length is 64 tokens"}),
        "ContextOverflow",
    ),
}

Evaluated = Callable[..., Evaluation]


@pytest.fixture
def evaluated(make_mia: Callable[..., Mia], tmp_path: Path) -> Evaluated:
    def made(serve: Callable[[httpx.Request], httpx.Response], corpus: SearchEngine, waves: int = 4) -> Evaluation:
        config = EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", max_retries=0)
        chat = OpenAIChat(config, transport=httpx.MockTransport(serve))
        mia = make_mia(models=dict.fromkeys(("manager", "planner", "executor"), chat))
        return Evaluation(
            folder=tmp_path,
            tasks=TASKS,
            mind=ModelMind(replace(mia, sources=Sources(corpus=corpus))),
            grade=Graders(),
            embedder=HashEmbedder(),
            memory=MemoryConfig(),
            limits=BudgetConfig(),
            protocol=Protocol(concurrency=waves),
            shuffled=False,
        )

    return made


async def rows_after(evaluation: Evaluation, method: str = "plan-only") -> dict[str, Row]:
    await evaluation.run_one(method, 0)
    return {row.task: row for row in rows_of(trace_path(evaluation.folder, method, 0))}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_endpoint_is_a_row_without_a_sample_and_the_others_are_graded(
    fault: str, evaluated: Evaluated
) -> None:
    role, sick, error = FAULTS[fault]
    rows = await rows_after(evaluated(answering(sick, role), Shelf()))
    assert {task: row.grade for task, row in rows.items() if task != "t2"} == dict.fromkeys(
        ("t0", "t1", "t3"), "correct"
    )
    assert (rows["t2"].status, rows["t2"].right, rows["t2"].error.partition(":")[0]) == ("no_sample", None, error)
    line = line_of("plan-only", list(rows.values()), (), evaluated(answering(sick, role), Shelf()).limits.prices)
    assert (line.accuracy, line.graded, line.no_sample) == (1.0, 3, 1)


async def test_prose_in_place_of_calls_is_a_run_that_gave_up_and_not_an_error(evaluated: Evaluated) -> None:
    rows = await rows_after(evaluated(answering(lambda: said("Let me think."), "executor"), Shelf()))
    assert (rows["t2"].status, rows["t2"].grade) == ("sample", "not_attempted")


async def test_a_search_that_is_down_is_a_row_without_a_sample(evaluated: Evaluated) -> None:
    rows = await rows_after(evaluated(answering(broken, "nobody"), Shelf(down=True)))
    assert rows["t2"].error.startswith("ToolOutage: search is down")
    assert [rows[task].grade for task in ("t0", "t1", "t3")] == ["correct"] * 3


async def test_a_run_whose_search_is_down_stops_and_goes_on_with_the_rows_it_has(evaluated: Evaluated) -> None:
    with pytest.raises(EndpointGone, match=r"search is down.*run the same command again"):
        await rows_after(evaluated(answering(broken, "nobody"), Shelf(down=True), waves=1))
    rows = await rows_after(evaluated(answering(broken, "nobody"), Shelf(), waves=1))
    assert [row.grade for row in rows.values()] == ["correct"] * 4


async def test_a_full_disk_stops_the_run_in_words_and_loses_no_row_that_was_written(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    await small_evaluation(whole).run_one("none", 0)
    size = trace_path(whole, "none", 0).stat().st_size
    with file_limit(size // 2), pytest.raises(TraceUnwritable, match="make room and run the same command again"):
        await small_evaluation(cut).run_one("none", 0)
    kept = rows_of(trace_path(cut, "none", 0))
    assert 0 < len(kept) < 12
    await small_evaluation(cut).run_one("none", 0)
    ends = [[(row.task, row.answer) for row in rows_of(trace_path(one, "none", 0))] for one in (whole, cut)]
    assert ends[0] == ends[1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceUnwritable, match="cannot write"):
        Journal(tmp_path / "file" / "trace.jsonl")
