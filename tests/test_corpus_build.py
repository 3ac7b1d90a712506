"""Building a corpus on disk: what goes in, what comes out, what a kill costs, and what it says about broken input."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from mia_skill.core.errors import CorpusError, CorpusMismatchError, InputError, MissingExtraError, ModelReplyError
from retrieval.build import build_corpus, only_builder
from retrieval.chunks import spans
from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder
from retrieval.manifest import BuildOptions, read_manifest
from retrieval.raw_vectors import CHUNK
from retrieval.sources import read_source
from retrieval.store import contents_of, split_contents
from retrieval.vectors import Kind, Rows

WHOLE = BuildOptions(chunk_chars=0)


def many(count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        {"id": f"n{n}", "title": f"Page {n}", "text": f"number {n} of many words like w{n % 97} and v{n % 89}"}
        for n in range(first, first + count)
    ]


def jsonl(path: Path, rows: Sequence[object]) -> Path:
    lines = b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


class Counting:
    """Hashed words; counts passages; can break off."""

    def __init__(self, identity: str = "counting", limit: int | None = None, turn: bool = False) -> None:
        self.identity, self.dimension, self.passages = identity, 64, 0
        self._limit, self._turn = limit, turn
        self._inner = HashEmbedder(64)

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        if kind == "passage":
            self.passages += len(texts)
            if self._limit is not None and self.passages > self._limit:
                raise ModelReplyError("the embedder stopped", raw="")
        rows = self._inner.embed(texts, kind)
        return np.ascontiguousarray(rows[:, ::-1]) if self._turn else rows


# -- what comes out -------------------------------------------------------------------------------------------


def test_a_built_corpus_finds_what_the_same_files_find_in_memory(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(600))
    made = build_corpus([path], tmp_path / "out", HashEmbedder(), WHOLE)
    assert (made.documents, made.passages) == (600, 600)
    built = Corpus.load(tmp_path / "out", HashEmbedder())
    memory = Corpus.open([path], HashEmbedder(), cache=None)
    for query in ("page 17", "w5 v7", "number 300 of many"):
        for how in ("bm25", "fused"):
            assert [one.id for one in built.find(query, 5, how)] == [one.id for one in memory.find(query, 5, how)]  # type: ignore[arg-type]
        assert built.find(query, 3, "dense")[0].score == pytest.approx(
            memory.find(query, 3, "dense")[0].score, abs=1e-3
        )
    assert built.get("n599") == memory.get("n599")
    with pytest.raises(InputError, match="no passage 'n600'"):
        built.get("n600")


def test_jsonl_gzip_parquet_and_search_r1_rows_are_one_corpus(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "a.jsonl", many(3))
    packed = jsonl(tmp_path / "b.jsonl.gz", [{"id": "r1", "contents": '"Vesk "Old" River"\nIt flows\nnorth.'}])
    table = pyarrow.table(
        {"id": list(range(2500)), "title": ["T"] * 2500, "text": [f"otter x{n}" for n in range(2500)]}
    )
    parquet.write_table(table, tmp_path / "c.parquet", row_group_size=1000)
    made = build_corpus([plain, packed, tmp_path / "c.parquet"], tmp_path / "out", None)
    assert made.passages == 2504
    corpus = Corpus.load(tmp_path / "out", HashEmbedder())
    river = corpus.get("r1")
    assert (river.title, river.text) == ('Vesk "Old" River', "It flows\nnorth.")
    assert corpus.get("2499").text == "otter x2499"
    assert corpus.find("x1234")[0].id == "1234"


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.parquet"])
def test_reading_goes_on_from_any_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(many(25)), path, row_group_size=10)
    else:
        jsonl(path, many(25))
    reads = list(read_source(path))
    assert [read.passage.id for read in reads] == [f"n{n}" for n in range(25)]
    for turn in (0, 8, 9, 10, 24):
        assert list(read_source(path, reads[turn].after)) == reads[turn + 1 :]


def test_long_texts_are_cut_into_pieces_that_say_where_they_were(tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(100))
    path = jsonl(tmp_path / "c.jsonl", [{"id": "x", "title": "Long", "text": text}, {"id": "y", "text": "short"}])
    made = build_corpus([path], tmp_path / "out", None, BuildOptions(chunk_chars=500, overlap_chars=100))
    corpus = Corpus.load(tmp_path / "out", None)
    assert made.documents == 2
    assert made.passages == len(corpus) > 5
    (found,) = corpus.find("sentence 57", 1)
    start, end = map(int, found.id.removeprefix("x@").split("-"))
    assert found.text == text[start:end].strip()
    assert found.title == "Long"
    assert corpus.get("y").text == "short"


@given(text=st.text(alphabet="ab .\n\u00e9\U0001f600", max_size=400), chars=st.integers(5, 60), share=st.floats(0, 0.5))
def test_pieces_cover_the_text_and_never_exceed_their_size(text: str, chars: int, share: float) -> None:
    made = spans(text, chars, int(chars * share))
    assert made[0][0] == 0
    assert made[-1][1] == len(text)
    for (start, end), (after, later) in pairwise(made):
        assert start < after <= end < later
        assert end - start <= chars


@given(title=st.text(), text=st.text())
def test_title_and_text_survive_the_one_text_form(title: str, text: str) -> None:
    assert split_contents(contents_of(title, text)) == (" ".join(title.split()), text)


@pytest.mark.parametrize(
    ("kind", "precision"), [("flat", "fp32"), ("flat", "fp16"), ("flat", "int8"), ("hnsw", "fp16"), ("hnsw", "int8")]
)
def test_every_vector_index_finds_the_nearest(tmp_path: Path, kind: Any, precision: Any) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(800))
    options = BuildOptions(chunk_chars=0, index=kind, precision=precision)
    build_corpus([path], tmp_path / "out", HashEmbedder(), options)
    corpus = Corpus.load(tmp_path / "out", HashEmbedder())
    exact = Corpus.open([path], HashEmbedder(), cache=None)
    queries = [f"number {n} of many words like w{n % 97} and v{n % 89}" for n in range(0, 800, 40)]
    wanted, found = exact.rank_many(queries, 1, "dense"), corpus.rank_many(queries, 1, "dense")
    good = [near[0][1] == pytest.approx(best[0][1], abs=2e-2) for near, best in zip(found, wanted, strict=True)]
    assert sum(good) >= 19


def test_one_search_of_many_queries_ranks_as_many_searches_of_one(tmp_path: Path) -> None:
    build_corpus([jsonl(tmp_path / "c.jsonl", many(300))], tmp_path / "out", HashEmbedder(), WHOLE)
    corpus = Corpus.load(tmp_path / "out", HashEmbedder())
    queries = [f"page {n} w{n}" for n in range(30)]
    together = corpus.rank_many(queries, 5)
    for query, ranked in zip(queries, together, strict=True):
        ((alone),) = corpus.rank_many([query], 5)
        assert [place for place, _ in ranked] == [place for place, _ in alone]


# -- going on, and starting over --------------------------------------------------------------------------------


def test_a_second_build_of_the_same_files_does_nothing(tmp_path: Path) -> None:
    path, embedder = jsonl(tmp_path / "c.jsonl", many(300)), Counting()
    first = build_corpus([path], tmp_path / "out", embedder, WHOLE)
    assert build_corpus([path], tmp_path / "out", embedder, WHOLE) == first
    assert embedder.passages == 300


def test_embedding_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(1000))
    with pytest.raises(ModelReplyError):
        build_corpus([path], tmp_path / "out", Counting(limit=600), WHOLE)
    assert not (tmp_path / "out").exists()
    later = Counting()
    build_corpus([path], tmp_path / "out", later, WHOLE)
    assert later.passages == 1000 - 2 * CHUNK
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["c.jsonl", "out"]


def test_another_recipe_starts_over_and_the_old_corpus_serves_until_the_new_is_whole(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(300))
    build_corpus([path], tmp_path / "out", Counting(), WHOLE)
    old = Corpus.load(tmp_path / "out", Counting())
    jsonl(path, [*many(299), {"id": "z", "text": "zebras"}])
    with pytest.raises(ModelReplyError):
        build_corpus([path], tmp_path / "out", Counting(limit=256), WHOLE)
    assert old.find("page 17", 1, "bm25")[0].id == "n17"
    build_corpus([path], tmp_path / "out", Counting(), WHOLE)
    assert old.find("page 18", 1)[0].id == "n18"
    assert Corpus.load(tmp_path / "out", Counting()).find("zebras", 1)[0].id == "z"


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval import build
from retrieval.embed import HashEmbedder
build.CHECKPOINT_EVERY = 500
build.lexical.COMMIT_EVERY = 700
stage, after = sys.argv[3], int(sys.argv[4])
def tell(name, done, total):
    if name == stage and done >= after:
        os.kill(os.getpid(), signal.SIGKILL)
build.build_corpus([Path(sys.argv[1])], Path(sys.argv[2]), HashEmbedder(), build.BuildOptions(chunk_chars=0), tell)
"""


@pytest.mark.parametrize(
    ("stage", "after"), [("read passages", 40_000), ("index words", 1400), ("embed", 512), ("check sums", 0)]
)
def test_a_build_that_was_killed_at_any_stage_ends_as_one_that_was_not(tmp_path: Path, stage: str, after: int) -> None:
    path, out = jsonl(tmp_path / "c.jsonl", many(2000)), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(path), str(out), stage, str(after)]
    killed = subprocess.run(command, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not out.exists()
    assert (tmp_path / ".out.building").is_dir()
    told: list[tuple[str, int]] = []
    made = build_corpus([path], out, HashEmbedder(), WHOLE, lambda name, done, _: told.append((name, done)))
    whole = build_corpus([path], tmp_path / "other", HashEmbedder(), WHOLE)
    kept = [f for f in made.files if not f.name.startswith("words/")]
    assert kept == [f for f in whole.files if not f.name.startswith("words/")]
    first = next((done for name, done in told if name == stage and done), None)
    assert first is None or first >= after
    one, other = Corpus.load(out, HashEmbedder()), Corpus.load(tmp_path / "other", HashEmbedder())
    assert one.find("page 1777", 1) == other.find("page 1777", 1)
    assert len(one.find("number", 1000, "bm25")) == 1000


def test_two_builders_of_one_folder_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(3))
    work = tmp_path / ".out.building"
    work.mkdir()
    with only_builder(work), pytest.raises(CorpusError, match="another process is building"):
        build_corpus([path], tmp_path / "out", None)
    build_corpus([path], tmp_path / "out", None)


# -- what is refused ---------------------------------------------------------------------------------------------


def test_a_corpus_that_changed_under_its_index_is_refused_with_the_command_that_rebuilds(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(20))
    build_corpus([path], tmp_path / "out", HashEmbedder(), WHOLE)
    os.utime(path, ns=(1, 1))
    Corpus.load(tmp_path / "out", HashEmbedder())  # touched, not changed
    jsonl(path, many(21))
    with pytest.raises(CorpusMismatchError, match=r"mia corpus build .*c\.jsonl.*--chunk-chars 0.*--out"):
        Corpus.load(tmp_path / "out", HashEmbedder())
    path.unlink()
    Corpus.load(tmp_path / "out", HashEmbedder())  # a source that is gone is not needed any more


def test_another_embedder_is_refused_even_if_it_bears_the_same_name(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(20))
    build_corpus([path], tmp_path / "out", Counting("one"), WHOLE)
    Corpus.load(tmp_path / "out", Counting("one"))
    for other in (Counting("two"), Counting("one", turn=True)):
        with pytest.raises(CorpusMismatchError, match=r"another embedder.*mia corpus build"):
            Corpus.load(tmp_path / "out", other)
    assert Corpus.load(tmp_path / "out", None).find("page 3")


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flip": lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 255]) + raw[len(raw) // 2 + 1 :],
    "truncate": lambda raw: raw[: len(raw) // 2],
    "delete": lambda raw: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whichever_file_is_damaged_the_corpus_is_refused_and_a_build_mends_it(tmp_path: Path, damage: str) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(30))
    build_corpus([path], tmp_path / "whole", HashEmbedder(), WHOLE)
    names = [mark.name for mark in read_manifest(tmp_path / "whole").files if mark.size]
    for number, name in enumerate([*names, "manifest.json"]):
        out = tmp_path / f"out{number}"  # one each: an index that was read can still hold its folder
        shutil.copytree(tmp_path / "whole", out)
        after = DAMAGES[damage]((out / name).read_bytes())
        (out / name).unlink()
        if after is not None:
            (out / name).write_bytes(after)
        with pytest.raises(CorpusError, match=r"mia corpus build|build the corpus again"):
            Corpus.load(out, HashEmbedder())
        if name != "manifest.json" or damage != "delete":
            build_corpus([path], out, HashEmbedder(), WHOLE)
            assert Corpus.load(out, HashEmbedder()).find("page 7", 1)[0].id == "n7"
    assert len(names) >= 8


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([b"{not json"], "byte .*no valid JSON"),
        ([[1]], "expected an object"),
        ([{"id": "a", "contents": 5}], "id must be"),
        ([], "no passage in any file"),
        (
            [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}],
            "'a' is used twice, by passages 1 and 3",
        ),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, rows: list[object], said: str) -> None:
    path = jsonl(tmp_path / "c.jsonl", rows)
    with pytest.raises(CorpusError, match=said):
        build_corpus([path], tmp_path / "out", None)
    jsonl(path, many(2))
    assert build_corpus([path], tmp_path / "out", None).passages == 2


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_broken_parquet_or_gzip_file_is_named(tmp_path: Path, damage: str) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(many(500)), tmp_path / "a.parquet")
    jsonl(tmp_path / "b.jsonl.gz", many(500))
    for path in (tmp_path / "a.parquet", tmp_path / "b.jsonl.gz"):
        path.write_bytes(DAMAGES[damage](path.read_bytes()) or b"")
        with pytest.raises(CorpusError, match=path.name):
            build_corpus([path], tmp_path / "out", None)


def test_a_parquet_file_without_the_columns_is_named_by_row(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"name": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="row 1: id must be"):
        build_corpus([tmp_path / "a.parquet"], tmp_path / "out", None)


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.sources.LONGEST_LINE", 1000)
    path = jsonl(tmp_path / "c.jsonl", [{"id": "a", "text": "x" * 2000}])
    with pytest.raises(CorpusError, match="a line of more than"):
        build_corpus([path], tmp_path / "out", None)


def test_wishes_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", many(20))
    out = tmp_path / "out"
    for options, said in (
        (BuildOptions(chunk_chars=50), "at least 100"),
        (BuildOptions(chunk_chars=500, overlap_chars=400), "at most half"),
        (BuildOptions(index="ivfpq"), "needs 10000 passages"),
        (BuildOptions(index="hnsw", precision="fp32"), "fp32 is for the flat index"),
    ):
        with pytest.raises(InputError, match=said):
            build_corpus([path], out, HashEmbedder(), options)
    with pytest.raises(InputError, match="name jsonl or parquet"):
        build_corpus([], out, None)
    with pytest.raises(InputError, match=r"made of \.jsonl"):
        build_corpus([tmp_path / "x.csv"], out, None)
    with pytest.raises(CorpusError, match="No such file"):
        build_corpus([tmp_path / "x.jsonl"], out, None)
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="a folder of something else"):
        build_corpus([path], out, None)
    with pytest.raises(CorpusError, match="holds no built corpus"):
        Corpus.load(out, None)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"mia-skill\[corpus\]"):
        build_corpus([tmp_path / "a.parquet"], tmp_path / "out", None)
