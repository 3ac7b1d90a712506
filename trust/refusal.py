"""Answers that are none: refusals, "unknown", a question back."""

import re

__all__ = ["is_question", "is_refusal"]

ALONE = re.compile(
    r"\W*(?:unknown|none|null|n/?a|nil|undetermined|unclear|unsure|not (?:sure|known|found|available|applicable|"
    r"stated|"
    r"mentioned|specified|given|provided)|no (?:answer|idea|information|data|result)s?(?: (?:found|available))?|"
    r"(?:i )?can(?:no|')t (?:say|tell|answer)|idk|不知道|不清楚|未知|无法回答|unbekannt|inconnu|desconocido|неизвестно|"
    r"分かりません|わかりません|모르겠습니다)\W*",
    re.IGNORECASE,
)
SAID = re.compile(
    r"\bi (?:really )?(?:do not|don.t|did not|didn.t|could not|couldn.t|cannot|can.t|am (?:not able|unable)|was "
    r"(?:not able|"
    r"unable)) (?:to )?(?:know|find|answer|determine|tell|say|have (?:enough|sufficient|any|access)|provide|help|"
    r"assist|verify|"
    r"confirm|identify|locate)|\bi(?:'m| am) (?:sorry|afraid|unable|not (?:sure|certain|able))|"
    r"\b(?:unable|impossible|not possible) to (?:answer|determine|find|say|tell|verify|identify)|"
    r"\b(?:cannot|can.t|could not|couldn.t) be (?:determined|answered|found|established|verified|identified)|"
    r"\bno (?:\w+ ){0,3}(?:information|evidence|answer|mention|data|source|results?) (?:\w+ ){0,4}(?:found|"
    r"available|given|"
    r"provided|in|about|on|to|regarding)|\bnot enough (?:information|evidence|context)|\binsufficient "
    r"(?:information|evidence|"
    r"context|data)|\b(?:sources?|evidence|context|passages?|documents?|texts?|articles?|pages?|results?|it) "
    r"(?:\w+ ){0,2}"
    r"(?:do|does|did)(?: not|n.t) (?:\w+ )?(?:say|state|mention|specify|provide|contain|give|indicate|answer|"
    r"include|reveal|tell)|"
    r"\bis (?:not|never) (?:mentioned|stated|specified|provided|given|disclosed|known|available)\b|"
    r"\bas an ai\b|我不知道|无法(?:确定|回答|找到)|没有(?:足够|相关)的?信息|"
    r"ich wei(?:ß|ss) (?:es )?nicht|kann (?:ich )?nicht "
    r"(?:sagen|beantworten|feststellen)|je ne (?:sais|peux|trouve) pas|no (?:lo )?sé\b|no se puede|не (?:знаю|"
    r"могу|удалось)",
    re.IGNORECASE,
)
STILL_ANSWERS = re.compile(r"\b(?:but|however|although|though|likely|probably|the answer is|i think|i believe)\b", re.I)
ASKS = re.compile(
    r"\s*(?:who|what|when|where|why|how|which|whose|whom|is|are|was|were|do|does|did|can|could|would|should|will|"
    r"shall|may)\b"
    r".*[?？]\s*$|.*(?:吗|呢|什么|谁|哪)[^。]*[?？]\s*$|"
    r"\s*(?:could|can|would) you (?:please )?(?:clarify|specify|tell)",
    re.IGNORECASE | re.DOTALL,
)
LONG = 400
"""A longer answer holds more than the refusal in it."""


def is_refusal(answer: str) -> bool:
    """Does this decline to answer? An answer that hedges and then answers is none of these."""
    text = answer.strip()
    if not re.search(r"\w", text):
        return True
    if ALONE.fullmatch(text):
        return True
    match = SAID.search(text[:LONG])
    if match is None or len(text) > LONG or match.start() > len(text) * 0.6:
        return False
    return STILL_ANSWERS.search(text) is None


def is_question(answer: str) -> bool:
    """Does this ask back instead of answering?"""
    return ASKS.match(answer.strip()) is not None
