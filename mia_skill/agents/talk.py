"""The conversation of one run. It can be told shorter when it no longer fits the model: the oldest findings first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mia_skill.core.chat import Message
from mia_skill.core.errors import ToolCallError
from mia_skill.core.toolformat import Turn, parse_turn, render_result, render_turn
from mia_skill.core.types import Step, Usage

__all__ = ["LEVELS", "Talk", "shown"]

Detail = int | None
"""Characters shown of a passage; None: all of it."""
LEVELS: tuple[tuple[Detail, Detail], ...] = ((None, None), (200, None), (0, 600), (0, 120))
"""What is shown of earlier findings, and of the last. At 0 a passage is its id and title."""
BARE = 2
"""From this level on earlier turns are shown without the thoughts before their calls."""
CHARS_PER_TOKEN = 3.0
"""Until a reply says how many tokens there were."""
MALFORMED = "That held neither one well-formed tool call nor an answer. Reply in one of the two forms."


@dataclass(frozen=True)
class Exchange:
    """One reply, and what its calls brought: a tuple of steps a call. Without calls it was malformed."""

    said: str
    found: tuple[tuple[Step, ...], ...] = ()


@dataclass
class Talk:
    """All turns so far."""

    opening: Callable[[Detail], str]
    """The first turn, with so much of each passage that an earlier plan found."""
    room: int | None = None
    """Tokens that the conversation may have; None: unknown."""
    level: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    per_token: float = CHARS_PER_TOKEN

    def add(self, said: str, found: Sequence[tuple[Step, ...]] = ()) -> None:
        """One more exchange."""
        self.exchanges.append(Exchange(said, tuple(found)))

    def messages(self) -> list[Message]:
        """What the model is to read: never more than `room`, as far as that can be told."""
        made = self._told()
        while self.room is not None and size(made) > self.room * self.per_token and self.shorten():
            made = self._told()
        return made

    def measure(self, messages: Sequence[Message], usage: Usage) -> None:
        """What a call that read `messages` says of the length of a token."""
        if usage.prompt_tokens:
            self.per_token = max(1.0, size(messages) / usage.prompt_tokens)

    def shorten(self) -> bool:
        """Tell it shorter from now on; False when it is as short as it gets."""
        if self.level + 1 >= len(LEVELS):
            return False
        self.level += 1
        return True

    def _told(self) -> list[Message]:
        earlier, latest = LEVELS[self.level]
        made = [Message(role="user", content=self.opening(earlier))]
        for place, one in enumerate(self.exchanges, 1):
            old = place < len(self.exchanges)
            said = without_thought(one.said) if old and self.level >= BARE else one.said
            told = [render_result(results(steps, earlier if old else latest)) for steps in one.found]
            made.append(Message(role="assistant", content=said))
            made.append(Message(role="user", content="\n".join(told) or MALFORMED))
        return made


def size(messages: Sequence[Message]) -> int:
    """In characters."""
    return sum(len(one.content) for one in messages)


def without_thought(said: str) -> str:
    """Only the calls of a turn; a malformed turn as it was."""
    try:
        turn = parse_turn(said)
    except ToolCallError:
        return said
    return render_turn(Turn(calls=turn.calls)) if turn.calls else said


def results(steps: Sequence[Step], chars: Detail = None) -> str:
    """What one call brought; several queries are told apart by name."""
    if len(steps) == 1:
        return shown(steps[0], chars)
    return "\n\n".join(f"{step.query}:\n{shown(step, chars)}" for step in steps)


def shown(step: Step, chars: Detail = None) -> str:
    """What a step brought, as the model reads it."""
    if step.error is not None:
        return f"The call failed: {step.error}"
    lines = []
    for passage in step.passages:
        text = passage.text if chars is None or len(passage.text) <= chars else f"{passage.text[:chars]}..."
        lines.append(f"[{passage.id}] {passage.title}\n{text}" if chars != 0 else f"[{passage.id}] {passage.title}")
    return "\n\n".join(lines) or "Nothing was found."
