"""robots.txt, heeded: read once a day per site (RFC 9309; a site that shows it to nobody is left alone)."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mia_skill.core.errors import AddressRefused, RobotsRefused, VisitError
from mia_skill.core.require import require
from retrieval.address import Target
from retrieval.fetch import Fetcher

__all__ = ["Robots"]

DAY_S = 86_400.0
FAILED_S = 600.0
"""For which a robots.txt that could not be read is not asked for again."""
MOST_BYTES = 512_000
"""The standard asks for 500 KiB; what comes after is not read."""
MOST_SITES = 1_000


@dataclass
class Robots:
    """Asks each site once what robots may do there."""

    fetcher: Fetcher
    agent: str
    """The name under which rules are looked up: the user agent's first word."""
    clock: Callable[[], float] = time.monotonic
    _sites: "OrderedDict[str, tuple[float, Any]]" = field(default_factory=OrderedDict)
    """Site to the time until which its rules hold, and the rules; text instead of rules refuses everything."""

    async def check(self, target: Target) -> None:
        """Return when `target` may be visited.

        Raises:
            RobotsRefused: the rules forbid it, or cannot be read.
            AddressRefused: the site's address is not public.
            MissingExtraError: the package that reads the rules is missing.
        """
        site = f"{target.scheme}://{target.netloc}"
        until, rules = self._sites.get(site, (0.0, None))
        if rules is None or self.clock() >= until:
            until, rules = await self._read(site)
            self._sites[site] = until, rules
            self._sites.move_to_end(site)
            while len(self._sites) > MOST_SITES:
                self._sites.popitem(last=False)
        if isinstance(rules, str):
            raise RobotsRefused(rules)
        if not rules.can_fetch(target.url, self.agent):
            raise RobotsRefused(
                f"{target.netloc} asks robots not to visit {target.path[:100]} (robots.txt): use another source"
            )

    async def _read(self, site: str) -> tuple[float, Any]:
        parser = require("protego", extra="web").Protego
        try:
            got = await self.fetcher.get(f"{site}/robots.txt", max_bytes=MOST_BYTES)
        except AddressRefused:
            raise
        except VisitError as cause:
            return self.clock() + FAILED_S, f"{site} was not visited, for its robots.txt cannot be read: {cause}"
        if got.status in (401, 403):
            return self.clock() + FAILED_S, f"{site} was not visited, for it shows robots.txt to nobody ({got.status})"
        if got.status >= 500 or got.status == 429:
            return self.clock() + FAILED_S, f"{site} was not visited, for its robots.txt is out of order ({got.status})"
        text = got.body.decode("utf-8", "replace") if got.status == 200 else ""
        return self.clock() + DAY_S, parser.parse(text)
