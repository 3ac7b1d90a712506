"""Disk, lock and file trouble: a typed error with the fix in it, and nothing lost."""

import multiprocessing
import os
import resource
import sqlite3
from pathlib import Path

import pytest
from bank_kinds import SCORINGS

from mia_skill.core.errors import BankCorruptError, BankError, BankUnwritableError
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.schema import SCHEMA_VERSION, connect, transaction
from retrieval.sqlite_bank import SqliteBank

EVERYTHING = MemoryQuery(text="alpha1", min_similarity=-1, min_relevance=0, k_success=9)


def unit(number, workflow="1. search"):
    return MemoryUnit(
        question=f"alpha{number} beta{number * 3} gamma{number * 7}", workflow=workflow, outcome=Outcome.CORRECT
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bank.sqlite3"


@pytest.fixture(params=SCORINGS)
def open_bank(request):
    """Opens a bank at a path; which score ranks it must not change how it fails."""
    return lambda path, **options: SqliteBank.open(path, HashEmbedder(), **SCORINGS[request.param] | options)


def filled(path, count=3):
    """A closed bank with `count` units."""
    bank = SqliteBank.open(path, HashEmbedder())
    bank.consolidate(Consolidation(units=tuple(unit(number, f"1. search {number}") for number in range(count))))
    bank.close()


def fill(bank):
    """Store until it fails: the acknowledged ids, and the error's message."""
    kept = []
    for number in range(1000):
        try:
            kept += bank.consolidate(Consolidation(units=(unit(number, "1. x" * 500),))).unit_ids
        except BankUnwritableError as error:
            return kept, str(error)
    raise AssertionError("the disk never filled up")


def test_a_new_bank_is_its_owners_alone_and_an_older_one_keeps_its_mode(path):
    bank = SqliteBank.open(path, HashEmbedder())
    bank.consolidate(Consolidation(units=(unit(1),)))
    beside = [one for one in path.parent.iterdir() if one.name.startswith(path.name)]
    assert {one.stat().st_mode & 0o777 for one in beside} == {0o600}, "the write-ahead log holds memories too"
    bank.close()
    path.chmod(0o640)
    SqliteBank.open(path, HashEmbedder()).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_no_database_is_refused_and_left_alone(open_bank, path):
    path.write_bytes(b"my diary\n" * 500)
    with pytest.raises(BankCorruptError, match="mia memory import"):
        open_bank(path)
    assert path.read_bytes() == b"my diary\n" * 500


def test_another_programs_database_is_refused_and_left_alone(open_bank, path):
    rows = sqlite3.connect(path)
    rows.execute("CREATE TABLE theirs (x)")
    rows.commit()
    rows.close()
    before = path.read_bytes()
    with pytest.raises(BankError, match="another program"):
        open_bank(path)
    assert path.read_bytes() == before


def test_a_newer_schema_asks_for_an_upgrade(open_bank, path):
    filled(path)
    rows = sqlite3.connect(path)
    rows.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    rows.close()
    with pytest.raises(BankError, match="upgrade mia-skill"):
        open_bank(path)


def test_damaged_pages_are_a_corrupt_bank_for_readers_and_a_problem_for_health(open_bank, path):
    filled(path, 1000)
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 4 // 4096 * 4096, len(content) * 3 // 4 // 4096 * 4096)
    content[middle] = os.urandom(middle.stop - middle.start)
    path.write_bytes(content)
    bank = open_bank(path, for_reembed=True)
    with pytest.raises(BankCorruptError, match="mia memory import"):
        for _ in bank.export():
            pass
    assert any("damaged" in problem for problem in bank.health().problems)
    bank.close()


def test_a_damaged_vector_is_not_recalled_is_reported_and_mended_from_its_text(open_bank, path):
    filled(path)
    rows = sqlite3.connect(path)
    rows.execute("UPDATE vectors SET question = zeroblob(256) WHERE seq = 2")
    rows.execute("DELETE FROM vectors WHERE seq = 3")
    rows.commit()
    rows.close()
    bank = open_bank(path)
    assert len(bank.recall(EVERYTHING).hits) == 1
    assert "2 units are missing or damaged" in bank.health().problems[0]
    bank.reembed()
    assert len(bank.recall(EVERYTHING).hits) == 3
    assert bank.health().problems == ()
    bank.close()


@pytest.mark.parametrize("place", ["folder", "below_a_file", "proc"])
def test_a_place_that_cannot_hold_a_bank_is_named_with_the_setting_to_change(open_bank, tmp_path, place):
    (tmp_path / "file").write_text("x")
    where = {"folder": tmp_path, "below_a_file": tmp_path / "file" / "b.sqlite3", "proc": Path("/proc/b.sqlite3")}
    with pytest.raises(BankUnwritableError, match=r"memory\.path"):
        open_bank(where[place])


def test_a_read_only_connection_cannot_write_and_says_so(open_bank, path):
    filled(path)
    bank = open_bank(path)
    bank._rows.execute("PRAGMA query_only=ON")
    with pytest.raises(BankUnwritableError, match="read-only"):
        bank.consolidate(Consolidation(units=(unit(50),)))
    assert bank.list().total == len(bank.recall(EVERYTHING).hits) == 3
    bank.close()


def test_a_lock_that_is_never_released_is_an_error_and_reading_goes_on(open_bank, path):
    filled(path)
    bank = open_bank(path, busy_timeout_s=0.01)
    other = connect(path)
    with transaction(other, write=True):
        with pytest.raises(BankUnwritableError, match="write lock"):
            bank.consolidate(Consolidation(units=(unit(50),)))
        assert bank.list().total == 3
        assert not bank.recall(MemoryQuery(text="alpha1")).nothing_relevant
    assert bank.consolidate(Consolidation(units=(unit(50),))).merged == (False,)
    other.close()
    bank.close()


def test_a_full_disk_loses_nothing_that_was_acknowledged(open_bank, path):
    bank = open_bank(path)
    (pages,) = bank._rows.execute("PRAGMA page_count").fetchone()
    bank._rows.execute(f"PRAGMA max_page_count={pages + 20}")
    kept, error = fill(bank)
    assert "disk is full" in error
    assert kept
    assert bank.list(limit=500).total == len(kept) == bank.health().units
    assert bank.health().problems == ()
    bank._rows.execute("PRAGMA max_page_count=100000")
    assert bank.consolidate(Consolidation(units=(unit(5000),))).merged == (False,)
    bank.close()


def fill_under_a_file_limit(open_bank, path, answers):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    bank = open_bank(path)
    kept, error = fill(bank)
    answers.send((kept, error, bank.list().total))


def test_a_file_size_limit_is_an_error_and_every_acknowledged_unit_is_there_afterwards(open_bank, path):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=fill_under_a_file_limit, args=(open_bank, path, theirs)
    )
    process.start()
    assert ours.poll(60)
    kept, message, total = ours.recv()
    process.join()
    assert kept
    assert total == len(kept)
    assert "free space" in message
    bank = open_bank(path)
    assert all(bank.get(unit_id).id == unit_id for unit_id in kept)
    assert bank.health().problems == ()
    bank.close()


def test_a_closed_bank_is_an_error(open_bank, path):
    bank = open_bank(path)
    bank.close()
    with pytest.raises(BankError, match="closed"):
        bank.list()


def test_two_openings_at_once_migrate_once(open_bank, path):
    first, second = open_bank(path), open_bank(path)
    assert first.health().schema_version == second.health().schema_version == SCHEMA_VERSION
    first.close()
    second.close()


def test_the_missing_folder_is_made(open_bank, tmp_path):
    open_bank(tmp_path / "a" / "b" / "bank.sqlite3").close()
    assert (tmp_path / "a" / "b" / "bank.sqlite3").is_file()
