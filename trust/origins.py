"""What can be told about a source from its address and its neighbours: kind, copies, imitations. No network."""

from collections.abc import Collection, Sequence

from mia_skill.core.verdict import Source
from trust.items import Gathered, Item

__all__ = ["imitates", "sources_of"]

OPEN = frozenset(
    "wikipedia.org fandom.com reddit.com quora.com medium.com blogspot.com wordpress.com substack.com youtube.com "
    "facebook.com x.com twitter.com tiktok.com stackexchange.com stackoverflow.com zhihu.com github.io "
    "answers.com".split()
)
"""Sites on which anybody may write."""
KNOWN = OPEN | frozenset(
    "who.int un.org nasa.gov nih.gov cdc.gov europa.eu nature.com science.org arxiv.org bbc.com bbc.co.uk reuters.com "
    "apnews.com nytimes.com theguardian.com washingtonpost.com britannica.com github.com google.com microsoft.com "
    "apple.com amazon.com paypal.com openai.com anthropic.com".split()
)
"""Names worth imitating."""
FIRST_HAND = (".gov", ".edu", ".mil", ".int")
FIRST_HAND_PARTS = (".gov.", ".ac.", ".edu.")
LOOKS_LIKE = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("5", "s"), ("3", "e"))
SHORTEST = 6
"""Names shorter than this are one letter apart by chance."""


def sources_of(
    gathered: Gathered,
    clean: Sequence[Item],
    groups: Sequence[int],
    steering: Collection[str],
    old: Collection[str] = (),
) -> tuple[Source, ...]:
    """Every source of a case, in order; memories too, which never count."""
    place = {item.id: number for number, item in enumerate(clean)}
    made = [_source(item, place, clean, groups, steering, old) for item in gathered.items]
    made += [Source(id=one, kind="memory") for one in gathered.own_words]
    return tuple(made)


def imitates(domain: str) -> bool:
    """Does a host name look like a well-known one, or hide letters of another script?"""
    if "xn--" in domain or not domain.isascii():
        return True
    site = ".".join(domain.split(".")[-2:])
    if site in KNOWN or any(domain == one or domain.endswith(f".{one}") for one in KNOWN):
        return False
    folded = site
    for drawn, meant in LOOKS_LIKE:
        folded = folded.replace(drawn, meant)
    if folded in KNOWN or any(f".{one}." in f".{domain}." for one in KNOWN):
        return True
    return any(_one_apart(site, one) for one in KNOWN if len(one) - one.rindex(".") > 2 and len(one) >= SHORTEST)


def _source(
    item: Item,
    place: dict[str, int],
    clean: Sequence[Item],
    groups: Sequence[int],
    steering: Collection[str],
    old: Collection[str],
) -> Source:
    flags = []
    number = place.get(item.id)
    cluster = -1 if number is None else groups[number]
    if number is not None and cluster != number:
        first = clean[cluster]
        same_site = bool(item.domain) and item.domain == first.domain
        flags.append(f"{'same_site_as' if same_site else 'near_duplicate_of'}:{first.id}")
    if item.domain and imitates(item.domain):
        flags.append("lookalike_domain")
    if item.id in steering:
        flags.append("steers_its_reader")
    if item.id in old:
        flags.append("stale")
    return Source(id=item.id, domain=item.domain, kind=_kind(item.domain), flags=tuple(flags), cluster=cluster)


def _kind(domain: str) -> str:
    if domain.endswith(FIRST_HAND) or any(part in domain for part in FIRST_HAND_PARTS):
        return "primary"
    return "ugc" if any(domain == one or domain.endswith(f".{one}") for one in OPEN) else "secondary"


def _one_apart(one: str, other: str) -> bool:
    """One letter added, left out, changed, or two neighbours swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if len(one) == len(other):
        off = [n for n in range(len(one)) if one[n] != other[n]]
        if len(off) == 2 and off[1] == off[0] + 1:
            return one[off[0]] == other[off[1]] and one[off[1]] == other[off[0]]
        return len(off) == 1
    short, long = sorted((one, other), key=len)
    return any(long[:n] + long[n + 1 :] == short for n in range(len(long)))
