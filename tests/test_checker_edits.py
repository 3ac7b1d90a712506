"""Pairs made without labels for the learned checker, and what the checker refuses to load."""

from pathlib import Path
from random import Random

import pytest

from mia_skill.core.errors import ConfigError, InputError
from retrieval.world import build_world
from training.checker import made_pairs
from training.edits import EDITS, edit_pairs
from training.edits_world import wording_pairs, world_pairs
from trust.checker import Checker

PASSAGE = (
    "The Prenlune River is not the longest river of Zulunia. It was surveyed by Skinbia Kretin before 1929. "
    "Thimpan Prosar was the teacher of Skinbia Kretin in Rogova."
)
SENTENCE = "Thimpan Prosar was the teacher of Skinbia Kretin before 1929."


@pytest.mark.parametrize("kind", sorted(EDITS))
def test_every_edit_says_something_else_than_the_sentence(kind: str) -> None:
    for seed in range(20):
        changed = EDITS[kind](SENTENCE, PASSAGE, Random(seed))
        assert changed is not None
        assert changed != SENTENCE


def test_changing_roles_keeps_the_words_and_changes_who_did_what() -> None:
    changed = EDITS["roles"](SENTENCE, PASSAGE, Random(0))
    assert changed == "Skinbia Kretin was the teacher of Thimpan Prosar before 1929."


def test_a_swapped_name_comes_from_the_same_passage() -> None:
    changed = EDITS["name"](SENTENCE, PASSAGE, Random(1))
    assert changed is not None
    assert any(name in changed for name in ("Prenlune River", "Zulunia", "Rogova"))


def test_negation_is_put_in_or_taken_out() -> None:
    assert EDITS["negation"]("It was built in Rogova.", "", Random(0)) == "It was not built in Rogova."
    assert EDITS["negation"]("It was not built in Rogova.", "", Random(0)) == "It was built in Rogova."


def test_a_sentence_without_numbers_or_names_has_no_such_edit() -> None:
    assert EDITS["number"]("nothing to change here", "", Random(0)) is None
    assert EDITS["roles"]("nothing to change here", "", Random(0)) is None


def test_edited_claims_stand_nowhere_in_their_passage() -> None:
    world = build_world(3, 60)
    pairs = list(edit_pairs(((page.id, page.text) for page in world.pages), Random(0)))
    assert any(pair.supported for pair in pairs)
    assert not [pair for pair in pairs if not pair.supported and pair.claim in pair.evidence]


def test_a_true_claim_is_loosened_without_saying_more() -> None:
    body = "She was the teacher of Skinbia Kretin (born in 1901), who later moved to the coast of Zulunia."
    claims = {pair.claim for seed in range(40) for pair in edit_pairs([("p", f"Ada Prosar\n{body}")], Random(seed))}
    assert "Ada Prosar was the teacher of Skinbia Kretin." in claims
    assert body in claims


def test_a_gap_gets_the_words_that_stood_there_or_others_of_the_passage() -> None:
    pairs = [pair for seed in range(20) for pair in edit_pairs([("p", PASSAGE)], Random(seed)) if pair.kind == "gap"]
    for pair in pairs:
        question, answer = pair.claim.split("? ", 1)
        said = question.replace("who or what", answer).replace("which number", answer)
        assert (said in PASSAGE) is pair.supported
        assert answer in PASSAGE


def test_the_same_facts_in_other_words_are_supported_and_edited_ones_are_not() -> None:
    pairs = list(wording_pairs(3, 60, Random(0)))
    assert {pair.supported for pair in pairs} == {True, False}
    world = build_world(3, 60)
    assert not any(pair.evidence == page.text for pair in pairs[:10] for page in world.pages)


def test_wrong_answers_of_a_world_mostly_stand_in_the_evidence() -> None:
    world = build_world(3, 120)
    wrong = [pair for pair in world_pairs(world, Random(0)) if pair.kind == "other answer"]
    held = [pair for pair in wrong if pair.claim.rsplit("? ", 1)[1] in pair.evidence]
    assert len(held) > len(wrong) / 2


def test_a_missing_page_takes_the_answer_away() -> None:
    world = build_world(3, 120)
    for pair in world_pairs(world, Random(0)):
        if pair.kind == "page missing":
            assert not pair.supported
            assert pair.claim.rsplit("? ", 1)[1] not in pair.evidence


def test_the_same_seed_makes_the_same_pairs() -> None:
    assert made_pairs([], 1, worlds=1, size=30) == made_pairs([], 1, worlds=1, size=30)
    assert made_pairs([], 1, worlds=1, size=30) != made_pairs([], 2, worlds=1, size=30)


def test_a_corpus_line_without_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "text": "Something that is long enough to be used."}\n{"id": "b"}\n')
    with pytest.raises(InputError, match="line 2"):
        made_pairs([path], 0, worlds=0)


def test_a_folder_without_a_checker_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"python -m training\.checker"):
        Checker(tmp_path)


def test_a_model_that_is_not_the_described_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checker.json").write_text('{"length": 64, "sha256": "0"}')
    (tmp_path / "model.onnx").write_bytes(b"other weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="train it again"):
        Checker(tmp_path)
