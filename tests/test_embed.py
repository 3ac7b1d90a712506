"""Embedders: what they promise, alone and behind a cache."""

import json

import httpx
import numpy as np
import pytest

from mia_skill.core.config import MemoryConfig
from mia_skill.core.errors import ConfigError, ModelReplyError, ModelStatusError, ModelUnreachableError
from retrieval.embed import CachedEmbedder, HashEmbedder, MiniLM, OpenAIEmbedder, build_embedder
from retrieval.minilm import BATCH_TOKENS, micro_batches
from retrieval.wordpiece import WordPiece

REFERENCE_IDS = {
    "Café Ünïcödé NAÏVE": [101, 7668, 27260, 15743, 102],
    "東京タワー 2024": [101, 1879, 1755, 1709, 30262, 30265, 16798, 2549, 102],
    "unaffable hyperparameterization": [101, 14477, 20961, 3468, 23760, 28689, 22828, 3989, 102],
    "\u200b\tzero\u00a0width\ufeff": [101, 5717, 9381, 102],
    "😀 emoji": [101, 100, 7861, 29147, 2072, 102],
    "a" * 101: [101, 100, 102],
    "[MASK] [CLS]": [101, 103, 101, 102],
    "": [101, 102],
}
"""Ids of the model's own tokenizer.json (sha256 be50c362...)."""

REFERENCE_VECTORS = {
    "Where was the author of Dune born?": (
        *(0.026438, 0.030403, -0.053635, 0.007024, -0.001603, 0.064367, -0.021136, 0.022365),
        *(0.034251, 0.061716, 0.094718, -0.025667, 0.024299, -0.089571, -0.055436, 0.064842),
    ),
    "Café Ünïcödé naïve — 東京 2024!": (
        *(0.049852, 0.025645, 0.053478, -0.053914, -0.078708, -0.003945, 0.002157, -0.055172),
        *(-0.057215, -0.040138, 0.06346, -0.114688, -0.030067, 0.028405, -0.000942, -0.063106),
    ),
}
"""First 16 numbers of the float32 original, computed in float64 from its weights (sha256 53aa5117...)."""


class CountingEmbedder(HashEmbedder):
    """Remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def embed(self, texts, kind="query"):
        self.asked.append((list(texts), kind))
        return super().embed(texts, kind)


def server(*replies):
    """A transport that gives the replies in turn; an exception among them is raised."""
    left = list(replies)

    def answer(request):
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            return reply(json.loads(request.content))
        return reply

    return httpx.MockTransport(answer)


def vectors(body):
    data = [{"index": at, "embedding": [3.0 + at, 4.0]} for at in range(len(body["input"]))]
    return httpx.Response(200, json={"data": data[::-1]})


def remote(*replies, **options):
    return OpenAIEmbedder("http://127.0.0.1:1/v1", "m", transport=server(*replies), pause=lambda _: None, **options)


def test_the_tokenizer_gives_the_reference_ids_on_hard_strings():
    tokenizer = WordPiece(256)
    assert tokenizer.encode(list(REFERENCE_IDS)) == list(REFERENCE_IDS.values())


def test_long_texts_are_cut_at_the_models_limit():
    (ids,) = WordPiece(256).encode(["word " * 1000])
    assert (len(ids), ids[0], ids[-1]) == (256, 101, 102)


def test_micro_batches_hold_every_text_once_and_stay_within_the_token_limit():
    lengths = [3, 256, 10, 256, 90, 3, 1, 256, 256, 256]
    batches = list(micro_batches(lengths))
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert all(max(lengths[at] for at in batch) * len(batch) <= BATCH_TOKENS for batch in batches)


def test_hashed_vectors_have_length_one_even_for_texts_without_words():
    rows = HashEmbedder().embed(["", "?!", "two words"])
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)


def test_identities_differ_by_model_and_dimension():
    assert len({HashEmbedder().identity, HashEmbedder(32).identity, MiniLM().identity}) == 3


def test_a_prefix_changes_the_identity():
    assert remote().identity != remote(query_prefix="query: ").identity


def test_the_cache_asks_for_a_text_once_and_keeps_the_order():
    inner = CountingEmbedder()
    cached = CachedEmbedder(inner)
    first = cached.embed(["a", "b", "a"])
    again = cached.embed(["b", "c", "a"])
    assert [texts for texts, _ in inner.asked] == [["a", "b"], ["c"]]
    assert np.array_equal(first, HashEmbedder().embed(["a", "b", "a"]))
    assert np.array_equal(again, HashEmbedder().embed(["b", "c", "a"]))


def test_the_cache_keeps_queries_and_passages_apart():
    inner = CountingEmbedder()
    cached = CachedEmbedder(inner)
    cached.embed(["a"], "query")
    cached.embed(["a"], "passage")
    assert inner.asked == [(["a"], "query"), (["a"], "passage")]


def test_the_cache_file_serves_a_later_process(tmp_path):
    first = CachedEmbedder(HashEmbedder(), path=tmp_path / "c.sqlite3")
    expected = first.embed(["a", "b"])
    first.close()
    inner = CountingEmbedder()
    second = CachedEmbedder(inner, path=tmp_path / "c.sqlite3")
    assert np.array_equal(second.embed(["a", "b"]), expected)
    assert inner.asked == []
    second.close()


def test_the_memory_part_of_the_cache_forgets_the_least_recently_used():
    inner = CountingEmbedder()
    cached = CachedEmbedder(inner, max_entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.embed([text])
    assert [texts[0] for texts, _ in inner.asked] == ["a", "b", "c", "b"]


def test_a_broken_cache_file_is_an_error_that_says_what_to_delete(tmp_path):
    broken = tmp_path / "c.sqlite3"
    broken.write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match=r"c\.sqlite3.*delete it"):
        CachedEmbedder(HashEmbedder(), path=broken)


def test_the_remote_embedder_orders_by_index_and_normalises():
    rows = remote(vectors).embed(["a", "b"])
    assert np.allclose(rows, [[0.6, 0.8], [4 / np.sqrt(32), 4 / np.sqrt(32)]])


def test_the_remote_embedder_sends_the_prefix_of_the_kind():
    seen = []

    def note(body):
        seen.append(body["input"])
        return vectors(body)

    embedder = remote(note, note, query_prefix="query: ", passage_prefix="passage: ")
    embedder.embed(["a"], "query")
    embedder.embed(["a"], "passage")
    assert seen == [["query: a"], ["passage: a"]]


def test_the_remote_embedder_tries_a_busy_server_again():
    assert remote(httpx.Response(503), vectors).embed(["a"]).shape == (1, 2)


def test_a_refusal_is_not_tried_again():
    with pytest.raises(ModelStatusError, match="401") as caught:
        remote(httpx.Response(401, text="no key")).embed(["a"])
    assert caught.value.status == 401


def test_a_server_that_is_not_there_is_unreachable():
    down = httpx.ConnectError("refused")
    with pytest.raises(ModelUnreachableError, match="embedder_url"):
        remote(down, down, down).embed(["a"])


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"data": []}),
        httpx.Response(200, json={"data": [{"index": 0, "embedding": [0.0, 0.0]}]}),
        httpx.Response(200, json={"data": [{"index": 3, "embedding": [1.0]}]}),
    ],
)
def test_a_reply_without_usable_vectors_is_an_error_and_never_a_vector(reply):
    with pytest.raises(ModelReplyError):
        remote(reply).embed(["a"])


def test_a_remote_model_that_changes_its_dimension_is_refused():
    other = httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0, 0.0, 0.0]}]})
    embedder = remote(vectors, other)
    embedder.embed(["a"])
    with pytest.raises(ModelReplyError, match="another model answers"):
        embedder.embed(["b"])


def test_the_remote_dimension_is_asked_for_once():
    embedder = remote(vectors)
    assert (embedder.dimension, embedder.dimension) == (2, 2)


def test_an_unknown_embedder_is_refused_with_the_names_that_work():
    with pytest.raises(ConfigError, match="'minilm' or 'openai'"):
        build_embedder(MemoryConfig(embedder="bert"), None)


def test_the_remote_embedder_needs_its_address():
    with pytest.raises(ConfigError, match="embedder_url"):
        build_embedder(MemoryConfig(embedder="openai"), None)


def test_choosing_the_packaged_embedder_loads_no_model(tmp_path):
    embedder = build_embedder(MemoryConfig(), tmp_path)
    assert embedder.identity == MiniLM().identity
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_minilm_agrees_with_the_float32_original():
    rows = MiniLM().embed(list(REFERENCE_VECTORS))
    for row, reference in zip(rows, REFERENCE_VECTORS.values(), strict=True):
        head = row[: len(reference)]
        cosine = float(head @ np.array(reference)) / float(np.linalg.norm(head) * np.linalg.norm(reference))
        assert cosine > 0.998
        assert np.abs(head - reference).max() < 0.01


@pytest.mark.slow
def test_minilm_gives_a_text_the_same_vector_in_every_batch():
    embedder = MiniLM()
    texts = [f"question {number} " + "about a river " * number for number in range(40)]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert float((together * alone).sum(axis=1).min()) > 0.99999
