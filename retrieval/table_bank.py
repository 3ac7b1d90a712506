"""The memory bank's verbs over tables, whatever database holds them: one transaction each (`retrieval.tables`)."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Literal

import orjson

from mia_skill.core.config import BlendWeights, ScoreWeights
from mia_skill.core.errors import EmbedderMismatchError, InputError, UnknownIdError
from mia_skill.core.types import Feedback, MemoryUnit, Outcome, PlanPair, Status, utc_now
from retrieval.audit import AuditReport, audit_units, twins_of
from retrieval.bank import Consolidation, Hit, MemoryQuery, PairHit, Progress, Recall, Stored, UnitPage
from retrieval.carried import Line, believed
from retrieval.chain import fingerprint
from retrieval.contest import Asked, Exact, Sketch, contest, pool_of, shown_apart
from retrieval.gate import Trial
from retrieval.inspect import list_units
from retrieval.places import Places, pair_bucket
from retrieval.postings import shaped
from retrieval.probation import hold, spoken_of, take, waiting, withdraw
from retrieval.recall import Ranked, Ranking, make_hit, nearest, rank, recall_of
from retrieval.rows import PAIR_COLUMNS, UNIT_COLUMNS, masked_rows, pair_of, unit_of
from retrieval.standing import Rules
from retrieval.steward import Steward
from retrieval.tables import Row, Tables
from retrieval.transfer import (
    Arrival,
    BrokenLine,
    ImportReport,
    adopted,
    read_lines,
)
from retrieval.vectors import Embedder, Vectors
from retrieval.withhold import asked_buckets, settle, together
from retrieval.writer import Kept, Writer, vectors_of

__all__ = ["BankSettings", "TableBank"]

IMPORT_BATCH = 256
"""Lines of one import transaction: an import that is killed is simply run again."""


@dataclass(frozen=True)
class BankSettings:
    """How a bank ranks, merges and forgets; the same for every database."""

    weights: ScoreWeights = field(default_factory=ScoreWeights)
    merge_similarity: float = 0.97
    capacity: int | None = None
    scoring: Literal["paper", "blend"] = "blend"
    blend: BlendWeights = field(default_factory=BlendWeights)
    environment: str = ""
    canaries: Rules = field(default_factory=Rules)


class TableBank(Steward):
    """What every `Bank` on a database shares. Its kinds bring the transactions (`_work`), how rows are found by their
    vectors (`Places`), export, rehearsal, re-embedding and health."""

    def __init__(self, embedder: Embedder, places: Places, settings: BankSettings) -> None:
        self._embedder = embedder
        self._places = places
        self._settings = settings
        self._weights = settings.weights
        self._merge_similarity = settings.merge_similarity
        self._capacity = settings.capacity
        self._blend = settings.blend if settings.scoring == "blend" else None
        self._environment = settings.environment
        self._canaries = settings.canaries

    # -- reading ------------------------------------------------------------------------------------------------

    def recall(self, query: MemoryQuery) -> Recall:
        asked = asked_buckets(query)
        with self._work(write=False) as rows:
            empty = not self._places.any_in(rows, "unit", [key for key, _ in asked])
        if empty:
            # Spares the first user the loading of a model.
            with self._work(write=False) as rows:
                return settle(rows, query, recall_of(query, (), ((), ())), ())
        (vectors,) = self._embed([(query.text, query.caption)], masked=1)
        with self._work(write=False) as rows:
            self._places.follow(rows)
            self._same_dimension(rows, vectors)
            found = [self._rank(rows, key, query, k, vectors) for key, k in asked]
            rankings, shown, kept_back = together(query, [one for one, _ in found], [hits for _, hits in found])
            return settle(rows, query, recall_of(query, rankings, shown), kept_back)

    def similar_pairs(
        self,
        question: str,
        *,
        caption: str | None = None,
        namespace: str = "default",
        k: int = 4,
        min_similarity: float = 0.0,
    ) -> tuple[PairHit, ...]:
        key = pair_bucket(namespace)
        with self._work(write=False) as rows:
            if not self._places.any_in(rows, "pair", [key]):
                return ()
        (vectors,) = self._embed([(question, caption)])
        with self._work(write=False) as rows:
            self._places.follow(rows)
            self._same_dimension(rows, vectors)
            bucket, _ = self._places.compared(rows, "pair", key, vectors, None, every=False)
            found = nearest(bucket, k, vectors.question, vectors.caption, self._weights, min_similarity=min_similarity)
            return tuple(
                PairHit(
                    pair=pair_of(_one(rows, f"SELECT {PAIR_COLUMNS} FROM pairs p WHERE seq = ?", seq)), similarity=sim
                )
                for seq, sim in found
            )

    def get(self, unit_id: str) -> MemoryUnit:
        with self._work(write=False) as rows:
            row = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
            found = waiting(rows, unit_id) if row is None else unit_of(row)
        if found is None:
            raise UnknownIdError(f"there is no memory unit {unit_id!r}: `mia memory list` shows those that are")
        return found

    def list(
        self,
        *,
        namespace: str | None = None,
        outcome: Outcome | None = None,
        category: str | None = None,
        text: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        status: Status | None = None,
    ) -> UnitPage:
        with self._work(write=False) as rows:
            return list_units(
                rows,
                namespace=namespace,
                outcome=outcome,
                category=category,
                text=text,
                limit=limit,
                cursor=cursor,
                status=status,
            )

    def audit(self) -> AuditReport:
        with self._work(write=False) as rows:
            self._places.follow(rows)
            by_seq = {
                row["seq"]: unit_of(row) for row in rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq")
            }
            groups = list(self._places.groups(rows))
        return audit_units(by_seq.values(), twins_of(by_seq, groups, self._merge_similarity))

    # -- writing ------------------------------------------------------------------------------------------------

    def consolidate(self, c: Consolidation) -> Stored:
        _sound(c)
        if c.judge and _says(c):
            ids = tuple(unit.id for unit in c.units)
            with self._work(write=True) as rows:
                hold(rows, c.judge, c.model_dump_json(), ids)
            return Stored(unit_ids=ids, merged=(False,) * len(ids), pair_ids=tuple(p.id for p in c.pairs), held=True)
        kept, pair_ids, (credited, unknown) = self._store(c, self._merge_similarity if c.merge else None)
        return Stored(
            unit_ids=tuple(one.id for one in kept),
            merged=tuple(one.merged for one in kept),
            pair_ids=pair_ids,
            credited=credited,
            unknown_credits=unknown,
        )

    def feedback(self, unit_id: str, feedback: Feedback, outcome: Outcome | None = None) -> MemoryUnit:
        with self._work(write=True) as rows:
            held = waiting(rows, unit_id)
            if held is None:
                return self._pen(rows).feedback(unit_id, feedback, outcome)
        change = Consolidation(units=(spoken_of(held, feedback, outcome),))
        kept, _, _ = self._store(change, self._merge_similarity, only_if=partial(withdraw, unit_ids=(unit_id,)))
        # Decided in between: then it is in the bank, or gone.
        return self.get(kept[0].id) if kept else self.feedback(unit_id, feedback, outcome)

    def forget(self, unit_ids: Sequence[str]) -> int:
        with self._work(write=True) as rows:
            held = withdraw(rows, unit_ids, pairs=True)
            rest = [one for one in dict.fromkeys(unit_ids) if one not in held]
            return len(held) + (self._pen(rows).forget(rest) if rest else 0)

    def import_(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        dry_run: bool = False,
        restore: bool = False,
        vectors: bool = False,
        namespace: str | None = None,
        listener: Progress | None = None,
    ) -> ImportReport:
        if dry_run:
            return self._rehearse(lines, restore=restore, vectors=vectors, namespace=namespace, listener=listener)
        broken: list[BrokenLine] = []
        arrivals = read_lines(lines, broken, self._embedder.identity if vectors else None)
        report = ImportReport()
        done = 0
        while batch := tuple(islice(arrivals, IMPORT_BATCH)):
            change = _arriving([one.value for one in batch], restore=restore, namespace=namespace)
            given = self._believed(batch)
            kept, pair_ids, _ = self._store(
                change, None if restore else self._merge_similarity, restored=restore, given=given
            )
            known = sum(one.known for one in kept)
            merged = sum(one.merged for one in kept) - known
            report = ImportReport(
                added=report.added + len(kept) - known - merged,
                merged=report.merged + merged,
                known=report.known + known,
                pairs=report.pairs + len(pair_ids),
                embedded_again=report.embedded_again
                + sum(one.had_vectors for one in batch)
                - sum(one is not None for one in given),
            )
            done += len(batch)
            if listener is not None:
                listener(done, done)
        return report.model_copy(update={"broken": tuple(broken)})

    def _believed(self, batch: Sequence[Arrival]) -> "tuple[Vectors | None, ...]":
        """The vectors that came with the units, then those with the pairs, where they may be used."""
        units = [(one.value, one.vectors) for one in batch if isinstance(one.value, MemoryUnit)]
        pairs = [(one.value, one.vectors) for one in batch if isinstance(one.value, PlanPair)]
        lines = [Line(one.question, one.caption, True, came) for one, came in units]
        lines += [Line(one.question, one.caption, False, came) for one, came in pairs]
        return tuple(believed(lines, self._embed, masked=self._blend is not None))

    def _writer(self, rows: Tables) -> Writer:
        self._places.follow(rows)
        return self._pen(rows)

    # -- inside -------------------------------------------------------------------------------------------------

    def _embed(self, texts: Sequence[tuple[str, str | None]], masked: int = 0) -> "tuple[Vectors, ...]":
        return vectors_of(self._embedder, texts, masked, blended=self._blend is not None)

    def _same_dimension(self, rows: Tables, vectors: Vectors) -> None:
        (stored,) = _one(rows, "SELECT dimension FROM state")
        if stored not in (None, len(vectors.question)):
            raise EmbedderMismatchError(
                f"the stored vectors have {stored} dimensions, the embedder now gives {len(vectors.question)}: "
                "the model behind it was changed; run `mia memory reembed`, or bring the old one back"
            )

    def _rank(
        self, rows: Tables, key: Hashable, query: MemoryQuery, k: int, asked: Vectors
    ) -> "tuple[Ranking, tuple[Hit, ...]]":
        """The best of one bucket, by the paper's score or by the blend."""
        paper = self._blend is None
        bucket, category = (
            self._places.compared(rows, "unit", key, asked, query.category, every=paper) if k else (None, None)
        )
        if self._blend is None:
            ranking = rank(bucket, query, k, asked.question, asked.caption, self._weights, category)
            found = _sound_hits(_read(rows, ranking.best))
        else:
            question = Asked(asked.question, asked.caption, asked.masked, shaped(asked.shape))
            stored = Exact(partial(masked_rows, rows), partial(self._places.questions, rows))
            given = (self._weights, self._blend, category, stored, utc_now(), self._environment, k)
            pool = pool_of(bucket, query, question, *given) if bucket is not None else None
            ranking = contest(pool, query, self._blend, k)
            found = self._apart(_read(rows, ranking.best), k, self._blend)
        return ranking._replace(best=tuple(ranked for ranked, _ in found)), tuple(hit for _, hit in found)

    def _pen(self, rows: Tables) -> Writer:
        return Writer(rows, self._places, self._blend, self._environment)

    def _apart(
        self, read: Sequence[tuple[Ranked, Row]], k: int, blend: BlendWeights
    ) -> "tuple[tuple[Ranked, Hit], ...]":
        """Those that are shown; only they are taken whole. One whose text was changed outside the bank leaves its
        place to the others."""
        while True:
            picked = shown_apart([_sketch(row) for _, row in read], [one.score for one, _ in read], k, blend)
            found = _sound_hits([read[at] for at in picked])
            if len(found) == len(picked):
                return found
            good = {ranked.seq for ranked, _ in found}
            bad = {read[at][0].seq for at in picked} - good
            read = [(ranked, row) for ranked, row in read if ranked.seq not in bad]

    def _settle(self, change: Consolidation, number: int) -> None:
        self._store(change, self._merge_similarity if change.merge else None, only_if=partial(take, number=number))

    def _vectors(self, c: Consolidation, given: "Sequence[Vectors | None]") -> "tuple[Vectors, ...]":
        """Of the units, then of the pairs; those that are not given are made."""
        texts = [(unit.question, unit.caption) for unit in c.units]
        texts += [(pair.question, pair.caption) for pair in c.pairs]
        given = given or [None] * len(texts)
        missing = [at for at, one in enumerate(given) if one is None]
        made = iter(self._embed([texts[at] for at in missing], masked=sum(at < len(c.units) for at in missing)))
        return tuple(next(made) if one is None else one for one in given)

    def _store(
        self,
        c: Consolidation,
        merge_similarity: float | None,
        *,
        restored: bool = False,
        only_if: Callable[[Tables], object] | None = None,
        given: "Sequence[Vectors | None]" = (),
    ) -> "tuple[tuple[Kept, ...], tuple[str, ...], tuple[int, tuple[str, ...]]]":
        _sound(c)
        if only_if is None and not _says(c):
            return (), (), (0, ())
        vectors = self._vectors(c, given)
        unit_vectors, pair_vectors = vectors[: len(c.units)], vectors[len(c.units) :]
        with self._work(write=True) as rows:
            if only_if is not None and not only_if(rows):
                return (), (), (0, ())
            self._places.follow(rows)
            writer = self._pen(rows)
            if vectors:
                self._same_dimension(rows, vectors[0])
                writer.claim(self._embedder.identity, len(vectors[0].question))
            kept = tuple(
                writer.unit(unit, one, merge_similarity, restored=restored)
                for unit, one in zip(c.units, unit_vectors, strict=True)
            )
            alike = None if restored else self._merge_similarity
            pair_ids = tuple(writer.pair(pair, one, alike) for pair, one in zip(c.pairs, pair_vectors, strict=True))
            credit = writer.credits(c.credits, () if restored else c.trials)
            writer.trials(c.trials, restored=restored)
            writer.fit(c.units, self._capacity)
        return kept, pair_ids, credit

    @abstractmethod
    def _rehearse(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        restore: bool,
        vectors: bool,
        namespace: str | None,
        listener: Progress | None,
    ) -> ImportReport:
        """What `import_` would do; nothing of it stays."""


def _says(c: Consolidation) -> bool:
    return bool(c.units or c.pairs or c.credits or c.trials)


def _sound(c: Consolidation) -> None:
    for unit in c.units:
        if unit.wins > unit.uses:
            raise InputError(f"unit {unit.id!r} has {unit.wins} wins in {unit.uses} uses: nothing was stored")


def _read(rows: Tables, best: Sequence[Ranked]) -> list[tuple[Ranked, Row]]:
    """The ranked with their rows, in one statement."""
    if not best:
        return []
    places = ", ".join("?" * len(best))
    statement = f"SELECT {UNIT_COLUMNS}, u.digest FROM units u WHERE seq IN ({places})"
    found = {row["seq"]: row for row in rows.execute(statement, [one.seq for one in best])}
    return [(ranked, found[ranked.seq]) for ranked in best]


def _sound_hits(read: Sequence[tuple[Ranked, Row]]) -> tuple[tuple[Ranked, Hit], ...]:
    """The ranked with their units, without those whose text was changed outside the bank."""
    hits = ((ranked, row, unit_of(row)) for ranked, row in read)
    return tuple((ranked, make_hit(unit, ranked)) for ranked, row, unit in hits if row["digest"] == fingerprint(unit))


def _sketch(row: Row) -> Sketch:
    general = row["id"].startswith("gen_")
    parents = orjson.loads(row["provenance"])["parents"] if general else ()
    return Sketch(row["id"], row["workflow"], frozenset(parents))


def _one(rows: Tables, statement: str, *given: object) -> Row:
    row: Row = rows.execute(statement, given).fetchone()
    return row


def _arriving(batch: Sequence[MemoryUnit | PlanPair | Trial], *, restore: bool, namespace: str | None) -> Consolidation:
    moved = {} if namespace is None else {"namespace": namespace}
    units = [one.model_copy(update=moved) for one in batch if isinstance(one, MemoryUnit)]
    pairs = [one.model_copy(update=moved) for one in batch if isinstance(one, PlanPair)]
    # Outcomes are evidence of this bank's own use: only one's own export brings them back.
    trials = [one for one in batch if isinstance(one, Trial)] if restore and namespace is None else []
    return Consolidation(
        units=tuple(units if restore else map(adopted, units)), pairs=tuple(pairs), trials=tuple(trials)
    )
