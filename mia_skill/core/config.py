"""One frozen tree of settings: TOML file < environment < flags. Unknown keys fail, naming the nearest."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args, get_origin
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from mia_skill.core.access import ClientConfig, OAuthConfig, Scope, ServerConfig
from mia_skill.core.errors import ConfigError
from mia_skill.core.legacy import LEGACY, legacy_endpoints
from mia_skill.core.search_config import EngineConfig, ImagesConfig, SearchConfig, VisitConfig
from mia_skill.core.section import Section
from mia_skill.core.types import Usage

__all__ = [
    "BlendWeights",
    "BudgetConfig",
    "ClientConfig",
    "EndpointConfig",
    "EngineConfig",
    "ImagesConfig",
    "MemoryConfig",
    "MiaConfig",
    "ModelsConfig",
    "OAuthConfig",
    "PriceConfig",
    "Role",
    "Scope",
    "ScoreWeights",
    "SearchConfig",
    "ServerConfig",
    "TrustConfig",
    "VisitConfig",
    "json_or_text",
    "load_config",
]

Role = Literal["manager", "planner", "executor", "judge", "router"]
ENV_PREFIX = "MIA_"
NO_LIST = """give a list as JSON, such as '["one", "two"]'"""
ENV_CONTROL = frozenset(
    {
        "MIA_CONFIG", "MIA_CACHE", "MIA_SHARED_DATA", "MIA_VLLM_PYTHON", "MIA_VLLM_URL", "MIA_TRAIN_PYTHON",
        "MIA_NODE", "MIA_POSTGRES_URL", "MIA_POSTGRES_PROGRAM",
    }
)  # fmt: skip
"""Variables of ours that are no settings."""


class EndpointConfig(Section):
    """One OpenAI-compatible chat endpoint (vLLM or any other)."""

    base_url: str
    """Up to and including `/v1`."""
    model: str
    """The name under which the endpoint serves it."""
    api_key: SecretStr | None = None
    """Sent as a bearer token."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Evaluation runs at 0 (spec section 6)."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Keeps a small model from repeating itself until its form is cut off."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """The published evaluation used 1.1 (spec section 6)."""
    max_tokens: int = Field(default=1024, ge=1)
    """Of one reply."""
    timeout_s: float = Field(default=120.0, gt=0)
    """For a whole reply, in seconds."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """For a connection, in seconds."""
    max_retries: int = Field(default=3, ge=0, le=20)
    """After errors that may pass."""
    max_connections: int = Field(default=64, ge=1)
    """At the same time."""
    json_schema: bool = True
    """The server honours `response_format: json_schema`; false asks in words only."""
    tool_calls: Literal["auto", "text"] = "auto"
    """"auto" offers the Executor's tools to the server too, until it refuses; "text" never does: as in training."""
    context: int | None = Field(default=None, ge=64)
    """Tokens of prompt and reply that the model can hold; longer runs are told shorter. Unset: once it is refused."""

    @property
    def room(self) -> int | None:
        """Tokens of a conversation that leave room for a reply."""
        return None if self.context is None else max(256, self.context - self.max_tokens)

    @field_validator("base_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:  # reading .port refuses numbers out of range
            raise ValueError("must name a host, and a port that can be reached")
        return url.rstrip("/")


class ModelsConfig(Section):
    """An endpoint per role; a role without its own uses `default`; without that, no model."""

    default: EndpointConfig | None = None
    manager: EndpointConfig | None = None
    planner: EndpointConfig | None = None
    executor: EndpointConfig | None = None
    judge: EndpointConfig | None = None
    router: EndpointConfig | None = None

    def of(self, role: Role) -> EndpointConfig | None:
        """The endpoint that serves `role`."""
        own: EndpointConfig | None = getattr(self, role)
        return own or self.default


class ScoreWeights(Section):
    """Weights of the retrieval score (paper, appendix 10)."""

    sim: float = Field(default=0.7, ge=0)
    """Of min-max normalised similarity (paper: 0.7)."""
    value: float = Field(default=0.3, ge=0)
    rarity: float = Field(default=0.3, ge=0)
    question: float = Field(default=0.8, ge=0)
    """Share of the question in the similarity (paper: 0.8); the caption has the rest."""
    caption: float = Field(default=0.2, ge=0)


class BlendWeights(Section):
    """The blended score: how a question's words, its masked form and its meaning count, and what a unit is worth."""

    lexical: float = Field(default=2.0, ge=0)
    """Of the masked words and word pairs two questions share (BM25), with names, numbers and quotations masked."""
    masked: float = Field(default=2.0, ge=0)
    """Of the cosine of the masked questions."""
    dense: float = Field(default=1.0, gt=0)
    """Of the cosine of the questions as they are."""
    value: float = Field(default=0.2, ge=0, le=1)
    """How far being worth more than the average lifts a unit."""
    prior: float = Field(default=4.0, gt=0)
    """Strength of the prior of a unit's value, in uses: it starts at the average of its bucket."""
    half_life_days: float = Field(default=90.0, gt=0)
    """After which an outcome counts half."""
    elsewhere: float = Field(default=0.25, ge=0, le=1)
    """Share of the outcomes seen in another environment that still counts."""
    diversity: float = Field(default=0.1, ge=0, le=1)
    """How far likeness to a workflow that is shown already counts against a unit."""
    explore: bool = False
    """Draw a unit's value from what it may be worth (Thompson sampling, seeded) instead of taking the mean."""


class MemoryConfig(Section):
    """The memory bank."""

    path: Path | None = None
    """The SQLite file; default `<home>/memory.sqlite3`."""
    url: SecretStr | None = None
    """`postgresql://user:password@host/database` with pgvector: one bank for many hosts, in place of the file."""
    namespace: str = Field(default="default", pattern=r"^[\w.:@-]{1,64}$")
    """Units of other namespaces are never seen."""
    k_success: int = Field(default=2, ge=0, le=20)
    """How many successes are shown (published code: 2)."""
    k_failure: int = Field(default=2, ge=0, le=20)
    """How many failures are shown (published code: 2)."""
    min_similarity: float = Field(default=0.35, ge=-1, le=1)
    """Raw similarity under which a unit is not relevant at all: min-max alone always crowns a best one."""
    min_relevance: float = Field(default=0.45, ge=0, le=1)
    """The floor of the blended score: under it a unit is not relevant at all."""
    scoring: Literal["paper", "blend"] = "blend"
    """How units are ranked: by the paper's formula, or by the blend that finds more of the same procedures."""
    blend: BlendWeights = BlendWeights()
    environment: str = ""
    """Name and version of what the agent acts on. What was learnt in another one counts less."""
    max_tokens: int = Field(default=1500, ge=50)
    """All units shown together, in tokens of about four characters."""
    merge_similarity: float = Field(default=0.97, gt=0, le=1)
    """From this question similarity on, with the same outcome, a new unit merges into the old one."""
    withhold: float = Field(default=0.05, ge=0, le=0.5)
    """Share of tasks that go without memory, or without one unit, by chance: what measures whether memory helps. 0
    measures nothing."""
    withhold_seed: int = 0
    exact_up_to: int | None = Field(default=None, ge=0)
    """Units of one bucket (namespace, kind, outcome) up to which all are compared at full precision; beyond, rounded
    vectors (in a file) or HNSW (PostgreSQL) name the candidates. None: 50,000 in a file, 20,000 on PostgreSQL."""
    capacity: int | None = Field(default=None, ge=10)
    """Units a namespace may hold; what is worth least goes first, what is proven last. None: as many as come."""
    weights: ScoreWeights = ScoreWeights()
    embedder: str = "minilm"
    """"minilm" (packaged) or "openai" with `embedder_url` and `embedder_model`."""
    embedder_url: str | None = None
    """Of an OpenAI-compatible embeddings endpoint, up to `/v1`."""
    embedder_model: str | None = None
    """Its model."""
    embedder_key: SecretStr | None = None
    """Its key."""


class TrustConfig(Section):
    """Judgment without ground truth."""

    reasoning: float = Field(default=0.5, ge=0)
    """Weight of the reasoning reviewer (paper 3.4.3)."""
    sourcing: float = Field(default=0.3, ge=0)
    validity: float = Field(default=0.2, ge=0)
    accept: float = Field(default=6.5, ge=0, le=10)
    """Weighted review score from which an answer is called correct."""
    reject: float = Field(default=4.0, ge=0, le=10)
    """Weighted review score up to which it is called incorrect; between the two: abstain."""
    precision: float | None = Field(default=None, gt=0)
    """Wanted precision of "correct" without a model; unmeasured ones mean never. Unset: the default band."""
    calibration: Path | None = None
    """A file that `python -m benchmarks.trust_fit --to FILE` wrote: the curve of one's own reviewing model."""
    receipt_hours: float = Field(default=24.0, gt=0)
    """How long a judgment's receipt can bring its label into the bank."""
    canaries: float = Field(default=0.0, ge=0, le=0.5)
    """Share of judgments after which a known case is judged too. What is judged waits until these prove it."""
    canary_file: Path | None = None
    """Your own cases (JSON lines of question, answer, labels, evidence); unset: ten that come along."""
    canary_honest: float = Field(default=0.9, ge=0.6, lt=1)
    """Share of canaries that an honest judge gets right at least; half right is found out as a liar."""


class PriceConfig(Section):
    """What things cost, in one currency."""

    prompt: float = Field(default=0.0, ge=0)
    """Per million tokens."""
    completion: float = Field(default=0.0, ge=0)
    """Per million tokens."""
    search: float = Field(default=0.0, ge=0)
    """Per search."""
    currency: str = "USD"

    def cost(self, usage: Usage) -> float:
        """Of `usage`."""
        tokens = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return tokens / 1_000_000 + usage.searches * self.search


class BudgetConfig(Section):
    """Limits of one episode."""

    steps: int = Field(default=10, ge=1)
    """Tool turns (paper: 10)."""
    searches: int = Field(default=20, ge=1)
    tokens: int = Field(default=60_000, ge=100)
    seconds: float = Field(default=600.0, gt=0)
    money: float | None = Field(default=None, gt=0)
    """In the currency of `prices`; unset: no limit."""
    prices: PriceConfig = PriceConfig()


class MiaConfig(Section):
    """Everything that can be set."""

    home: Path = Field(default_factory=lambda: default_home())
    """Folder of the bank, the caches and config.toml."""
    models: ModelsConfig = ModelsConfig()
    memory: MemoryConfig = MemoryConfig()
    search: SearchConfig = SearchConfig()
    visit: VisitConfig = VisitConfig()
    images: ImagesConfig = ImagesConfig()
    trust: TrustConfig = TrustConfig()
    budget: BudgetConfig = BudgetConfig()
    server: ServerConfig = ServerConfig()

    @property
    def visits(self) -> bool:
        """Can pages be opened? With `visit.mode` "auto", where the web can be searched."""
        return self.visit.mode == "on" or (self.visit.mode == "auto" and bool(self.search.web))

    @property
    def bank_path(self) -> Path:
        """The SQLite file of the bank."""
        return self.memory.path or self.home / "memory.sqlite3"


def default_home() -> Path:
    """`$XDG_DATA_HOME/mia`, else `~/.local/share/mia`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mia"


def load_config(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> MiaConfig:
    """The settings of this process.

    `path` (or `$MIA_CONFIG`, or `<home>/config.toml` if it is there) < `MIA_*` variables, where `__` goes one
    section down (`MIA_MODELS__DEFAULT__BASE_URL`) < `flags` with dotted keys (`memory.namespace`). A variable set to
    nothing counts as not set: hosts pass empty form fields that way. Those of the published skills are understood
    below all of these (`core/legacy.py`).

    Raises:
        ConfigError: an unknown key (the nearest is named), a value out of range, or an unreadable file.
    """
    env = os.environ if environment is None else environment
    tree: dict[str, object] = {}
    for name, layer in (
        ("the file", _from_file(_config_path(path, env))),
        ("the environment", dict(_from_environment(env))),
        ("the flags", dict(flags or {})),
    ):
        for key, value in layer.items():
            _refuse_unknown(key, name)
            _put(tree, key.split("."), value)
    for role, endpoint in legacy_endpoints(env).items():
        models = tree.setdefault("models", {})
        if isinstance(models, dict):
            models.setdefault(role, endpoint)
    try:
        return MiaConfig.model_validate(tree)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        wrong = NO_LIST if first["type"] == "tuple_type" else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"setting {where!r}: {wrong}", missing=where if first["type"] == "missing" else "") from None


def _config_path(path: Path | None, env: Mapping[str, str]) -> Path | None:
    chosen = path or (Path(env["MIA_CONFIG"]) if env.get("MIA_CONFIG") else None)
    if chosen is not None:
        return chosen
    usual = Path(env.get("MIA_HOME") or default_home()) / "config.toml"
    return usual if usual.is_file() else None


def _from_file(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise ConfigError(f"cannot read the configuration file {path}: {cause.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path} is no valid TOML: {cause}") from None
    return dict(_flatten(tree, ()))


def _flatten(tree: Mapping[str, object], above: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, (*above, key))
        else:
            yield ".".join((*above, key)), value


def _from_environment(env: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for name, text in env.items():
        if name.startswith(ENV_PREFIX) and name not in ENV_CONTROL | LEGACY and text and not _unfilled(text):
            yield name.removeprefix(ENV_PREFIX).lower().replace("__", "."), json_or_text(text)


def _unfilled(text: str) -> bool:
    """A form field that the host left as its placeholder, for the user gave it no value."""
    return text.startswith("${user_config.") and text.endswith("}")


def json_or_text(text: str) -> object:
    """A list or object written as JSON, else the text as it is: how variables and flags give structured values."""
    if text[:1] in "[{":
        try:
            parsed: object = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return parsed
    return text


def _refuse_unknown(key: str, layer: str) -> None:
    known = _known_keys(MiaConfig)
    if key in known:
        return
    nearest = get_close_matches(key, known, n=1, cutoff=0)[0]
    raise ConfigError(f"unknown setting {key!r} in {layer}; the nearest is {nearest!r}")


def _known_keys(section: type[BaseModel], above: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in section.model_fields.items():
        parts = () if get_origin(field.annotation) is tuple else get_args(field.annotation)
        nested = [kind for kind in (field.annotation, *parts) if isinstance(kind, type)]
        inner = next((kind for kind in nested if issubclass(kind, BaseModel)), None)
        keys += _known_keys(inner, f"{above}{name}.") if inner else [f"{above}{name}"]
    return keys


def _put(tree: dict[str, object], path: list[str], value: object) -> None:
    *above, last = path
    for part in above:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(f"setting {'.'.join(path)!r}: {part!r} is a section, not a value")
        tree = below
    tree[last] = value
