"""The map's places: inside the plane, the same every time, neighbours together, nobody hidden behind a twin."""

import numpy as np
import pytest

from mia_skill.ui.scatter import flat


def groups(count: int, size: int, spread: float = 0.05) -> np.ndarray:
    chance = np.random.default_rng(3)
    middles = chance.normal(size=(count, 32))
    rows = np.repeat(middles, size, axis=0) + spread * chance.normal(size=(count * size, 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 40])
def test_every_point_is_finite_and_inside_the_plane(count: int) -> None:
    places = flat(groups(1, count) if count else np.zeros((0, 1), dtype=np.float32))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert ((places >= 0) & (places <= 1)).all()


def test_the_same_vectors_give_the_same_picture() -> None:
    rows = groups(4, 10)
    assert np.array_equal(flat(rows), flat(rows.copy()))


def test_the_nearest_dot_of_nearly_every_dot_is_of_its_own_group() -> None:
    places = flat(groups(8, 12))
    apart = np.linalg.norm(places[:, None] - places[None, :], axis=2)
    np.fill_diagonal(apart, np.inf)
    same = apart.argmin(axis=1) // 12 == np.arange(96) // 12
    assert same.mean() > 0.95


@pytest.mark.parametrize("count", [2, 3, 30])
def test_equal_vectors_get_dots_of_their_own(count: int) -> None:
    places = flat(np.repeat(groups(1, 1), count, axis=0))
    assert len({tuple(place) for place in places.round(5).tolist()}) == count
