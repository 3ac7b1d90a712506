"""Invented names: pronounceable, unique, sometimes confusingly near each other. Nothing here exists."""

from random import Random

__all__ = ["Namer"]

ONSETS = "b br d dr f fr g gr h j k kr l m n p pr r s sk st t tr v y z th sh gl".split()
INNER = "b d g k l m n p s t v r d l n t m".split()
VOWELS = "a e i o u".split()
CODAS = "l n r s m".split()
ENDINGS = {
    "city": "a or en is um ick holm mere ova una".split(),
    "country": "eria ovar andia esh unia astra elond".split(),
    "surname": "a en ik ov ard une esh in ar ott".split(),
    "given_f": "a ea ine ira ora elle ia".split(),
    "given_m": "o an eth ric us em ald".split(),
    "stem": "el a ar os in une ek".split(),
    "mineral": "ite ine ium".split(),
}
SUFFIXES = {
    "printer": "Press|Editions|Printing House".split("|"),
    "yard": "Shipyard|Slipways|Boatworks".split("|"),
    "works": "Works|Foundry|Glassworks|Looms|Clockworks|Trading House".split("|"),
    "university": "Academy|College|Institute|University".split("|"),
    "festival": "Lantern Festival|Kite Fair|Regatta|Harvest Games|Puppet Week|Choir Days".split("|"),
    "bridge": "Bridge|Viaduct|Crossing".split("|"),
    "team": "Herons|Anvils|Badgers|Comets|Millers|Otters|Wardens|Lynxes".split("|"),
    "river": ["River"],
}
ADJECTIVES = (
    "Salt Glass Hollow Quiet Copper Crooked Silver Winter Amber Patient Borrowed Sunken Paper Velvet Burning Distant "
    "Painted Wandering Ninth Broken Gentle Iron Blue Forgotten Restless Golden Northern Humble Scarlet Stray"
).split()
NOUNS = (
    "Almanac Orchard Lantern Harbour Compass Garden Ledger Staircase Clock Meadow Mirror Anchor Window Ferry Thimble "
    "Candle Orrery Bell Cartographer Beacon Sparrow Kettle Tower Loom Heron Quarry Atlas Violin Threshold Pilot"
).split()
SHORTEST = 6
"""Letters: nearly all the real names that these syllables can spell are shorter."""
REAL = frozenset(
    "frederic laguna kedida graben tustin linton "
    "algeria basel berlin bernard bolden borys boston bradys bremen brendel bristol brogan brolin brugel brutus "
    "burden caroline croatia debora delmar delphine denise denman denys donald dragos draven dresden driven eduard "
    "edward estonia faline famine fortune fredric gardel garden gareth gerard girard gladys glamis glarus glinda "
    "godard golden gordan govan grabar granada granard granite gunman harald harden hardin henric herald hermine "
    "honora howard janine jardin jardine jerald jordan justin justine kaduna karina kelvin kenora korine krista "
    "kristen kristine kronos krosno krusen lapine larmena leonard levine liberia linden linkin lokesh loman london "
    "lorine lucus madan madrid malott maltin marble marcus marina marine markus marten martin master medium mersin "
    "mervin miranda modine moline morven moselle multan nadine nigeria pablo padova panine panora pardon paresh patin "
    "pauline pembine petite pontus prague premium primus printer protea radar ramesh ranald rasmus ravenna regard "
    "remick revelle richard romania romine ronald rovira rustem sabine samora sardar sarkar senta serdar shaman "
    "shergar shimla shinto shonda siberia slovenia solarium stadium stalin stampa staten stefan stirum storys sudden "
    "sudesh suresh talman thamar thanda thulin titanium tongan travel truro tumor turnus ukraine vardar varden varnel "
    "verona wooden yordan zagora zambia zoline ".split()
)


class Namer:
    """Gives names, never the same one twice, whatever the case."""

    def __init__(self, random: Random, *, confusable: float = 0.15) -> None:
        """`confusable` is the share of city, river and company names made by changing one vowel of an earlier one."""
        self._random = random
        self._confusable = confusable
        self._taken: set[str] = set()
        self._words: dict[str, list[str]] = {}

    def word(self, kind: str) -> str:
        """One new capitalised word with an ending of that kind."""
        earlier = self._words.setdefault(kind, [])
        if kind in ("city", "stem") and earlier and self._random.random() < self._confusable:
            twin = self._twin(self._random.choice(earlier))
            if self._claim(twin):
                earlier.append(twin)
                return twin
        for attempt in range(10_000):
            fresh = self._spelled(ENDINGS[kind], syllables=1 + (attempt > 50) + (self._random.random() < 0.35))
            if self._claim(fresh):
                earlier.append(fresh)
                return fresh
        raise AssertionError(f"no names of kind {kind!r} are left")

    def suffixed(self, kind: str, borrowed: str | None = None) -> str:
        """A stem and a word that tells the kind, like "Velmorel Foundry". `borrowed` is a stem seen elsewhere."""
        suffix = self._random.choice(SUFFIXES[kind])
        if borrowed is not None and self._claim(f"{borrowed} {suffix}"):
            return f"{borrowed} {suffix}"
        return f"{self.word('stem')} {suffix}"

    def title(self, article: str) -> str:
        """A book's or a ship's name of everyday words."""
        for _ in range(200):
            name = f"{article}{self._random.choice(ADJECTIVES)} {self._random.choice(NOUNS)}"
            if self._claim(name):
                return name
        return f"{article}{self._random.choice(ADJECTIVES)} {self._random.choice(NOUNS)} of {self.word('city')}"

    def person(self, surname: str, given: str) -> str | None:
        """The full name, or None when somebody has it."""
        full = f"{given} {surname}"
        return full if self._claim(full) else None

    def _claim(self, name: str) -> bool:
        key = name.casefold()
        if key in self._taken or key in REAL or len(key) < SHORTEST:
            return False
        self._taken.add(key)
        return True

    def _spelled(self, endings: list[str], syllables: int) -> str:
        pick, chance = self._random.choice, self._random.random
        spelled = pick(ONSETS) + pick(VOWELS)
        for _ in range(syllables):
            coda = pick(CODAS) if chance() < 0.45 else ""
            spelled += coda + pick([letter for letter in INNER if letter != coda]) + pick(VOWELS)
        ending = pick(endings)
        return (spelled[: -1 if ending[0] in VOWELS else None] + ending).capitalize()

    def _twin(self, name: str) -> str:
        places = [place for place, letter in enumerate(name) if letter in VOWELS]
        place = self._random.choice(places)
        letter = self._random.choice([vowel for vowel in VOWELS if vowel != name[place]])
        return name[:place] + letter + name[place + 1 :]
