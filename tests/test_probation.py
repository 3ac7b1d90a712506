"""A judge on probation: what its verdicts teach waits for canaries, and nothing of a lie gets into the bank."""

import os
import random
import signal
import subprocess
import sys

import pytest
from bank_kinds import ON_A_FILE

from mia_skill.core.errors import InputError, UnknownIdError
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Outcome, PlanPair
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.gate import Arm, Draw, Trial
from retrieval.sqlite_bank import SqliteBank
from retrieval.standing import Rules, Standing, told

JUDGE = "panel"
WORDS = (
    "harbour violin glacier ministry copper novel satellite bakery tournament vaccine lighthouse amber island jasmine "
    "dynamo bicycle falcon"
).split()
"""Questions that have nothing in common: a bank merges what is alike."""


@pytest.fixture
def open_bank(banks, tmp_path):
    opened = []

    def opener(**options):
        opened.append(banks.open(tmp_path / "bank.sqlite3", HashEmbedder(), **options))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


@pytest.fixture
def bank(open_bank):
    return open_bank()


def unit(question, **fields):
    return MemoryUnit(question=question, workflow=f"1. search for {question}", outcome=Outcome.CORRECT, **fields)


def lesson(bank, question, *, judge=JUDGE, won=True, shown=()):
    """What one judged run teaches: a unit, a pair, credit, and the outcome of its arm."""
    made = unit(question)
    draw = Draw(task=question, namespace="default", arm=Arm.SHOWN, shown=tuple(shown), randomised=True)
    stored = bank.consolidate(
        Consolidation(
            judge=judge,
            units=(made,),
            pairs=(PlanPair(question=question, good_plan="1. this", bad_plan="1. that"),),
            credits=tuple(Credit(unit_id=one, won=won) for one in shown),
            trials=(Trial(draw=draw, won=won, judged_by=judge or "gold"),),
        )
    )
    return made, stored


def whole(bank):
    """Everything that was learnt: units with their statistics, pairs, outcomes, tallies, what fades."""
    with bank._work(write=False) as rows:
        fading = [tuple(row) for row in rows.execute("SELECT id, seen_uses, seen_wins, seen_at FROM units ORDER BY id")]
        tallies = [tuple(row) for row in rows.execute("SELECT * FROM tallies ORDER BY scope, namespace, key")]
    return list(bank.export())[1:], fading, tallies


def good(bank, count=2):
    for _ in range(count):
        bank.canary(JUDGE, True)


def until_alarm(bank):
    for number in range(1, 20):
        if bank.canary(JUDGE, False).alarm:
            return number
    raise AssertionError("no alarm")


# -- the test itself ------------------------------------------------------------------------------------------------


def canaries_until(alarm, accuracy, seed, most, start=None):
    rng, one = random.Random(seed), start or Standing()
    for number in range(1, most + 1):
        one = told(one, rng.random() < accuracy, Rules())
        if one.alarm is alarm:
            return number
    return most + 1


def test_a_judge_that_says_the_opposite_is_found_after_four_canaries():
    assert canaries_until(True, 0.0, 0, 10) == 4


def test_a_judge_that_is_half_wrong_is_found_within_thirty_canaries_in_nineteen_of_twenty_streams():
    delays = sorted(canaries_until(True, 0.5, seed, 200) for seed in range(200))
    assert delays[100] <= 12
    assert delays[190] <= 30


def test_an_honest_judge_raises_no_alarm_in_most_streams_of_a_thousand_canaries():
    assert sum(canaries_until(True, 0.95, seed, 1000) <= 1000 for seed in range(100)) <= 10


def test_a_judge_that_is_honest_again_is_believed_after_sixteen_canaries_or_so():
    alarmed = Standing()
    while not alarmed.alarm:
        alarmed = told(alarmed, False, Rules())
    assert canaries_until(False, 1.0, 0, 100, alarmed) == 16
    delays = sorted(canaries_until(False, 0.95, seed, 500, alarmed) for seed in range(100))
    assert delays[50] <= 40


def test_a_single_mistake_of_an_honest_judge_is_no_alarm_and_is_forgiven():
    one = told(Standing(), False, Rules())
    assert not one.alarm
    assert not one.clear
    for _ in range(3):
        one = told(one, True, Rules())
    assert one.clear


def test_rules_under_which_a_liar_is_right_more_often_than_an_honest_judge_are_refused():
    with pytest.raises(ValueError, match="less often"):
        Rules(honest=0.5, lying=0.6)


# -- the bank -------------------------------------------------------------------------------------------------------


def test_a_lesson_of_a_watched_judge_waits_for_two_canaries(bank):
    made, stored = lesson(bank, "alpha")
    assert stored.held
    assert stored.unit_ids == (made.id,)
    bank.canary(JUDGE, True)
    assert bank.list().total == 0
    bank.canary(JUDGE, True)
    assert [one.id for one in bank.list().units] == [made.id]
    assert bank.held() == 0


def test_a_lesson_that_waits_is_meant_by_the_end_of_its_id_too(bank):
    made, _ = lesson(bank, "alpha1 beta1 gamma1")
    assert bank.meant(f"mem_…{made.id[-8:]}") == made.id


def test_what_nobody_watches_counts_at_once(bank):
    made, stored = lesson(bank, "alpha", judge="")
    assert not stored.held
    assert bank.get(made.id)


def test_a_lie_leaves_the_bank_as_it_was_before_it(bank):
    old, _ = lesson(bank, "alpha")
    good(bank)
    before = whole(bank)
    for number in range(5):
        lesson(bank, f"lie {number}", shown=(old.id,), won=number % 2 == 0)
        bank.canary(JUDGE, False)
    assert bank.standing(JUDGE).alarm
    lesson(bank, "one more", shown=(old.id,))
    bank.canary(JUDGE, False)
    assert whole(bank) == before
    assert bank.held() == 0


def test_nothing_from_the_honest_time_is_lost(bank):
    made = []
    for number in range(10):
        made.append(lesson(bank, WORDS[number], shown=[one.id for one in made[:1]])[0])
        bank.canary(JUDGE, True)
    good(bank, 1)
    until_alarm(bank)
    assert [bank.get(one.id).id for one in made] == [one.id for one in made]
    assert bank.get(made[0].id).uses == 9
    assert bank.lift().trials == 10


def test_an_honest_mistake_of_the_judge_only_delays_what_it_taught(bank):
    made, _ = lesson(bank, "alpha")
    bank.canary(JUDGE, False)
    good(bank, 2)
    assert bank.held(JUDGE) == 1
    good(bank, 1)
    assert bank.get(made.id)


def test_lessons_resume_when_the_canaries_are_good_again(bank):
    until_alarm(bank)
    doubtful, _ = lesson(bank, "right after the alarm")
    made = []
    while bank.standing(JUDGE).alarm:
        bank.canary(JUDGE, True)
        made.append(lesson(bank, WORDS[len(made)])[0])
    good(bank)
    assert {one.id for one in bank.list().units} == {one.id for one in made}
    assert len(made) == 16
    with pytest.raises(UnknownIdError):
        bank.get(doubtful.id)


def test_a_canary_that_is_wrong_again_under_an_alarm_drops_what_came_since(bank):
    until_alarm(bank)
    bank.canary(JUDGE, True)
    lesson(bank, "between")
    bank.canary(JUDGE, False)
    assert bank.held() == 0
    assert bank.list().total == 0


def test_the_alarm_of_one_judge_does_not_touch_what_another_said(bank):
    lesson(bank, "by gold", judge="gold")
    lesson(bank, "by nobody watched", judge="")
    lesson(bank, "by the liar")
    until_alarm(bank)
    for _ in range(2):
        bank.canary("gold", True)
    assert {one.question for one in bank.list().units} == {"by gold", "by nobody watched"}


def test_the_log_tells_of_what_was_held_refused_and_of_the_alarm(bank):
    made, _ = lesson(bank, "alpha")
    until_alarm(bank)
    told_ = [(one.action, one.subject) for one in bank.log().entries]
    assert ("hold", made.id) in told_
    assert ("refuse", made.id) in told_
    assert "alarm" in [action for action, _ in told_]
    assert bank.verify_log().first_bad is None


def test_what_is_forgotten_while_it_waits_never_comes(bank):
    made, _ = lesson(bank, "alpha")
    kept, _ = lesson(bank, "beta")
    assert bank.forget([made.id]) == 1
    good(bank)
    assert [one.id for one in bank.list().units] == [kept.id]
    assert [one["question"] for one in bank.export() if one.get("kind") == "pair"] in ([], ["beta"])
    with pytest.raises(UnknownIdError):
        bank.forget([made.id])


def test_what_waits_can_be_looked_at_by_its_id_and_is_in_no_list(bank):
    made, _ = lesson(bank, "alpha")
    assert bank.get(made.id) == made
    assert bank.list().total == 0
    until_alarm(bank)
    with pytest.raises(UnknownIdError):
        bank.get(made.id)


def test_a_users_word_on_what_waits_counts_at_once_and_the_judges_verdict_still_waits(bank):
    old, _ = lesson(bank, "alpha", judge="")
    made, _ = lesson(bank, "glacier", shown=(old.id,))
    told_ = bank.feedback(made.id, Feedback(good=False, note="wrong bridge"), Outcome.INCORRECT)
    assert (told_.outcome, told_.provenance.judged_by) == (Outcome.INCORRECT, "user")
    assert bank.list().total == 2
    assert bank.get(old.id).uses == 0
    until_alarm(bank)
    assert bank.get(made.id).feedback[0].note == "wrong bridge"
    assert bank.get(old.id).uses == 0
    assert bank.verify_log().first_bad is None


def test_an_unsound_lesson_is_refused_at_once_and_not_when_it_is_proven(bank):
    with pytest.raises(InputError):
        bank.consolidate(Consolidation(judge=JUDGE, units=(unit("alpha", uses=1, wins=2),)))
    assert bank.held() == 0


def test_an_empty_lesson_is_not_held(bank):
    assert not bank.consolidate(Consolidation(judge=JUDGE)).held


def test_what_waits_and_what_is_known_of_the_judge_survive_a_restart(open_bank):
    first = open_bank()
    made, _ = lesson(first, "alpha")
    first.canary(JUDGE, True)
    second = open_bank()
    second.canary(JUDGE, True)
    assert second.get(made.id)
    assert second.standing(JUDGE).seen == 2


def test_two_processes_settle_a_lesson_once(open_bank):
    first, second = open_bank(), open_bank()
    old = unit("old")
    first.consolidate(Consolidation(units=(old,)))
    lesson(first, "alpha", shown=(old.id,))
    first.canary(JUDGE, True)
    second.canary(JUDGE, True)
    first.canary(JUDGE, True)
    assert second.get(old.id).uses == 1


def test_a_bank_with_stricter_rules_waits_longer(open_bank):
    strict = open_bank(canaries=Rules(proof=5))
    made, _ = lesson(strict, "alpha")
    good(strict, 4)
    assert strict.list().total == 0
    good(strict, 1)
    assert [one.id for one in strict.list().units] == [made.id]


def test_a_bank_from_before_canaries_is_upgraded_and_keeps_what_it_has(open_bank):
    first = open_bank()
    made, _ = lesson(first, "alpha", judge="")
    with first._work(write=True) as rows:
        for table in ("held", "judges"):
            rows.execute(f"DROP TABLE {table}")
        on_a_file = isinstance(first, SqliteBank)
        rows.execute("PRAGMA user_version = 3" if on_a_file else "DELETE FROM schema_version WHERE version = 2")
    first.close()
    again = open_bank()
    held, _ = lesson(again, "glacier")
    good(again)
    assert {one.id for one in again.list().units} == {made.id, held.id}


KILLED = """
import os, signal, sys
from pathlib import Path
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

bank = SqliteBank.open(Path(sys.argv[1]), HashEmbedder())
for word in ("harbour", "violin", "glacier"):
    made = MemoryUnit(question=word, workflow="1. look", outcome=Outcome.CORRECT)
    bank.consolidate(Consolidation(judge="panel", units=(made,)))
applied = bank._settle

def half(change, number):
    applied(change, number)
    os.kill(os.getpid(), signal.SIGKILL)

bank._settle = half
bank.canary("panel", True)
bank.canary("panel", True)
"""


@ON_A_FILE
def test_a_kill_while_lessons_are_applied_loses_none_and_doubles_none(open_bank, tmp_path):
    open_bank().close()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "bank.sqlite3")]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    bank = open_bank()
    assert bank.list().total == 1
    bank.canary(JUDGE, False)  # what was proven stays proven
    assert sorted(one.question for one in bank.list().units) == sorted(WORDS[:3])
    assert bank.held() == 0
