"""Settings of the MCP server: where it listens, who may come in, and how much at once."""

from typing import Literal

from pydantic import Field, SecretStr

from mia_skill.core.section import Section

__all__ = ["ClientConfig", "OAuthConfig", "Scope", "ServerConfig"]

Scope = Literal["read", "write", "admin"]
"""What a client may do: look, remember and rate, forget."""


class ClientConfig(Section):
    """One client that may come in over HTTP with a token of its own."""

    name: str = Field(pattern=r"^[\w.:@-]{1,64}$")
    """Told in the audit."""
    token: SecretStr = Field(min_length=16)
    """At least 16 characters; `openssl rand -hex 32` makes a good one."""
    scopes: tuple[Scope, ...] = ("read", "write")
    """"admin" is for forgetting."""
    namespaces: tuple[str, ...] = ()
    """The only namespaces it reads and writes, its usual one first; empty for all."""


class OAuthConfig(Section):
    """Access tokens of an authorization server: this server is an OAuth resource server (RFC 9728, RFC 7662)."""

    issuer_url: str
    """The authorization server."""
    resource_url: str
    """The public address of this server, e.g. https://mia.example/mcp: tokens must be issued for it."""
    introspection_url: str
    """Where tokens are asked about (RFC 7662)."""
    client_id: str = ""
    """With which this server asks."""
    client_secret: SecretStr | None = None
    """Its secret."""
    timeout_s: float = Field(default=5.0, gt=0)
    """For one question about a token, in seconds."""


class ServerConfig(Section):
    """The MCP server."""

    host: str = "127.0.0.1"
    """Address to bind for HTTP."""
    port: int = Field(default=8756, ge=0, le=65535)
    """0 picks a free one."""
    token: SecretStr | None = None
    """Bearer token that opens everything; beyond loopback this, `clients` or `oauth` is needed."""
    clients: tuple[ClientConfig, ...] = ()
    """Tokens for single clients, with scopes and namespaces."""
    oauth: OAuthConfig | None = None
    """Take access tokens of an authorization server as well."""
    rate_per_minute: int = Field(default=600, ge=1)
    """Requests of one client a minute over HTTP with tokens; more are answered 429 with a Retry-After."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Of one HTTP request; a larger one is answered 413."""
    max_calls: int = Field(default=32, ge=1)
    """Tool calls at work at once; as many again wait, further ones are told to retry."""
    max_research: int = Field(default=4, ge=1)
    """Research episodes at work at once."""
    keep_research_s: float = Field(default=3600.0, gt=0)
    """How long the result of a finished research job can be fetched, in seconds."""
    heartbeat_s: float = Field(default=5.0, gt=0)
    """How often long work says that it goes on, in seconds: hosts give up on silent calls after 60."""
    audit: Literal["auto", "on", "off"] = "auto"
    """A line on stderr per tool call, without contents; "auto" means over HTTP."""
    structured: Literal["auto", "on", "off"] = "auto"
    """Structured results beside the text; "auto" leaves them out for hosts that would show a model both."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which HTTP clients may address this server; loopback and its own names always may."""
    prompts: bool = True
    """Some hosts pay two tools for prompts."""
    resources: bool = True
    read_only: bool = False
    """Leaves out every tool that writes."""
    max_result_chars: int = Field(default=32_000, ge=1_000)
    """OpenClaw cuts a result there."""
