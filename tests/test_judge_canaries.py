"""Canaries beside a judge: put to it as any other case, in the loop of test-time learning and in memory over `Mia`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_mia import QUESTION, STEP
from test_ttl import Four, is_tesh

from mcp_server.caller import Caller
from mcp_server.store import store_run
from mia_skill.agents.canaries import CanaryWatch, watched
from mia_skill.agents.explore import Judging
from mia_skill.agents.manager import Manager, Run
from mia_skill.app import build
from mia_skill.cli.doctor import bank as examine_bank
from mia_skill.core.config import MiaConfig, load_config
from mia_skill.core.errors import ConfigError, JudgeError
from mia_skill.core.events import silent
from mia_skill.core.types import Outcome, Question, Trajectory
from mia_skill.core.verdict import Case, Label, Verdict
from retrieval.bank import MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.standing import Standing
from training.gold import GoldJudge, first_plan
from training.groups import NullUpdater
from training.ttl import TestTime
from trust.canary import CANARIES, Canary, read_canaries

TRUE = Canary("true", Case(question="Who?", answer="Aldric Tesh"), frozenset({Label.CORRECT}))
FALSE = Canary("false", Case(question="Who?", answer="Bera Noll"), frozenset({Label.INCORRECT}))
WORDS = ("harbour", "violin", "glacier", "ministry", "copper", "satellite", "bakery", "vaccine")


class Liar:
    """Says the opposite while `lies`."""

    def __init__(self) -> None:
        self.lies = False
        self.down = False
        self.asked: list[str] = []
        self._gold = GoldJudge(is_tesh, lambda _question: self.lies)

    async def __call__(self, question: Question, case: Case, /) -> Verdict:
        self.asked.append(case.answer)
        if self.down:
            raise JudgeError("no verdict", raw="")
        return await self._gold(question, case)

    async def of(self, case: Case) -> Verdict:
        return await self(Question(text=case.question), case)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[SqliteBank]:
    opened = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


@pytest.fixture
def liar() -> Liar:
    return Liar()


@pytest.fixture
def watch(bank: SqliteBank, liar: Liar) -> CanaryWatch:
    return CanaryWatch(ask=liar.of, tell=bank.canary, cases=(TRUE, FALSE), share=0.5)


@pytest.fixture
def loop(bank: SqliteBank, liar: Liar, watch: CanaryWatch) -> TestTime:
    judge: Judging = watched(liar, watch)
    return TestTime(
        manager=Manager(bank, watched=frozenset({"gold"})),
        student=Four(),
        judge=judge,
        updater=NullUpdater(),
        pick=first_plan,
        query=lambda one: MemoryQuery(text=one.text),
        record=lambda _answered: None,
        vouch=watch.vouch,
    )


async def play(loop: TestTime, *words: str) -> list[bool]:
    return [(await loop.batch((Question(text=f"Who founded {word}?", id=word),))).believed for word in words]


# -- the watch ------------------------------------------------------------------------------------------------------


async def test_about_the_configured_share_of_judgments_brings_a_canary_and_the_same_for_one_seed(liar: Liar) -> None:
    counts = []
    for seed in (1, 1, 2):
        watch = CanaryWatch(liar.of, lambda _by, _right: Standing(), (TRUE,), share=0.1, seed=seed)
        for _ in range(300):
            await watch.judged()
        counts.append(watch.flown)
    assert counts[0] == counts[1]
    assert all(20 <= count <= 42 for count in counts)


async def test_both_kinds_of_case_are_flown(liar: Liar, watch: CanaryWatch) -> None:
    for _ in range(12):
        await watch.fly()
    assert set(liar.asked) == {"Aldric Tesh", "Bera Noll"}


async def test_a_judge_that_is_out_fails_no_canary(liar: Liar, watch: CanaryWatch, bank: SqliteBank) -> None:
    liar.down = True
    for _ in range(10):
        await watch.judged()
    assert bank.standing("gold") == Standing()
    assert not await watch.vouch()


async def test_after_an_hour_without_one_the_next_judgment_brings_a_canary(liar: Liar) -> None:
    now = [0.0]
    watch = CanaryWatch(
        liar.of, lambda _by, _right: Standing(), (TRUE,), share=0.0, patience_s=3600, clock=lambda: now[0]
    )
    flown = []
    for now[0] in (0.0, 10.0, 3000.0, 3601.0, 3700.0):
        await watch.judged()
        flown.append(watch.flown)
    assert flown == [0, 0, 0, 1, 1]


async def test_under_an_alarm_canaries_come_more_often(liar: Liar) -> None:
    watch = CanaryWatch(liar.of, lambda _by, _right: Standing(alarm=True), (TRUE,), share=0.01)
    await watch.fly()
    for _ in range(100):
        await watch.judged()
    assert watch.flown > 30


# -- test-time learning ---------------------------------------------------------------------------------------------


async def test_while_the_judge_lies_nothing_moves_the_weights_or_the_memory(
    loop: TestTime, liar: Liar, bank: SqliteBank
) -> None:
    assert all(await play(loop, *WORDS[:3]))
    await loop.vouch()  # two canaries after the last honest verdict
    while bank.held():
        assert await loop.vouch()
    before = list(bank.export())[1:]
    liar.lies = True
    assert not any(await play(loop, *WORDS[3:6]))
    assert bank.standing("gold").alarm
    assert list(bank.export())[1:] == before
    updater = loop.updater
    assert isinstance(updater, NullUpdater)
    taught = [any(one.teaches for one in groups) for groups in updater.seen]
    assert taught == [True] * 3 + [False] * 3


async def test_when_the_judge_is_honest_again_both_go_on(loop: TestTime, liar: Liar, bank: SqliteBank) -> None:
    liar.lies = True
    await play(loop, *WORDS[:3])
    liar.lies = False
    while bank.standing("gold").alarm:
        await loop.vouch()
    assert all(await play(loop, *WORDS[4:7]))
    while bank.held():
        await loop.vouch()
    assert {f"Who founded {word}?" for word in ("copper", "satellite")} <= {one.question for one in bank.list().units}


# -- memory over `Mia` ----------------------------------------------------------------------------------------------


def config(tmp_path: Path, **more: object) -> MiaConfig:
    given = {"home": tmp_path, "memory.embedder": "hash", "trust.canaries": 0.5}
    return load_config(environment={}, flags=given | {key.replace("__", "."): value for key, value in more.items()})


RUN = Run(question=QUESTION, trajectory=Trajectory(steps=(STEP,), answer="Aldric Tesh"))


async def test_a_judged_run_waits_for_canaries_and_the_evidence_checks_pass_theirs(tmp_path: Path) -> None:
    async with build(config(tmp_path)) as mia:
        judged = await mia.judge(RUN.case)
        assert judged.verdict.remembered is Outcome.CORRECT
        stored = await mia.store(RUN, receipt=judged.receipt)
        assert stored.held
        assert mia.watch is not None
        for _ in range(2):
            await mia.watch.fly()
        assert mia.bank.get(stored.unit_ids[0]).outcome is Outcome.CORRECT


async def test_a_host_is_told_that_what_it_stored_is_on_probation(tmp_path: Path) -> None:
    host = Caller("host", frozenset({"memory:write"}))
    given = {"plan": "", "outcome": None, "receipt": "", "memory_ids": (), "listener": silent}
    async with build(config(tmp_path)) as mia:
        view = await store_run(mia, RUN.case, host, **given)
    assert view.outcome == "correct"
    assert "on probation" in view.note


async def test_what_gold_or_the_user_said_waits_for_nobody(tmp_path: Path) -> None:
    async with build(config(tmp_path)) as mia:
        stored = await mia.store(RUN, receipt=mia.notary.vouch(RUN.case, Outcome.CORRECT, "user"))
        assert not stored.held
        assert mia.bank.get(stored.unit_ids[0])


async def test_without_canaries_configured_nothing_waits(tmp_path: Path) -> None:
    async with build(config(tmp_path, trust__canaries=0)) as mia:
        judged = await mia.judge(RUN.case)
        assert not (await mia.store(RUN, receipt=judged.receipt)).held
        assert mia.watch is None


async def test_the_doctor_tells_of_a_judge_that_is_not_believed(tmp_path: Path) -> None:
    chosen = config(tmp_path)
    async with build(chosen) as mia:
        judged = await mia.judge(RUN.case)
        await mia.store(RUN, receipt=judged.receipt)
    assert "1 lessons wait for canaries" in examine_bank(chosen).detail
    async with build(chosen) as mia:
        for _ in range(4):
            mia.bank.canary("evidence", False)
    told = examine_bank(chosen)
    assert told.state == "problem"
    assert "speak against evidence" in told.detail


# -- cases of an operator's own -------------------------------------------------------------------------------------

LINES = """
{"question": "Who founded Velmora Works?", "answer": "Aldric Tesh", "labels": ["correct"], "evidence": ["It was founded by Aldric Tesh."]}
{"question": "Who founded Velmora Works?", "answer": "Bera Noll", "labels": ["incorrect", "abstain"]}
"""  # noqa: E501


def test_an_operators_canaries_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(LINES)
    good, bad = read_canaries(tmp_path / "c.jsonl")
    assert good.case.evidence[0].text.endswith("Aldric Tesh.")
    assert bad.allowed == {Label.INCORRECT, Label.ABSTAIN}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no label may be right for every canary"),
        (LINES.strip().splitlines()[0], "no label may be right for every canary"),
        ('{"question": "?"}', "line 1: a canary needs"),
        ('{"question": "?", "answer": "!", "labels": ["surely"]}', "line 1: a canary needs"),
    ],
)
def test_canaries_that_prove_nothing_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_canaries(tmp_path / "c.jsonl")


async def test_a_file_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the canaries"):
        async with build(config(tmp_path, trust__canary_file=tmp_path / "none.jsonl")):
            pass


def test_a_judge_that_always_says_the_same_fails_the_cases_that_come_along() -> None:
    for label in Label:
        assert any(label not in one.allowed for one in CANARIES)
