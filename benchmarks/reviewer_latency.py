"""Our reviewers against the published order of calls, on one real server: how long a judgment takes.

    python -m benchmarks.reviewer_latency --endpoint http://127.0.0.1:8000/v1 --model NAME [--cases 8] [--chars 6000]

Published: four calls, one after the other, each with its instructions first and the trajectory behind them; the third
sees no evidence, the fourth reads the reports. Ours: three calls at once that share everything but their last lines
(question, evidence and answer first), so that a server with a prefix cache reads the evidence once; a fourth call only
where they split (`with chair` counts it always). Every reviewer writes exactly `--tokens` tokens in every arm (vLLM's
`ignore_eos`), the arbiter one. Cases are new to the server in every arm; the arms take turns. `ours, one by one` and
`ours, prefix broken` (a random line in front of each prompt) show what concurrency and the cache each give.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_hex

import httpx

from mia_skill.core.types import Passage, Step
from mia_skill.core.verdict import Case
from retrieval.world import World, build_world
from trust.evidence import examine
from trust.panel import review_messages

ROLES = (
    "You review the reasoning of an agent. Read its trajectory and say whether each step follows from the one before "
    "and leads to the answer. End with a line `Score:` and a number up to 10. At most 50 words.",
    "You review the sources of an agent. Read its trajectory and say whether what it found is credible and bears out "
    "the answer. End with a line `Score:` and a number up to 10. At most 50 words.",
)
LAST_ROLE = "You review the result of an agent: is the answer complete and plausible? End with `Score:`. 50 words."
ARBITER = "Weigh the three reports (0.5, 0.3, 0.2), look for fatal flaws, and reply A for correct or B for incorrect."
Call = Callable[[str, int], Awaitable[str]]
Arm = Callable[[Case, Call, int], Awaitable[None]]


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
    found = asyncio.run(measure(given.endpoint, given.model, given.cases, given.chars, given.tokens, given.seconds))
    base = statistics.median(found["published"])
    print(
        f"{given.model}: {len(found['ours'])} cases of about {given.chars} characters, {given.tokens} tokens a review"
    )
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        print(f"  {name:22} median {middle:7.2f} s  worst {max(seconds):7.2f} s  {base / middle:5.2f}x as fast")


async def measure(
    endpoint: str, model: str, cases: int, chars: int, tokens: int, most: float
) -> dict[str, list[float]]:
    """Seconds of each judgment, by arm."""
    arms: dict[str, Arm] = {
        "published": published,
        "ours": ours,
        "ours with chair": with_chair,
        "ours, one by one": one_by_one,
        "ours, prefix broken": broken,
    }
    found: dict[str, list[float]] = {name: [] for name in arms}
    world, started = build_world(5, 200), time.perf_counter()
    async with httpx.AsyncClient(timeout=900) as client:

        async def call(prompt: str, length: int) -> str:
            body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": length}
            body |= {"temperature": 0, "ignore_eos": True}
            reply = await client.post(f"{endpoint.rstrip('/')}/chat/completions", json=body)
            reply.raise_for_status()
            return str(reply.json()["choices"][0]["message"]["content"])

        await call("Say hello.", 8)
        for number in range(cases):
            if time.perf_counter() - started > most:
                break
            order = list(arms)
            random.Random(number).shuffle(order)
            for name in order:
                case = made_case(world, random.Random(f"{name}-{number}-{token_hex(4)}"), chars)
                began = time.perf_counter()
                await arms[name](case, call, tokens)
                found[name].append(time.perf_counter() - began)
    return found


def made_case(world: World, chance: random.Random, chars: int) -> Case:
    """A question of our encyclopedia with shuffled pages of about `chars` characters, new to the server."""
    question = chance.choice(world.questions)
    pages = chance.sample(list(world.pages), len(world.pages))
    read: list[Passage] = []
    for page in pages:
        if sum(len(one.text) for one in read) >= chars:
            break
        read.append(Passage(id=page.id, title=page.title, text=page.text))
    steps = tuple(Step(query=one.title, passages=(one,)) for one in read)
    return Case(question=f"{question.text} ({chance.getrandbits(32):x})", answer=question.answer, steps=steps)


async def published(case: Case, call: Call, tokens: int) -> None:
    """Four calls in a row, instructions first."""
    run = "\n".join(f"Search: {step.query}\nResult: {step.passages[0].text}" for step in case.steps)
    asked = f"Question: {case.question}\nAnswer: {case.answer}"
    reports = [await call(f"{role}\n\n{asked}\nTrajectory:\n{run}", tokens) for role in ROLES]
    reports.append(await call(f"{LAST_ROLE}\n\n{asked}", tokens))
    await call(f"{ARBITER}\n\n{asked}\nTrajectory:\n{run}\nReports:\n" + "\n".join(reports), 1)


async def ours(case: Case, call: Call, tokens: int) -> None:
    """Three calls at once over one prefix."""
    await asyncio.gather(*(call(prompt, tokens) for prompt in prompts(case)))


async def with_chair(case: Case, call: Call, tokens: int) -> None:
    """The same, and the chair on the same prefix."""
    asked = prompts(case)
    reports = await asyncio.gather(*(call(prompt, tokens) for prompt in asked))
    await call(shared(asked) + "\n".join(reports), 1)


async def one_by_one(case: Case, call: Call, tokens: int) -> None:
    """Our prompts without concurrency."""
    for prompt in prompts(case):
        await call(prompt, tokens)


async def broken(case: Case, call: Call, tokens: int) -> None:
    """Our prompts at once, none of which a cache can share."""
    await asyncio.gather(*(call(f"{token_hex(16)}\n{prompt}", tokens) for prompt in prompts(case)))


def prompts(case: Case) -> list[str]:
    """What our three reviewers read."""
    return [turn.content for (turn,) in review_messages(case, examine(case)).values()]


def shared(texts: Sequence[str]) -> str:
    """What they have in common, from the first byte on."""
    end = next(n for n, chars in enumerate(zip(*texts, strict=False)) if len(set(chars)) > 1)
    return texts[0][:end]


if __name__ == "__main__":
    main()
