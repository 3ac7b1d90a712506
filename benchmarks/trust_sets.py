"""The sets that judgments are measured on (benchmarks.trust says what each is).

`wiki` was written after the rules and is not fitted on: what it shows is held out.
"""

import json
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from mia_skill.agents.explorer import Explorer, Work
from mia_skill.core.errors import InputError
from mia_skill.core.types import Passage, Step
from mia_skill.core.verdict import Case
from mia_skill.demo.stage import pick
from retrieval.corpus import Corpus
from retrieval.world import build_world, grade
from training.edits import NUMBER, names

RUN_SEEDS = (37, 41, 43, 47, 53, 59, 61, 67)
"""Of worlds that are not the demo's (3, 5, 7)."""
OTHERS = 3
"""Passages of other questions beside the gold ones, in `wiki`."""


@dataclass(frozen=True)
class Sample:
    """A case, whether its answer is right, and the question it belongs to."""

    case: Case
    right: bool
    group: str


def load(data: Path, limit: int) -> dict[str, list[Sample]]:
    """The sets by name.

    Raises:
        InputError: the data are not there.
    """
    if not (data / "trust_dev").is_dir():
        where = "set MIA_SHARED_DATA (or --data) to the folder that holds them; docs/lab_notes.md has the figures"
        raise InputError(f"no {data / 'trust_dev'}: the judgment's data sets are not part of the repository: {where}")
    makers = {"halueval": halueval, "boolq": boolq, "ramdocs": ramdocs, "reflexion": reflexion, "world": world}
    makers |= {"runs": runs, "wiki": wiki}
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


def wiki(data: Path, part: str = "dev") -> Iterator[Sample]:
    """Two answers per question of the part "dev" or "train"."""
    folder = data / "sandbox_wiki"
    questions = [json.loads(line) for line in (folder / f"{part}.jsonl").open(encoding="utf-8")]
    needed = {one for row in questions for one in row["gold_ids"]}
    pages: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("corpus.*.jsonl")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            if row["id"] in needed:
                pages[row["id"]] = (row["title"], row["text"])
    chance = random.Random(5)
    order = sorted(pages)
    for row in questions:
        gold = [pages[one] for one in row["gold_ids"]]
        read = [*gold, *(pages[one] for one in chance.sample(order, OTHERS) if one not in row["gold_ids"])]
        chance.shuffle(read)
        question, evidence = str(row["question"]), passages(read)
        yield Sample(Case(question=question, answer=str(row["answer"]), evidence=evidence), True, row["id"])
        wrong = another(row, gold, chance)
        if wrong:
            yield Sample(Case(question=question, answer=wrong, evidence=evidence), False, row["id"])


def another(row: dict[str, object], gold: Sequence[tuple[str, str]], chance: random.Random) -> str | None:
    """A wrong answer of the right form; None where the passages hold none."""
    answer, question = str(row["answer"]), str(row["question"])
    if answer.casefold() in ("yes", "no"):
        return "no" if answer.casefold() == "yes" else "yes"
    titles = [re.sub(r"\s*\(.*\)$", "", title) for title, _ in gold]
    if "comparison" in str(row["type"]):
        rest = [one for one in titles if one in question and one not in answer and answer not in one]
        return rest[0] if rest else None
    text = " ".join(f"{title}. {body}" for title, body in gold)
    numeric = NUMBER.fullmatch(answer) is not None
    pool = [one.group() for one in NUMBER.finditer(text)] if numeric else names(text)
    right = {answer.casefold(), *(one.casefold() for one in row["answer_aliases"])}  # type: ignore[attr-defined]
    fitting = sorted(
        {
            one
            for one in pool
            if one not in question and not any(one.casefold() in a or a in one.casefold() for a in right)
        }
    )
    return chance.choice(fitting) if fitting else None


def runs(_data: Path) -> Iterator[Sample]:
    """Runs of the world's agent without a model over worlds of the demo's size, graded by the gold answers."""
    for seed in RUN_SEEDS:
        made = build_world(seed, 160)
        with tempfile.TemporaryDirectory(prefix="mia-runs-") as folder:
            made.write(Path(folder))
            corpus = Corpus.open([Path(folder) / "corpus.jsonl"], None, cache=None)
            for question in pick(made.questions, 60, seed, 8):
                work = Work(question=question.text, search=partial(corpus.search, k=5), limit=8)
                anyio.run(Explorer(work).run)
                if work.answer:
                    steps = tuple(
                        Step(thought=one.thought, query=one.query, passages=work.read[one.query]) for one in work.notes
                    )
                    case = Case(question=question.text, answer=work.answer, steps=steps)
                    yield Sample(case, grade(question, work.answer), f"{seed}-{question.id}")
