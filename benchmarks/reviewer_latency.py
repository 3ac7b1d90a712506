"""Our reviewers against the published order of calls, on one real server: how long a judgment takes.

    python -m benchmarks.reviewer_latency --endpoint http://127.0.0.1:8000/v1 --model NAME [--cases 8] [--chars 6000]

Published: four calls, one after the other, each with its instructions first (as long as the published ones, in words of
ours; `published, brief` has two sentences in their place) and the trajectory behind them; the third sees no evidence,
the fourth reads the reports. Ours: `Panel.judge` as the product runs it (examination, prompts, JSON
schema, three calls at once over one prefix, so that a server with a prefix cache reads the evidence once); a fourth
call, the chair's, only where they split (`with chair` makes them). Every review is exactly `--tokens` tokens long in
every arm (vLLM's `ignore_eos`), the arbiter's and the chair's reply one; since such replies are no finished forms, the
panel is handed a form of ours once the server has answered. Cases are new to the server in every arm; the arms take
turns. `ours, one by one` and `ours, prefix broken` (a random line in front of each prompt) show what concurrency and
the cache each give.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

import httpx

from mia_skill.core.chat import Message, Reply, asked_schema
from mia_skill.core.config import TrustConfig
from mia_skill.core.openai_wire import response_format
from mia_skill.core.types import Passage, Step
from mia_skill.core.verdict import Case
from retrieval.world import World, build_world
from trust.forms import ReviewForm
from trust.panel import Panel

ROLES = (
    "You review the reasoning of an agent. Read its trajectory and say whether each step follows from the one before "
    "and leads to the answer. End with a line `Score:` and a number up to 10. At most 50 words.",
    "You review the sources of an agent. Read its trajectory and say whether what it found is credible and bears out "
    "the answer. End with a line `Score:` and a number up to 10. At most 50 words.",
)
LAST_ROLE = "You review the result of an agent: is the answer complete and plausible? End with `Score:`. 50 words."
ARBITER = "Weigh the three reports (0.5, 0.3, 0.2), look for fatal flaws, and reply A for correct or B for incorrect."
RUBRIC = """

Work through it in this order. One: list what the agent did, call by call, and what came back each time. Two: for every
step ask whether it follows from what was known then, whether something was assumed that nobody had said, and whether a
name, a year or a number was taken over from a text about another thing of a like name. Three: ask of every text what
kind of source it is, whether it speaks of the very thing that was asked, whether it states the answer outright or only
allows it to be guessed, and whether a second text that does not copy the first says the same. Four: compare the answer
with the question once more. It must be of the kind that was asked for, a person where a person was asked for and a
year where a year was, it must be complete, and it must not be hedged. Five: look for what speaks against the answer,
and say so even where much speaks for it: one contradiction in a good source outweighs three texts that merely fit.

Scores: 9 or 10 where every part is stated by a good source and nothing speaks against it; 6 to 8 where one part is
only implied; 4 or 5 where it cannot be told; 2 or 3 where an important part is missing or contradicted; 0 or 1 where
the answer is plainly wrong, answers another question, or was made up. Do not reward length, confident wording or
politeness, do not add facts of your own, and do not repeat the trajectory. Name the step or the text that decided the
matter. Write plainly, without headings and without lists, and keep to the limit of words that was given above."""
"""Stands in for what the published instructions hold beside the role: about 400 tokens in each of the four calls."""
AGREED, SPLIT = (8, 8, 8), (9, 1, 1)
"""Scores of the forms that the panel is handed, in the order in which the reviewers ask."""


@dataclass
class Server:
    """A model server that is asked for replies of a fixed length; counts what it was asked."""

    client: httpx.AsyncClient
    url: str
    model: str
    tokens: int
    spent: Counter[str] = field(default_factory=Counter)

    async def say(self, prompt: str, length: int = 0, schema: Mapping[str, object] | None = None) -> str:
        """One call; without a length, a review's."""
        body: dict[str, object] = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        body |= {"max_tokens": length or self.tokens, "temperature": 0, "ignore_eos": True}
        if schema is not None:
            body["response_format"] = response_format(schema)
        answer = await self.client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
        answer.raise_for_status()
        reply = answer.json()
        used = reply["usage"]
        self.spent += Counter(calls=1, read=used["prompt_tokens"], written=used["completion_tokens"])
        return str(reply["choices"][0]["message"]["content"])


@dataclass
class Reviewer:
    """The panel's model: asks the server what the panel asks, and gives the panel a form or a letter it can use."""

    server: Server
    cited: str
    scores: tuple[int, ...] = AGREED
    broken: bool = False
    """A random line in front of every prompt."""
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    name: str = "reviewer"
    _asked: int = 0

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """One review, or the chair's letter."""
        (message,) = messages
        score = self.scores[min(self._asked, len(self.scores) - 1)]
        self._asked += 1
        prompt = f"{token_hex(16)}\n{message.content}" if self.broken else message.content
        async with self.turn:
            await self.server.say(prompt, 0 if schema else 1, schema)
        form = json.dumps({"score": score, "reason": "as measured", "cited": [self.cited]})
        return (Reply(text=form if schema else "A"),)


Arm = Callable[[Case, Server], Awaitable[None]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--endpoint", required=True, help="up to and including /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--chars", type=int, default=6000, help="of evidence in a case")
    parser.add_argument("--tokens", type=int, default=64, help="that every reviewer writes")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further case after so long")
    given = parser.parse_args()
    found = asyncio.run(run(given))
    print(f"{given.model}: {len(found)} cases of about {given.chars} characters, {given.tokens} tokens a review")
    for line in table(found):
        print(line)


async def run(given: argparse.Namespace) -> list[dict[str, float]]:
    """The measurement over a connection of its own."""
    async with httpx.AsyncClient(timeout=900, trust_env=False) as client:
        server = Server(client, given.endpoint, given.model, given.tokens)
        return await measure(server, given.cases, given.chars, given.seconds)


async def measure(
    server: Server, cases: int, chars: int, most: float = float("inf"), *, arms: Mapping[str, Arm] | None = None
) -> list[dict[str, float]]:
    """Seconds of each judgment by arm, a row a case; each is printed as it comes."""
    arms = arms or ARMS
    rows: list[dict[str, float]] = []
    world, started = build_world(5, 200), time.perf_counter()
    await server.say("Say hello.", 8, asked_schema(ReviewForm))  # a server compiles a schema once
    for number in range(cases):
        if time.perf_counter() - started > most:
            break
        order = list(arms)
        random.Random(number).shuffle(order)
        row: dict[str, float] = {}
        for name in order:
            case = made_case(world, random.Random(f"{name}-{number}-{token_hex(4)}"), chars)
            server.spent = Counter()
            began = time.perf_counter()
            await arms[name](case, server)
            row[name] = time.perf_counter() - began
            print(f"{number + 1} {name}: {row[name]:.2f} s, {dict(server.spent)}", flush=True)
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """Median and worst of each arm, and how much faster than the published order it is: by the medians, and the
    spread of the ratios case by case (both arms of a case ran within the same minute)."""
    base = statistics.median(row["published"] for row in rows)
    lines = []
    for name in ARMS:
        seconds = [row[name] for row in rows]
        ratios = sorted(row["published"] / row[name] for row in rows)
        middle = statistics.median(seconds)
        told = f"median {middle:7.2f} s  worst {max(seconds):7.2f} s  {base / middle:5.2f}x as fast"
        lines.append(f"  {name:22} {told}  (case by case {ratios[0]:.2f} to {ratios[-1]:.2f})")
    return lines


def made_case(world: World, chance: random.Random, chars: int) -> Case:
    """A question of our encyclopedia with shuffled pages of about `chars` characters, new to the server.

    Without the pages that try to steer their reader: a review that cites one is void, and then nobody splits.
    """
    question = chance.choice(world.questions)
    honest = [page for page in world.pages if page.kind != "poison"]
    pages = chance.sample(honest, len(honest))
    read: list[Passage] = []
    for page in pages:
        if sum(len(one.text) for one in read) >= chars:
            break
        read.append(Passage(id=page.id, title=page.title, text=page.text))
    steps = tuple(Step(query=one.title, passages=(one,)) for one in read)
    return Case(question=f"{question.text} ({chance.getrandbits(32):x})", answer=question.answer, steps=steps)


async def published(case: Case, server: Server, rubric: str = RUBRIC) -> None:
    """Four calls in a row, instructions first."""
    run = "\n".join(f"Search: {step.query}\nResult: {step.passages[0].text}" for step in case.steps)
    asked = f"Question: {case.question}\nAnswer: {case.answer}"
    reports = [await server.say(f"{role}{rubric}\n\n{asked}\nTrajectory:\n{run}") for role in ROLES]
    reports.append(await server.say(f"{LAST_ROLE}{rubric}\n\n{asked}"))
    await server.say(f"{ARBITER}{rubric}\n\n{asked}\nTrajectory:\n{run}\nReports:\n" + "\n".join(reports), 1)


async def brief_roles(case: Case, server: Server) -> None:
    """The same with two sentences of instructions: a shorter prompt than the published one."""
    await published(case, server, rubric="")


async def ours(case: Case, server: Server) -> None:
    """The panel as it is."""
    await panel(Reviewer(server, cited(case)), case)


async def with_chair(case: Case, server: Server) -> None:
    """The same where the reviewers split."""
    await panel(Reviewer(server, cited(case), scores=SPLIT), case)


async def one_by_one(case: Case, server: Server) -> None:
    """Our calls without concurrency."""
    await panel(Reviewer(server, cited(case), turn=asyncio.Semaphore(1)), case)


async def broken(case: Case, server: Server) -> None:
    """Our calls at once, none of which a cache can share."""
    await panel(Reviewer(server, cited(case), broken=True), case)


async def panel(model: Reviewer, case: Case) -> None:
    """One judgment as the product makes it."""
    await Panel(model, TrustConfig()).judge(case)


def cited(case: Case) -> str:
    """The id of something that was read: a review that cites nothing would be void."""
    return case.steps[0].passages[0].id


ARMS: dict[str, Arm] = {
    "published": published,
    "published, brief": brief_roles,
    "ours": ours,
    "ours with chair": with_chair,
    "ours, one by one": one_by_one,
    "ours, prefix broken": broken,
}

if __name__ == "__main__":
    main()
