"""`mia stream compact`: a journal rewritten to what is still needed.

What stays of a sample that was learnt from is its id, question, replies and rewards: sent again it gets the same
replies, and feedback on it is told to be the same or another. Its tokens go, and so do the lines of rewards, versions
and canaries, whose sum is one line. The state after reading the short journal is that after reading the long one, under
the canaries of rewards it was shortened with (a property test holds this over random histories).
"""

from pathlib import Path

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value
from retrieval.standing import Rules
from training.journal import JOURNAL, Journal, only_server
from training.stream_state import StreamState
from training.watch import RewardWatch

__all__ = ["Shorter", "compact"]


class Shorter(Value):
    """What a compaction did."""

    before: int
    """Bytes of the journal."""
    after: int
    samples: int
    learnt: int
    """Of them."""


def compact(folder: Path, rules: Rules) -> Shorter:
    """Rewrite the journal of a stream that nobody serves. `rules` are those of the canaries of rewards, if it had any.

    Raises:
        InputError: there is no stream in the folder.
        UnwritableError: a server holds it, or it cannot be written; the journal is what it was.
        BankCorruptError: it is damaged.
    """
    path = folder / JOURNAL
    if not path.is_file():
        raise InputError(f"{folder} holds no stream: there is no {JOURNAL} in it")
    with only_server(folder):
        journal = Journal(path)
        try:
            records = tuple(journal.records())
            judged = any(one["kind"] == "judge" or one.get("judged") for one in records)
            state = StreamState(RewardWatch(), rules if judged else None)
            for record in records:
                state.apply(record)
            before = journal.size
            journal.rewrite(state.shortened())
            return Shorter(before=before, after=journal.size, samples=len(state.groups), learnt=len(state.consumed))
        finally:
            journal.close()
