"""The demo's host: plays one question through the tools, as an agent with a language model would."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp.types import TextContent

from mia_skill.agents.explorer import Explorer, Note, Work, follow
from mia_skill.agents.reader import one_chain, same_shape
from mia_skill.core.errors import MiaError
from mia_skill.core.types import Passage

__all__ = ["Host", "Solved", "ToolFailure"]

EXPLORE = ["search the whole question", "follow the names found there, best first"]
SEARCHES = 8
"""Limit of searches for one question, whatever the plan."""


User = Callable[[str], bool]
"""Says whether an answer was right."""


class ToolFailure(MiaError):
    """A tool answered with an error."""


@dataclass
class Solved:
    """What happened for one question."""

    answer: str = ""
    why: str = ""
    verdict: str = "abstain"
    queries: list[str] = field(default_factory=list)
    memories: list[str] = field(default_factory=list)
    from_memory: bool = False
    """The answer came by following a remembered workflow."""
    replanned: bool = False
    unit: str = ""
    """Id of the memory that now holds this run."""
    told: list[str] = field(default_factory=list)
    """What to show, in the order in which it happened."""


@dataclass(frozen=True)
class Host:
    """An MCP client with a small deterministic mind."""

    client: Client
    with_memory: bool

    async def solve(self, question: str, user: User | None = None) -> Solved:
        """Retrieve, plan, search, judge, replan once when the evidence does not bear the answer out, store. A `user`
        says afterwards whether the answer was right, and the memory is told."""
        done = Solved()
        work = Work(question=question, search=self.search, limit=SEARCHES)
        workflows = await self.recall(question, done) if self.with_memory else []
        plan = await self.plan(question, workflows[0] if workflows else EXPLORE, done)
        if plan == EXPLORE:
            await Explorer(work).run()
        else:
            done.from_memory = await follow(work, [plan, *workflows[1:]])
        done.told.append(f"search x{len(work.notes)}: {work.answer or 'no answer yet'}")
        await self.judge(work, done)
        if await self.replan(work, plan, done):
            plan, done.from_memory = EXPLORE, False
            work.answer = ""
            work.limit += SEARCHES
            await Explorer(work).run()
            await self.judge(work, done)
        done.answer, done.why = work.answer, work.why
        done.queries = [note.query for note in work.notes]
        if self.with_memory and work.notes:
            await self.store(work, plan, done)
            if user is not None and done.unit:
                good = user(done.answer)
                await self.call("memory_feedback", id=done.unit, good=good)
                done.told.append(f"memory_feedback: {'good' if good else 'bad'}")
        return done

    async def recall(self, question: str, done: Solved) -> list[list[str]]:
        """The workflows of similar questions that went well, most fitting first."""
        got = await self.call("memory_retrieve", question=question, k=4)
        good = [unit for unit in got["memories"] if unit["outcome"] == "correct" and not unit.get("quarantined")]
        fitting = [unit for unit in good if one_chain(question) and same_shape(question, unit["question"])]
        done.memories = [unit["id"] for unit in got["memories"]]
        failed = len(done.memories) - len(good)
        done.told.append(f"memory_retrieve: {len(good)} that worked ({len(fitting)} fit), {failed} that failed")
        return [[line.partition(". ")[2] for line in unit["workflow"].splitlines()] for unit in fitting]

    async def plan(self, question: str, steps: list[str], done: Solved) -> list[str]:
        """The endpoint's plan where there is one; else this agent fills in the brief."""
        planned = await self.call("plan", question=question)
        if planned["status"] == "brief":
            planned = await self.call("plan", question=question, form={"steps": steps[:12]})
        done.told.append(f"plan: {' | '.join(planned['steps'])}")
        return list(planned["steps"])

    async def replan(self, work: Work, plan: list[str], done: Solved) -> bool:
        """Ask once whether to go on another way."""
        asked: dict[str, Any] = {"question": work.question, "plan": numbered(plan), "steps": notes(work.notes)}
        asked["answer"] = work.answer
        got = await self.call("replan", **asked)
        if got["status"] == "brief":
            need = done.verdict in ("incorrect", "not_attempted") and plan != EXPLORE
            reason = f"the remembered way did not bear out: judged {done.verdict}" if need else ""
            form = {"need_replan": need, "reason": reason, "steps": EXPLORE if need else []}
            got = await self.call("replan", **asked, form=form)
        done.replanned = bool(got.get("need_replan"))
        if done.replanned:
            signals = ", ".join(signal["name"] for signal in got.get("signals", []))
            done.told.append(f"replan: {got.get('reason', '')} [{signals}]")
        return done.replanned

    async def judge(self, work: Work, done: Solved) -> None:
        """Have the answer checked against what was read."""
        got = await self.call("judge", question=work.question, answer=work.answer, steps=notes(work.notes))
        done.verdict = str(got["label"])
        reasons = got.get("reasons") or [""]
        done.told.append(f"judge: {done.verdict} ({reasons[0]})")

    async def store(self, work: Work, plan: list[str], done: Solved) -> None:
        """Keep the run; the server judges it and credits the units that were shown."""
        got = await self.call(
            "memory_store",
            question=work.question,
            answer=work.answer,
            steps=notes(work.notes),
            plan=numbered(plan),
            memory_ids=done.memories,
        )
        done.unit = next(iter(got.get("ids", [])), "")
        merged = " (merged into an older one)" if got.get("merged") else ""
        done.told.append(f"memory_store: {got.get('outcome', 'nothing kept')}{merged}")

    async def search(self, query: str) -> tuple[Passage, ...]:
        """One query through the search tool."""
        got = await self.call("search", queries=[query])
        (result,) = got["results"]
        if result.get("error"):
            raise ToolFailure(f"search: {result['error']}")
        return tuple(Passage(id=one["id"], title=one.get("title", ""), text=one["text"]) for one in result["passages"])

    async def call(self, tool: str, **arguments: object) -> Mapping[str, Any]:
        """One tool call.

        Raises:
            ToolFailure: the tool answered with an error; its text says what to do.
        """
        result = await self.client.call_tool(tool, arguments)
        if result.is_error or result.structured_content is None:
            said = " ".join(block.text for block in result.content if isinstance(block, TextContent))
            raise ToolFailure(f"{tool}: {said}")
        content: Mapping[str, Any] = result.structured_content
        return content


def notes(taken: list[Note]) -> list[dict[str, object]]:
    """The searches as the tools take them."""
    return [{"query": note.query, "passage_ids": list(note.passage_ids), "thought": note.thought} for note in taken]


def numbered(steps: list[str]) -> str:
    """Steps as text."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
