"""What the demo prints: each question as it is played, then a table of all passes."""

import os
import sys
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from mia_skill.core.errors import InputError
from mia_skill.core.verdict import Label
from mia_skill.core.writing import writing
from mia_skill.demo.host import Solved
from mia_skill.demo.stage import DemoResult, Pass
from retrieval.world import WorldQuestion

__all__ = ["Screen", "Show", "table"]

LABELS = tuple(label.value for label in Label)
IN_FULL = 3
"""Questions of each pass that are shown step by step; the others take one line."""


class Screen(Console):
    """A console whose reader may leave (`mia demo | head`): the passes, which run side by side, then end in order."""

    def on_broken_pipe(self) -> None:
        """End with our error: rich's `SystemExit` inside a task would leave a page of tracebacks."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError("cannot write the output: its reader is gone")


@dataclass
class Show:
    """Prints while the passes run. `full` shows every question step by step."""

    console: Console
    quiet: bool = False
    full: bool = False
    _seen: set[str] = field(default_factory=set, repr=False)

    def watch(self, name: str, number: int, question: WorldQuestion, done: Solved, right: bool) -> None:
        """One question was played.

        Raises:
            UnwritableError: the output cannot be written.
        """
        if not self.quiet:
            with writing("the output"):
                self._tell(name, number, question, done, right)

    def _tell(self, name: str, number: int, question: WorldQuestion, done: Solved, right: bool) -> None:
        if name not in self._seen:
            self._seen.add(name)
            self.console.rule(f"[bold]{name}")
        mark = "[green]right[/]" if right else "[red]wrong[/]"
        how = "by a remembered workflow" if done.from_memory else "by exploring"
        searches = f"{len(done.queries)} searches" if len(done.queries) != 1 else "1 search"
        self.console.print(f"[bold]{number:>3}[/] {question.text}", highlight=False)
        if self.full or number <= IN_FULL:
            for line in done.told:
                self.console.print(f"      {line[:300]}", style="dim", highlight=False, markup=False)
        answer = done.answer or "(none)"
        self.console.print(f"      {answer} -> {mark}; {searches}, {how}; judged {done.verdict}", highlight=False)


def table(result: DemoResult) -> Table:
    """The passes side by side."""
    shown = Table(
        title=f"{result.passes[0].questions} questions over {result.pages} pages, seed {result.seed}",
        caption="One world says little: docs/lab_notes.md has the average over twenty.",
    )
    shown.add_column("")
    for one in result.passes:
        shown.add_column(one.name, justify="right")
    for cells in zip(*(figures(one) for one in result.passes), strict=True):
        shown.add_row(cells[0][0], *(figure for _, figure in cells))
    return shown


def figures(one: Pass) -> tuple[tuple[str, str], ...]:
    """The rows of one pass."""
    return (
        ("answers right", f"{one.right} of {one.questions}"),
        ("  in the second half", f"{one.right_late} of {one.questions - one.questions // 2}"),
        ("searches a question", f"{one.searches / one.questions:.1f}"),
        ("by a remembered way", str(one.plans_from_memory)),
        ("plans changed", str(one.replans)),
        *((f"judged {label.replace('_', ' ')}", str(one.judged.get(label, 0))) for label in LABELS),
        ("runs stored", str(one.stored)),
        ("seconds", f"{one.seconds:.1f}"),
    )
