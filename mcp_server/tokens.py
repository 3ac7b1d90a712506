"""Who stands behind a bearer token: a client of the configuration, or an authorization server that knows it."""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import orjson
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings

from mcp_server.caller import NAMESPACES
from mia_skill.core.config import ClientConfig, OAuthConfig, Scope, ServerConfig

if TYPE_CHECKING:
    import httpx

__all__ = ["ConfiguredTokens", "FirstThatKnows", "Introspection", "auth_settings", "verifier_of"]

OWNER = "owner"
"""The bearer of `server.token`."""
LONGEST_TOKEN = 8192
LARGEST_ANSWER = 64 * 1024


class ConfiguredTokens:
    """Tokens of the configuration. Digests are kept, and compared in constant time."""

    def __init__(self, settings: ServerConfig) -> None:
        everything = () if settings.token is None else (settings.token.get_secret_value(),)
        self._clients: list[tuple[bytes, ClientConfig | None]] = [(digest(one), None) for one in everything]
        self._clients += [(digest(one.token.get_secret_value()), one) for one in settings.clients]
        self._resource = settings.oauth.resource_url if settings.oauth else None

    async def verify_token(self, token: str) -> AccessToken | None:
        """The client of `token`; None for an unknown one."""
        given = digest(token)
        found = [client for known, client in self._clients if hmac.compare_digest(known, given)]
        if not found:
            return None
        client = found[0]
        if client is None:
            return self._access(token, OWNER, get_args(Scope), ())
        return self._access(token, client.name, client.scopes, client.namespaces)

    def _access(self, token: str, name: str, scopes: Sequence[str], namespaces: Sequence[str]) -> AccessToken:
        claims = {NAMESPACES: list(namespaces)}
        return AccessToken(token=token, client_id=name, scopes=list(scopes), resource=self._resource, claims=claims)


class Introspection:
    """Asks an authorization server about tokens (RFC 7662). A server that gives no clear yes means no.

    A subject works in namespaces of its own, unless the claim `mia_namespaces` names others.
    """

    def __init__(self, settings: OAuthConfig, transport: "httpx.AsyncBaseTransport | None" = None) -> None:
        self.settings = settings
        self.clock = time.time
        self._transport = transport

    async def verify_token(self, token: str) -> AccessToken | None:
        """What the authorization server says of `token`; None unless it is active."""
        told = await self._ask(token) if len(token) <= LONGEST_TOKEN else None
        if told is None or told.get("active") is not True:
            return None
        subject = str(told.get("sub") or told.get("client_id") or "")
        resource, expires = audience(told.get("aud"), self.settings.resource_url), told.get("exp")
        late = isinstance(expires, int | float) and expires < self.clock()
        if not subject or resource is None or late:
            return None
        return AccessToken(
            token=token,
            client_id=str(told.get("client_id") or subject),
            scopes=str(told.get("scope") or "").split(),
            expires_at=int(expires) if isinstance(expires, int | float) else None,
            resource=resource,
            subject=subject,
            claims={NAMESPACES: namespaces_of(told, self.settings.issuer_url, subject)},
        )

    async def _ask(self, token: str) -> Mapping[str, Any] | None:
        import httpx

        secret = self.settings.client_secret
        basic = (self.settings.client_id, secret.get_secret_value()) if secret else None
        async with httpx.AsyncClient(auth=basic, timeout=self.settings.timeout_s, transport=self._transport) as client:
            try:
                answer = await client.post(self.settings.introspection_url, data={"token": token})
                told = orjson.loads(answer.content) if len(answer.content) <= LARGEST_ANSWER else None
            except (httpx.HTTPError, orjson.JSONDecodeError):
                return None
        return told if answer.status_code == httpx.codes.OK and isinstance(told, dict) else None


class FirstThatKnows:
    """Asks several verifiers in turn."""

    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self.verifiers = verifiers

    async def verify_token(self, token: str) -> AccessToken | None:
        """The first answer that is not None."""
        for one in self.verifiers:
            access = await one.verify_token(token)
            if access is not None:
                return access
        return None


def verifier_of(settings: ServerConfig) -> TokenVerifier | None:
    """Who may come in over HTTP; None when everybody on this machine may."""
    known: list[TokenVerifier] = []
    if settings.token is not None or settings.clients:
        known.append(ConfiguredTokens(settings))
    if settings.oauth is not None:
        known.append(Introspection(settings.oauth))
    return FirstThatKnows(known) if known else None


def auth_settings(oauth: OAuthConfig | None) -> AuthSettings | None:
    """The SDK's resource-server mode: metadata (RFC 9728), challenges, and tokens for this resource only."""
    if oauth is None:
        return None
    # From texts, not from URL objects: those would gain a slash, and issuers are compared as texts (RFC 8414).
    return AuthSettings.model_validate(
        {
            "issuer_url": oauth.issuer_url,
            "resource_server_url": oauth.resource_url,
            "validate_token_resource": True,
        }
    )


def digest(token: str) -> bytes:
    """What is compared."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def audience(claimed: object, wanted: str) -> str | None:
    """The audience of a token that is this server; None when it was issued for others only."""
    several = claimed if isinstance(claimed, list) else [claimed]
    return next((one for one in several if isinstance(one, str) and one.rstrip("/") == wanted.rstrip("/")), None)


def namespaces_of(told: Mapping[str, Any], issuer: str, subject: str) -> list[str]:
    """The namespaces of a subject: those it is given, else one of its own that nobody else can have."""
    claimed = told.get(NAMESPACES)
    if isinstance(claimed, list) and claimed:
        return [str(one) for one in claimed]
    return [f"sub-{hashlib.sha256(f'{issuer} {subject}'.encode()).hexdigest()[:16]}"]
