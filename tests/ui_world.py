"""A bank for the tests of the page: every status and origin, a lineage, outcomes of both arms, and hostile texts."""

from collections.abc import Sequence
from typing import Any

import httpx

from mia_skill.core.types import Feedback, MemoryUnit, Origin, Outcome, Provenance
from mia_skill.ui.door import Door
from retrieval.bank import Bank, Consolidation
from retrieval.gate import Arm, Draw, Trial

TOKEN = "t0ken-of-the-tests"
HOSTILE = (
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=2>",
    "javascript:window.hacked=3",
    '"><svg onload=window.hacked=4>',
    "</title><iframe srcdoc='<script>parent.hacked=5</script>'>",
    "{{7*7}}${window.hacked=6}",
    "\u202egnihton si siht\u202c \x1b[31m \U0001f600",
    "data:text/html,<script>window.hacked=7</script>",
)
"""Texts that would run, load or mislead where they were taken for markup, code or an address."""


def remembered(question: str, outcome: Outcome | None = Outcome.CORRECT, **fields: Any) -> MemoryUnit:
    came = {name: fields.pop(name) for name in ("origins", "parents", "sources", "principal", "judged_by", "trail")
            if name in fields}  # fmt: skip
    workflow = fields.pop("workflow", f"1. search for what {question.rstrip('?')} names\n2. read the page of it")
    return MemoryUnit(question=question, workflow=workflow, outcome=outcome, provenance=Provenance(**came), **fields)


def hostile_unit(**fields: Any) -> MemoryUnit:
    """Every field that takes text holds every hostile text."""
    text = " ".join(HOSTILE)
    return remembered(
        f"Who is {text}?",
        workflow=f"1. {text}",
        plan=f"1. {text}",
        category=text,
        origins=(Origin.WEB,),
        sources=HOSTILE,
        principal=text,
        judged_by=text,
        trail=HOSTILE,
        feedback=(Feedback(good=True, note=text),),
        **fields,
    )


def keep(bank: Bank, *units: MemoryUnit) -> tuple[MemoryUnit, ...]:
    bank.consolidate(Consolidation(units=units, merge=False))
    return units


def judged(bank: Bank, shown: Sequence[MemoryUnit], withheld: Sequence[MemoryUnit], wins: Sequence[bool]) -> None:
    """Outcomes of tasks that were shown these units, or that had them left out."""
    arm = Arm.SHOWN if shown else Arm.WITHHELD
    ids = {"shown": tuple(one.id for one in shown), "withheld": tuple(one.id for one in withheld)}
    draws = [
        Draw(task=f"{arm}{len(ids['shown'])}{n}", namespace="default", arm=arm, randomised=True, **ids)
        for n in range(len(wins))
    ]
    trials = tuple(Trial(draw=draw, won=won, judged_by="gold") for draw, won in zip(draws, wins, strict=True))
    bank.consolidate(Consolidation(trials=trials))


def filled(bank: Bank) -> dict[str, MemoryUnit]:
    """Some of everything; returns the units by a short name."""
    (mill,) = keep(
        bank, remembered("Who built the old mill of Tarnow?", trail=("search: old mill -> p1",), sources=("p1",))
    )
    (town,) = keep(bank, remembered("In which town was the builder of the red bridge born?", parents=(mill.id,)))
    (lost,) = keep(bank, remembered("Which harbour is deeper, Orm or Sel?", Outcome.INCORRECT, namespace="work"))
    (open_,) = keep(bank, remembered("How tall is the lamp of Aster?", None))
    (web,) = keep(
        bank, remembered("Who painted the blue door?", origins=(Origin.WEB,), sources=("https://blog.example/x",))
    )
    (child,) = keep(bank, remembered("Who painted the green door?", parents=(web.id,)))
    (bad,) = keep(bank, hostile_unit())
    judged(bank, (mill, town), (), [True] * 12 + [False] * 3)
    judged(bank, (), (mill, town), [True, False, False, False])
    return {"mill": mill, "town": town, "lost": lost, "open": open_, "web": web, "child": child, "bad": bad}


def client_of(door: Door, **headers: Any) -> httpx.AsyncClient:
    """A client of the page that has its token, unless other headers say otherwise."""
    known = {"authorization": f"Bearer {TOKEN}"} | headers
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=door), base_url="http://127.0.0.1:8757", headers=known)


async def ask(page: httpx.AsyncClient, name: str, expected: int = 200, /, **form: Any) -> Any:
    """The page's answer to a question."""
    answer = await page.post(f"/api/{name}", json=form)
    assert answer.status_code == expected, answer.text
    return answer.json()
