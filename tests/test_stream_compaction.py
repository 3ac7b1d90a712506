"""A journal that is shortened says the same: whatever happened before, wherever it is killed, whoever asks again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from small_disk import file_limit

from mia_skill.cli import main
from mia_skill.core.errors import UnwritableError
from retrieval.standing import Rules
from training.compaction import compact
from training.groups import Group, Rollout, Tokens
from training.journal import Journal
from training.stream import StreamTrainer
from training.stream_state import StreamState
from training.watch import RewardWatch

Make = Callable[..., StreamTrainer]
Record = dict[str, Any]
RULES = Rules()


def everything(one: StreamState) -> Record:
    """All that a state knows, with its orders: what is learnt from next and what is believed first hang on them."""
    known = {name: value for name, value in vars(one).items() if name not in ("_watch", "_rules")}
    lists = {name: list(known[name].items()) for name in ("groups", "held", "_open")}
    return known | lists | {"seen": one._watch.seen}


def folded(records: Sequence[Record], rules: Rules | None, window: int = 3) -> StreamState:
    state = StreamState(RewardWatch(window=window), rules)
    for record in records:
        state.apply(orjson.loads(orjson.dumps(record)))
    return state


def sample(key: str, version: int, at: float) -> Record:
    tokens = Tokens(ids=(1, 2, 3), mask=(False, True, True), logprobs=(0.0, -0.25, -1.5))
    rollouts = tuple(Rollout(text=f"{text} {key}", version=version, tokens=(tokens,)) for text in ("yes", "no"))
    group = Group(key=key, prompt=f"is it {key}?", rollouts=rollouts)
    return {"kind": "sample", "group": group.model_dump(mode="json"), "at": at}


def history(rng: Random, length: int, rules: Rules | None) -> list[Record]:
    """A journal as a server may write it: every record is one that the state before it allows."""
    told: list[Record] = []
    state = folded((), rules)
    for at in range(length):
        told.append(next_record(rng, state, at))
        state.apply(told[-1])
    return told


def next_record(rng: Random, state: StreamState, at: int) -> Record:
    silent = [key for key in state._open if not state.groups[key].rewarded]
    some = rng.sample(list(state._open), rng.randint(0, min(2, len(state._open))))
    ready = [group.key for group in state.ready][:2]
    kind = rng.choices(("sample", "reward", "judge", "version", "rest"), (5, 6, 4 * (state._rules is not None), 2, 1))[
        0
    ]
    if kind == "sample":
        return sample(f"sample {at} ü", rng.choice((state.version, rng.randint(0, state.latest))), at / 3)
    if kind == "reward" and silent:
        return {"kind": "reward", "id": rng.choice(silent), "rewards": rng.choices((0, 1, 0.1, None), k=2)}
    if kind == "judge" and state._rules is not None:
        return {"kind": "judge", "right": rng.random() < 0.85}
    if kind == "version":
        return {"kind": "version", "version": rng.choice((state.version, state.latest + 1)), "groups": ready or some}
    return rng.choice(
        (
            {"kind": "rollback", "version": rng.randint(0, state.latest)},
            {"kind": "score", "version": state.latest, "score": rng.random()},
            {"kind": "aside", "groups": some},
            {"kind": "unanswered", "groups": [key for key in some if key in silent]},
        )
    )


@given(seed=st.integers(0, 2**32), length=st.integers(0, 90), cut=st.floats(0, 1), rules=st.sampled_from([None, RULES]))
def test_the_short_journal_gives_the_state_of_the_long_one_then_and_after_whatever_follows(
    seed: int, length: int, cut: float, rules: Rules | None
) -> None:
    told = history(Random(seed), length, rules)
    at = round(cut * length)
    state = folded(told[:at], rules)
    short = list(state.shortened())
    assert everything(folded(short, rules)) == everything(state)
    assert list(folded(short, rules).shortened()) == short, "shortened twice is shortened once"
    assert everything(folded([*short, *told[at:]], rules)) == everything(folded(told, rules))


async def learn(one: StreamTrainer, id_: str, rewards: Sequence[float | None] = (1.0, 0.0)) -> None:
    made = await one.sample(id_, f"is {id_}?")
    one.feedback(id_, made.ticket, rewards)
    await one.update()


async def test_a_start_shortens_a_journal_that_has_grown_and_the_stream_goes_on(trainer: Make, tmp_path: Path) -> None:
    one = trainer()
    for number in range(20):
        await learn(one, f"s{number}")
    await one.sample("open", "is it open?")
    before, texts = everything(one), (await one.sample("s3", "is s3?")).texts
    journal = tmp_path / "stream" / "journal.log"
    long = journal.stat().st_size
    one.close()
    again = trainer(shorten_from=1)
    assert journal.stat().st_size < long * 0.6
    assert [everything(again)[name] for name in ("groups", "_open", "version", "updates")] == [
        before[name] for name in ("groups", "_open", "version", "updates")
    ]
    assert (await again.sample("s3", "is s3?")).texts == texts, "a sample that is sent again is known"
    made = await again.sample("s3", "is s3?")
    assert again.feedback("s3", made.ticket, [1.0, 0.0]) == "duplicate"
    await learn(again, "later")
    assert (again.version, again.updates) == (21, 21)
    again.close()
    assert (trainer(shorten_from=1).version, trainer().version) == (21, 21)


async def test_a_journal_that_grew_little_since_is_not_written_again(trainer: Make, tmp_path: Path) -> None:
    one = trainer()
    for number in range(20):
        await learn(one, f"s{number}")
    one.close()
    trainer(shorten_from=1).close()
    short = (tmp_path / "stream" / "journal.log").stat()
    trainer(shorten_from=1).close()
    assert (tmp_path / "stream" / "journal.log").stat().st_ino == short.st_ino


async def test_canaries_of_rewards_that_nobody_asked_for_this_time_are_kept_for_the_next(
    trainer: Make, tmp_path: Path
) -> None:
    one = trainer(judge_rules=RULES)
    await learn(one, "held")
    for _ in range(3):
        await one.judge_canary(False)
    for number in range(20):
        await learn(one, f"s{number}")
    judge, held = one.judge, one.held
    one.close()
    size = (tmp_path / "stream" / "journal.log").stat().st_size
    free = trainer(shorten_from=1)
    assert (tmp_path / "stream" / "journal.log").stat().st_size == size
    free.close()
    again = trainer(judge_rules=RULES, shorten_from=1)
    assert (tmp_path / "stream" / "journal.log").stat().st_size < size
    assert (again.judge, again.held) == (judge, held)


async def test_a_disk_without_room_leaves_the_long_journal_and_the_server_serves(trainer: Make, tmp_path: Path) -> None:
    one = trainer()
    for number in range(20):
        await learn(one, f"s{number}")
    one.close()
    journal = tmp_path / "stream" / "journal.log"
    long = journal.read_bytes()
    with file_limit(1000):
        again = trainer(shorten_from=1)
    assert "journal.log anew" in again.failure
    assert journal.read_bytes() == long
    assert {one.name for one in journal.parent.iterdir()} == {"journal.log", "secret", "versions"}
    await learn(again, "later")
    assert again.version == 21


def test_a_record_of_which_only_a_part_fits_on_the_disk_spoils_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for number in range(9):
        journal.append({"n": number, "pad": "x" * 60})
    with file_limit(journal.size + 20), pytest.raises(UnwritableError):
        journal.append({"n": 9, "pad": "x" * 60})
    kept = (tmp_path / "j").read_bytes()
    assert kept.endswith(b"\n"), "no half line, to which the next one would be joined"
    journal.append({"n": "after"})
    journal.close()
    again = Journal(tmp_path / "j")
    assert [one["n"] for one in again.records()] == [*range(9), "after"]
    again.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval.standing import Rules
from training.compaction import compact
import training.journal as journal

where = sys.argv[2]
fsync, replace, lines = os.fsync, os.replace, journal.line_of
count = 0

def die(*_given):
    os.kill(os.getpid(), signal.SIGKILL)

def half(record):
    global count
    count += 1
    return lines(record) if count < 12 else die()

def unwritten(place):
    die()

def replaced(old, new):
    replace(old, new)
    die()

if where == "half":
    journal.line_of = half
elif where == "unwritten":
    os.fsync = unwritten
elif where == "before":
    os.replace = die
elif where == "after":
    os.replace = replaced
compact(Path(sys.argv[1]), Rules())
"""


@pytest.mark.parametrize("where", ["half", "unwritten", "before", "after"])
async def test_a_kill_in_the_middle_of_it_leaves_one_of_both_journals_and_whole(
    trainer: Make, tmp_path: Path, where: str
) -> None:
    one = trainer()
    for number in range(20):
        await learn(one, f"s{number}")
    before, long = everything(one), (tmp_path / "stream" / "journal.log").read_bytes()
    one.close()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "stream"), where]
    assert (await anyio.run_process(command, env=os.environ, check=False)).returncode == -signal.SIGKILL
    left = (tmp_path / "stream" / "journal.log").read_bytes()
    assert (left == long) == (where != "after")
    again = trainer()
    assert everything(again)["groups"] == before["groups"]
    assert (again.version, again.updates, again.waiting) == (20, 20, 0)
    assert not list((tmp_path / "stream").glob("*.partial"))
    await learn(again, "later")
    assert again.version == 21


HOLDS = """
import sys
from pathlib import Path
from training.journal import only_server

with only_server(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def mia(home: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["--home", str(home), "stream", "compact", *words])
    assert result.exit_code == code, result.output
    return result


async def test_the_command_shortens_a_stream_and_says_by_how_much(trainer: Make, tmp_path: Path) -> None:
    one = trainer()
    for number in range(20):
        await learn(one, f"s{number}")
    await one.sample("open", "?")
    before = everything(one)
    one.close()
    told = mia(tmp_path, "--json")
    done = orjson.loads(told.stdout)
    assert done["after"] < done["before"] * 0.6
    assert (done["samples"], done["learnt"]) == (21, 20)
    assert "21 samples, 20 of them learnt" in mia(tmp_path).stdout
    assert everything(trainer())["groups"] == before["groups"]


def test_the_command_names_a_folder_without_a_stream_and_a_stream_that_is_served(tmp_path: Path) -> None:
    assert "holds no stream" in mia(tmp_path, code=1).stderr
    folder = tmp_path / "stream"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    Journal(folder / "journal.log").close()
    assert "is held by another process" in mia(tmp_path, code=1).stderr
    child.communicate(b"")


def test_a_sample_that_was_learnt_from_costs_its_texts_and_a_few_bytes(tmp_path: Path) -> None:
    """The figures of docs/streaming.md: samples with four replies of 128 tokens to a question of 72."""
    ids, mask = tuple(range(30_000, 30_200)), (False,) * 72 + (True,) * 128
    tokens = Tokens(ids=ids, mask=mask, logprobs=(0.0,) * 72 + tuple(-0.123456789012 / (n + 1) for n in range(128)))
    rollouts = tuple(Rollout(text="a reply", version=7, tokens=(tokens,)) for _ in range(4))
    journal = Journal(tmp_path / "journal.log")
    for number in range(100):
        group = Group(key=f"{number:016d}", prompt="a question", rollouts=rollouts)
        journal.append({"kind": "sample", "group": group.model_dump(mode="json"), "at": 0.0})
        journal.append({"kind": "reward", "id": group.key, "rewards": [1.0, 0.0, 0.0, 1.0]})
        journal.append({"kind": "version", "version": 1, "groups": [group.key]})
    journal.close()
    done = compact(tmp_path, RULES)
    texts = 16 + len("a question") + 4 * len("a reply")
    assert done.before / 100 > 20_000
    assert 210 < done.after / 100 - texts < 250
