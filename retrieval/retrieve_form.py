"""The body of `POST /retrieve`: Search-R1's request, checked, and its answer put together from ready-made pieces."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from mia_skill.core.errors import InputError
from retrieval.search import checked

__all__ = ["MAX_TOPK", "MOST_QUERIES", "Asked", "answer", "parsed"]

MAX_TOPK = 100
MOST_QUERIES = 4096
"""Of one request: an RL step sends its whole batch at once (512 prompts of 5 rollouts)."""
USUAL_TOPK = 3
"""As Search-R1's server."""


class Asked(NamedTuple):
    """A request that can be answered."""

    queries: tuple[str, ...]
    """Only those that can be searched for."""
    places: tuple[int, ...]
    """Where in the request each of them stood."""
    total: int
    topk: int
    scores: bool
    errors: tuple[dict[str, object], ...]
    """What is wrong with the others: `{index, error}`. A model in training does send empty queries; that must not
    fail the other 500 of its batch."""


def parsed(body: bytes) -> Asked:
    """The request in `body`: `queries` (or MIA's `query_list`; one text counts as a list of one), `topk`,
    `return_scores`. Fields it does not know are left alone, as Search-R1's server does.

    Raises:
        InputError: it is no such request.
    """
    try:
        form: Any = orjson.loads(body)
    except orjson.JSONDecodeError as cause:
        raise InputError(f"the body is no valid JSON ({cause})") from cause
    if not isinstance(form, Mapping):
        raise InputError("the body must be an object with queries, topk and return_scores")
    listed = _queries(form)
    topk = form.get("topk")
    topk = USUAL_TOPK if topk is None else topk
    if isinstance(topk, bool) or not isinstance(topk, int) or not 1 <= topk <= MAX_TOPK:
        raise InputError(f"topk must be a whole number from 1 to {MAX_TOPK}")
    scores = form.get("return_scores", False)
    if not isinstance(scores, bool | None):
        raise InputError("return_scores must be true or false")
    good: list[str] = []
    places: list[int] = []
    errors: list[dict[str, object]] = []
    for place, query in enumerate(listed):
        try:
            good.append(checked(query, topk))
            places.append(place)
        except InputError as error:
            errors.append({"index": place, "error": str(error)})
    return Asked(tuple(good), tuple(places), len(listed), topk, bool(scores), tuple(errors))


def answer(asked: Asked, found: Sequence[Iterable[tuple[bytes, float]]]) -> bytes:
    """`{"result": [[{"document": {id, contents}, "score": s}, ...], ...]}`, one list a query in the order asked;
    without scores the documents alone, `[[{id, contents}, ...], ...]`. A query that could not be searched for has an
    empty list, and `errors` says why. `found` holds ready JSON documents with their scores."""
    slots = [b"[]"] * asked.total
    for place, documents in zip(asked.places, found, strict=True):
        if asked.scores:
            parts = [b'{"document":%b,"score":%.6f}' % pair for pair in documents]
        else:
            parts = [document for document, _ in documents]
        slots[place] = b"[" + b",".join(parts) + b"]"
    errors = b',"errors":' + orjson.dumps(asked.errors) if asked.errors else b""
    return b'{"result":[' + b",".join(slots) + b"]" + errors + b"}"


def _queries(form: Mapping[str, Any]) -> list[str]:
    given = [name for name in ("queries", "query_list") if form.get(name) is not None]
    if len(given) != 1:
        raise InputError("give the queries as queries (or query_list): a list of texts")
    listed = form[given[0]]
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list) or not all(isinstance(query, str) for query in listed):
        raise InputError(f"{given[0]} must be a list of texts")
    if len(listed) > MOST_QUERIES:
        raise InputError(f"{given[0]} has {len(listed)} texts: send at most {MOST_QUERIES} at once")
    return listed
