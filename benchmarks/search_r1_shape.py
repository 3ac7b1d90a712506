"""The shape of Search-R1's retrieval server, made again from its documented request and behaviour, to measure against.

Not used by the project, and started by benchmarks/search_service.py only. As there: FastAPI with a plain function as
handler (so each request runs in a thread of its own), one encoding and one index search a request with FAISS as it
comes, documents fetched row by row from a `datasets` table, a progress bar over the batches. Run it with an
interpreter that has fastapi, uvicorn, datasets and faiss-cpu; torch's cache call of the original is left out.

    python search_r1_shape.py FOLDER PORT EMBEDDER
"""

import sys
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import datasets
import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tqdm import tqdm

BATCH = 512
USUAL_TOPK = 3


class Query(BaseModel):
    """The documented request."""

    queries: list[str]
    topk: int | None = None
    return_scores: bool = False


class Retriever:
    """One flat index, one table of documents, one encoder."""

    def __init__(self, folder: Path, embedder: str) -> None:
        index = faiss.read_index(str(folder / "vectors.faiss"))
        self.index = on_gpus(index)
        # FAISS' memory on a GPU serves one search at a time.
        self.alone = nullcontext() if self.index is index else Lock()
        self.table = datasets.load_dataset(
            "json", data_files=str(folder / "passages.jsonl"), split="train", cache_dir=str(folder / "datasets")
        )
        self.encoder = encoder_of(embedder)

    def search(self, queries: list[str], topk: int) -> tuple[list[list[dict[str, str]]], list[list[float]]]:
        """Documents and scores of each query."""
        documents: list[list[dict[str, str]]] = []
        scores: list[list[float]] = []
        for start in tqdm(range(0, len(queries), BATCH), desc="Retrieval process: "):
            rows = self.encoder.embed(queries[start : start + BATCH])
            with self.alone:
                found, places = self.index.search(rows, topk)
            flat = [self.table[int(place)] for place in places.flatten()]
            documents += [flat[at * topk : (at + 1) * topk] for at in range(len(places))]
            scores += found.tolist()
        return documents, scores


def on_gpus(index):  # type: ignore[no-untyped-def]
    """As there: float16 and shared among all GPUs, where there are any."""
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return index
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = options.shard = True
    return faiss.index_cpu_to_all_gpus(index, co=options)


def encoder_of(name: str):  # type: ignore[no-untyped-def]
    """The same encoder as the other server's."""
    if name == "minilm":
        from retrieval.minilm import MiniLM

        return MiniLM()
    from benchmarks.stub import Stub

    return Stub()


def build_app(retriever: Retriever) -> FastAPI:
    """The one route."""
    app = FastAPI()

    @app.post("/retrieve")
    def retrieve(query: Query):  # type: ignore[no-untyped-def]
        documents, scores = retriever.search(query.queries, query.topk or USUAL_TOPK)
        if not query.return_scores:
            return {"result": documents}
        return {
            "result": [
                [{"document": document, "score": score} for document, score in zip(*pair, strict=True)]
                for pair in zip(documents, scores, strict=True)
            ]
        }

    return app


if __name__ == "__main__":
    np.seterr(all="raise")
    retriever = Retriever(Path(sys.argv[1]), sys.argv[3])
    uvicorn.run(build_app(retriever), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
