"""The strict reading of a judge's one letter. The published parser took any text with an A in it for "correct"."""

from mia_skill.core.errors import JudgeError
from mia_skill.core.verdict import Label

__all__ = ["parse_verdict"]


def parse_verdict(text: str) -> Label:
    """ "A" is correct, "B" is incorrect; white space around the letter is allowed, and nothing else.

    Raises:
        JudgeError: anything else. It holds the whole reply, and never means "wrong".
    """
    match text.strip(" \t\r\n"):
        case "A":
            return Label.CORRECT
        case "B":
            return Label.INCORRECT
        case _:
            raise JudgeError(f"expected the single letter A or B, got {text[:60]!r}", raw=text)
