"""One line per tool call on stderr: who, what, how it ended, how long, how much. Never what was said."""

import logging
import sys

__all__ = ["enable_audit", "note"]

log = logging.getLogger("mia.audit")
LONGEST_NAME = 64


def enable_audit() -> None:
    """Write the lines to stderr, whatever the level of other logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s audit %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def note(tool: str, caller: str, outcome: str, milliseconds: float, arguments: object, sent: int) -> None:
    """One call. Sizes are in characters; a caller's name is quoted, for it may come from a token."""
    if log.isEnabledFor(logging.INFO):
        received = len(str(arguments))
        log.info(
            "tool=%s caller=%r outcome=%s ms=%.0f in=%d out=%d",
            tool,
            caller[:LONGEST_NAME],
            outcome,
            milliseconds,
            received,
            sent,
        )
