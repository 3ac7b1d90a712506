"""Laws of the bank that hold for any order of events: merge, quarantine, revocation, credit, upgrade."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bank_kinds import Banks
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.types import Credit, MemoryUnit, Origin, Outcome, Provenance, Status
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.gate import Draw, Trial
from retrieval.schema import SCHEMA_VERSION
from retrieval.sqlite_bank import SqliteBank

QUESTION = "alpha beta gamma"
ORIGINS = st.sampled_from(list(Origin))
few = settings(max_examples=25, deadline=None)


@contextmanager
def a_bank(banks: Banks) -> Iterator[SqliteBank]:
    with TemporaryDirectory() as folder:
        bank = banks.open(Path(folder) / "b.sqlite3", HashEmbedder())
        try:
            yield bank
        finally:
            bank.close()


def made(question: str = QUESTION, **fields: object) -> MemoryUnit:
    given_ = {"question": question, "workflow": "1. a way", "outcome": Outcome.CORRECT, **fields}
    return MemoryUnit.model_validate(given_)


@few
@given(st.lists(st.tuples(st.sampled_from(list(Outcome)), ORIGINS, st.integers(1, 9)), max_size=8))
def test_a_proven_success_never_gives_way_to_a_failure_nor_to_a_text_that_is_less_trusted(banks, arrivals):
    with a_bank(banks) as bank:
        proven = made(workflow="1. the proven way, told at length", uses=5, wins=5, steps=9)
        bank.consolidate(Consolidation(units=(proven,)))
        for number, (outcome, origin, steps) in enumerate(arrivals):
            text = f"1. another {number}"
            provenance = Provenance(origins=(origin,))
            bank.consolidate(
                Consolidation(units=(made(workflow=text, outcome=outcome, provenance=provenance, steps=steps),))
            )
        kept = bank.get(proven.id)
        assert (kept.outcome, kept.status) == (Outcome.CORRECT, Status.ACTIVE)
        assert (kept.uses, kept.wins) == (5, 5)
        trusted = {f"1. another {n}" for n, (o, where, _) in enumerate(arrivals) if o is Outcome.CORRECT}
        assert kept.workflow == proven.workflow or kept.workflow in trusted


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6))
def test_merging_keeps_the_sum_of_all_uses_and_wins_whatever_the_order(banks, counts):
    with a_bank(banks) as bank:
        for number, (wins, losses) in enumerate(counts):
            one = made(workflow=f"1. way {number}", uses=wins + losses, wins=wins)
            bank.consolidate(Consolidation(units=(one,)))
        units = bank.list().units
        assert len(units) == min(1, len(counts))
        assert sum(unit.uses for unit in units) == sum(map(sum, counts))
        assert sum(unit.wins for unit in units) == sum(wins for wins, _ in counts)


@few
@given(st.lists(st.tuples(ORIGINS, st.integers(0, 9)), min_size=1, max_size=7), st.integers(0, 6))
def test_trust_is_the_least_of_the_lineage_and_revoking_takes_all_descendants(banks, chain, cut):
    trusted = {Origin.OWN_RUN, Origin.USER}
    with a_bank(banks) as bank:
        ids: list[str] = []
        for number, (origin, parent) in enumerate(chain):
            above = (ids[parent % len(ids)],) if ids else ()
            name = "".join(chr(97 + (number * 7 + step) % 26) for step in range(5))
            provenance = Provenance(origins=(origin,), parents=above)
            one = made(f"{name} one{name} two{name}", workflow=f"1. {name} {name}x", provenance=provenance)
            bank.consolidate(Consolidation(units=(one,), merge=False))
            ids.append(one.id)
        parents = {ids[n]: ids[p % n] for n, (_, p) in enumerate(chain) if n}
        origin_of = dict(zip(ids, (origin for origin, _ in chain), strict=True))

        def line(one: str) -> list[str]:
            return [one, *(line(parents[one]) if one in parents else [])]

        for one in ids:
            clean = all(origin_of[above] in trusted for above in line(one))
            assert bank.get(one).status is (Status.ACTIVE if clean else Status.QUARANTINED)
        target = ids[cut % len(ids)]
        bank.revoke(target)
        for one in ids:
            assert (bank.get(one).status is Status.REVOKED) == (target in line(one))
        assert bank.verify_log().sound


@few
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_credit_counts_each_named_unit_once_and_never_makes_more_wins_than_uses(banks, outcomes):
    with a_bank(banks) as bank:
        one, other = made("alpha one"), made("omega two")
        bank.consolidate(Consolidation(units=(one, other), merge=False))
        for number, (first, won) in enumerate(outcomes):
            named = one.id if first else other.id
            draw = Draw(task=str(number), namespace="default", shown=(named,))
            credit = Consolidation(credits=(Credit(unit_id=named, won=won),), trials=(Trial(draw=draw, won=won),))
            bank.consolidate(credit)
        for unit, mine in ((one, True), (other, False)):
            kept = bank.get(unit.id)
            assert kept.uses == sum(first is mine for first, _ in outcomes)
            assert kept.wins == sum(won for first, won in outcomes if first is mine)


def test_a_bank_of_the_schema_before_is_upgraded_and_recalls_by_shape(tmp_path):
    path = tmp_path / "b.sqlite3"
    bank = SqliteBank.open(path, HashEmbedder(256))
    unit = made("Where was the founder of Larkin Works born?", uses=4, wins=3)
    bank.consolidate(Consolidation(units=(unit,)))
    bank.close()
    rows = sqlite3.connect(path)
    for table, column in (("vectors", "masked"), ("vectors", "shape"), ("staged_vectors", "masked")):
        rows.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    for column in ("seen_uses", "seen_wins", "seen_at", "seen_in"):
        rows.execute(f"ALTER TABLE units DROP COLUMN {column}")
    for table in ("draws", "held", "judges"):
        rows.execute(f"DROP TABLE {table}")
    rows.execute("PRAGMA user_version = 2")
    rows.commit()
    rows.close()
    again = SqliteBank.open(path, HashEmbedder(256))
    asked = MemoryQuery(text="Where was the founder of Tamm Yard born?")
    (hit,) = again.recall(asked).hits
    assert hit.explanation is not None
    assert hit.explanation.lexical > 0.99
    assert hit.explanation.value > 0.5, "its earlier outcomes are evidence"
    assert hit.explanation.shape == hit.explanation.dense, "no masked vector yet: the plain one stands in"
    assert again.health().schema_version == SCHEMA_VERSION
    again.reembed()
    (hit,) = again.recall(asked).hits
    assert hit.explanation is not None
    assert hit.explanation.shape > 0.99
    again.close()
