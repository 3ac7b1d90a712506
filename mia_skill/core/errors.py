"""Every error this project raises, drawn as a tree. The type names the boundary, the message holds the fix.

MiaError
├── ConfigError            a setting is wrong; the message names the key and the nearest valid one
├── MissingExtraError      an optional package is not installed; the message holds the install line
├── InputError             the caller's argument cannot be used; nothing was changed
├── ModelError             a chat endpoint gave nothing usable
│   ├── ModelUnreachableError   no connection, or a time-out
│   ├── ModelStatusError        an HTTP status that retrying did not cure
│   │   └── ContextOverflow         the conversation is longer than the model can read
│   └── ModelReplyError         it answered, but not with what was asked for
├── PlanError              the Planner's reply is no plan. Never means "an empty plan"
├── JudgeError             no verdict could be had. Never means "wrong"
├── ReceiptError           a receipt is forged, altered, expired, used, or of another run; nothing was written
├── SearchError            a search engine failed. Never means "no results"
│   └── ReplayMiss              the recording that is replayed holds no answer to this; the message names it
├── VisitError             a page could not be had or read
│   ├── AddressRefused          the address is not a public one, or cannot be checked (SSRF protection)
│   └── RobotsRefused           the site asks robots to stay away
├── ToolOutage             a tool of the agent is down. Never a step of a run: the run is no sample
├── UsedUpError            a tool that may be used once per episode was asked again
├── ToolCallError          a model's tool call cannot be parsed
├── BankError              the memory bank cannot do what was asked
│   ├── UnknownIdError          no such unit
│   ├── AmbiguousIdError        an abbreviated id that several units have; the message lists them
│   ├── EmbedderMismatchError   stored vectors come from another embedder; the message holds the re-embed command
│   ├── BankCorruptError        the database or a file beside it is damaged
│   ├── BankUnreachableError    the database server is not there, or went away
│   └── BankUnwritableError     disk full, read-only folder or lock never released
├── CorpusError            a corpus file is missing or broken
│   └── CorpusMismatchError     its index is of other files or of another embedder; the message holds the build command
├── UnwritableError        a file or folder cannot be written; the message holds the fix
├── TrainingError          an update failed; the policy that is served is what it was
└── BudgetExceeded         a limit ended the episode cleanly
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = [
    "AddressRefused",
    "AmbiguousIdError",
    "BankCorruptError",
    "BankError",
    "BankUnreachableError",
    "BankUnwritableError",
    "BudgetExceeded",
    "ConfigError",
    "ContextOverflow",
    "CorpusError",
    "CorpusMismatchError",
    "EmbedderMismatchError",
    "Failure",
    "InputError",
    "JudgeError",
    "MiaError",
    "MissingExtraError",
    "ModelError",
    "ModelReplyError",
    "ModelStatusError",
    "ModelUnreachableError",
    "PlanError",
    "ReceiptError",
    "ReplayMiss",
    "RobotsRefused",
    "SearchError",
    "ToolCallError",
    "ToolOutage",
    "TrainingError",
    "UnknownIdError",
    "UnwritableError",
    "UsedUpError",
    "VisitError",
    "boundary",
]


class MiaError(Exception):
    """The root: catching it catches everything this project raises on purpose."""


class ConfigError(MiaError):
    """A setting cannot be used."""

    def __init__(self, message: str, *, missing: str = "") -> None:
        """`missing` is the setting that has no value, though the ones beside it need it."""
        super().__init__(message)
        self.missing = missing


class MissingExtraError(MiaError):
    """An optional package is needed and not there."""


class InputError(MiaError):
    """The caller's argument cannot be used; nothing was changed."""


class ModelError(MiaError):
    """A chat endpoint gave nothing usable. A failed call is no sample, never an empty answer."""


class ModelUnreachableError(ModelError):
    """The endpoint could not be reached, or did not answer in time."""


class ModelStatusError(ModelError):
    """The endpoint answered with an error status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ContextOverflow(ModelStatusError):
    """The conversation, with the room for a reply, is longer than the model can read."""


class ModelReplyError(ModelError):
    """The endpoint answered, but not with what was asked for."""

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class PlanError(MiaError):
    """The reply holds no plan. Never means "an empty plan"."""

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class JudgeError(MiaError):
    """The judge gave no verdict. Never means "wrong": the caller retries or skips the sample."""

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


Failure = Literal["blocked", "rate_limited", "timeout", "bad_request", "upstream_error", "paused", "replay"]
"""How a search failed. "paused": it was not asked, because it failed several times just before."""


class ReceiptError(MiaError):
    """A receipt of a judgment cannot be honoured; nothing was written."""


class SearchError(MiaError):
    """A search engine failed. Never means "no results"."""

    def __init__(
        self,
        message: str,
        *,
        engine: str,
        retry_after_s: float | None = None,
        kind: Failure = "upstream_error",
    ) -> None:
        super().__init__(message)
        self.engine = engine
        self.retry_after_s = retry_after_s
        self.kind = kind


class ReplayMiss(SearchError):
    """The recording that is replayed holds no answer to this. Nothing was asked of the network."""

    def __init__(self, message: str, *, engine: str = "replay") -> None:
        super().__init__(message, engine=engine, kind="replay")


class VisitError(MiaError):
    """A page could not be had or read. Never means "an empty page"."""


class AddressRefused(VisitError):
    """The address is not a public one, or cannot be checked; nothing was sent to it."""


class RobotsRefused(VisitError):
    """The site's robots.txt asks robots to stay away, or cannot be read."""


class ToolOutage(MiaError):
    """A tool of the agent is down: what it would have brought is not known. The run ends and is no sample: nothing of
    it is judged, remembered or trained on."""


class UsedUpError(MiaError):
    """A tool that may be used once per episode was asked again; nothing was done."""


class ToolCallError(MiaError):
    """A model's text holds a tool call that cannot be parsed."""

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class BankError(MiaError):
    """The memory bank cannot do what was asked."""


class UnknownIdError(BankError):
    """No unit has this id."""


class AmbiguousIdError(BankError):
    """Several units have an id that is abbreviated so; nothing was done."""


class EmbedderMismatchError(BankError):
    """The stored vectors come from another embedder; they are never mixed."""


class BankCorruptError(BankError):
    """The database, or a file beside it, is damaged."""


class BankUnreachableError(BankError):
    """The database server is not there, or went away: the open transaction was rolled back, the next call connects
    anew."""


class BankUnwritableError(BankError):
    """Disk full, read-only folder, or a lock that is never released."""


class CorpusError(MiaError):
    """A corpus file is missing or broken."""


class CorpusMismatchError(CorpusError):
    """A corpus index was made of other files, or with another embedder; the message holds the command that rebuilds."""


class UnwritableError(MiaError):
    """A file or folder cannot be written: no room, no right, no such folder."""


class TrainingError(MiaError):
    """An update failed. Never means "half an update": the policy that is served is what it was."""


class BudgetExceeded(MiaError):
    """A limit ended the episode; what was done so far is kept."""

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


@contextmanager
def boundary(error: type[MiaError], what: str, *foreign: type[Exception]) -> Iterator[None]:
    """Re-raise the named foreign exceptions as `error`, saying `what` was being done. Our own errors pass through."""
    try:
        yield
    except MiaError:
        raise
    except foreign as cause:
        raise error(f"{what}: {str(cause) or type(cause).__name__}") from cause
