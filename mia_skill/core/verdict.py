"""What a judgment says. The contract of the trust part; facts/trust section 4, spec section 5."""

from enum import StrEnum

from pydantic import Field

from mia_skill.core.types import Outcome, Passage, Step, Text, Usage, Value

__all__ = [
    "Agreement",
    "Calibration",
    "Case",
    "Check",
    "CheckState",
    "Citation",
    "CitationStatus",
    "Claim",
    "Conflict",
    "Injection",
    "Label",
    "MemoryAdvice",
    "Quote",
    "Review",
    "Source",
    "Support",
    "Verdict",
    "VerifyNext",
]


class Label(StrEnum):
    """The verdict. Abstain is an answer: "this cannot be decided from what was given"."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    ABSTAIN = "abstain"
    NOT_ATTEMPTED = "not_attempted"


class Support(StrEnum):
    """What the evidence says about one claim."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    CONTRADICTED = "contradicted"
    CONFLICTING = "conflicting"
    NOT_FOUND = "not_found"


class CheckState(StrEnum):
    """Result of one named check."""

    OK = "ok"
    FAIL = "fail"
    UNSURE = "unsure"
    NOT_APPLICABLE = "n/a"


class Case(Value):
    """What is to be judged."""

    question: Text = Field(min_length=1)
    answer: Text = ""
    steps: tuple[Step, ...] = ()
    evidence: tuple[Passage, ...] = ()
    """Further texts that the answer may be checked against, beside those of the steps."""
    caption: Text | None = None
    as_of: Text = ""
    """The day on which it is asked, as the caller knows it (2026-05-01); empty: no clock is read."""


class Quote(Value):
    """An exact piece of evidence: `text == source_text[start:end]`, in characters."""

    source_id: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: Text


class Check(Value):
    """One named deterministic check on one claim or on the whole case."""

    name: str
    state: CheckState
    detail: Text = ""


class Claim(Value):
    """One checkable statement of the answer."""

    id: str
    text: Text
    start: int = Field(default=0, ge=0)
    end: int = Field(default=0, ge=0)
    kind: str = "entity"
    support: Support = Support.NOT_FOUND
    p: float = Field(default=0.0, ge=0, le=1)
    quotes: tuple[Quote, ...] = ()
    checks: tuple[Check, ...] = ()


class Injection(Value):
    """Text in a source that tries to steer whoever reads it. Flagged with its span, never deleted."""

    source_id: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    rule: str
    severity: str = "medium"


class CitationStatus(StrEnum):
    """What a citation of the answer is worth."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    """The source is there and does not state the claim."""
    DANGLING = "dangling"
    """No source has this number or id."""
    NOT_READ = "not_in_trajectory"
    """An address that this run never read."""
    UNFETCHABLE = "unfetchable"
    """An address that this run tried to read, and failed."""


class Citation(Value):
    """One citation mark of the answer, `answer[start:end]`."""

    marker: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    status: CitationStatus
    source_id: str | None = None
    claim_id: str | None = None


class Conflict(Value):
    """Independent sources that state the same thing with different values."""

    claim_id: str
    kind: str = "value"
    """"date", "value" or "statement"."""
    sources: tuple[tuple[str, ...], tuple[str, ...]]
    """Ids of those that bear the claim out, and of those that say otherwise."""
    independent: tuple[int, int]
    """How many independent voices each side has."""


class Source(Value):
    """One piece of evidence, as far as it can be told apart from others without a model."""

    id: str
    domain: str = ""
    kind: str = "secondary"
    """"primary" (governments, universities, standards), "ugc" (anybody may write there), "secondary", "memory"."""
    flags: tuple[str, ...] = ()
    """"near_duplicate_of:ID", "same_site_as:ID", "lookalike_domain", "steers_its_reader", "stale" (older than what
    is asked about)."""
    cluster: int = -1
    """Sources with the same number are one voice; -1: it does not count at all."""


class Agreement(Value):
    """How far the reviewers agree."""

    n: int = 0
    """Reviews that count."""
    spread: float = 0.0
    """Highest score less the lowest, of 10."""
    split: bool = False


class Calibration(Value):
    """What the probability was calibrated on; nothing is claimed where there is none."""

    name: str
    digest: str
    ece: float
    """Expected calibration error on held-out questions, 0 to 1."""
    n: int
    """Held-out answers."""


class VerifyNext(Value):
    """What to look up before trusting the answer: feeds `replan` and the next searches."""

    query: Text
    why: Text
    claim_id: str | None = None
    expected_gain: float = Field(default=0.0, ge=0, le=1)
    """How much of the doubt it could settle: the claim's share times its uncertainty."""


class Review(Value):
    """One reviewer's report."""

    reviewer: str
    score: float = Field(ge=0, le=10)
    reason: Text = ""
    cited: tuple[str, ...] = ()
    """Source ids it names; ids that do not exist void the report's support."""


class MemoryAdvice(Value):
    """May this run enter the bank, and under which outcome."""

    store: str = "no"
    """"yes", "quarantine" or "no"."""
    outcome: Outcome | None = None
    trust: float = Field(default=0.0, ge=0, le=1)


class Verdict(Value):
    """A judgment: what is supported by what, what is not, how sure, and what to look up next."""

    label: Label
    p_correct: float | None = Field(default=None, ge=0, le=1)
    """None where nothing was estimated."""
    reasons: tuple[Text, ...] = ()
    claims: tuple[Claim, ...] = ()
    checks: tuple[Check, ...] = ()
    reviews: tuple[Review, ...] = ()
    split: bool = False
    """The reviewers disagreed, and an area chair (or nobody) settled it."""
    citations: tuple[Citation, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    sources: tuple[Source, ...] = ()
    injections: tuple[Injection, ...] = ()
    verify_next: tuple[VerifyNext, ...] = ()
    memory_advice: MemoryAdvice = MemoryAdvice()
    backend: str = "evidence"
    """"evidence" (no model), "endpoint", "host" or "gold"."""
    prompt_digests: dict[str, str] = Field(default_factory=dict)
    usage: Usage = Usage()
    score: float | None = Field(default=None, ge=0, le=10)
    """The weighted review score; None where nobody reviewed."""
    agreement: Agreement = Agreement()
    calibration: Calibration | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    audit: str = ""
    """"sha256:..." over everything else here and the run that was judged: the same input, the same hash."""

    @property
    def is_correct(self) -> bool | None:
        """The published judge's one bit; None where it would have guessed."""
        return {Label.CORRECT: True, Label.INCORRECT: False}.get(self.label)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome a bank may store; None on abstain and on not attempted."""
        return {Label.CORRECT: Outcome.CORRECT, Label.INCORRECT: Outcome.INCORRECT}.get(self.label)

    @property
    def remembered(self) -> Outcome | None:
        """The outcome a bank is advised to keep the run under; None keeps it as pending, shown to nobody."""
        return self.outcome if self.memory_advice.store == "yes" else None
