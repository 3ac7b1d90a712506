"""`mia models print`: the `vllm serve` commands of a profile, and the settings that point at them."""

import shlex
from typing import Literal

import click
from pydantic import Field

from mia_skill.cli.console import as_json, json_flag
from mia_skill.core.types import Value

__all__ = ["Served", "commands_of", "models"]

Profile = Literal["one-gpu", "three-nodes", "cpu"]
SMALL, VISION, LARGE = "Qwen/Qwen3-8B", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen3-32B"


class Served(Value):
    """One model server."""

    roles: tuple[str, ...]
    model: str
    name: str
    port: int
    gpus: int = 1
    lora: bool = False
    extra: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        """What starts it, on loopback."""
        said = ["vllm", "serve", self.model, "--served-model-name", self.name]
        said += ["--host", "127.0.0.1", "--port", str(self.port)]
        said += ["--tensor-parallel-size", str(self.gpus)] if self.gpus > 1 else []
        said += ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "32"] if self.lora else []
        return (*said, *self.extra)

    @property
    def line(self) -> str:
        """The same for a shell."""
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        return shlex.join([*(["env", *variables] if variables else []), *self.command])

    @property
    def variables(self) -> dict[str, str]:
        """Of its process. Adapters can be loaded at run time by anyone who reaches the port: it is on loopback."""
        return self.environment | ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if self.lora else {})


def commands_of(profile: Profile, model: str | None = None) -> tuple[Served, ...]:
    """The servers of a profile. `model` replaces the one model of "one-gpu" and "cpu"."""
    everyone = ("manager", "planner", "executor", "judge", "router")
    if profile == "one-gpu":
        length = ("--max-model-len", "32768")
        return (Served(roles=everyone, model=model or SMALL, name="mia", port=8100, lora=True, extra=length),)
    if profile == "cpu":
        slow = ("--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "8", "--enforce-eager")
        space = {"VLLM_CPU_KVCACHE_SPACE": "2"}
        served = model or "HuggingFaceTB/SmolLM2-135M-Instruct"
        return (Served(roles=everyone, model=served, name="mia", port=8100, lora=True, extra=slow, environment=space),)
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
        for key, value in (("BASE_URL", f"http://127.0.0.1:{one.port}/v1"), ("MODEL", one.name))
    ]


@click.group()
def models() -> None:
    """Model servers for the roles."""


@models.command("print")
@click.option("--profile", type=click.Choice(["one-gpu", "three-nodes", "cpu"]), default="one-gpu", show_default=True)
@click.option("--model", help="Another model, or a folder that holds one (one-gpu, cpu).")
@json_flag
def print_(profile: Profile, model: str | None, json_: bool) -> None:
    """Print what starts the servers, and the settings that use them. Nothing is started."""
    served = commands_of(profile, model)
    if json_:
        rows = [one.model_dump(mode="json") | {"command": one.command} for one in served]
        click.echo(as_json({"servers": rows, "settings": settings_of(served)}))
        return
    for one in served:
        click.echo(f"# {', '.join(one.roles)}\n{one.line}")
    click.echo("# settings\n" + "\n".join(f"export {line}" for line in settings_of(served)))
