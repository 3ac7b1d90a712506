"""Closed lists of words: those that carry no meaning, families of one meaning, negations, opposites."""

__all__ = ["ANTONYMS", "FAMILIES", "MONTHS", "NEGATIONS", "NUMBER_WORDS", "STOP"]

STOP = frozenset(
    (
        "a an the this that these those it its he him his she her hers they them their theirs we us our you your "
        "i me my "
        "of in on at to for from by with without into onto over under about as than then so and or but nor if while "
        "is are was were be been being am do does did done doing has have had having will would shall should can "
        "could "
        "may might must there here also just only even very more most such some any each every other another both "
        "who whom whose what which when where why how what's who's one's please tell give name known called named "
        "s t d ll re ve which's according answer question claim statement document text passage true false yes "
        "no not "
        "der die das den dem des ein eine und ist war wer wann wo wie was von zu mit auf für "
        "le la les un une des du de et est qui quand où quel quelle que en dans au aux "
        "el los las una y es quien cuando donde que del por para con "
        "и в на с что кто когда где это из по"
    ).split()
)

_RELATIVES = (
    "born birth birthplace birthdate native natives births",
    "die died dies death deaths dead dying deceased",
    "write writes wrote written writer writers author authors authored pen",
    "found founded founder founders founding establish established establishment established start started starts "
    "begin began begun begins create created creator creators form formed formation launch launched inaugurated",
    "direct directed director directors directing helm",
    "locate located location situated based base headquarters headquartered lies stands sits",
    "marry married marries wife husband spouse marriage wed",
    "population inhabitants inhabitant populous residents people",
    "release released releases publish published publication publisher premiered premiere",
    "play played plays portray portrayed portrays star starring starred stars voiced acted role",
    "win won wins winner winners winning victory",
    "succeed succeeded successor replace replaced replaces",
    "teach taught teacher teaches tutor",
    "lead leads leader led ceo chairman chairwoman chairperson chief president head heads headed",
    "study studied studies graduate graduated educated education alumnus alumna alma attended",
    "build built builder builders building construct constructed construction erected",
    "design designed designer designers architect architects",
    "discover discovered discoverer discovery",
    "own owned owner owns owners",
    "country nation countries nations state",
    "song songs single track tracks",
    "film films movie movies picture",
    "language languages spoken speak speaks",
    "old older oldest age aged",
    "long longer longest length measure measures",
    "tall taller tallest height high higher highest",
    "year years date",
    "city cities town towns",
    "record recorded recording recordings",
    "sing sang sung singer singers vocalist vocals",
    "compose composed composer composers music",
    "produce produced producer producers production",
    "member members join joined",
    "open opened opens opening",
    "captain captained commanded command commander",
    "coach coached trains trainer manager managed",
)
FAMILIES: dict[str, str] = {word: line.split()[0] + "~" for line in _RELATIVES for word in line.split()}
"""Word -> the family it stands for. Question and evidence often differ only in this."""

NEGATIONS = frozenset(
    "not no never none neither nor cannot without nobody nothing nowhere isn't aren't wasn't weren't don't "
    "doesn't didn't "
    "hasn't haven't hadn't won't wouldn't can't couldn't shouldn't mustn't n't fails failed lacks lacked unlike "
    "nicht kein keine nie ne pas jamais non нет не 不 没 没有 未 非 无".split()
)

_OPPOSITES = (
    "rise rose risen increase increased increases grew grow gain gained up higher raised / "
    "fall fell fallen decrease decreased decreases shrank drop dropped decline declined down lower lost reduced",
    "more / less fewer", "before earlier prior / after later following", "first oldest earliest / last latest newest",
    "north northern / south southern", "east eastern / west western", "win won wins / lose lost loses defeated",
    "larger bigger largest biggest / smaller smallest", "older elder / younger", "male man men / female woman women",
    "legal lawful allowed permitted / illegal unlawful banned forbidden prohibited",
    "possible / impossible",
    "approve approved accept accepted support supported / reject rejected deny denied opposed",
    "buy bought acquired / sell sold", "open opened / close closed", "always / never", "alive living / dead",
    "true / false", "left / right", "maximum highest / minimum lowest", "positive / negative",
    "safe / dangerous unsafe",
    "effective / ineffective", "same identical / different distinct", "common / rare", "public / private",
    "success succeeded / failure failed", "prevent prevents prevented / cause causes caused",
    "domestic / foreign", "temporary / permanent", "single / married", "sister / brother", "mother / father",
    "son / daughter", "husband / wife", "guilty / innocent", "import imports / export exports", "summer / winter",
)  # fmt: skip


def _pairs() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in _OPPOSITES:
        left, right = (set(side.split()) for side in line.split(" / "))
        for word in left:
            found.setdefault(word, set()).update(right)
        for word in right:
            found.setdefault(word, set()).update(left)
    return {word: frozenset(others) for word, others in found.items()}


ANTONYMS = _pairs()

MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan januar janvier enero|february feb februar février febrero|march mar märz mars marzo|april "
        "apr avril "
        "abril|may mai mayo|june jun juni juin junio|july jul juli juillet julio|august aug août agosto|"
        "september sep "
        "sept septembre septiembre|october oct oktober octobre octubre|november nov novembre noviembre|december dec "
        "dezember décembre diciembre".split("|"),
        1,
    )
    for name in names.split()
}

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen "
        "eighteen nineteen twenty".split()
    )
} | {word: 10 * (place + 3) for place, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split())}
