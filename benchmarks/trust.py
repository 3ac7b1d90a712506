"""How well the checks without a model judge, beside baselines in the same run, and how well the guard finds orders.

    python -m benchmarks.trust [--data FOLDER] [--limit N] [--json FILE]

Sets: halueval_qa (a right answer and two hallucinated ones per question), boolq (the true and the flipped answer),
ramdocs (right and wrong answers among conflicting documents), reflexion (recorded search runs with known outcome),
world (our fictional encyclopedia: the gold answer and another name or number from the same pages). Balanced accuracy
counts an abstention as half right; "answered" is balanced accuracy on what was answered. Intervals: 95%, 1,000
bootstrap draws over questions. Baselines are thresholds on one number, and the best threshold is chosen on the data
itself, which flatters them.
"""

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mia_skill.core.types import Passage, Step
from mia_skill.core.verdict import Case, Label, Verdict
from retrieval.world import build_world
from trust.evidence import examine
from trust.guard import scan, scan_answer
from trust.words import content

DRAWS = 1000


@dataclass(frozen=True)
class Sample:
    """A case, whether its answer is right, and the question it belongs to."""

    case: Case
    right: bool
    group: str


@dataclass(frozen=True)
class Judged:
    """A sample with its verdict."""

    sample: Sample
    verdict: Verdict
    milliseconds: float


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--limit", type=int, default=0, help="questions per set; 0 for all")
    parser.add_argument("--sets", nargs="*", default=None)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for name, samples in load(given.data, given.limit).items():
        if given.sets and name not in given.sets:
            continue
        judged = [judge(one) for one in samples]
        figures[name] = report(name, judged)
    print_table(figures)
    print_guard(given.data)
    print_no_evidence(given.data)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


# --- data


def load(data: Path, limit: int) -> dict[str, list[Sample]]:
    """The sets by name."""
    makers = {"halueval": halueval, "boolq": boolq, "ramdocs": ramdocs, "reflexion": reflexion, "world": world}
    return {name: cut(list(maker(data)), limit) for name, maker in makers.items()}


def cut(samples: list[Sample], limit: int) -> list[Sample]:
    """The first `limit` questions."""
    groups = list(dict.fromkeys(one.group for one in samples))
    kept = set(groups[:limit] if limit else groups)
    return [one for one in samples if one.group in kept]


def rows(path: Path) -> Iterator[dict[str, object]]:
    """The records of a jsonl file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def passages(texts: Sequence[tuple[str, str]]) -> tuple[Passage, ...]:
    """Titles and texts as evidence."""
    return tuple(Passage(id=f"e{n}", title=title, text=text) for n, (title, text) in enumerate(texts, 1))


def halueval(data: Path) -> Iterator[Sample]:
    """Right answer, and the hallucinations of both styles."""
    styles = [list(rows(data / "trust_dev/halueval_qa" / f"qa_{style}-turn.jsonl")) for style in ("one", "multi")]
    for one, multi in zip(*styles, strict=True):
        question, evidence = str(one["question"]), passages([("", str(one["knowledge"]))])
        answers = [(one["right_answer"], True), (one["hallucinated_answer"], False)]
        answers += [(multi["hallucinated_answer"], False)]
        for answer, right in answers:
            yield Sample(Case(question=question, answer=str(answer), evidence=evidence), right, question)


def boolq(data: Path) -> Iterator[Sample]:
    """Yes and no for each question."""
    for row in rows(data / "trust_dev/boolq/boolq_dev_sample.jsonl"):
        question, evidence = str(row["question"]), passages([(str(row["title"]), str(row["passage"]))])
        for answer in (True, False):
            case = Case(question=question, answer="yes" if answer else "no", evidence=evidence)
            yield Sample(case, answer == row["answer"], question)


def ramdocs(data: Path) -> Iterator[Sample]:
    """Every valid answer and every planted wrong one, all documents given."""
    for row in rows(data / "trust_dev/ramdocs/RAMDocs_test.jsonl"):
        evidence = passages([("", str(one["text"])) for one in row["documents"]])  # type: ignore[attr-defined]
        for key, right in (("gold_answers", True), ("wrong_answers", False)):
            for answer in dict.fromkeys(row[key]):  # type: ignore[call-overload]
                if answer != "unknown":
                    case = Case(question=str(row["question"]), answer=str(answer), evidence=evidence)
                    yield Sample(case, right, str(row["question"]))


def reflexion(data: Path) -> Iterator[Sample]:
    """Recorded runs that ended in an answer; the step that handed it in is left out, for it tells the outcome."""
    for part in ("base", "reflexion"):
        for row in rows(data / f"procedures_dev/reflexion_hotpotqa/trajectories_{part}.jsonl"):
            if row["status"] == "halted":
                continue
            answer, steps = trajectory(row["steps"])  # type: ignore[arg-type]
            if answer is not None:
                case = Case(question=str(row["question"]), answer=answer, steps=tuple(steps))
                yield Sample(case, bool(row["success"]), str(row["question"]))


def trajectory(parts: Sequence[tuple[str, str]]) -> tuple[str | None, list[Step]]:
    """Answer and steps of a recorded run."""
    steps: list[Step] = []
    thought = query = ""
    for kind, text in parts:
        if kind == "thought":
            thought = text
        elif kind == "action":
            if text.startswith("Finish["):
                return text[len("Finish[") :].removesuffix("]"), steps
            query = text
        else:
            steps.append(Step(thought=thought, query=query, observation=text))
    return None, steps


def world(_data: Path) -> Iterator[Sample]:
    """The gold answer, and the answer of another question of the same shape that stands in the same pages or not."""
    made = build_world(11, 200)
    pages = {page.id: page for page in made.pages}
    chance = random.Random(11)
    for question in made.questions:
        read = [pages[one] for one in question.gold_ids]
        read += chance.sample([page for page in made.pages if page.id not in question.gold_ids], 3)
        evidence = passages([(page.title, page.text) for page in read])
        others = [one.answer for one in made.questions if one.shape == question.shape and one.answer != question.answer]
        text = " ".join(page.text for page in read)
        near = [one for one in dict.fromkeys(other.title for other in pages.values()) if one in text]
        wrong = [
            one
            for one in near
            if one not in question.text and question.answer not in one and one not in question.answer
        ]
        yield Sample(Case(question=question.text, answer=question.answer, evidence=evidence), True, question.id)
        flipped = {"yes": "no", "no": "yes"}.get(question.answer)
        flipped = flipped or next(
            (one for one in question.entities if question.kind == "comparison" and one != question.answer), None
        )
        pool = (
            [flipped]
            if flipped
            else (wrong if chance.random() < 0.5 and wrong and question.kind == "chain" else others)
        )
        if pool:
            case = Case(question=question.text, answer=chance.choice(sorted(set(pool))), evidence=evidence)
            yield Sample(case, False, question.id)


# --- figures


def judge(sample: Sample) -> Judged:
    """The verdict and how long it took."""
    began = time.perf_counter()
    verdict = examine(sample.case)
    return Judged(sample, verdict, (time.perf_counter() - began) * 1000)


def report(name: str, judged: Sequence[Judged]) -> dict[str, float]:
    """All figures of one set."""
    truth = [one.sample.right for one in judged]
    calls = [call(one.verdict) for one in judged]
    scores = [one.verdict.p_correct if one.verdict.p_correct is not None else 0.5 for one in judged]
    groups = [one.sample.group for one in judged]
    answered = [n for n, one in enumerate(calls) if one is not None]
    wrong = [n for n, one in enumerate(truth) if not one]
    low, high = bootstrap(truth, calls, groups)
    times = sorted(one.milliseconds for one in judged)
    lengths = [float(len(one.sample.case.answer)) for one in judged]
    return {
        "n": len(judged),
        "right": sum(truth),
        "bacc": balanced(truth, calls),
        "low": low,
        "high": high,
        "coverage": len(answered) / len(judged),
        "answered": balanced([truth[n] for n in answered], [calls[n] for n in answered]),
        "accuracy": sum(truth[n] == calls[n] for n in answered) / max(1, len(answered)),
        "auroc": auroc(truth, scores),
        "false_correct": sum(calls[n] is True for n in wrong) / max(1, len(wrong)),
        "precision": precision(truth, calls),
        "majority": 0.5,
        "length": best_threshold(truth, lengths),
        "overlap": best_threshold(truth, [overlap(one.sample.case) for one in judged]),
        "overlap_auroc": auroc(truth, [overlap(one.sample.case) for one in judged]),
        "p50_ms": statistics.median(times),
        "p95_ms": times[int(len(times) * 0.95)],
    }


def call(verdict: Verdict) -> bool | None:
    """Right, wrong, or not said. An answer that is none is wrong."""
    return {Label.CORRECT: True, Label.INCORRECT: False, Label.NOT_ATTEMPTED: False}.get(verdict.label)


def balanced(truth: Sequence[bool], calls: Sequence[bool | None]) -> float:
    """Mean of the two recalls; an abstention counts half."""
    parts = []
    for kind in (True, False):
        mine = [one for fact, one in zip(truth, calls, strict=True) if fact is kind]
        if mine:
            parts.append(sum(0.5 if one is None else float(one is kind) for one in mine) / len(mine))
    return statistics.fmean(parts) if parts else 0.5


def precision(truth: Sequence[bool], calls: Sequence[bool | None]) -> float:
    """Share of the answers called correct that are."""
    said = [fact for fact, one in zip(truth, calls, strict=True) if one is True]
    return sum(said) / max(1, len(said))


def auroc(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Chance that a right answer scores above a wrong one; ties count half."""
    ranked = sorted(range(len(scores)), key=lambda n: scores[n])
    ranks = [0.0] * len(scores)
    start = 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and scores[ranked[end]] == scores[ranked[start]]:
            end += 1
        for place in range(start, end):
            ranks[ranked[place]] = (start + end + 1) / 2
        start = end
    positive = sum(truth)
    negative = len(truth) - positive
    if not positive or not negative:
        return 0.5
    return (sum(ranks[n] for n, one in enumerate(truth) if one) - positive * (positive + 1) / 2) / (positive * negative)


def best_threshold(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Balanced accuracy of the best cut on `scores`, either way round."""
    ordered = sorted(zip(scores, truth, strict=True))
    positive = sum(truth)
    negative = len(truth) - positive
    best, above_right, above_wrong = 0.5, positive, negative
    for place, (score, right) in enumerate(ordered):
        above_right -= right
        above_wrong -= not right
        if place + 1 < len(ordered) and ordered[place + 1][0] == score:
            continue
        here = (above_right / max(1, positive) + 1 - above_wrong / max(1, negative)) / 2
        best = max(best, here, 1 - here)
    return best


def overlap(case: Case) -> float:
    """Share of the answer's words that stand in the evidence."""
    text = " ".join([*(one.text for one in case.evidence), *(step.observation for step in case.steps)])
    said, read = content(case.answer), set(content(text))
    return sum(one in read for one in said) / len(said) if said else 0.5


def bootstrap(truth: Sequence[bool], calls: Sequence[bool | None], groups: Sequence[str]) -> tuple[float, float]:
    """95% interval of balanced accuracy, drawing whole questions."""
    members: dict[str, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    names = list(members)
    chance = random.Random(0)
    found = []
    for _ in range(DRAWS):
        drawn = [n for name in chance.choices(names, k=len(names)) for n in members[name]]
        found.append(balanced([truth[n] for n in drawn], [calls[n] for n in drawn]))
    found.sort()
    return found[int(0.025 * DRAWS)], found[int(0.975 * DRAWS)]


# --- print


def print_table(figures: dict[str, dict[str, float]]) -> None:
    """One line per set, and the macro mean."""
    print(
        f"{'set':10}{'n':>6} {'bAcc (95%)':>22} {'cover':>6} {'bAcc answered':>13} {'auroc':>6} {'prec':>5}"
        f" {'falseOK':>7}"
        f" | {'length':>6} {'overlap':>7} {'ovAUC':>6} | {'p50':>5} {'p95 ms':>6}"
    )
    keys = [key for key in next(iter(figures.values())) if key != "n"]
    lines = dict(figures)
    lines["macro"] = {"n": sum(one["n"] for one in figures.values())} | {
        key: statistics.fmean(one[key] for one in figures.values()) for key in keys
    }
    for name, one in lines.items():
        interval = f"{one['bacc']:.3f} ({one['low']:.3f}-{one['high']:.3f})"
        print(
            f"{name:10}{one['n']:6.0f} {interval:>22} {one['coverage']:6.2f} {one['answered']:13.3f}"
            f" {one['auroc']:6.3f}"
            f" {one['precision']:5.2f} {one['false_correct']:7.3f} | {one['length']:6.3f} {one['overlap']:7.3f}"
            f" {one['overlap_auroc']:6.3f} | {one['p50_ms']:5.1f} {one['p95_ms']:6.1f}"
        )
    print("majority: 0.500 everywhere; baselines answer everything")


def print_guard(data: Path) -> None:
    """Detection by kind and false alarms."""
    cases = list(rows(data / "attacks_dev/text_cases.jsonl"))
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for row in cases:
        found = scan_answer(str(row["text"])) if row["where"] == "answer" else scan(str(row["text"]), "x")
        hits[row["expect"] == "flag"].append(bool(found))
    print(f"\nguard: {sum(hits[True])}/{len(hits[True])} attack kinds found")
    print(f"guard: {sum(hits[False])}/{len(hits[False])} harmless texts flagged")
    folder = data / "attacks_dev/injection_piguard"
    benign = [
        row for part in ("one", "two", "three") for row in json.loads((folder / f"NotInject_{part}.json").read_text())
    ]
    flagged = sum(bool(scan(row["prompt"], "x")) for row in benign)
    print(f"guard: {flagged}/{len(benign)} of NotInject flagged")
    by_source: dict[str, list[bool]] = {}
    for row in json.loads((folder / "valid.json").read_text()):
        if not row["source"].startswith("NotInject"):
            by_source.setdefault(f"{row['source']} ({'attack' if row['label'] else 'benign'})", []).append(
                bool(scan(row["prompt"], "x"))
            )
    for source, told in sorted(by_source.items()):
        print(f"  {source}: {sum(told)}/{len(told)} flagged")


def print_no_evidence(data: Path) -> None:
    """Every answer without evidence must be left undecided."""
    bare = [one.case.model_copy(update={"evidence": ()}) for one in cut(list(halueval(data)), 200)]
    labels = [examine(one).label for one in bare]
    kept = sum(label in (Label.ABSTAIN, Label.NOT_ATTEMPTED) for label in labels)
    print(f"without evidence: {kept}/{len(labels)} undecided")


if __name__ == "__main__":
    main()
