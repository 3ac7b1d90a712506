"""`mia serve --rest planner|executor|ttl`, and `mia stream`: plain HTTP services behind the server's door."""

import sys
from collections.abc import Callable, Collection
from pathlib import Path

import click

from mia_skill.app import Mia
from mia_skill.cli.console import Settings
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import ConfigError
from mia_skill.core.json_service import JsonService

__all__ = ["REST_PORTS", "serve_rest", "stream"]

REST_PORTS = {"planner": 5000, "executor": 9876, "ttl": 5001, "retrieve": 8001, "search": 8002}
STREAM_PORT = 8765


def serve_rest(config: MiaConfig, kind: str) -> None:
    """Serve one of the published services until a signal.

    Raises:
        ConfigError: beyond loopback without a token, or the address cannot be bound.
    """
    import anyio

    from mcp_server.http import allowed_names, bearer, refuse_open_door, run_app
    from mcp_server.rest_executor import executor_service
    from mcp_server.rest_planner import planner_service
    from mcp_server.rest_ttl import ttl_service
    from mia_skill.app import build

    refuse_open_door(config.server)
    refuse_bounded_tokens(config)
    made: dict[str, Callable[[Mia, Collection[str]], JsonService]] = {
        "planner": planner_service,
        "executor": executor_service,
        "ttl": ttl_service,
    }
    make = made[kind]

    async def serve_it() -> None:
        async with build(config) as mia:
            service = make(mia, allowed_names(config.server))
            await run_app(bearer(service, config.server), config.server, service.title, "")

    anyio.run(serve_it)


def refuse_bounded_tokens(config: MiaConfig) -> None:
    """These services know no scopes and no namespaces, so a token that is bound to some would open everything.

    Raises:
        ConfigError: such tokens are configured.
    """
    if config.server.clients or config.server.oauth is not None:
        raise ConfigError(
            "server.clients and server.oauth bind tokens to scopes and namespaces, which the published services do "
            "not know: use server.token for them"
        )


@click.group()
def stream() -> None:
    """Learning while serving."""


@stream.command()
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Of journal and versions [<home>/stream]."
)
@click.option("--text", "texts", multiple=True, help="Replies the rehearsal policy chooses from [yes, no].")
@click.option("--groups", default=2, show_default=True, type=click.IntRange(1, 4096), help="Questions an update.")
@click.option("--width", default=4, show_default=True, type=click.IntRange(1, 64), help="Replies a question.")
@click.option("--reward", help="A Python file with reward(question, reply, gold), or a URL.")
@click.option("--host", help="Address to bind; beyond loopback a server.token is needed.")
@click.option("--port", default=STREAM_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.pass_obj
def serve(
    settings: Settings,
    folder: Path | None,
    texts: tuple[str, ...],
    groups: int,
    width: int,
    reward: str | None,
    host: str | None,
    port: int,
) -> None:
    """Serve the streaming trainer with the rehearsal policy, which chooses among fixed texts and needs no torch."""
    import anyio

    from mcp_server.http import allowed_names, bearer, refuse_open_door, run_app
    from training.policy_store import ScriptedLearner
    from training.stream import StreamTrainer
    from training.stream_service import Reward, file_reward, same_text, stream_service, url_reward

    extra = (*settings.pairs, f"server.port={port}", *([f"server.host={host}"] if host else []))
    config = Settings(settings.file, settings.home, extra).load()
    refuse_open_door(config.server)
    refuse_bounded_tokens(config)
    judge: Reward = same_text
    if reward is not None:
        judge = url_reward(reward) if reward.startswith(("http://", "https://")) else file_reward(Path(reward))
    if texts and len(set(texts)) < 2:
        raise ConfigError("a policy needs two different texts to choose from")
    learner = ScriptedLearner(texts or ("yes", "no"))
    trainer = StreamTrainer(folder or config.home / "stream", learner, groups_per_update=groups, width=width)
    service = stream_service(trainer, reward=judge, hosts=allowed_names(config.server))
    anyio.run(run_app, bearer(service, config.server), config.server, service.title, "/health")


@stream.command()
@click.argument("questions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default=f"http://127.0.0.1:{STREAM_PORT}", show_default=True)
@click.option("--token", envvar="MIA_SERVER__TOKEN", help="Bearer token of the server.")
def send(questions: Path, url: str, token: str | None) -> None:
    """Stream QUESTIONS (JSON lines of data_id, question, ground_truth) with a progress bar.

    A sample that is sent again is known to the server, so a broken-off stream is just started again.
    """
    import httpx
    import orjson

    rows = [orjson.loads(line) for line in questions.read_bytes().splitlines() if line.strip()]
    headers = {"authorization": f"Bearer {token}"} if token else {}
    steps = 0
    with httpx.Client(base_url=url, headers=headers, timeout=600, trust_env=False) as client:
        golds = [{"data_id": one["data_id"], "ground_truth": one["ground_truth"]} for one in rows]
        client.post("/register_gts", json={"entries": golds}).raise_for_status()
        with click.progressbar(rows, label="samples", file=sys.stderr) as shown:
            for row in shown:
                body = {"rollout": {"data_id": row["data_id"], "question": row["question"]}}
                steps += client.post("/submit_sample", json=body).raise_for_status().json()["status"] == "step"
        steps += client.post("/submit_sample", json={"finish": True}).raise_for_status().json()["status"] == "step"
    click.echo(f"{len(rows)} samples, {steps} updates")
