"""Variables of the published skills `mia` and `mia-trust` (spec section 11): what they mean here.

Their endpoints serve our planner and judge; their files are not opened, but can be imported. A variable of ours, or
a setting in the file, always counts more: where a role has any setting of its own, the old endpoint is not mixed in,
so that an old key is never sent to a new address.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from mia_skill.core.errors import ConfigError

__all__ = ["LEGACY", "explain", "legacy_endpoints"]

ROLES = {"planner": "MIA_PLANNER_", "judge": "MIA_TRUST_"}
MODES = ("local", "api")
LOCAL = ("http://localhost:8000/v1", "Qwen/Qwen3-8B")
"""What the published skills use in mode "local"."""
FIELDS = {"base_url": "URL", "model": "MODEL", "api_key": "API_KEY"}
FILES = {
    "MIA_MEMORY_FILE": "not opened; take its records over with: mia memory import --format mia-skill FILE",
    "MIA_FEEDBACK_FILE": "not opened; feedback is kept with each memory: mia memory feedback ID good|bad",
    "MIA_TRUST_EXPERIENCE_FILE": "not opened; judged runs are kept as memories",
    "MIA_SIMILARITY_THRESHOLD": "not used, its scale is another one; see MIA_MEMORY__MIN_SIMILARITY",
}
LEGACY = frozenset(FILES) | {prefix + name for prefix in ROLES.values() for name in ("MODE", *FIELDS.values())}
"""All names that are understood."""


def legacy_endpoints(env: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Settings of `models.<role>` as the old variables give them; a role without any of them is left out.

    The trust check falls back to the planner's address, model and key, as published; the key only together with the
    address.

    Raises:
        ConfigError: a mode that does not exist, or an endpoint without address or model.
    """
    found: dict[str, dict[str, object]] = {}
    for role, prefix in ROLES.items():
        given = {name: env[prefix + name] for name in ("MODE", *FIELDS.values()) if env.get(prefix + name)}
        if not given:
            continue
        if given.get("MODE", MODES[0]) not in MODES:
            raise ConfigError(
                f"{prefix}MODE is neither local nor api; the names of today are MIA_MODELS__{role.upper()}__*"
            )
        own = {key: given[name] for key, name in FIELDS.items() if name in given}
        found[role] = complete(role, own, given.get("MODE"), found.get("planner", {}))
    return found


def complete(role: str, own: Mapping[str, str], mode: str | None, planner: Mapping[str, object]) -> dict[str, object]:
    """One endpoint with its gaps filled."""
    prefix = ROLES[role]
    endpoint: dict[str, object] = dict(own)
    if "base_url" in own:
        endpoint["base_url"] = openai_base(own["base_url"])
    elif planner and mode is None:
        endpoint = {**planner, **own}
    elif mode == "local":
        endpoint["base_url"] = LOCAL[0]
    if "model" not in endpoint and mode == "local":
        endpoint["model"] = LOCAL[1]
    if "model" not in endpoint and planner:
        endpoint["model"] = planner["model"]
    for key, name in (("base_url", "URL"), ("model", "MODEL")):
        if key not in endpoint:
            raise ConfigError(
                f"{prefix}* describes an endpoint, but {prefix}{name} is not set; the names of today are "
                f"MIA_MODELS__{role.upper()}__BASE_URL, __MODEL and __API_KEY"
            )
    return endpoint


def openai_base(url: str) -> str:
    """An address up to `/v1`: the published skills were also given the whole route, or only the host."""
    base = url.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def explain(env: Mapping[str, str]) -> dict[str, str]:
    """For each old variable that is set: what becomes of it."""
    told = {name: words for name, words in FILES.items() if env.get(name)}
    for role, prefix in ROLES.items():
        for key, name in FIELDS.items():
            if env.get(prefix + name):
                told[prefix + name] = (
                    f"read as MIA_MODELS__{role.upper()}__{key.upper()}, unless that role is set otherwise"
                )
        if env.get(f"{prefix}MODE"):
            told[f"{prefix}MODE"] = f'"local" means {LOCAL[0]} with {LOCAL[1]} unless set; "api" changes nothing'
    return told
