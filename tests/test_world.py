"""The fictional world: the same for a seed, solvable by searching its pages and in no other way."""

import re
from collections import Counter
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from mia_skill.core.errors import InputError
from retrieval.corpus import Corpus
from retrieval.world import Page, World, WorldQuestion, build_world, grade, normalised


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, size=300)


@pytest.fixture(scope="module")
def corpus(world: World, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("world")
    world.write(folder)
    return Corpus.open([folder / "corpus.jsonl"], None, cache=None)


@pytest.fixture(scope="module")
def pages(world: World) -> dict[str, Page]:
    return {page.id: page for page in world.pages}


def test_a_seed_and_a_size_always_give_the_same_world(world: World) -> None:
    assert build_world(seed=7, size=300) == world
    assert build_world(seed=8, size=300).pages != world.pages


def test_the_default_world_is_pinned_so_that_published_figures_stay_comparable(world: World, tmp_path: Path) -> None:
    """Change the digest on purpose only, and measure again what the documents quote."""
    world.write(tmp_path)
    written = (tmp_path / "corpus.jsonl").read_bytes() + (tmp_path / "questions.jsonl").read_bytes()
    assert (len(world.pages), len(world.questions), sha256(written).hexdigest()[:16]) == PINNED


def test_it_has_twelve_types_of_entities_and_pages_of_every_kind(world: World) -> None:
    assert len({entity.kind for entity in world.entities}) == 12
    kinds = Counter(page.kind for page in world.pages)
    assert kinds["entity"] == len(world.entities)
    assert min(kinds[kind] for kind in ("distractor", "conflict", "poison")) >= 10


def test_names_are_unique_though_some_differ_in_one_letter_and_surnames_are_shared(world: World) -> None:
    names = [entity.name.casefold() for entity in world.entities]
    assert len(set(names)) == len(names)
    surnames = Counter(entity.name.split()[-1] for entity in world.entities if entity.kind == "person")
    assert sum(count > 1 for count in surnames.values()) >= 10
    cities = [entity.name for entity in world.entities if entity.kind == "city"]
    twins = [
        (one, two)
        for place, one in enumerate(cities)
        for two in cities[place + 1 :]
        if len(one) == len(two) and sum(a != b for a, b in zip(one, two, strict=True)) == 1
    ]
    assert len(twins) >= 2


def test_every_fact_is_stated_word_for_word_in_the_page_of_its_subject(world: World) -> None:
    home = {page.about: page for page in world.pages if page.kind == "entity"}
    for fact in world.facts:
        assert re.search(rf"(?<![\w,]){re.escape(fact.value)}(?![\w])", home[fact.subject].text), fact


def test_an_entity_page_has_three_to_seven_sentences(world: World) -> None:
    lengths = Counter(page.text.count(". ") + 1 for page in world.pages if page.kind == "entity")
    assert set(lengths) <= set(range(3, 8))


def test_one_relation_is_worded_in_several_ways(world: World) -> None:
    of = {entity.id: entity for entity in world.entities}
    home = {page.about: page for page in world.pages if page.kind == "entity"}
    wordings = set()
    for fact in world.facts:
        if fact.relation == "founder" and of[fact.subject].kind == "company":
            sentence = next(one for one in home[fact.subject].text.split(". ") if fact.value in one)
            wordings.add(re.sub(r"[A-Z]\w+|\d+", "X", sentence))
    assert len(wordings) >= 4


def test_conflict_and_poison_pages_claim_what_the_fact_does_not_say(world: World) -> None:
    facts = {fact.id: fact for fact in world.facts}
    wrong = [page for page in world.pages if page.kind in ("conflict", "poison")]
    for page in wrong:
        (fact_id,) = page.fact_ids
        assert facts[fact_id].subject == page.about
        assert facts[fact_id].value not in page.text
    assert any("Ignore all previous instructions" in page.text for page in wrong)


def test_gold_pages_exist_are_true_and_the_last_one_holds_the_answer(world: World, pages: dict[str, Page]) -> None:
    for question in world.questions:
        gold = [pages[id_] for id_ in question.gold_ids]
        assert {page.kind for page in gold} == {"entity"}
        if question.kind in ("chain", "numeric"):
            assert question.answer in gold[-1].text
            assert len(gold) == question.hops


def test_question_texts_are_unique_and_do_not_contain_their_answer(world: World) -> None:
    texts = [question.text for question in world.questions]
    assert len(set(texts)) == len(texts)
    assert len({question.id for question in world.questions}) == len(texts)
    for question in world.questions:
        if question.kind in ("chain", "numeric"):
            assert question.answer.casefold() not in question.text.casefold()


def test_titles_alone_never_give_a_chain_s_answer_away(world: World, pages: dict[str, Page]) -> None:
    for question in world.questions:
        if question.kind in ("chain", "numeric"):
            titles = " | ".join(pages[id_].title for id_ in question.gold_ids)
            assert question.answer not in titles


def test_no_question_mentions_an_entity_that_has_to_be_found(world: World, pages: dict[str, Page]) -> None:
    for question in world.questions:
        if question.kind in ("chain", "numeric"):
            for before, after in pairwise(question.gold_ids):
                assert pages[after].title in pages[before].text
                assert pages[after].title not in question.text


def test_every_shape_recurs_with_one_workflow_and_at_least_three_wordings(world: World) -> None:
    shapes: dict[str, list[WorldQuestion]] = {}
    for question in world.questions:
        shapes.setdefault(question.shape, []).append(question)
    assert len(shapes) >= 50
    for group in shapes.values():
        assert len(group) >= 4
        assert len({question.workflow for question in group}) == 1
        wordings = {wording(question) for question in group}
        assert len(wordings) >= 3, group[0].shape


def test_workflows_name_no_entity(world: World) -> None:
    names = {entity.name for entity in world.entities}
    for text in {step for question in world.questions for step in question.workflow}:
        assert re.fullmatch(r"[a-z ]+ \([a-z ]+ -> [a-z ]+\)", text)
        assert not any(name in text for name in names)


def test_there_are_chains_of_one_to_four_hops_and_every_kind_of_question(world: World) -> None:
    chains = Counter(question.hops for question in world.questions if question.kind in ("chain", "numeric"))
    assert set(chains) == {1, 2, 3, 4}
    assert set(Counter(question.kind for question in world.questions)) == {"chain", "numeric", "comparison", "yesno"}


def test_yes_and_no_are_equally_frequent_and_comparisons_favour_neither_side(world: World) -> None:
    answers = Counter(question.answer for question in world.questions if question.kind == "yesno")
    assert abs(answers["yes"] - answers["no"]) <= 8
    duels = [question for question in world.questions if question.kind == "comparison"]
    first = sum(question.answer == question.entities[0] for question in duels)
    assert 0.35 < first / len(duels) < 0.65


def test_answers_follow_from_the_facts(world: World) -> None:
    facts = {(fact.subject, fact.relation): fact for fact in world.facts}
    named = {entity.name: entity for entity in world.entities}
    for question in world.questions:
        if question.kind != "comparison" or question.hops != 2:
            continue
        relation = question.shape.split("-")[-1]
        one, two = (facts[named[name].id, relation].value for name in question.entities)
        larger = int(one.replace(",", "")) > int(two.replace(",", ""))
        wants_larger = relation in ("length", "population")
        assert question.answer == question.entities[0 if larger == wants_larger else 1]


def test_a_search_per_hop_finds_the_gold_page_among_five(world: World, corpus: Corpus) -> None:
    found = Counter(
        gold in [passage.id for passage in corpus.find(query, 5)]
        for question in world.questions
        if question.kind in ("chain", "numeric")
        for query, gold in zip(question.queries, question.gold_ids, strict=True)
    )
    assert found[True] / found.total() >= 0.95


def test_the_question_alone_rarely_finds_all_pages_of_a_longer_chain(world: World, corpus: Corpus) -> None:
    longer = [question for question in world.questions if question.kind in ("chain", "numeric") and question.hops > 1]
    enough = sum(
        set(question.gold_ids) <= {passage.id for passage in corpus.find(question.text, 5)} for question in longer
    )
    assert enough / len(longer) < 0.1


def test_splitting_keeps_every_shape_in_both_parts_and_shares_no_question(world: World) -> None:
    train, test = world.split(train=0.5)
    assert {question.shape for question in train} == {question.shape for question in test}
    assert not {question.id for question in train} & {question.id for question in test}
    assert len(train) + len(test) == len(world.questions)
    assert world.split(train=0.5) == (train, test)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_split_that_leaves_a_part_empty_is_refused(world: World, share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        world.split(train=share)


def test_what_is_written_reads_back_and_tells_nothing_of_the_hidden_structure(world: World, tmp_path: Path) -> None:
    world.write(tmp_path / "new" / "folder")
    lines = (tmp_path / "new" / "folder" / "corpus.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    assert [set(row) for row in rows] == [{"id", "title", "text"}] * len(world.pages)
    questions = (tmp_path / "new" / "folder" / "questions.jsonl").read_bytes().splitlines()
    assert [WorldQuestion.model_validate_json(line) for line in questions] == list(world.questions)


@pytest.mark.parametrize("size", [20, 45, 1000])
def test_smaller_and_larger_worlds_hold_together(size: int) -> None:
    made = build_world(seed=3, size=size)
    assert abs(len(made.entities) - size) <= 0.1 * size
    assert made.questions
    assert min(Counter(question.shape for question in made.questions).values()) >= 4


@pytest.mark.parametrize("size", [0, -5, 19, 100_001])
def test_a_world_of_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="20 to 100,000"):
        build_world(size=size)


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_other_seeds_keep_the_promises_too(seed: int) -> None:
    made = build_world(seed=seed, size=150)
    text = {page.id: page.text for page in made.pages}
    assert len({entity.name.casefold() for entity in made.entities}) == len(made.entities)
    for question in made.questions:
        if question.kind in ("chain", "numeric"):
            assert question.answer in text[question.gold_ids[-1]]
            assert question.answer.casefold() not in question.text.casefold()


def question(answer: str, *aliases: str) -> WorldQuestion:
    return WorldQuestion(
        id="q",
        text="?",
        answer=answer,
        aliases=aliases,
        gold_ids=("p",),
        hops=1,
        shape="s",
        kind="chain",
        workflow=("find (a -> b)",),
        queries=("a",),
        entities=("a",),
    )


@pytest.mark.parametrize("given", ["the Ostrel River", "OSTREL RIVER.", " ostrel  river ", "Ostrel"])
def test_an_answer_is_right_whatever_its_case_article_and_punctuation(given: str) -> None:
    assert grade(question("Ostrel River", "Ostrel"), given)


@pytest.mark.parametrize("given", ["48300", "48,300", "48,300 inhabitants"])
def test_a_number_is_right_with_or_without_separators_and_unit(given: str) -> None:
    assert grade(question("48,300", "48,300 inhabitants"), given)


@pytest.mark.parametrize("given", ["", "the", "Ostrel River or Vesk River", "Ostrul River", "not the Ostrel River"])
def test_a_near_or_hedged_answer_is_wrong(given: str) -> None:
    assert not grade(question("Ostrel River", "Ostrel"), given)


def test_normalising_keeps_what_tells_numbers_apart() -> None:
    assert normalised("1,234") == "1234"
    assert normalised("1,2") != normalised("12")


def wording(asked: WorldQuestion) -> str:
    """The question without its names."""
    text = asked.text
    for name in sorted(asked.entities, key=len, reverse=True):
        text = text.replace(name, "X")
    return text


PINNED = (409, 1148, "8af302bdee0536bb")
