"""Three reviewers and, when they split, an area chair (paper 3.4.3, spec 5): in parallel, on the evidence, each with a
form; aggregated by numbers from the settings. A dead model is an error and never a label."""

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

import anyio
import anyio.to_thread

from mia_skill.core.brief import Brief
from mia_skill.core.chat import ChatModel, Message, asked_schema, parse_form
from mia_skill.core.config import TrustConfig
from mia_skill.core.errors import JudgeError, ModelError, ModelReplyError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.types import Usage
from mia_skill.core.verdict import Case, Label, Review, Verdict
from trust.evidence import examine
from trust.forms import REVIEWERS, JudgeForm, ReviewForm
from trust.items import collect
from trust.quoting import case_text, check_lines, shown_evidence
from trust.settle import review_of, settle, splits, usable
from trust.verdict import parse_verdict

__all__ = ["JudgeForm", "Panel", "ReviewForm", "check_lines", "from_form", "judge_brief", "review_messages", "settle"]
__all__ += ["shown_evidence"]

TRIES = 2
"""For a reply that is no form; transport errors are the client's to retry."""
REVIEW_TOKENS, CHAIR_TOKENS = 400, 8
FEWEST = 2
"""Reviews that must be usable before anything is aggregated."""


@dataclass(frozen=True)
class Panel:
    """The reviewers, all played by one model."""

    model: ChatModel
    config: TrustConfig

    async def judge(self, case: Case, listener: Listener = silent) -> Verdict:
        """Examine, review in parallel, aggregate; the chair only where the reviewers split.

        A case without evidence, or whose answer declines to answer, is settled without asking the model.

        Raises:
            JudgeError: the model gave too few usable reviews. Never means "wrong".
        """
        examined = await anyio.to_thread.run_sync(examine, case)
        if examined.label is Label.NOT_ATTEMPTED or not collect(case).items:
            return examined
        mark = token_hex(6)
        asked = review_messages(case, examined, mark=mark)
        reviews, usage = await self._reviews(case, examined, asked, listener)
        chair = None
        if splits(reviews, self.config):
            await listener(Event(stage="judge", message="the reviewers disagree: asking the area chair"))
            chair, spent = await self._chair(case, examined, reviews, mark)
            usage += spent
        names = ("judge_case", "review", *(f"reviewer_{name}" for name in REVIEWERS), "area_chair")
        digests = {name: load_prompt(name).digest for name in names}
        return settle(
            case, examined, reviews, self.config, chair, backend="endpoint", usage=usage, prompt_digests=digests
        )

    async def _reviews(
        self, case: Case, examined: Verdict, asked: Mapping[str, tuple[Message, ...]], listener: Listener
    ) -> tuple[tuple[Review, ...], Usage]:
        forms: dict[str, ReviewForm] = {}
        spent: list[Usage] = []
        failures: list[ModelError] = []

        async def ask(name: str) -> None:
            try:
                forms[name] = await self._form(asked[name], spent)
            except ModelError as failure:
                failures.append(failure)
            await listener(Event(stage="judge", message=name, done=len(forms) + len(failures), total=len(REVIEWERS)))

        async with anyio.create_task_group() as group:
            for name in REVIEWERS:
                group.start_soon(ask, name)
        if len(forms) < FEWEST:
            raw = next((one.raw for one in failures if isinstance(one, ModelReplyError)), "")
            raise JudgeError(f"no verdict, {len(failures)} of 3 reviewers failed: {failures[0]}", raw=raw)
        reviews = tuple(review_of(name, forms[name], case, examined) for name in REVIEWERS if name in forms)
        return reviews, sum(spent, Usage())

    async def _form(self, messages: tuple[Message, ...], spent: list[Usage]) -> ReviewForm:
        """One reviewer's form; a reply that is none is asked for once more."""
        schema = asked_schema(ReviewForm)
        for left in reversed(range(TRIES)):
            (reply,) = await self.model.complete(messages, schema=schema, temperature=0.0, max_tokens=REVIEW_TOKENS)
            spent.append(reply.usage)
            try:
                return parse_form(reply.text, ReviewForm)
            except ModelReplyError:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _chair(
        self, case: Case, examined: Verdict, reviews: tuple[Review, ...], mark: str
    ) -> tuple[Label | None, Usage]:
        """The chair's label; None when it gave none: the split then stays open."""
        messages = chair_messages(case, examined, reviews, mark=mark)
        try:
            (reply,) = await self.model.complete(messages, temperature=0.0, max_tokens=CHAIR_TOKENS)
        except ModelError:
            return None, Usage()
        try:
            return parse_verdict(reply.text), reply.usage
        except JudgeError:
            return None, reply.usage


def review_messages(case: Case, examined: Verdict, *, mark: str | None = None) -> dict[str, tuple[Message, ...]]:
    """What each reviewer reads: the same question, evidence and answer first, its own instructions last."""
    shared = case_text(case, examined, mark)
    return {name: (Message(role="user", content=shared + _task(name)),) for name in REVIEWERS}


def chair_messages(
    case: Case, examined: Verdict, reviews: tuple[Review, ...], *, mark: str | None = None
) -> tuple[Message, ...]:
    """What the area chair reads: the same beginning, then the reports as quoted data."""
    mark = mark or token_hex(6)
    told = "\n\n".join(
        f"{one.reviewer} ({'counts' if usable(one) else 'void'}), score {one.score:g}: {one.reason}" for one in reviews
    )
    rendered = load_prompt("area_chair").render(reviews=fence("reviews", told, mark=mark))
    return (Message(role="user", content=case_text(case, examined, mark) + rendered),)


def judge_brief(case: Case, examined: Verdict, *, mark: str | None = None) -> Brief:
    """The reviews, handed to the host's own model: instructions of ours, evidence as fenced data."""
    return Brief(
        task="judge",
        instructions=load_prompt("judge_brief").text,
        data=shown_evidence(case, mark=mark, whole=True),
        checks=tuple(check_lines(examined)) or ("nothing unusual",),
        form_schema=JudgeForm.model_json_schema(),
        submit_with='judge(<same arguments>, form={"reasoning": {"score": 0, "reason": "...", "cited": ["id"]}, '
        '"sourcing": {...}, "validity": {...}})',
    )


def from_form(case: Case, examined: Verdict, form: JudgeForm, config: TrustConfig) -> Verdict:
    """The verdict of a form the host filled in. Every id is looked up; support for what our checks contradict is not
    accepted, and the verdict says so."""
    reviews = tuple(review_of(name, getattr(form, name), case, examined) for name in REVIEWERS)
    digests = {"judge_brief": load_prompt("judge_brief").digest}
    return settle(case, examined, reviews, config, None, backend="host", prompt_digests=digests)


def _task(name: str) -> str:
    return load_prompt("review").render(reviewer=load_prompt(f"reviewer_{name}").text.strip())
