"""Compressing a run without a model."""

from hypothesis import given
from hypothesis import strategies as st

from mia_skill.agents.workflow import compress, names, slice_back, stands_in
from mia_skill.core.types import Passage, Step, Trajectory

QUESTION = "In which country was the founder of Velmora Works born?"
FOUNDER = Passage(id="p1", title="Velmora Works", text="A maker of looms. It was set up in 1874 by Aldric Tesh.")
NOISE = Passage(id="p2", title="Ruvo Bridge", text="Ruvo Bridge spans the Lenn.")
BORN = Passage(id="p3", title="Aldric Tesh", text="Aldric Tesh was born in Orsova, in the country of Hallen.")
RUN = Trajectory(
    steps=(
        Step(query="Ruvo Bridge", passages=(NOISE,)),
        Step(query="Velmora Works founder", passages=(FOUNDER,)),
        Step(query="velmora works FOUNDER", passages=(FOUNDER,)),
        Step(query="broken", error="the engine is down"),
        Step(query="Aldric Tesh born country", passages=(BORN,)),
    ),
    answer="Hallen",
)


def test_only_the_steps_that_the_answer_depends_on_are_kept() -> None:
    assert [step.query for step in slice_back(QUESTION, RUN)] == ["Velmora Works founder", "Aldric Tesh born country"]


def test_a_workflow_has_purpose_input_and_output_and_holds_no_fact_of_the_run() -> None:
    first, second = compress(QUESTION, RUN)
    wording = 'look for wording like "It was set up in [...] by [found 1]."'
    assert first == f"search [name 1] founder; {wording} ([name 1] -> [found 1])"
    assert second.startswith("search [found 1] born country")
    assert second.endswith("([found 1] -> the answer)")
    for fact in ("Velmora", "Aldric", "Tesh", "Orsova", "Hallen", "1874"):
        assert fact not in first + second


def test_a_run_whose_answer_stands_nowhere_keeps_every_step_that_brought_something() -> None:
    lost = RUN.model_copy(update={"answer": "unknown"})
    assert len(slice_back(QUESTION, lost)) == 3


def test_a_run_that_brought_nothing_has_no_workflow() -> None:
    assert compress(QUESTION, Trajectory(steps=(Step(query="x", error="down"),), answer="Hallen")) == ()


def test_the_capital_of_a_question_word_is_no_name() -> None:
    assert names("Which is longer, the River Ost or the Lenn?") == ["River Ost", "Lenn"]


def test_names_stand_in_a_text_as_whole_words_only() -> None:
    assert stands_in("born in Ostrava.", "Ostrava")
    assert not stands_in("born in Ostravania.", "Ostrava")
    assert not stands_in("anything", "")


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_the_compression_and_a_whole_name_answer_never_leaks(
    question: str, query: str, body: str
) -> None:
    run = Trajectory(steps=(Step(query=query, observation=f"{body} Zanthor"),), answer="Zanthor")
    assert all("Zanthor" not in line for line in compress(question, run))
