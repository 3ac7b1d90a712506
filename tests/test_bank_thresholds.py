"""The default floor and merge threshold, measured with the packaged model on tasks whose procedure is known."""

import json

import numpy as np
import pytest

from mia_skill.core.config import MemoryConfig
from retrieval.embed import MiniLM

UNRELATED = (
    "How do I bake sourdough bread?",
    "Explain quantum entanglement",
    "What is the capital of Mongolia?",
    "write a haiku about autumn",
    "fix my python import error",
    "Who won the 1998 world cup?",
    "translate hello to French",
    "convert 5 miles to km",
)


@pytest.mark.real
@pytest.mark.slow
def test_the_default_thresholds_tell_procedures_apart(shared_data):
    """WebArena: tasks of one template are solved alike, tasks of two templates are not."""
    lines = (shared_data / "procedures_dev" / "webarena_templates" / "tasks.jsonl").read_text("utf-8").splitlines()
    tasks = [json.loads(line) for line in lines]
    model, config = MiniLM(), MemoryConfig()
    vectors = model.embed([task["intent"] for task in tasks])
    template_N = np.array([task["template_id"] for task in tasks])
    sim_NN = vectors @ vectors.T
    np.fill_diagonal(sim_NN, -1)
    same_NN = template_N[:, None] == template_N[None]
    np.fill_diagonal(same_NN, False)

    merging_NN = sim_NN >= config.merge_similarity
    assert merging_NN.sum() > 50
    assert not (merging_NN & ~same_NN).any()

    with_twin_N = same_NN.any(axis=1)
    best_twin = np.where(same_NN, sim_NN, -1).max(axis=1)[with_twin_N]
    assert (best_twin >= config.min_similarity).mean() > 0.95
    nearest_is_twin = same_NN[np.arange(len(tasks)), sim_NN.argmax(axis=1)][with_twin_N]
    assert nearest_is_twin.mean() > 0.75
    strangers = (model.embed(UNRELATED) @ vectors.T).max(axis=1)
    assert (strangers < 0.4).all()
