"""Who is calling, what they may do, and which memories are theirs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from mia_skill.core.config import Scope
from mia_skill.core.errors import UnknownIdError
from mia_skill.core.types import MemoryUnit

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia

__all__ = ["LOCAL", "NAMESPACES", "Caller", "caller_of", "own_ids", "own_unit"]

NAMESPACES = "mia_namespaces"
"""The claim of an access token that lists the namespaces of its bearer."""


@dataclass(frozen=True)
class Caller:
    """One client. Without namespaces it is bound to none and may use any."""

    name: str
    scopes: frozenset[str]
    namespaces: tuple[str, ...] = ()

    def require(self, scope: Scope, tool: str) -> None:
        """Raise unless this caller has `scope`.

        Raises:
            ToolError: it has not.
        """
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "none"
            raise ToolError(f"{tool} needs the scope {scope!r}; your token has: {has}. Ask whoever runs the server.")

    def namespace(self, asked: str, usual: str) -> str:
        """The namespace to work in: the one asked for, else the usual one of the server or of the token.

        Raises:
            ToolError: the token is not for the one asked for.
        """
        if not self.namespaces:
            return asked or usual
        if not asked:
            return usual if usual in self.namespaces else self.namespaces[0]
        if asked not in self.namespaces:
            raise ToolError(f"Your token is not for the namespace {asked!r}; it is for: {', '.join(self.namespaces)}.")
        return asked

    def owns(self, unit: MemoryUnit) -> bool:
        """May this caller see and change `unit`?"""
        return not self.namespaces or unit.namespace in self.namespaces


LOCAL = Caller("local", frozenset(get_args(Scope)))
"""The user of this machine: over stdio, or on loopback without tokens."""


def caller_of(ctx: Context[Any, Any]) -> Caller:
    """Who sent the message that is being answered."""
    user = getattr(ctx.request_context.request, "scope", {}).get("user")
    return of_token(user.access_token) if isinstance(user, AuthenticatedUser) else LOCAL


def of_token(access: AccessToken) -> Caller:
    """The caller that an access token stands for."""
    claimed = (access.claims or {}).get(NAMESPACES, ())
    spaces = tuple(str(one) for one in claimed) if isinstance(claimed, list | tuple) else ()
    # The space keeps subjects apart from configured clients, whose names have none.
    name = f"{access.client_id} {access.subject}" if access.subject else access.client_id
    return Caller(name, frozenset(access.scopes), spaces)


async def own_unit(mia: "Mia", caller: Caller, unit_id: str) -> MemoryUnit:
    """A unit of this caller's.

    Raises:
        UnknownIdError: there is none, or it is somebody else's; the message is the same.
    """
    try:
        unit = await mia.unit(unit_id)
    except UnknownIdError:
        unit = None
    if unit is None or not caller.owns(unit):
        raise UnknownIdError(f"there is no memory unit {unit_id!r}: memory_list shows those that are")
    return unit


async def own_ids(mia: "Mia", caller: Caller, ids: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`ids` as those that the caller may credit, and those unknown to it."""
    given = tuple(ids)
    if not caller.namespaces:
        return given, ()
    mine = []
    for one in given:
        try:
            mine.append((await own_unit(mia, caller, one)).id)
        except UnknownIdError:
            continue
    return tuple(mine), tuple(one for one in given if one not in mine)
