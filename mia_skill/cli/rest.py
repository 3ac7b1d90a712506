"""`mia serve --rest planner|executor|ttl`, and `mia stream`: plain HTTP services behind the server's door."""

import shlex
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mia_skill.app import Mia
from mia_skill.cli.console import Number, Settings, as_json, bar, json_flag
from mia_skill.core.config import MiaConfig, Role
from mia_skill.core.errors import ConfigError
from mia_skill.core.json_service import JsonService

if TYPE_CHECKING:
    from training.policy_store import Learner
    from training.reward_function import Reward

__all__ = ["REST_PORTS", "serve_rest", "stream"]

REST_PORTS = {"planner": 5000, "executor": 9876, "ttl": 5001, "retrieve": 8001, "search": 8002}
STREAM_PORT, REWARD_PORT = 8765, 6000
SEND_NEXT = "questions to it: mia stream send FILE --url {url}; how it is: {url}/health; its routes: {url}/docs"
"""What is said after the address."""


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

    role: Role = "executor" if kind == "executor" else "planner"
    if config.models.of(role) is None:
        how = f"set models.{role} or models.default (base_url, model)"
        click.echo(f"no model is set for the {role}: what needs one is refused until you {how}", err=True)

    async def serve_it() -> None:
        async with build(config) as mia:
            service = make(mia, allowed_names(config.server))
            await run_app(
                bearer(service, config.server), config.server, service.title, "", then="its routes: {url}/docs"
            )

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
    """Learning while serving.

    \b
      mia stream serve --reward mine.py           a rehearsal, no torch; weights: --updater tiny --model FOLDER
      mia stream send questions.jsonl             in another terminal
      curl http://127.0.0.1:8765/health           how it is; its routes: /docs
    mine.py holds `def reward(question, reply, gold)`: a number, or None to leave the reply out.
    """


@stream.command()
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Of journal and versions [<home>/stream]."
)
@click.option(
    "--updater",
    type=click.Choice(["scripted", "tiny", "lora", "verl"]),
    default="scripted",
    show_default=True,
    help="scripted: a rehearsal without torch. tiny: weights in this process. lora: adapters of a running vLLM. "
    "verl: as tiny, each update a process of veRL's.",
)
@click.option("--model", type=click.Path(file_okay=False, path_type=Path), help="Folder of the model (not scripted).")
@click.option("--vllm", "vllm_url", default="http://127.0.0.1:8100", show_default=True, help="Its server (lora).")
@click.option("--served", default="mia", show_default=True, help="Served name of the base model (lora).")
@click.option("--device", default="cpu", show_default=True)
@click.option("--lr", default=1e-5, show_default=True, type=Number(0, 1))
@click.option("--rank", default=0, show_default=True, type=click.IntRange(0, 256), help="Of the adapter.")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes an update (verl).")
@click.option("--trainer", help="A command that makes each update: {parent}, {groups} and {out} in it are replaced.")
@click.option(
    "--canaries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Questions with ground_truth (JSON lines): a version that scores below the best so far is not served.",
)
@click.option(
    "--judge-canaries",
    "watched",
    default=0.0,
    show_default=True,
    type=Number(0, 0.5),
    help="Share of rewarded samples after which --reward itself is tested with known answers; what it gave waits.",
)
@click.option("--text", "texts", multiple=True, help="Replies the rehearsal policy chooses from [yes, no].")
@click.option("--groups", default=2, show_default=True, type=click.IntRange(1, 4096), help="Questions an update.")
@click.option("--width", default=4, show_default=True, type=click.IntRange(1, 64), help="Replies a question.")
@click.option("--tokens", default=128, show_default=True, type=click.IntRange(1), help="Of a reply, at most.")
@click.option(
    "--context", default=2048, show_default=True, type=click.IntRange(16), help="Tokens of question and reply."
)
@click.option("--reward", help="A Python file with reward(question, reply, gold), or a URL.")
@click.option("--keep", default=8, show_default=True, type=click.IntRange(2), help="Versions kept on disk.")
@click.option("--waiting", default=1024, show_default=True, type=click.IntRange(1), help="Samples not learnt from yet.")
@click.option(
    "--patience",
    default=3600.0,
    show_default=True,
    type=Number(0),
    help="Seconds after which a sample without feedback makes room for others, where there is none.",
)
@click.option("--host", help="Address to bind; beyond loopback a server.token is needed.")
@click.option("--port", default=STREAM_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.pass_obj
def serve(
    settings: Settings,
    /,
    folder: Path | None,
    texts: tuple[str, ...],
    reward: str | None,
    host: str | None,
    port: int,
    trainer: str | None,
    canaries: Path | None,
    watched: float,
    **parts: Any,
) -> None:
    """Serve the streaming trainer: samples are answered, feedback is taken, updates run beside both."""
    import anyio

    from mcp_server.http import allowed_names, bearer, run_app
    from retrieval.standing import Rules
    from training.journal import only_server, only_updater
    from training.stream import StreamTrainer
    from training.stream_service import canary_of, stream_service

    config = door(settings, host, port)
    if texts and len(set(texts)) < 2:
        raise ConfigError("a policy needs two different texts to choose from")
    place = folder or config.home / "stream"
    with only_server(place):
        only_updater(place, parts["updater"])
        learner = chosen_learner(place, texts, trainer, parts)
        judge = reward_of(reward)
        canary = canary_of(canaries, judge) if canaries else None
        rules = Rules(honest=config.trust.canary_honest) if watched else None
        made = StreamTrainer(
            place, learner, groups_per_update=parts["groups"], width=parts["width"], most_waiting=parts["waiting"],
            patience_s=parts["patience"], canary=canary, judge_rules=rules, keep_versions=parts["keep"],
        )  # fmt: skip
        with closing(made):
            service = stream_service(made, reward=judge, judge_canaries=watched, hosts=allowed_names(config.server))
            app = bearer(service, config.server)
            anyio.run(run_app, app, config.server, service.title, "/health", "auto", SEND_NEXT)


@stream.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Of the stream [<home>/stream].")
@json_flag
@click.pass_obj
def compact(settings: Settings, folder: Path | None, json_: bool) -> None:
    """Shorten the journal of a stream that is not served now: the same state, without the tokens of what was learnt.

    A server does so by itself when it starts and the journal has grown.
    """
    from retrieval.standing import Rules
    from training.compaction import compact

    config = settings.load()
    done = compact(folder or config.home / "stream", Rules(honest=config.trust.canary_honest))
    if json_:
        click.echo(as_json(done))
        return
    click.echo(
        f"{done.before:,} bytes are {done.after:,} now: {done.samples} samples, {done.learnt} of them learnt from"
    )


@stream.command()
@click.option("--reward", help="A Python file with reward(question, reply, gold), or a URL.")
@click.option("--host", help="Address to bind; beyond loopback a server.token is needed.")
@click.option("--port", default=REWARD_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.pass_obj
def reward(settings: Settings, reward: str | None, host: str | None, port: int) -> None:
    """Serve the reward service: /register_gts and /compute_gt_reward."""
    import anyio

    from mcp_server.http import allowed_names, bearer, run_app
    from training.stream_service import reward_service

    config = door(settings, host, port)
    service = reward_service(reward_of(reward), hosts=allowed_names(config.server))
    anyio.run(run_app, bearer(service, config.server), config.server, service.title, "/health")


def door(settings: Settings, host: str | None, port: int) -> MiaConfig:
    """The settings with these for the server.

    Raises:
        ConfigError: beyond loopback without a token, or tokens that are bound to something.
    """
    from mcp_server.http import refuse_open_door

    extra = (*settings.pairs, f"server.port={port}", *([f"server.host={host}"] if host else []))
    config = Settings(settings.file, settings.home, extra).load()
    refuse_open_door(config.server)
    refuse_bounded_tokens(config)
    return config


def reward_of(told: str | None) -> "Reward":
    """A user's reward function: a file, a URL, or the gold answer itself."""
    from training.reward_function import file_reward, same_text, url_reward

    if told is None:
        return same_text
    return url_reward(told) if told.startswith(("http://", "https://")) else file_reward(Path(told))


def chosen_learner(place: Path, texts: tuple[str, ...], trainer: str | None, parts: dict[str, Any]) -> "Learner":
    """Who makes the updates; with a command of the user's, in a process of its own."""
    from training.learners import Choice, learner_of
    from training.outside import OutsideLearner
    from training.replies import Writing

    choice = Choice(
        kind=parts["updater"],
        work=place / "work",
        texts=texts or ("yes", "no"),
        model=parts["model"],
        url=parts["vllm_url"],
        served=parts["served"],
        device=parts["device"],
        lr=parts["lr"],
        rank=parts["rank"],
        gpus=parts["gpus"],
        how=Writing(max_tokens=parts["tokens"], context=parts["context"]),
    )
    if trainer and parts["updater"] == "verl":
        raise ConfigError("--updater verl brings its own trainer: leave --trainer out, or take --updater tiny with it")
    inner = learner_of(choice)
    return OutsideLearner(inner, shlex.split(trainer), place / "outside") if trainer else inner


@stream.command(short_help="Stream questions to it, with a progress bar.")
@click.argument("questions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default=f"http://127.0.0.1:{STREAM_PORT}", show_default=True)
@click.option("--clients", default=16, show_default=True, type=click.IntRange(1, 1024), help="Questions at a time.")
@click.option("--token", envvar="MIA_SERVER__TOKEN", help="Bearer token of the server.")
@json_flag
def send(questions: Path, url: str, clients: int, token: str | None, json_: bool) -> None:
    """Stream QUESTIONS (JSON lines of data_id, question, ground_truth, or those of `mia world`) with a progress bar.

    A sample that is sent again is known to the server, so a broken-off stream is just started again.
    """
    import anyio
    import httpx

    from training.stream_client import Sender, Sent, read_questions

    rows = read_questions(questions)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    limits = httpx.Limits(max_connections=clients)

    async def run() -> Sent:
        opened = httpx.AsyncClient(base_url=url, headers=headers, timeout=600, trust_env=False, limits=limits)
        with bar(len(rows), "samples") as shown:
            async with opened as client:
                return await Sender(client, clients, shown.update).send(rows)

    done = anyio.run(run)
    click.echo(as_json(done.told) if json_ else done.line)
