"""Questions that the evidence answers by arithmetic: which of two is older, larger, longer."""

import re

from mia_skill.core.verdict import Check, CheckState
from trust.lexicon import STOP
from trust.quantity import dates, quantities
from trust.question import Asked
from trust.scene import Scene
from trust.words import terms

__all__ = ["check_choice", "picked"]

BIRTH = re.compile(r"\b(?:born|birth|b\.)|\(\s*\d|\(\s*[A-Z][a-z]+ \d", re.IGNORECASE)


def check_choice(scene: Scene, asked: Asked, answer: str) -> Check:
    """Does the answer name the option that the numbers in the evidence speak for?"""
    choice = picked(asked, answer)
    if choice is None or asked.wants_most is None:
        return Check(name="comparison", state=CheckState.UNSURE, detail="the answer names none of the two, or both")
    values = [_value(scene, asked, frozenset(terms(option)) - STOP) for option in asked.options]
    if values[0] is None or values[1] is None or values[0] == values[1]:
        return Check(name="comparison", state=CheckState.UNSURE, detail="not both can be compared")
    first_is_most = values[0] > values[1]
    right = 0 if first_is_most == asked.wants_most else 1
    shown = f"{values[0]:g} against {values[1]:g}"
    state = CheckState.OK if right == choice else CheckState.FAIL
    return Check(name="comparison", state=state, detail=shown)


def picked(asked: Asked, answer: str) -> int | None:
    """Which option the answer names: the one alone, or the one that stands first in its sentence."""
    said = frozenset(terms(answer))
    parts = [frozenset(terms(option)) - STOP for option in asked.options]
    own = [parts[0] - parts[1] or parts[0], parts[1] - parts[0] or parts[1]]
    share = [len(one & said) / len(one) if one else 0.0 for one in own]
    if share[0] == share[1]:
        if not share[0]:
            return None
        order = [min((terms(answer).index(stem) for stem in one if stem in said), default=999) for one in own]
        return 0 if order[0] < order[1] else 1
    return 0 if share[0] > share[1] else 1


def _value(scene: Scene, asked: Asked, option: frozenset[str]) -> float | None:
    """The date or number that stands closest to the option and to what is asked."""
    best: tuple[float, float] | None = None
    topic = frozenset(asked.terms) - option
    for place, line in enumerate(scene.lines):
        about = line.stems | scene.titles[line.item]
        held = len(option & line.stems) / len(option) if option else 0.0
        titled = len(option & scene.titles[line.item]) / len(option) if option else 0.0
        if max(held, titled) < 0.6:
            continue
        text = scene.text(line)
        numbers = [float(one.year) + (one.month or 0) / 12 + (one.day or 0) / 372 for one in dates(text) if one.year]
        if not asked.measures_time:
            numbers = [one.value for one in quantities(text)]
        if numbers:
            fit = held + titled + len(topic & about) / (len(topic) or 1) - place * 1e-6
            if best is None or fit > best[0]:
                best = (fit, numbers[0])
    return best[1] if best else None
