"""Named checks of one claim against the line it stands in: numbers, dates, names, negation, opposites, order, roles."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mia_skill.core.verdict import Check, CheckState
from trust.claims import Statement, names_in
from trust.lexicon import ANTONYMS, NEGATIONS, STOP
from trust.quantity import Quantity, dates, quantities, same_date, same_quantity
from trust.scene import Line, Scene
from trust.words import fold_word

__all__ = ["check_claim"]

ALIKE = 0.6
"""Share of the claim's words that must stand in the line before a difference means anything."""
PLAIN = re.compile(r"[\w'’]+")
CLAUSE = re.compile(r"[;:]|,\s+(?:and|but|while|whereas|who|which)\b|\b(?:but|while|whereas)\b")
DENIAL = re.compile(r"\b(?:never|not|n.t)\W+(?:\w+\W+){0,2}$", re.IGNORECASE)
"""A negation at most two words away from what follows."""


def check_claim(scene: Scene, line: Line, claim: Statement) -> tuple[Check, ...]:
    """Every check that applies. FAIL means that the line says otherwise (of a name: that no evidence
    holds it), UNSURE that the line does not say it."""
    text = scene.text(line)
    return tuple(
        [
            *_numbers(text, claim),
            *_dates(text, claim),
            *_names(scene, line, claim),
            *_polarity(text, line, claim),
            *_order(text, claim),
            *_roles(scene, text, line, claim),
        ]
    )


def _numbers(text: str, claim: Statement) -> Iterator[Check]:
    if not claim.quantities:
        return
    read = quantities(text)
    lost = [one for one in claim.quantities if not any(same_quantity(one, other) for other in read)]
    if not lost:
        yield Check(name="numbers", state=CheckState.OK, detail="every number stands in the evidence")
        return
    rival = next((other for one in lost for other in read if _rivals(one, other)), None)
    state = CheckState.FAIL if rival else CheckState.UNSURE
    said = f"the evidence says {rival.raw:g}" if rival else "no such number stands there"
    yield Check(name="numbers", state=state, detail=f"{lost[0].raw:g}: {said}")


def _rivals(one: Quantity, other: Quantity) -> bool:
    if one.dimension or other.dimension:
        return one.dimension == other.dimension
    return bool(one.noun) and fold_word(one.noun)[:4] == fold_word(other.noun)[:4]


def _dates(text: str, claim: Statement) -> Iterator[Check]:
    if not claim.dates:
        return
    read = dates(text)
    lost = [one for one in claim.dates if not any(same_date(one, other) for other in read)]
    if not lost:
        yield Check(name="dates", state=CheckState.OK, detail="every date stands in the evidence")
    elif read:
        shown = ", ".join(text[one.start : one.end] for one in read[:3])
        yield Check(name="dates", state=CheckState.FAIL, detail=f"the evidence says {shown}")
    else:
        yield Check(name="dates", state=CheckState.UNSURE, detail="no date stands there")


def _names(scene: Scene, line: Line, claim: Statement) -> Iterator[Check]:
    if not claim.names:
        return
    near = line.stems | scene.titles[line.item]
    lost = [name for name in claim.names if not _known_name(name, near)]
    if not lost:
        yield Check(name="names", state=CheckState.OK, detail="every name stands in the evidence")
        return
    nowhere = [name for name in lost if not _known_name(name, scene.vocabulary)]
    shown = _written(claim, (nowhere or lost)[0])[:60]
    where = "is not in the evidence" if nowhere else "does not stand in this sentence"
    state = CheckState.FAIL if nowhere else CheckState.UNSURE
    yield Check(name="names", state=state, detail=f'"{shown}" {where}')


def _written(claim: Statement, name: tuple[str, ...]) -> str:
    """A name of the claim as the answer writes it."""
    told = [word for word in claim.words if word.stem not in STOP]
    for place in range(len(told)):
        run = told[place : place + len(name)]
        if tuple(word.stem for word in run) == name and run[0].capital:
            return claim.text[run[0].start - claim.start : run[-1].end - claim.start]
    return " ".join(name)


def _known_name(name: tuple[str, ...], stems: frozenset[str]) -> bool:
    """All of it, or all but initials; a long name may miss one part."""
    wanted = [part for part in name if len(part) > 1] or list(name)
    held = sum(part in stems for part in wanted)
    return held == len(wanted) or (len(wanted) >= 3 and held >= len(wanted) - 1)


def _polarity(text: str, line: Line, claim: Statement) -> Iterator[Check]:
    if claim.short:
        return
    if _denied(text, line, claim):
        yield Check(name="negation", state=CheckState.FAIL, detail="only the evidence is negated")
        return
    shared = [one for one in claim.stems - STOP if one in line.stems]
    if len(shared) < ALIKE * len(claim.stems - STOP):
        return
    said, read = _plain(claim.text), _plain(text)
    if bool(set(said) & NEGATIONS) != bool(set(read) & NEGATIONS):
        side = "the evidence" if set(read) & NEGATIONS else "the claim"
        yield Check(name="negation", state=CheckState.FAIL, detail=f"only {side} is negated")
        return
    for word in said:
        opposite = ANTONYMS.get(word, frozenset()) & set(read)
        if opposite and word not in read and not opposite & set(said):
            yield Check(name="opposite", state=CheckState.FAIL, detail=f"{word} against {min(opposite)}")
            return


def _denied(text: str, line: Line, claim: Statement) -> bool:
    """The evidence says "never" or "not" right before what the claim adds to the question, and the claim does not."""
    if not claim.core or set(_plain(claim.text)) & NEGATIONS:
        return False
    added = [one for one in line.words if one.stem in claim.core]
    if not set(claim.core) <= {one.stem for one in added}:
        return False
    before = text[: added[0].start - line.start]
    return DENIAL.search(before) is not None


def _plain(text: str) -> list[str]:
    return [one.casefold().replace("’", "'") for one in PLAIN.findall(text)]


def _order(text: str, claim: Statement) -> Iterator[Check]:
    """ "From 3.2 to 4.7" against "from 4.7 to 3.2": the same numbers in another order."""
    said = [one.raw for one in claim.quantities] or [float(one.year or 0) for one in claim.dates]
    read = [one.raw for one in quantities(text)] if claim.quantities else [float(one.year or 0) for one in dates(text)]
    common = [one for one in said if one in read]
    if len(set(common)) >= 2 and len(set(common)) == len(common):
        there = [one for one in read if one in common]
        if len(there) == len(common) and there != common and _same_frame(text, claim.text):
            yield Check(name="order", state=CheckState.FAIL, detail="the same numbers in another order")


def _same_frame(text: str, claim: str) -> bool:
    """Both read alike apart from the numbers, up to one word."""
    said = [one for one in _plain(claim) if not one[0].isdigit()]
    read = set(_plain(text))
    return sum(one not in read for one in said) <= 1


def _roles(scene: Scene, text: str, line: Line, claim: Statement) -> Iterator[Check]:
    """Who did it: the claim's name must stand in the clause of the claim's verb when another name stands there."""
    if claim.short or len(claim.names) != 1:
        return
    name = set(claim.names[0])
    told = claim.stems - STOP - name - claim.figures
    if len(told) >= 2 and _told_of_another(scene, told, name):
        yield Check(name="roles", state=CheckState.FAIL, detail="the same is said of another name")
        return
    if not name <= line.stems:
        return
    clauses = _clauses(text, line)
    acts = {one for one in told if one in line.stems and one not in line.names}
    mine = [stems for stems, _ in clauses if name <= stems]
    for stems, others in clauses:
        held = {act for act in acts if act in stems and not any(act in own for own in mine)}
        if held and others and not name & stems:
            first = next(word for word in line.words if word.stem in held)
            act = text[first.start - line.start : first.end - line.start]
            yield Check(name="roles", state=CheckState.FAIL, detail=f'"{act}" is said of another name')
            return


def _told_of_another(scene: Scene, told: frozenset[str], name: set[str]) -> bool:
    """All that the claim tells stands in a line of another name, and nowhere beside its own, which was read."""
    if not all(one in scene.places for one in (*told, *name)):
        return False
    where = [scene.lines[place] for place in scene.places[min(told)] if told <= scene.lines[place].stems]
    return bool(where) and not any(name & one.stems for one in where) and any(one.names - told for one in where)


def _clauses(text: str, line: Line) -> Sequence[tuple[frozenset[str], tuple[tuple[str, ...], ...]]]:
    cuts = [0, *(match.start() for match in CLAUSE.finditer(text)), len(text)]
    made = []
    for low, high in pairwise(cuts):
        inside = [one for one in line.words if low <= one.start - line.start < high]
        names = names_in(inside, text, line.start)
        made.append((frozenset(one.stem for one in inside), names))
    return made
