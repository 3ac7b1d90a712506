"""Search quality with the packaged embedder on real questions. Slow: embedding is about 25 passages a second a core.

Here a subset: 100 development questions, every third of the 300, their gold passages, and 2,000 other passages spread
evenly over the corpus. The figures over all 18,533 passages come from benchmarks/search_quality.py.
"""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from mia_skill.cli.main import main
from retrieval.corpus import Corpus, How
from retrieval.minilm import MiniLM

pytestmark = [pytest.mark.slow, pytest.mark.real]

OTHERS = 2_000
HOWS: tuple[How, ...] = ("bm25", "dense", "fused")


@pytest.fixture(scope="module")
def questions(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "sandbox_wiki" / "dev.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines][::3]


@pytest.fixture(scope="module")
def corpus(shared_data: Path, questions: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("wiki")
    files = sorted((shared_data / "sandbox_wiki").glob("corpus.0*.jsonl"))
    rows = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    gold = {id_ for question in questions for id_ in question["gold_ids"]}
    others = [row["id"] for row in rows if row["id"] not in gold]
    kept = gold | set(others[:: len(others) // OTHERS][:OTHERS])
    path = folder / "subset.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows if row["id"] in kept))
    cache = Path(os.environ["MIA_CACHE"]) if "MIA_CACHE" in os.environ else folder / "cache"
    return Corpus.open([path], MiniLM(), cache=cache)


@pytest.fixture(scope="module")
def recall(corpus: Corpus, questions: list[dict[str, Any]]) -> dict[How, float]:
    """Mean share of a question's gold passages among the first five."""
    return {how: sum(share(corpus, question, how) for question in questions) / len(questions) for how in HOWS}


def share(corpus: Corpus, question: dict[str, Any], how: How) -> float:
    found = {passage.id for passage in corpus.find(question["question"], 5, how)}
    return len(found.intersection(question["gold_ids"])) / len(question["gold_ids"])


def test_on_the_subset_of_100_questions_and_2000_other_passages_fusion_is_no_worse_than_either_part(
    recall: dict[How, float],
) -> None:
    assert recall["fused"] >= max(recall["bm25"], recall["dense"])


def test_on_the_subset_of_100_questions_and_2000_other_passages_fused_recall_at_5_reaches_two_thirds(
    recall: dict[How, float],
) -> None:
    assert recall["fused"] >= 0.67


def test_on_the_whole_corpus_bm25_alone_reaches_its_recall_at_5(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "sandbox_wiki").glob("corpus.0*.jsonl"))
    corpus = Corpus.open(files, None, cache=tmp_path)
    lines = (shared_data / "sandbox_wiki" / "dev.jsonl").read_bytes().splitlines()
    dev = [orjson.loads(line) for line in lines]
    assert len(corpus) == 18_533
    assert sum(share(corpus, question, "bm25") for question in dev) / len(dev) >= 0.65


def test_its_questions_become_training_data_with_their_hops_and_without_those_of_the_test(
    shared_data: Path, tmp_path: Path
) -> None:
    wiki = shared_data / "sandbox_wiki"
    given = ["train", "data", "--from", wiki / "train.jsonl", "--dev", wiki / "dev.jsonl", "--stage", "planner"]
    given += ["--search", "http://127.0.0.1:8001", "--hops", 2, "--out", tmp_path / "out", "--json"]
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), *map(str, given)])
    told = orjson.loads(done.output)
    for name in ("train", "dev"):
        lines = [orjson.loads(line) for line in (wiki / f"{name}.jsonl").read_bytes().splitlines()]
        assert told["rows"][name] == sum(line["hops"] == 2 for line in lines)
    assert told["leaks"]["repeated"] == []
    assert told["left_out"] == {}
