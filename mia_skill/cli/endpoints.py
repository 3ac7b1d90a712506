"""The endpoints of the settings, as `mia doctor` looks at them: is each there, and does it serve its model?"""

from dataclasses import replace

from mia_skill.cli.console import Settings
from mia_skill.core.config import EndpointConfig, MiaConfig, Role
from mia_skill.core.errors import ConfigError, MiaError
from mia_skill.core.shown_address import shown_address
from mia_skill.install.finding import Finding

__all__ = ["check_endpoints", "load_unnamed"]

ROLES: tuple[Role, ...] = ("manager", "planner", "executor", "judge", "router")
SECTIONS = ("default", *ROLES)
UNNAMED = frozenset(f"models.{section}.model" for section in SECTIONS)
PATIENCE_S = 10.0


def load_unnamed(settings: Settings) -> MiaConfig:
    """The settings. An endpoint without a model gets an empty name instead of being refused: it can be asked for one.

    Raises:
        ConfigError, InputError: see the message.
    """
    left = set(UNNAMED)
    while True:
        try:
            return settings.load()
        except ConfigError as error:
            if error.missing not in left:
                raise
            left.remove(error.missing)
            settings = replace(settings, pairs=(*settings.pairs, f"{error.missing}="))


async def check_endpoints(config: MiaConfig) -> list[Finding]:
    """Is every configured endpoint there, and does it serve its model?"""
    asked = {role: config.models.of(role) for role in ROLES}
    distinct = dict.fromkeys(endpoint for endpoint in asked.values() if endpoint is not None)
    if not distinct:
        hint = "none: the host's own model plans and judges. Set models.default.base_url and .model to use vLLM"
        return [Finding(part="model", state="off", detail=hint)]
    return [await _check(config, one, [role for role in ROLES if asked[role] == one]) for one in distinct]


async def _check(config: MiaConfig, endpoint: EndpointConfig, roles: list[Role]) -> Finding:
    from mia_skill.core.openai_chat import OpenAIChat

    section = next(one for one in SECTIONS if getattr(config.models, one) == endpoint)
    detail = f"{endpoint.model or 'no model named'} at {shown_address(endpoint.base_url)} for {', '.join(roles)}"
    try:
        chat = OpenAIChat(endpoint.model_copy(update={"timeout_s": PATIENCE_S, "max_retries": 0}))
    except ConfigError as error:
        return Finding(part="model", state="problem", detail=detail, fix=f"models.{section}: {error}")
    try:
        served = await chat.models()
    except MiaError as error:
        name = "" if endpoint.model else f"set {_named(section)} to a model that it serves, "
        fix = f"{name}start the server (`mia models up`) or correct models.{section}.base_url ({error})"
        return Finding(part="model", state="problem", detail=detail, fix=fix)
    finally:
        await chat.aclose()
    fix = f"set {_named(section)} to what it serves: {' or '.join(served) or 'nothing yet'}"
    if not endpoint.model:
        return Finding(part="model", state="problem", detail=detail, fix=fix)
    if endpoint.model not in served:
        return Finding(part="model", state="problem", detail=detail, fix=f"it does not serve that: {fix}")
    return Finding(part="model", state="ok", detail=detail)


def _named(section: str) -> str:
    return f"models.{section}.model (MIA_MODELS__{section.upper()}__MODEL)"
