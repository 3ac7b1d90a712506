"""The error tree: drawn as it is, and the boundary that foreign errors cross."""

import inspect
import re

import pytest

from mia_skill.core import errors
from mia_skill.core.errors import MiaError, SearchError, boundary

CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, MiaError)}


def drawn() -> dict[str, str | None]:
    """Class to parent, as the module's docstring draws it."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if found is None:
            continue
        depth = len(found.group(1)) // 4
        path = [*path[:depth], found.group(2)]
        parents[found.group(2)] = path[-2] if len(path) > 1 else None
    return parents


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    real = {name: kind.__bases__[0].__name__ for name, kind in CLASSES.items() if kind is not MiaError}
    assert drawn() == {"MiaError": None, **real}


def test_every_error_is_public_and_says_what_it_means() -> None:
    assert set(CLASSES) <= set(errors.__all__)
    assert all(kind.__doc__ for kind in CLASSES.values())


class ForeignBoundary(MiaError):
    """Stands for any error with one argument."""


def test_a_named_foreign_error_becomes_ours_and_says_what_was_being_done() -> None:
    cause = OSError("disk gone")
    with (
        pytest.raises(ForeignBoundary, match="reading the corpus: disk gone") as caught,
        boundary(ForeignBoundary, "reading the corpus", OSError, KeyError),
    ):
        raise cause
    assert caught.value.__cause__ is cause


def test_a_foreign_error_without_words_is_named_by_its_type() -> None:
    with (
        pytest.raises(ForeignBoundary, match="reading: ConnectionResetError"),
        boundary(ForeignBoundary, "reading", OSError),
    ):
        raise ConnectionResetError


def test_an_error_that_was_not_named_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), boundary(ForeignBoundary, "dividing", OSError):
        raise ZeroDivisionError


def test_our_own_errors_pass_through_unchanged() -> None:
    ours = SearchError("rate limited", engine="ddgs", retry_after_s=3)
    with pytest.raises(SearchError) as caught, boundary(ForeignBoundary, "searching", Exception):
        raise ours
    assert caught.value is ours


def test_nothing_happens_without_an_error() -> None:
    with boundary(ForeignBoundary, "resting", Exception):
        done = True
    assert done
