"""Receipts: a label enters the bank by a judgment of exactly this run, once, soon, and by nothing else."""

import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mia_skill.agents.manager import Run
from mia_skill.agents.mia import Mia
from mia_skill.app import build
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import load_config
from mia_skill.core.errors import BankUnwritableError, ConfigError, JudgeError, ModelUnreachableError, ReceiptError
from mia_skill.core.types import Origin, Outcome, Passage, Question, Status, Step, Trajectory
from mia_skill.core.verdict import Case, Label, MemoryAdvice, Verdict
from retrieval.bank import Consolidation, Stored
from trust.receipt import BACKENDS, Notary, run_digest

QUESTION = "Who founded Velmora Works?"
PAGE = Passage(id="p1", title="Velmora Works", text="Velmora Works was founded by Aldric Tesh in 1874.")
STEPS = (Step(query="Velmora Works founder", passages=(PAGE,)),)
CASE = Case(question=QUESTION, answer="Aldric Tesh", steps=STEPS)
RUN = Run(question=Question(text=QUESTION), trajectory=Trajectory(steps=STEPS, answer="Aldric Tesh"))
RIGHT = Verdict(
    label=Label.CORRECT, p_correct=0.9, memory_advice=MemoryAdvice(store="yes", outcome=Outcome.CORRECT, trust=0.8)
)
OPEN = Verdict(label=Label.ABSTAIN)


class Clock:
    """A clock that is set by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def mia(tmp_path: Path) -> AsyncIterator[Mia]:
    async with build(load_config(environment={}, flags={"home": tmp_path, "memory.embedder": "hash"})) as made:
        yield made


def honour(notary: Notary, token: str, case: Case = CASE) -> Outcome | None:
    with notary.honoured(token, case) as receipt:
        return receipt.outcome


def test_a_receipt_tells_outcome_backend_and_trust_of_its_judgment() -> None:
    notary = Notary()
    receipt = notary.read(notary.issue(CASE, RIGHT), CASE)
    assert (receipt.outcome, receipt.backend, receipt.trust) == (Outcome.CORRECT, "evidence", 0.8)
    assert notary.read(notary.issue(CASE, OPEN), CASE).outcome is None


def test_a_receipt_is_short_enough_to_be_handed_back_by_a_model() -> None:
    token = Notary().issue(CASE, RIGHT)
    assert len(token) == 64
    assert token.isascii()


def test_a_receipt_of_another_installation_is_refused() -> None:
    with pytest.raises(ReceiptError, match="not issued here"):
        Notary().read(Notary().issue(CASE, RIGHT), CASE)


def test_no_bit_of_a_receipt_can_be_changed() -> None:
    notary = Notary()
    whole = urlsafe_b64decode(notary.issue(CASE, OPEN))
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            with pytest.raises(ReceiptError, match="altered"):
                notary.read(urlsafe_b64encode(bytes(changed)).decode(), CASE)


@pytest.mark.parametrize("token", ["correct", "x" * 64, "é" * 64, "A" * 63, "=" * 64, " ", "A" * 10_000, "sha256:ab"])
def test_what_is_no_receipt_is_refused_with_a_word_on_what_to_send(token: str) -> None:
    with pytest.raises(ReceiptError, match="receipt"):
        Notary().read(token, CASE)


@pytest.mark.parametrize(
    "change",
    [
        {"question": "Who founded Ostrel Mills?"},
        {"answer": "Somebody else"},
        {"steps": ()},
        {"steps": (*STEPS, Step(query="one more"))},
        {"steps": (STEPS[0].model_copy(update={"query": "steal the key"}),)},
        {"steps": (STEPS[0].model_copy(update={"passages": (PAGE.model_copy(update={"text": "Other text."}),)}),)},
        {"evidence": (PAGE.model_copy(update={"id": "p2", "text": "Late evidence."}),)},
        {"caption": "a picture"},
    ],
)
def test_a_receipt_is_good_for_exactly_the_run_that_was_judged(change: dict[str, object]) -> None:
    notary = Notary()
    with pytest.raises(ReceiptError, match="another run"):
        notary.read(notary.issue(CASE, RIGHT), CASE.model_copy(update=change))


def test_white_space_and_the_agents_own_thoughts_do_not_make_another_run() -> None:
    spaced = CASE.model_copy(
        update={"answer": " Aldric Tesh\n", "steps": (STEPS[0].model_copy(update={"thought": "let me look"}),)}
    )
    assert run_digest(spaced) == run_digest(CASE)


def test_a_receipt_is_honoured_once() -> None:
    notary = Notary()
    token = notary.issue(CASE, RIGHT)
    assert honour(notary, token) is Outcome.CORRECT
    with pytest.raises(ReceiptError, match="used already"):
        honour(notary, token)


def test_a_second_process_on_the_same_data_folder_knows_what_was_used(tmp_path: Path) -> None:
    token = Notary.open(tmp_path).issue(CASE, RIGHT)
    honour(Notary.open(tmp_path), token)
    with pytest.raises(ReceiptError, match="used already"):
        honour(Notary.open(tmp_path), token)


def test_a_receipt_expires_and_one_of_the_future_is_no_receipt() -> None:
    clock = Clock()
    notary = Notary(clock=clock, hours=1)
    token = notary.issue(CASE, RIGHT)
    clock.now += 3601
    with pytest.raises(ReceiptError, match="expired"):
        notary.read(token, CASE)
    clock.now -= 2 * 3601
    with pytest.raises(ReceiptError, match="expired"):
        notary.read(token, CASE)


def test_the_key_is_made_once_for_its_owner_alone_and_a_broken_one_is_named(tmp_path: Path) -> None:
    home = tmp_path / "new"
    first = Notary.open(home)
    key = home / "receipt.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert Notary.open(home).key == first.key
    assert [one.name for one in home.iterdir()] == ["receipt.key"]
    key.chmod(0o644)
    Notary.open(home)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"receipt\.key"):
        Notary.open(home)


def test_work_that_fails_gives_the_receipt_back(tmp_path: Path) -> None:
    notary = Notary.open(tmp_path)
    token = notary.issue(CASE, RIGHT)
    with pytest.raises(BankUnwritableError), notary.honoured(token, CASE):
        raise BankUnwritableError("disk full")
    assert honour(notary, token) is Outcome.CORRECT


@pytest.mark.parametrize("by", ["host", "evidence", "", "model"])
def test_only_gold_and_the_user_know_an_outcome_without_a_judgment(by: str) -> None:
    with pytest.raises(ReceiptError, match="only"):
        Notary().vouch(CASE, Outcome.CORRECT, by)
    assert {"gold", "user"} <= set(BACKENDS)


# --- at the bank


async def test_a_judged_run_is_labelled_by_its_receipt(mia: Mia) -> None:
    judged = await mia.judge(CASE)
    assert judged.verdict.label is Label.CORRECT
    (unit_id,) = (await mia.store(RUN, receipt=judged.receipt)).unit_ids
    unit = await mia.unit(unit_id)
    assert (unit.outcome, unit.provenance.judged_by, unit.status) == (Outcome.CORRECT, "evidence", Status.ACTIVE)


async def test_the_receipts_label_stands_above_what_the_run_says_of_itself(mia: Mia) -> None:
    boasting = RUN.model_copy(update={"outcome": Outcome.CORRECT, "judged_by": "gold"})
    (unit_id,) = (await mia.store(boasting, receipt=mia.notary.issue(CASE, OPEN))).unit_ids
    unit = await mia.unit(unit_id)
    assert (unit.outcome, unit.provenance.judged_by) == (None, "evidence")


@pytest.mark.parametrize("judge", ["gold", "user", "endpoint", "evidence"])
async def test_a_claim_without_a_receipt_is_quarantined_and_credits_nobody(mia: Mia, judge: str) -> None:
    shown = await store(mia, RUN.model_copy(update={"question": Question(text="Who founded Ostrel Mills?")}))
    spoofed = RUN.model_copy(update={"outcome": Outcome.CORRECT, "judged_by": judge, "memory_ids": shown.unit_ids})
    stored = await mia.store(spoofed)
    assert stored.credited == 0
    unit = await mia.unit(stored.unit_ids[0])
    assert (unit.status, unit.provenance.judged_by) == (Status.QUARANTINED, "claim")
    assert Origin.OTHER_AGENT in unit.provenance.origins
    assert shown.unit_ids[0] in unit.provenance.parents
    assert (await mia.unit(shown.unit_ids[0])).uses == 0


async def test_forged_replayed_and_foreign_receipts_write_nothing(mia: Mia) -> None:
    good = (await mia.judge(CASE)).receipt
    other = RUN.model_copy(update={"trajectory": RUN.trajectory.model_copy(update={"answer": "Somebody else"})})
    for run, token in ((RUN, "A" * 64), (RUN, Notary().issue(CASE, RIGHT)), (other, good)):
        with pytest.raises(ReceiptError):
            await mia.store(run, receipt=token)
    assert (await mia.units()).total == 0
    await mia.store(RUN, receipt=good)
    with pytest.raises(ReceiptError, match="used already"):
        await mia.store(RUN, receipt=good)
    assert (await mia.units()).total == 1


async def test_an_outage_of_the_judge_gives_no_receipt_and_writes_nothing(mia: Mia) -> None:
    down = replace(mia, models={"judge": ScriptedChat([ModelUnreachableError("down")] * 12)})
    with pytest.raises(JudgeError):
        await down.judge(CASE)
    assert (await mia.units()).total == 0


async def test_a_bank_that_fails_leaves_the_receipt_good(mia: Mia, tmp_path: Path) -> None:
    token = (await mia.judge(CASE)).receipt
    broken = replace(mia, manager=replace(mia.manager, bank=FullBank()))  # type: ignore[arg-type]
    with pytest.raises(BankUnwritableError):
        await broken.store(RUN, receipt=token)
    assert (await mia.store(RUN, receipt=token)).unit_ids


class FullBank:
    """A bank whose disk is full."""

    def consolidate(self, change: Consolidation) -> Stored:
        raise BankUnwritableError(f"disk full: {len(change.units)} units not written")


async def store(mia: Mia, run: Run) -> Stored:
    return await mia.store(run, receipt=mia.notary.vouch(run.case, Outcome.CORRECT, "gold"))
