"""How a case is shown to a model: question and evidence first, fenced source by source, so that three reviewers share
one prefix (a prefix cache pays once) and no source can speak for another."""

from collections.abc import Sequence
from secrets import token_hex

from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.verdict import Case, CheckState, Verdict
from trust.items import Item, collect
from trust.scene import look
from trust.words import content

__all__ = ["case_text", "check_lines", "one_line", "quote_answer", "shown_evidence"]

EVIDENCE_CHARS = 24_000
ANSWER_CHARS = 6_000
ID_CHARS = 80


def case_text(case: Case, examined: Verdict, mark: str | None = None) -> str:
    """What every reviewer reads before its own instructions."""
    mark = mark or token_hex(6)
    return load_prompt("judge_case").render(
        question=fence("question", _question(case), mark=mark),
        evidence=shown_evidence(case, mark=mark),
        answer=quote_answer(case, mark),
        checks="\n".join(f"- {one}" for one in check_lines(examined)) or "- nothing",
    )


def shown_evidence(case: Case, *, mark: str | None = None, whole: bool = False) -> str:
    """Every source with its id, at most 24,000 characters together: of longer ones the lines nearest to question and
    answer. `whole` puts the question before and the answer after."""
    mark = mark or token_hex(6)
    items = collect(case).items
    if whole:
        asked = fence("question", _question(case), mark=mark)
        return "\n".join([asked, shown_evidence(case, mark=mark), quote_answer(case, mark)])
    if not items:
        return fence("evidence", "none", mark=mark)
    share = EVIDENCE_CHARS // len(items)
    if sum(len(item.text) for item in items) <= EVIDENCE_CHARS:
        share = EVIDENCE_CHARS
    wanted = frozenset(content(case.question[:2000])) | frozenset(content(case.answer[:2000]))
    return "\n".join(fence("source", _source(item, share, wanted), mark=mark) for item in items[:100])


def quote_answer(case: Case, mark: str) -> str:
    """The answer between its fence."""
    text = case.answer or "(none)"
    shown = text if len(text) <= ANSWER_CHARS else f"{text[:ANSWER_CHARS]}\n[... {len(text) - ANSWER_CHARS} more ...]"
    return fence("answer", shown, mark=mark)


def check_lines(examined: Verdict) -> tuple[str, ...]:
    """The failed checks and warnings of the examination in our own words, one line each; no page text."""
    failed = [check for check in examined.checks if check.state is CheckState.FAIL]
    failed += [check for claim in examined.claims for check in claim.checks if check.state is CheckState.FAIL]
    lines = [f"check failed: {check.name}" for check in failed]
    lines += [f"{claim.id}: {claim.support.value.replace('_', ' ')}" for claim in examined.claims[:8]]
    lines += [f"source {one_line(one.source_id)} tries to steer its reader ({one.rule})" for one in examined.injections]
    return tuple(dict.fromkeys(lines))[:20]


def one_line(source_id: str) -> str:
    """An id as it may stand outside a fence: one line, short, nothing that looks like mark-up."""
    kept = "".join(char if char.isalnum() or char in "._-:/#" else "_" for char in source_id)
    return kept[:ID_CHARS]


def _question(case: Case) -> str:
    return f"{case.question}\n(The image shows: {case.caption})" if case.caption else case.question


def _source(item: Item, share: int, wanted: frozenset[str]) -> str:
    head = f"id: {item.id[:500]}" + (f"\ntitle: {item.title[:300]}" if item.title else "")
    return f"{head}\n{_best_lines(item, share, wanted)}"


def _best_lines(item: Item, share: int, wanted: frozenset[str]) -> str:
    if len(item.text) <= share:
        return item.text
    scene = look((item,), wanted)
    order = sorted(range(len(scene.lines)), key=lambda place: (-len(scene.lines[place].stems & wanted), place))
    kept: list[int] = []
    left = max(share, 300)
    for place in order:
        size = scene.lines[place].end - scene.lines[place].start
        if size > left:
            break
        kept.append(place)
        left -= size
    shown: Sequence[str] = [scene.text(scene.lines[place]) for place in sorted(kept)]
    return "[...] " + " [...] ".join(shown) if shown else item.text[:share]
