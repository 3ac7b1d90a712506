"""Points in a plane for vectors in many dimensions (pure, the same for the same vectors).

Principal axes first, then exact t-SNE from there (van der Maaten and Hinton 2008): neighbours stay neighbours.
Distances between far groups mean nothing; the page says so.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["flat"]

Plane = NDArray[np.float32]

STEPS = 250
EARLY = 60
"""Steps with exaggerated attraction, in which groups form."""
PERPLEXITY = 20.0
SPOT = 0.012
"""Share of the plane's width that a dot takes."""
FEW = 4
"""So few points are placed by their principal axes alone."""


def flat(rows_ND: NDArray[np.float32]) -> Plane:
    """`[N, 2]`, each axis within 0..1; the middle for a single point."""
    count = len(rows_ND)
    if count < 2:
        return np.full((count, 2), 0.5, dtype=np.float32)
    start_N2 = principal(rows_ND)
    placed_N2 = start_N2 if count <= FEW else tsne(rows_ND, start_N2)
    low_2, high_2 = placed_N2.min(axis=0), placed_N2.max(axis=0)
    span_2 = np.where(high_2 - low_2 > 1e-9, high_2 - low_2, 1.0)
    return apart(np.asarray((placed_N2 - low_2) / span_2, dtype=np.float32))


def apart(places_N2: Plane) -> Plane:
    """Points on one spot, as questions of one kind often are, laid around it; all still within 0..1."""
    crowd: dict[tuple[int, int], list[int]] = {}
    for point, (x, y) in enumerate((places_N2 / SPOT).round().astype(int).tolist()):
        crowd.setdefault((x, y), []).append(point)
    moved_N2 = places_N2.copy()
    for points in crowd.values():
        for rank, point in enumerate(points):
            turn, reach = rank * 2.399963, SPOT * np.sqrt(rank)
            moved_N2[point] += (reach * np.cos(turn), 1.6 * reach * np.sin(turn))
    return np.clip(moved_N2, 0.0, 1.0)


def principal(rows_ND: NDArray[np.float32]) -> Plane:
    """The two directions of largest variance; a second column of zeros where there is only one."""
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    left_NK, sizes_K, axes_KD = np.linalg.svd(centred_ND, full_matrices=False)
    flips_K = np.sign(axes_KD[np.arange(len(axes_KD)), np.abs(axes_KD).argmax(axis=1)])
    scores_NK = left_NK * (sizes_K * np.where(flips_K == 0, 1, flips_K))
    return np.asarray(np.pad(scores_NK, ((0, 0), (0, 2)))[:, :2], dtype=np.float32)


def tsne(rows_ND: NDArray[np.float32], start_N2: Plane) -> Plane:
    """Gradient descent on the Kullback-Leibler divergence between neighbourhoods, with momentum."""
    near_NN = affinities(rows_ND)
    spread = float(start_N2.std()) or 1.0
    # Equal vectors would stay on one spot for ever: each point gets a tiny nudge that depends on its place only.
    turn_N = np.arange(len(start_N2)) * 2.399963
    at_N2 = start_N2 / spread * 1e-2 + 1e-4 * np.stack([np.cos(turn_N), np.sin(turn_N)], axis=1)
    speed_N2 = np.zeros_like(at_N2)
    rate = max(50.0, len(rows_ND) / 12.0)
    for step in range(STEPS):
        pull = 4.0 if step < EARLY else 1.0
        close_NN = 1.0 / (1.0 + square_distances(at_N2))
        np.fill_diagonal(close_NN, 0.0)
        force_NN = (pull * near_NN - close_NN / close_NN.sum()) * close_NN
        slope_N2 = 4.0 * (force_NN.sum(axis=1)[:, None] * at_N2 - force_NN @ at_N2)
        speed_N2 = (0.5 if step < EARLY else 0.8) * speed_N2 - rate * slope_N2
        at_N2 = at_N2 + speed_N2
    return np.asarray(at_N2, dtype=np.float32)


def affinities(rows_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pair are neighbours; every row's Gaussian is as wide as its perplexity asks for."""
    apart_NN = square_distances(rows_ND)
    count = len(rows_ND)
    wanted = np.log(min(PERPLEXITY, (count - 1) / 3))
    low_N, high_N = np.full(count, 1e-3), np.full(count, 1e5)
    near_NN = np.zeros_like(apart_NN)
    for _ in range(24):
        sharp_N = np.sqrt(low_N * high_N)
        weights_NN = np.exp(-apart_NN * sharp_N[:, None])
        np.fill_diagonal(weights_NN, 0.0)
        sums_N = np.maximum(weights_NN.sum(axis=1), 1e-12)
        near_NN = weights_NN / sums_N[:, None]
        entropy_N = np.log(sums_N) + sharp_N * (near_NN * apart_NN).sum(axis=1)
        wide_N = entropy_N > wanted
        low_N, high_N = np.where(wide_N, sharp_N, low_N), np.where(wide_N, high_N, sharp_N)
    both_NN = near_NN + near_NN.T
    return np.asarray(both_NN / both_NN.sum(), dtype=np.float32)


def square_distances(rows_ND: NDArray[np.floating]) -> NDArray[np.float32]:
    """`[N, N]`, never below 0."""
    squares_N = (rows_ND**2).sum(axis=1)
    apart_NN = squares_N[:, None] + squares_N[None, :] - 2 * rows_ND @ rows_ND.T
    return np.asarray(np.maximum(apart_NN, 0.0), dtype=np.float32)
