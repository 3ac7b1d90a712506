"""How questions word things, often otherwise than the pages do: per relation noun phrases, questions, the step that
finds it, and the words to search with. The first line of `asks` needs no more than a name; `{x}` is the subject.
"""

from typing import NamedTuple

from retrieval.world_model import Kind

__all__ = ["RELATIONS", "Relation"]


class Relation(NamedTuple):
    """How to ask for what a relation gives."""

    gives: str
    """A kind of entity, or what the value is: "year", "language", "number"."""
    noun: str
    """Of the step "find the NOUN of the KIND"; also what to search for."""
    phrases: tuple[str, ...]
    """Noun phrases to build longer questions from."""
    asks: tuple[str, ...]


RELATIONS: dict[tuple[Kind, str], Relation] = {
    ("country", "capital"): Relation(
        "city",
        "capital",
        ("the capital of {x}", "the city from which {x} is governed"),
        (
            "What is the capital of {x}?",
            "Which city is the seat of government of {x}?",
            "From which city is {x} governed?",
        ),
    ),
    ("country", "ruler"): Relation(
        "person",
        "ruler",
        ("the ruler of {x}", "the head of state of {x}"),
        ("Who rules {x}?", "Who is the head of state of {x}?", "What is the name of the ruler of {x}?"),
    ),
    ("country", "language"): Relation(
        "language",
        "official language",
        ("the language of {x}",),
        (
            "Which language is spoken in {x}?",
            "What is the official language of {x}?",
            "What language do most people speak in {x}?",
        ),
    ),
    ("country", "independence"): Relation(
        "year",
        "independence year",
        ("the year in which {x} became independent",),
        (
            "In what year did {x} become independent?",
            "When did {x} gain its independence?",
            "In which year was the independence of {x} declared?",
        ),
    ),
    ("city", "country"): Relation(
        "country",
        "country",
        ("the country in which {x} lies", "the country that {x} belongs to"),
        ("In which country is {x}?", "Which country does {x} belong to?", "What country is {x} situated in?"),
    ),
    ("city", "mayor"): Relation(
        "person",
        "mayor",
        ("the mayor of {x}", "the person who is mayor of {x}"),
        ("Who is the mayor of {x}?", "Who was elected mayor of {x}?", "What is the name of the mayor of {x}?"),
    ),
    ("city", "river"): Relation(
        "river",
        "river",
        ("the river on which {x} stands", "the river that flows through {x}"),
        ("On which river does {x} stand?", "Which river flows through {x}?", "What is the name of the river at {x}?"),
    ),
    ("city", "population"): Relation(
        "number",
        "population",
        ("the population of {x}",),
        ("How many people live in {x}?", "What is the population of {x}?", "How many inhabitants does {x} have?"),
    ),
    ("city", "founded"): Relation(
        "year",
        "founding year",
        ("the year in which {x} was founded",),
        ("In what year was {x} founded?", "When was {x} established?", "What is the founding year of {x}?"),
    ),
    ("river", "country"): Relation(
        "country",
        "country",
        ("the country through which {x} flows", "the country that {x} crosses"),
        ("Through which country does {x} flow?", "Which country does {x} cross?", "What country does {x} run through?"),
    ),
    ("river", "mouth"): Relation(
        "city",
        "mouth",
        ("the city at the mouth of {x}", "the city where {x} reaches the sea"),
        (
            "Which city lies at the mouth of {x}?",
            "At which city does {x} reach the sea?",
            "In what city does {x} flow into the sea?",
        ),
    ),
    ("river", "length"): Relation(
        "number",
        "length",
        ("the length of {x}",),
        (
            "How long is {x} in kilometres?",
            "What is the length of {x} in kilometres?",
            "How many kilometres does {x} measure from source to mouth?",
        ),
    ),
    ("person", "birthplace"): Relation(
        "city",
        "birthplace",
        ("the birthplace of {x}", "the city where {x} was born", "the native city of {x}"),
        ("In which city was {x} born?", "Which city is the birthplace of {x}?", "What city was {x} a native of?"),
    ),
    ("person", "born"): Relation(
        "year",
        "birth year",
        ("the birth year of {x}",),
        ("In what year was {x} born?", "When was {x} born?", "What is the birth year of {x}?"),
    ),
    ("person", "university"): Relation(
        "university",
        "university",
        ("the university of {x}", "the university where {x} studied", "the place where {x} was educated"),
        ("At which university did {x} study?", "Where was {x} educated?", "Which university did {x} graduate from?"),
    ),
    ("person", "teacher"): Relation(
        "person",
        "teacher",
        ("the teacher of {x}", "the person who taught {x}"),
        ("Who taught {x}?", "Who was the teacher of {x}?", "Whose pupil was {x}?"),
    ),
    ("person", "successor"): Relation(
        "person",
        "successor",
        ("the successor of {x}", "the person who succeeded {x} in office"),
        ("Who succeeded {x} in office?", "Who was the successor of {x}?", "By whom was {x} followed in office?"),
    ),
    ("company", "founder"): Relation(
        "person",
        "founder",
        ("the founder of {x}", "the person who set up {x}", "the person who started {x}"),
        ("Who founded {x}?", "Who was the founder of {x}?", "By whom was {x} set up?"),
    ),
    ("company", "founded"): Relation(
        "year",
        "founding year",
        ("the year in which {x} was founded",),
        ("In what year was {x} founded?", "When was {x} set up?", "What is the founding year of {x}?"),
    ),
    ("company", "headquarters"): Relation(
        "city",
        "headquarters",
        ("the city where {x} has its headquarters", "the home city of {x}", "the city in which {x} is based"),
        (
            "In which city is {x} based?",
            "Where is the head office of {x}?",
            "In what city does {x} have its headquarters?",
        ),
    ),
    ("company", "director"): Relation(
        "person",
        "director",
        ("the director of {x}", "the person who leads {x}"),
        ("Who is the director of {x}?", "Who leads {x}?", "By whom is {x} run?"),
    ),
    ("university", "city"): Relation(
        "city",
        "city",
        ("the city of {x}", "the city in which {x} stands", "the city where {x} is located"),
        ("In which city is {x} located?", "What city is home to {x}?", "Which city does {x} stand in?"),
    ),
    ("university", "founder"): Relation(
        "person",
        "founder",
        ("the founder of {x}", "the person who established {x}"),
        ("Who founded {x}?", "Who established {x}?", "What is the name of the founder of {x}?"),
    ),
    ("university", "founded"): Relation(
        "year",
        "founding year",
        ("the year in which {x} was founded",),
        ("In what year was {x} founded?", "When was {x} set up?", "What is the founding year of {x}?"),
    ),
    ("book", "author"): Relation(
        "person",
        "author",
        ("the author of {x}", "the person who wrote {x}", "the writer of {x}"),
        ("Who wrote {x}?", "Who is the author of {x}?", "From whose pen is {x}?"),
    ),
    ("book", "publisher"): Relation(
        "company",
        "publisher",
        ("the publisher of {x}", "the company that published {x}"),
        ("Which company published {x}?", "Who was the publisher of {x}?", "What company brought out {x}?"),
    ),
    ("book", "published"): Relation(
        "year",
        "publication year",
        ("the year in which {x} was published",),
        ("In what year was {x} published?", "When did {x} appear?", "What is the publication year of {x}?"),
    ),
    ("team", "city"): Relation(
        "city",
        "home city",
        ("the home city of {x}", "the city where {x} is based"),
        ("In which city is {x} based?", "What is the home city of {x}?", "Which city does {x} come from?"),
    ),
    ("team", "coach"): Relation(
        "person",
        "coach",
        ("the coach of {x}", "the person who trains {x}"),
        ("Who coaches {x}?", "Who is the coach of {x}?", "By whom is {x} trained?"),
    ),
    ("mineral", "discoverer"): Relation(
        "person",
        "discoverer",
        ("the discoverer of {x}", "the person who discovered {x}"),
        ("Who discovered {x}?", "Who was the discoverer of {x}?", "By whom was {x} first described?"),
    ),
    ("mineral", "city"): Relation(
        "city",
        "place where it was found",
        ("the city near which {x} was found", "the city around which {x} is mined"),
        (
            "Near which city was {x} first found?",
            "Around what city is {x} mined?",
            "Near what city was {x} discovered?",
        ),
    ),
    ("ship", "builder"): Relation(
        "company",
        "builder",
        ("the builder of {x}", "the company that built {x}"),
        ("Which company built {x}?", "Who was the builder of {x}?", "What company was {x} built by?"),
    ),
    ("ship", "captain"): Relation(
        "person",
        "captain",
        ("the captain of {x}", "the person who commanded {x}"),
        ("Who was the captain of {x}?", "Who commanded {x}?", "By whom was {x} commanded?"),
    ),
    ("festival", "city"): Relation(
        "city",
        "city",
        ("the city where {x} is held", "the city in which {x} takes place"),
        ("In which city is {x} held?", "What city does {x} take place in?", "Which city hosts {x}?"),
    ),
    ("festival", "founder"): Relation(
        "person",
        "founder",
        ("the founder of {x}", "the person who started {x}"),
        ("Who founded {x}?", "Who was the founder of {x}?", "By whom was {x} started?"),
    ),
    ("bridge", "river"): Relation(
        "river",
        "river",
        ("the river that {x} crosses", "the river under {x}"),
        ("Which river does {x} cross?", "What river flows under {x}?", "Over which river does {x} carry a road?"),
    ),
    ("bridge", "designer"): Relation(
        "person",
        "designer",
        ("the designer of {x}", "the person who designed {x}"),
        ("Who designed {x}?", "Who was the designer of {x}?", "By whom was {x} designed?"),
    ),
}
