"""What building a corpus costs: passages a second and peak memory, stage by stage, on a synthetic corpus.

    python benchmarks/corpus_build.py [--passages 1000000] [--embedder stub|hash|minilm] [--index KIND] [--keep FOLDER]

Passages are 60 words drawn from 200,000 by Zipf's law. The stub embedder hashes a text into 384 numbers: what is
measured is everything but the model (the packaged one makes about 25 passages a second on one core: eleven hours for
a million, so the default leaves it out). Memory is that of the building process alone, memory-mapped pages included.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.stub import Stub
from retrieval.build import build_corpus
from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder, MiniLM
from retrieval.manifest import BuildOptions, Manifest
from retrieval.vectors import Embedder

VOCABULARY, WORDS = 200_000, 60


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder) / "corpus.jsonl", args.keep or Path(folder) / "out"
        write_corpus(corpus, args.passages)
        print(f"{args.passages} passages, {corpus.stat().st_size / 1e6:.0f} MB of jsonl; embedder {args.embedder}")
        worker = multiprocessing.get_context("spawn").Process(target=build, args=(corpus, out, args))
        worker.start()
        worker.join()
        if worker.exitcode:
            sys.exit(worker.exitcode)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What building a corpus costs")
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--embedder", choices=("stub", "hash", "minilm"), default="stub")
    parser.add_argument("--index", choices=("flat", "hnsw", "ivfpq"))
    parser.add_argument("--keep", type=Path, help="Leave the built corpus there.")
    return parser.parse_args()


def write_corpus(path: Path, count: int) -> None:
    """Passages of random words, some thousands at a time."""
    random = np.random.default_rng(7)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 5000):
            many = min(5000, count - start)
            drawn = (random.zipf(1.2, size=(many, WORDS)) - 1) % VOCABULARY
            for row, words in enumerate(drawn.tolist()):
                text = " ".join(f"w{word}" for word in words)
                file.write(json.dumps({"id": f"p{start + row}", "title": f"Page {start + row}", "text": text}) + "\n")


def build(corpus: Path, out: Path, args: argparse.Namespace) -> None:
    """In a process of its own: build, print the stages, search a little."""
    embedder: Embedder = {"stub": Stub, "hash": HashEmbedder, "minilm": MiniLM}[args.embedder]()
    stages = Stages()
    options = BuildOptions(chunk_chars=0, index=args.index)
    began = time.perf_counter()
    made = build_corpus([corpus], out, embedder, options, stages.tell)
    stages.close()
    seconds = time.perf_counter() - began
    for name, taken, peak in stages.rows:
        print(f"{name:18}{taken:9.1f} s{made.passages / taken:12.0f} passages/s{peak:9.2f} GB peak so far")
    print(f"{'all':18}{seconds:9.1f} s{made.passages / seconds:12.0f} passages/s{peak_gb():9.2f} GB peak")
    size = sum(mark.size for mark in made.files)
    print(f"on disk {size / 1e9:.2f} GB; vectors: {made.layout.kind if made.layout else 'none'}")
    search(out, embedder, made)


def search(out: Path, embedder: Embedder, made: Manifest) -> None:
    """Opening, and queries that are passages: is each one's first hit itself?"""
    began = time.perf_counter()
    corpus = Corpus.load(out, embedder)
    print(f"opened in {time.perf_counter() - began:.1f} s")
    places = np.linspace(0, made.passages - 1, 50).astype(int).tolist()
    texts = [corpus.get(f"p{place}") for place in places]
    for how, queries in (
        ("bm25", [" ".join(page.text.split()[:20]) for page in texts]),
        ("dense", [f"{page.title}\n{page.text}" for page in texts]),
    ):
        began = time.perf_counter()
        ranked = [corpus.rank_many([query], 10, how)[0] for query in queries]  # type: ignore[arg-type]
        ms = 1000 * (time.perf_counter() - began) / len(queries)
        first = sum(bool(one) and one[0][0] == place for one, place in zip(ranked, places, strict=True))
        print(f"{how:8}{ms:9.2f} ms/query, the passage itself is first for {first} of {len(places)}")


class Stages:
    """Seconds of each stage, and the peak of memory at its end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self._name, self._began = "", time.perf_counter()

    def tell(self, name: str, done: int, total: int | None) -> None:
        """A listener of `build_corpus`."""
        if name != self._name:
            self.close()
            self._name, self._began = name, time.perf_counter()
            print(f"{time.strftime('%H:%M:%S')} {name} {done}/{total}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the stage that runs."""
        if self._name:
            self.rows.append((self._name, max(time.perf_counter() - self._began, 1e-9), peak_gb()))
        self._name = ""


def peak_gb() -> float:
    """Largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
