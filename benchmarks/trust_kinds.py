"""Answers of another kind than was asked for, which stand in the evidence all the same (`trust/shown.py`).

    python -m benchmarks.trust_kinds [--data FOLDER]

Part "sets": right and wrong answers that the rule meets, and how many of them the checks call correct without it;
`wiki-train` are the questions of the wiki set that no benchmark uses. Part "crossed": every question for a person is
answered with the places, every question for a place with the persons that stand in its evidence, all of them wrong.
What is a place or a person comes from the right answers of other questions, not from the rule. In two halves.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from benchmarks.trust_sets import Sample, load, wiki
from mia_skill.core.script import script
from mia_skill.core.verdict import Label
from trust import decide
from trust.facts import gather_facts
from trust.items import collect, visible
from trust.misfit import WHERE_ASKED, WHO_ASKED
from trust.question import Kind, understand
from trust.shown import shown_otherwise

MADE = ("world", "runs")
"""Sets of invented pages: not crossed."""
TOWN = re.compile(r"\b(?:city|town|village|county|located|based|headquartered)\b", re.IGNORECASE)
NAME = re.compile(r"[A-Z][\w'-]+(?:,? (?:[A-Z][\w'.-]*|of|de|van|von)){0,3}")
HALVES = ("read", "held")
"""Crossed answers that were read when the rule on nationalities was written, and such that were only counted."""
MOST = 6
"""Answers to one question."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    sets = load(parser.parse_args().data, 0)
    sets["wiki-train"] = list(wiki(parser.parse_args().data, "train"))
    print(f"{'sets':12}{'right met':>12}{'of these correct':>18}{'wrong met':>12}{'of these correct':>18}")
    for name, samples in sets.items():
        met = [one for one in samples if odd(one)]
        called = Counter(one.right for one in met if accepted(one))
        right = sum(one.right for one in met)
        print(f"{name:12}{right:12}{called[True]:18}{len(met) - right:12}{called[False]:18}")
    print(f"{'crossed':12}{'answers':>12}{'correct without':>18}{'with':>12}")
    for name, samples in crossed(sets):
        for half in HALVES:
            some = [one for one in samples if half_of(one) == half]
            called = Counter(bool(odd(one)) for one in some if accepted(one))
            print(f"{name + ' ' + half:12}{len(some):12}{called.total():18}{called[False]:12}")


def half_of(sample: Sample) -> str:
    """By its question."""
    return HALVES[sha256(sample.group.encode()).digest()[0] % 2]


def odd(sample: Sample) -> str:
    """What the rule says of an answer."""
    texts = [visible(one.text) for one in collect(sample.case).items]
    return shown_otherwise(understand(sample.case.question), sample.case.answer, texts)


def accepted(sample: Sample) -> bool:
    """Would the answer be called correct, if it were not for the rule? It speaks last, after every other doubt."""
    verdict = decide.decide(gather_facts(sample.case))
    return verdict.label is Label.CORRECT or verdict.reasons[:1] == (odd(sample),)


def asks(question: str) -> str:
    """ "person", "place", or nothing of the two, in its plain form."""
    kind = understand(question).kind
    if kind is Kind.PERSON and WHO_ASKED.search(question):
        return "person"
    return "place" if kind is Kind.PLACE and (WHERE_ASKED.search(question) or TOWN.search(question)) else ""


def crossed(sets: Mapping[str, Sequence[Sample]]) -> Iterator[tuple[str, list[Sample]]]:
    """Per kind of question, answers of the other kind."""
    natural = [one for name, samples in sets.items() if name not in MADE for one in samples]
    known: dict[str, set[str]] = {"person": set(), "place": set()}
    rights: dict[str, set[str]] = {}
    for one in natural:
        kind, answer = asks(one.case.question), one.case.answer
        if kind and one.right and NAME.fullmatch(answer) and (kind == "place" or " " in answer):
            known[kind].add(answer)
        if one.right:
            rights.setdefault(one.group, set()).add(answer)
    for kind, other in (("person", "place"), ("place", "person")):
        asked = {one.group: one for one in natural if asks(one.case.question) == kind}
        pool = sorted(known[other] - known[kind])
        yield kind, [made for one in asked.values() for made in answered(one, pool, rights.get(one.group, set()))]


def answered(sample: Sample, pool: Sequence[str], rights: set[str]) -> list[Sample]:
    """The question with names of the pool that stand in its evidence and have nothing to do with question or answer."""
    text, question = " ".join(one.text for one in collect(sample.case).items), sample.case.question
    held = [one for one in pool if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text) and one not in question]
    free = [one for one in held if not any(one in right or right in one for right in rights)]
    return [Sample(sample.case.model_copy(update={"answer": one}), False, sample.group) for one in free[:MOST]]


if __name__ == "__main__":
    script(main)
