"""What only the PostgreSQL bank has to do: lost connections, a server that restarts, large buckets, many writers."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from bank_kinds import PostgresBanks, banks_of
from with_postgres import Server, free_port

from mia_skill.core.errors import BankError, BankUnreachableError, BankUnwritableError, EmbedderMismatchError
from mia_skill.core.types import Credit, MemoryUnit, Modality, Outcome, PlanPair
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.postgres import shown_url, translated

GOOD, BAD = Outcome.CORRECT, Outcome.INCORRECT
on_a_server = [pytest.mark.real, pytest.mark.postgres]


def unit(question: str, outcome: Outcome | None = GOOD, **fields: Any) -> MemoryUnit:
    return MemoryUnit(question=question, workflow=f"1. look for {question}", outcome=outcome, **fields)


def words(number: int) -> str:
    """A question that no other is like."""
    return " ".join(f"w{number * factor}x" for factor in range(3, 20))


def store(bank: Any, *units: MemoryUnit, **rest: Any) -> Any:
    return bank.consolidate(Consolidation(units=units, **rest))


def test_places_are_translated_and_quoted_text_is_left_alone() -> None:
    given = "SELECT x || ':y' FROM t WHERE a = ? AND b = :name AND c LIKE 'd%' AND e::text = ?"
    expected = "SELECT x || ':y' FROM t WHERE a = %s AND b = %(name)s AND c LIKE 'd%%' AND e::text = %s"
    assert translated(given) == expected
    assert "jsonb_array_elements_text(%(ids)s::jsonb)" in translated("SELECT value FROM json_each(:ids)")


def test_the_address_is_shown_without_its_password() -> None:
    assert shown_url("postgresql://me:secret@db.example:5433/mia") == "postgresql://***@db.example:5433/mia"
    assert "secret" not in shown_url("host=db user=me password=secret")


def test_a_server_that_is_not_there_is_said_so_without_the_password() -> None:
    from retrieval.postgres_bank import PostgresBank

    with pytest.raises(BankUnreachableError, match=r"start the server or correct memory\.url") as caught:
        PostgresBank.open(f"postgresql://me:secret@127.0.0.1:{free_port()}/mia", HashEmbedder())
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresBanks]:
    opener = banks_of("postgres")
    assert isinstance(opener, PostgresBanks)
    yield opener
    opener.close()


@pytest.fixture
def open_bank(server: PostgresBanks, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    opened = []

    def opener(embedder: Any = None, **options: Any) -> Any:
        opened.append(server.open(tmp_path, embedder or HashEmbedder(), **options))
        return opened[-1]

    yield opener
    for bank in opened:
        bank.close()


def cut(server: PostgresBanks, bank: Any) -> None:
    """End the bank's connection on the server, as an administrator or a restart does."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (bank._rows.connection.info.backend_pid,))


class TestOnAServer:
    pytestmark = on_a_server

    def test_a_connection_lost_between_calls_is_made_anew(self, server: PostgresBanks, open_bank: Any) -> None:
        bank = open_bank()
        store(bank, one := unit("kept before"))
        cut(server, bank)
        with pytest.raises(BankUnreachableError):
            bank.get(one.id)
        assert bank.get(one.id) == one

    def test_a_connection_lost_in_a_transaction_rolls_it_back_and_nothing_else(
        self, server: PostgresBanks, open_bank: Any
    ) -> None:
        bank = open_bank()
        store(bank, known := unit("known before"))
        lost = unit("lost half way")

        def credit_and_cut() -> None:
            with bank._work(write=True) as rows:
                bank._pen(rows).credits([Credit(unit_id=known.id, won=True)])
                cut(server, bank)
                rows.execute("SELECT 1")

        with pytest.raises(BankUnreachableError, match="try again"):
            credit_and_cut()
        assert bank.get(known.id) == known
        assert store(bank, lost).merged == (False,)
        assert {one.id for one in bank.list().units} == {known.id, lost.id}
        assert bank.verify_log().sound

    def test_stretch_by_stretch_the_log_says_the_same_as_at_once(self, open_bank: Any) -> None:
        bank = open_bank()
        store(bank, *(unit(f"question {word}") for word in ("one", "two", "three")))
        found, count = bank.verify_stretch(limit=2), 1
        while found.next_cursor is not None:
            found, count = bank.verify_stretch(limit=2, cursor=found.next_cursor), count + 1
        assert found.report == bank.verify_log()
        assert found.report.sound
        assert count > 3

    def test_a_writer_that_waits_too_long_for_another_says_so(self, open_bank: Any) -> None:
        slow, quick = open_bank(), open_bank(busy_timeout_s=0.05)
        with slow._work(write=True):
            with pytest.raises(BankUnwritableError, match="holds the write lock"):
                store(quick, unit("waits"))
            assert quick.list().total == 0, "readers do not wait"
        store(quick, unit("waits no more"))

    def test_many_writers_lose_nothing_and_leave_one_chain(self, open_bank: Any) -> None:
        banks = [open_bank(busy_timeout_s=60) for _ in range(4)]
        store(banks[0], shared := unit("shared by all"))

        def write(who: int) -> list[str]:
            kept = []
            for number in range(12):
                one = unit(words(100 * who + number + 1))
                kept += store(banks[who], one, credits=(Credit(unit_id=shared.id, won=number % 2 == 0),)).unit_ids
            return kept

        with ThreadPoolExecutor(4) as pool:
            written = [one for ids in pool.map(write, range(4)) for one in ids]
        assert len(set(written)) == 48
        for bank in banks:
            assert bank.list(limit=500).total == 49
            assert (bank.get(shared.id).uses, bank.get(shared.id).wins) == (48, 24)
        assert banks[0].verify_log().sound

    def test_a_large_bucket_is_searched_by_its_index_and_gives_the_right_tenants_units(self, open_bank: Any) -> None:
        bank = open_bank(HashEmbedder(64), exact_up_to=50, merge_similarity=1.0)
        for tenant in ("a", "b"):
            store(bank, *(unit(words(n), namespace=tenant, category=f"c{n % 2}") for n in range(1, 130)))
        assert bank.health().index == "fresh (hnsw for 2 large buckets)"
        for number in (3, 60, 127):
            recall = bank.recall(MemoryQuery(text=words(number), namespace="b", k_success=3, min_relevance=0))
            assert recall.successes[0].unit.question == words(number)
            assert {hit.unit.namespace for hit in recall.hits} == {"b"}
            other = bank.recall(MemoryQuery(text=words(number), namespace="b", category=f"c{(number + 1) % 2}"))
            assert all(hit.unit.category != f"c{number % 2}" for hit in other.hits)
        again = store(bank, unit(words(60), namespace="b"))
        assert again.merged == (True,), "its twin is found through the index"
        paper = open_bank(HashEmbedder(64), exact_up_to=50, scoring="paper")
        query = MemoryQuery(text=words(9), namespace="a", min_similarity=-1)
        assert paper.recall(query).considered == 129, "the paper's min-max is over the whole bucket"

    def test_the_index_goes_and_comes_again_with_another_embedder(self, open_bank: Any) -> None:
        bank = open_bank(HashEmbedder(64), exact_up_to=20, merge_similarity=1.0)
        store(bank, *(unit(words(n)) for n in range(1, 40)))
        with pytest.raises(EmbedderMismatchError, match="mia memory reembed"):
            open_bank(HashEmbedder(32))
        other = open_bank(HashEmbedder(32), for_reembed=True, exact_up_to=20)
        assert other.reembed() == 39
        assert other.health().problems == ()
        assert other.health().index == "fresh (hnsw for 1 large buckets)"
        with pytest.raises(EmbedderMismatchError):
            bank.recall(MemoryQuery(text=words(3)))
        assert other.recall(MemoryQuery(text=words(3))).successes[0].unit.question == words(3)

    def test_a_rehearsed_import_tells_what_the_real_one_then_does(self, open_bank: Any) -> None:
        bank = open_bank()
        store(bank, unit("known one here"))
        lines = [{"kind": "unit", **unit(text).model_dump(mode="json")} for text in ("known one here", "new one")]
        told = bank.import_([*lines, "{broken"], dry_run=True)
        assert bank.list().total == 1
        done = bank.import_([*lines, "{broken"])
        assert told == done.model_copy(update={"dry_run": True})
        assert (done.added, done.merged, len(done.broken)) == (1, 1, 1)

    def test_captions_and_pairs_are_compared_as_in_sqlite(self, open_bank: Any) -> None:
        bank = open_bank(HashEmbedder(64), scoring="paper")
        captions = ("a red bridge", "some green frog", "an old clock")
        store(
            bank,
            *(unit("who made this", modality=Modality.IMAGE, caption=one) for one in captions),
            pairs=(PlanPair(question="who made this", good_plan="g", bad_plan="b"),),
        )
        query = MemoryQuery(text="who made this", caption="some green frog", modality=Modality.IMAGE)
        assert bank.recall(query).successes[0].unit.caption == "some green frog"
        assert bank.similar_pairs("who made this")[0].similarity == pytest.approx(1.0)

    def test_a_closed_bank_says_so(self, open_bank: Any) -> None:
        bank = open_bank()
        bank.close()
        with pytest.raises(BankError, match="was closed"):
            bank.list()

    def test_the_bank_of_the_settings_is_on_postgresql_when_memory_url_says_so(
        self, server: PostgresBanks, tmp_path: Path
    ) -> None:
        from mia_skill.app import open_bank as open_configured
        from mia_skill.core.config import MemoryConfig, MiaConfig

        config = MiaConfig(home=tmp_path, memory=MemoryConfig.model_validate({"url": server.url}))
        assert server.url not in repr(config)
        bank = open_configured(config, HashEmbedder())
        assert bank.health().path.startswith("postgresql://***@127.0.0.1")
        assert not (tmp_path / "memory.sqlite3").exists()
        bank.close()


@pytest.mark.real
@pytest.mark.postgres
@pytest.mark.slow
def test_a_server_that_stops_and_starts_again_loses_nothing_that_was_acknowledged() -> None:
    program = os.environ.get("MIA_POSTGRES_PROGRAM")
    if not program:
        pytest.skip("starts a server of its own: run `make test-postgres`")
    from retrieval.postgres_bank import PostgresBank

    with TemporaryDirectory(prefix="mia-postgres-", dir="/tmp") as home:
        own = Server(Path(program), Path(home))
        own.start()
        try:
            bank = PostgresBank.open(own.url, HashEmbedder())
            store(bank, kept := unit("acknowledged before the stop"))
            own.stop()
            with pytest.raises(BankUnreachableError):
                store(bank, unit("while it is down"))
            with pytest.raises(BankUnreachableError):
                bank.recall(MemoryQuery(text="anything"))
            assert bank.health().problems, "health says what it can"
            own.start()
            assert bank.get(kept.id) == kept
            assert [one.id for one in bank.list().units] == [kept.id]
            bank.close()
        finally:
            own.stop()
