"""Searching a corpus: what it finds, what it keeps on disk, and what it says about broken files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_disk import file_limit

from mia_skill.core.errors import CorpusError, InputError, ModelReplyError
from mia_skill.core.types import Origin, Passage
from retrieval.corpus import Corpus
from retrieval.dense import CHUNK
from retrieval.embed import HashEmbedder
from retrieval.search import MAX_K, MAX_QUERY_CHARS, SearchEngine, reciprocal_rank_fusion
from retrieval.vectors import Kind, Rows

ROWS = [
    {"id": "a", "title": "Velmora Works", "text": "Velmora Works was set up in 1874 by Aldric Tesh."},
    {"id": "b", "title": "Aldric Tesh", "text": "Aldric Tesh was born in Ostrava Nova and studied glass blowing."},
    {"id": "c", "title": "Vesk River", "text": "The Vesk River flows through Ostrava Nova. It is 312 km long."},
    {"id": "d", "title": "Fannā", "text": "Fannā of Brûlé was a founder of bakeries."},
]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(rows: Sequence[object] = ROWS, name: str = "corpus.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows))
        return path

    return written


class Counting:
    """Embeds with hashed words and counts the passages; can break off after some."""

    def __init__(self, identity: str = "counting", limit: int | None = None) -> None:
        self.identity = identity
        self.dimension = 64
        self.passages = 0
        self._inner = HashEmbedder(64)
        self._limit = limit

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        if kind == "passage":
            self.passages += len(texts)
            if self._limit is not None and self.passages > self._limit:
                raise ModelReplyError("the embedder stopped", raw="")
        return self._inner.embed(texts, kind)


def many(count: int) -> list[dict[str, str]]:
    return [
        {"id": f"n{n}", "title": f"Page {n}", "text": f"number {n} of many words like w{n % 97}"} for n in range(count)
    ]


# -- finding --------------------------------------------------------------------------------------------------


async def test_a_search_gives_passages_of_origin_file_best_first(write: Write) -> None:
    engine: SearchEngine = Corpus.open([write()], HashEmbedder(), cache=None)
    found = await engine.search("who set up Velmora Works?", k=2)
    assert found[0].id == "a"
    assert len(found) == 2
    assert found[0].score > found[1].score
    assert (found[0].source, found[0].origin, engine.name) == ("corpus", Origin.FILE, "corpus")


async def test_many_searches_at_once_give_what_each_gives_alone(write: Write) -> None:
    corpus = Corpus.open([write(many(300))], HashEmbedder(), cache=None)
    alone = {n: corpus.find(f"page number {n}") for n in range(40)}
    together: dict[int, tuple[Passage, ...]] = {}

    async def ask(n: int) -> None:
        together[n] = await corpus.search(f"page number {n}")

    async with anyio.create_task_group() as group:
        for n in alone:
            group.start_soon(ask, n)
    assert together == alone


def test_words_are_matched_by_stem_and_without_accents(write: Write) -> None:
    corpus = Corpus.open([write()], None, cache=None)
    assert [one.id for one in corpus.find("flowing rivers")] == ["c"]
    assert [one.id for one in corpus.find("Brule")] == ["d"]


def test_bm25_finds_nothing_where_no_word_is_shared_and_that_is_no_error(write: Write) -> None:
    corpus = Corpus.open([write()], None, cache=None)
    assert corpus.find("quantum chromodynamics") == ()
    assert corpus.find("!!! ???") == ()


def test_a_query_of_function_words_alone_is_searched_all_the_same(write: Write) -> None:
    corpus = Corpus.open([write()], None, cache=None)
    assert corpus.find("was in the")


@pytest.mark.parametrize(
    "query",
    [
        'title:"Vesk River',
        "text:[* TO *]",
        "Vesk AND NOT river",
        "+Vesk -river",
        "(((Vesk",
        "Vesk^9999999999",
        "Vesk~2 /.*/",
        "IN [a b]",
        "*",
        "\\",
        '"',
        "Vesk\x00River",
        "Vesk \ud800 river",
    ],
)
def test_query_operators_are_plain_words(write: Write, query: str) -> None:
    corpus = Corpus.open([write()], HashEmbedder(), cache=None)
    words = " ".join(re.findall(r"[A-Za-z0-9]+", query))
    assert corpus.find(query, how="bm25") == (corpus.find(words, how="bm25") if words else ())
    assert corpus.find(query)


@given(query=st.text(min_size=1, max_size=60))
def test_any_text_at_all_is_answered_or_refused_as_input(query: str) -> None:
    corpus = GENERAL()
    try:
        found = corpus.find(query)
    except InputError:
        return
    assert len(found) <= 5


@pytest.mark.parametrize("query", ["", "   ", "\x00", "\n\t", "x" * (MAX_QUERY_CHARS + 1)])
async def test_an_empty_or_huge_query_is_refused(write: Write, query: str) -> None:
    corpus = Corpus.open([write()], None, cache=None)
    with pytest.raises(InputError):
        await corpus.search(query)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 10**8])
async def test_an_impossible_number_of_passages_is_refused(write: Write, k: int) -> None:
    corpus = Corpus.open([write()], None, cache=None)
    with pytest.raises(InputError, match="ask for 1 to"):
        await corpus.search("Vesk", k=k)


def test_asking_for_more_than_there_is_gives_what_there_is(write: Write) -> None:
    corpus = Corpus.open([write()], HashEmbedder(), cache=None)
    assert len(corpus.find("Vesk River", k=1000)) == len(corpus) == len(ROWS)


def test_each_ranking_can_be_asked_alone_but_not_for_embeddings_that_are_not_there(write: Write) -> None:
    corpus = Corpus.open([write()], HashEmbedder(), cache=None)
    assert len(corpus.find("Vesk", how="bm25")) == 1
    assert len(corpus.find("Vesk", how="dense")) == len(ROWS)
    with pytest.raises(InputError, match="without embeddings"):
        Corpus.open([write()], HashEmbedder(), cache=None, dense=False).find("Vesk", how="dense")


def test_a_long_passage_is_cut_and_says_so_and_can_be_had_in_full(write: Write) -> None:
    corpus = Corpus.open(
        [write([{"id": "x", "title": "Long", "text": "word " * 500}])], None, cache=None, passage_chars=100
    )
    (found,) = corpus.find("long")
    assert found.text.endswith("[cut here: 94 of 2500 characters]")
    assert corpus.get("x").text == "word " * 500


def test_a_long_passage_without_a_place_to_cut_is_cut_all_the_same(write: Write) -> None:
    rows = [{"id": "x", "title": "Long", "text": "x" * 500}, {"id": "y", "title": "Long", "text": " " * 500 + "y"}]
    corpus = Corpus.open([write(rows)], None, cache=None, passage_chars=100)
    assert all("[cut here: 100 of" in one.text for one in corpus.find("long"))


def test_a_passage_that_is_not_there_is_the_callers_mistake(write: Write) -> None:
    with pytest.raises(InputError, match="no passage 'zzz'"):
        Corpus.open([write()], None, cache=None).get("zzz")


# -- fusion ---------------------------------------------------------------------------------------------------


def test_fusion_adds_reciprocal_ranks() -> None:
    assert reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=10) == [
        ("b", 1 / 12 + 1 / 11),
        ("a", 1 / 11),
        ("c", 1 / 12),
    ]


def test_fusion_of_one_ranking_keeps_its_order_and_equal_scores_keep_the_order_met() -> None:
    assert [id_ for id_, _ in reciprocal_rank_fusion([["x", "y", "x"]])] == ["x", "y"]
    assert [id_ for id_, _ in reciprocal_rank_fusion([["p"], ["q"]])] == ["p", "q"]
    assert reciprocal_rank_fusion([]) == []


def test_weights_shift_the_fusion_and_must_fit() -> None:
    assert reciprocal_rank_fusion([["a"], ["b"]], weights=[1, 2])[0][0] == "b"
    with pytest.raises(InputError, match="1 weights for 2"):
        reciprocal_rank_fusion([["a"], ["b"]], weights=[1])
    with pytest.raises(InputError, match="cannot be negative"):
        reciprocal_rank_fusion([["a"]], k=-11)


# -- reading --------------------------------------------------------------------------------------------------


def test_several_files_are_one_corpus_and_blank_lines_byte_order_marks_and_number_ids_are_fine(write: Write) -> None:
    second = write(
        [b"\xef\xbb\xbf" + orjson.dumps({"id": 7, "text": "A page on otters."}), b"", b"  "], name="two.jsonl"
    )
    corpus = Corpus.open([write(), second], None, cache=None)
    assert len(corpus) == len(ROWS) + 1
    assert [one.id for one in corpus.find("otters")] == ["7"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{not json", "no valid JSON"),
        (b'{"id": "z", "text": "\xff\xfe"}', "no valid JSON in UTF-8"),
        (b'{"id": "z", "text": "\\ud800"}', "no valid JSON"),
        (b"[1, 2]", "expected an object"),
        (b"null", "expected an object"),
        (b'{"title": "no id", "text": "t"}', "id must be"),
        (b'{"id": "", "text": "t"}', "id must be"),
        (b'{"id": true, "text": "t"}', "id must be"),
        (b'{"id": "z", "title": "no text"}', "id must be"),
        (b'{"id": "z", "text": 5}', "id must be"),
        (b'{"id": "z", "title": ["list"], "text": "t"}', "title"),
        (b'{"id": "z", "title": "", "text": "  "}', "both empty"),
        (b'{"id": "a", "text": "again"}', "used before, in .*corpus.jsonl, line 1"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(write: Write, line: bytes, said: str) -> None:
    path = write([*ROWS, line])
    with pytest.raises(CorpusError, match=said) as caught:
        Corpus.open([path], None, cache=None)
    assert f"{path}, line {len(ROWS) + 1}" in str(caught.value)


def test_a_missing_file_a_folder_and_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"missing\.jsonl: No such file"):
        Corpus.open([tmp_path / "missing.jsonl"], None, cache=None)
    with pytest.raises(CorpusError, match="cannot read the corpus file"):
        Corpus.open([tmp_path], None, cache=None)
    with pytest.raises(CorpusError, match="no corpus file is given"):
        Corpus.open([], None, cache=None)


@pytest.mark.parametrize("content", [[], [b""], [b"   ", b""]])
def test_an_empty_corpus_is_an_error(write: Write, content: list[bytes]) -> None:
    with pytest.raises(CorpusError, match="no passage in it"):
        Corpus.open([write(content)], None, cache=None)


# -- keeping --------------------------------------------------------------------------------------------------


def test_a_second_opening_embeds_nothing_and_finds_the_same(write: Write, tmp_path: Path) -> None:
    path, embedder = write(many(600)), Counting()
    first = Corpus.open([path], embedder, cache=tmp_path / "cache")
    assert embedder.passages == 600
    again = Corpus.open([path], embedder, cache=tmp_path / "cache")
    assert embedder.passages == 600
    assert again.find("page 17") == first.find("page 17")
    assert again.find("page 17") == Corpus.open([path], Counting(), cache=None).find("page 17")


def test_progress_is_told_up_to_the_end(write: Write) -> None:
    told: list[tuple[int, int]] = []
    Corpus.open([write(many(600))], Counting(), cache=None, progress=lambda done, total: told.append((done, total)))
    assert told == [(CHUNK, 600), (2 * CHUNK, 600), (600, 600)]


def test_embedding_that_was_broken_off_goes_on_where_it_was(write: Write, tmp_path: Path) -> None:
    path = write(many(600))
    with pytest.raises(ModelReplyError):
        Corpus.open([path], Counting(limit=300), cache=tmp_path / "cache")
    later = Counting()
    Corpus.open([path], later, cache=tmp_path / "cache")
    assert later.passages == 600 - CHUNK


def test_another_embedder_or_another_corpus_never_meets_old_vectors(write: Write, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Corpus.open([write(many(10))], Counting("one"), cache=cache)
    other = Counting("two")
    Corpus.open([write(many(10))], other, cache=cache)
    assert other.passages == 10
    changed = Counting("one")
    corpus = Corpus.open([write([*many(9), {"id": "n9", "text": "zebras"}])], changed, cache=cache)
    assert changed.passages == 10
    assert [one.id for one in corpus.find("zebras", 1)] == ["n9"]


def test_a_corpus_that_grew_embeds_only_what_is_new(write: Write, tmp_path: Path) -> None:
    Corpus.open([write(many(CHUNK))], Counting(), cache=tmp_path / "cache")
    later = Counting()
    Corpus.open([write(many(CHUNK + 5))], later, cache=tmp_path / "cache")
    assert later.passages == 5


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flip": lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 255]) + raw[len(raw) // 2 + 1 :],
    "truncate": lambda raw: raw[: len(raw) // 2],
    "delete": lambda raw: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whichever_cache_file_is_damaged_it_is_made_anew_and_the_answers_stay(
    write: Write, tmp_path: Path, damage: str
) -> None:
    path = write(many(50))
    whole = Corpus.open([path], Counting(), cache=None).find("page 17")
    turn, left = 0, 1
    while turn < left:
        cache = tmp_path / f"cache{turn}"
        Corpus.open([path], Counting(), cache=cache)
        files = [one for one in cache.rglob("*") if one.is_file() and one.stat().st_size]
        files.sort(key=lambda one: (one.suffix, one.name))
        left, file = len(files), files[turn]
        after = DAMAGES[damage](file.read_bytes())
        file.unlink()
        if after is not None:
            file.write_bytes(after)
        for made_anew in (50 if file.suffix == ".f32" else 0, 0):
            embedder = Counting()
            assert Corpus.open([path], embedder, cache=cache).find("page 17") == whole
            assert embedder.passages == made_anew
        turn += 1
    assert turn >= 8


def test_a_cache_that_cannot_be_written_is_named(write: Write, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(CorpusError, match="cache"):
        Corpus.open([write()], None, cache=tmp_path / "cache")
    with pytest.raises(CorpusError, match="cache"):
        Corpus.open([write()], Counting(), cache=tmp_path / "cache")


def test_nothing_half_built_is_left_behind(write: Write, tmp_path: Path) -> None:
    Corpus.open([write()], Counting(), cache=tmp_path / "cache")
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.name.startswith(("building-", "tmp"))]


def test_equal_similarities_keep_the_order_of_the_corpus(write: Write) -> None:
    rows = [{"id": f"s{n}", "title": "", "text": "the same words"} for n in range(20)]
    corpus = Corpus.open([write(rows)], HashEmbedder(), cache=None)
    assert [one.id for one in corpus.find("same words", 20, how="dense")] == [f"s{n}" for n in range(20)]
    assert np.isfinite([one.score for one in corpus.find("same words", 20)]).all()


class General:
    """One small corpus for the property test, opened at its first use."""

    def __init__(self) -> None:
        self._corpus: Corpus | None = None

    def __call__(self) -> Corpus:
        if self._corpus is None:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "corpus.jsonl"
                path.write_bytes(b"\n".join(orjson.dumps(row) for row in ROWS))
                self._corpus = Corpus.open([path], HashEmbedder(), cache=None)
        return self._corpus


GENERAL = General()


def test_a_disk_that_is_full_when_a_corpus_is_first_searched_is_named_with_the_way_out(
    write: Write, tmp_path: Path
) -> None:
    told = " ".join(f"w{n}" for n in range(999))
    path = write([{"id": str(n), "title": f"Page {n}", "text": told} for n in range(9)])
    with file_limit(2_000), pytest.raises(CorpusError, match=r"search cache.*make room there"):
        Corpus.open([path], None, cache=tmp_path / "cache")
    assert Corpus.open([path], None, cache=tmp_path / "cache")
