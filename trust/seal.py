"""What makes a judgment checkable later: which versions made it, and one hash over all of it."""

import json
from collections.abc import Mapping
from hashlib import sha256

from mia_skill.core.verdict import Case, Verdict
from trust.receipt import run_digest

__all__ = ["RULES", "sealed"]

RULES = "4"
"""Version of the checks and of how they decide; raised whenever the same case may come out otherwise."""


def sealed(case: Case, verdict: Verdict, versions: Mapping[str, str] | None = None) -> Verdict:
    """`verdict` with versions and audit hash. The time and the cost of a judgment are no part of the hash."""
    known = {"rules": RULES, **(versions or {}), **{f"prompt:{k}": v for k, v in verdict.prompt_digests.items()}}
    if verdict.calibration is not None:
        known["calibration"] = verdict.calibration.digest
    bare = verdict.model_copy(update={"versions": known, "audit": ""})
    told = bare.model_dump(mode="json", exclude={"audit", "usage"})
    digest = sha256(run_digest(case) + json.dumps(told, sort_keys=True).encode()).hexdigest()
    return bare.model_copy(update={"audit": f"sha256:{digest}"})
