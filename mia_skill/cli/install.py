"""`mia install HOST`: put the server and the skills into a host, or take them out again."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mia_skill.cli.console import Settings
from mia_skill.core.config import load_config
from mia_skill.core.errors import ConfigError, InputError
from mia_skill.core.shown_address import shown_value
from mia_skill.install.config_file import SERVER, Change, apply, plan_install, plan_uninstall
from mia_skill.install.edit import with_entry
from mia_skill.install.hosts import HOSTS, Host, Launch, Place
from mia_skill.install.manifest import Manifest, read_manifest
from mia_skill.install.skills import SkillChange, copy_skills, plan_skills, remove_skills

__all__ = ["install"]

MASKED = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""How the names of variables end whose values are not shown."""


@click.command()
@click.argument("host", metavar="HOST", type=click.Choice(list(HOSTS)))
@click.option("--uninstall", is_flag=True, help="Take it out again; nothing else changes.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, write nothing.")
@click.option("--config-path", type=click.Path(dir_okay=False, path_type=Path), help="Another file of the host.")
@click.option(
    "--env",
    "pairs",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable for the server; NAME alone takes the value it has here. It is written into the host's file.",
)
@click.option("--skills/--no-skills", default=True, show_default=True, help="Copy the skill folders too.")
@click.pass_obj
def install(
    settings: Settings,
    host: str,
    uninstall: bool,
    dry_run: bool,
    config_path: Path | None,
    pairs: tuple[str, ...],
    skills: bool,
) -> None:
    """Write the server into HOST's configuration, with an absolute interpreter and the variables it needs.

    HOST is openclaw, claude-code, claude-desktop, cursor or vscode. Any other client starts the command that
    `which mia-mcp` prints.

    Other entries, comments and formatting stay; the file before the first change is kept as *.mia-backup; a file
    that cannot be edited safely is left alone, and the snippet to paste is printed. Running it again changes nothing.
    """
    chosen = HOSTS[host]
    place = Place(home=Path.home(), platform=sys.platform, environment=os.environ)
    path = (config_path or chosen.config(place)).expanduser().absolute()
    folder = chosen.skills(place) if chosen.skills and skills and config_path is None else None
    if uninstall:
        take_out(chosen, path, folder, dry_run=dry_run)
        return
    manifest = read_manifest()
    launch = launch_of(manifest, settings, pairs)
    change = plan_install(chosen, path, launch)
    copies = plan_skills(folder) if folder else ()
    if not dry_run:
        apply(change)
        copy_skills(copies)
    report(chosen, change, launch, manifest, dry_run=dry_run)
    for copy in copies:
        click.echo(skill_line(copy, dry_run=dry_run))
    for line in left_out(manifest, launch):
        click.secho(line, fg="yellow", err=True)
    if not dry_run:
        click.echo(chosen.after)


def launch_of(manifest: Manifest, settings: Settings, pairs: Sequence[str]) -> Launch:
    """How the server is started: this interpreter, and the settings that a host would not pass on by itself.

    `-P` keeps a folder named like our module in the host's working directory from being run in its place.

    Raises:
        InputError: a variable is not set here, is none that the server reads, or names a corpus that it would not find.
        ConfigError: the settings that the server will be given are wrong.
    """
    known = {one.name for one in manifest.env}
    env = {"MIA_HOME": str(settings.load().home.expanduser().absolute())}
    if settings.file is not None:
        env["MIA_CONFIG"] = str(settings.file.absolute())
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name.startswith("MIA_") and name not in known:
            raise InputError(f"{name} is no setting of mine; see `env` in skill.json")
        if not equals and name not in os.environ:
            raise InputError(f"{name} is not set here: give its value, --env {name}=...")
        env[name] = value if equals else os.environ[name]
    for corpus in load_config(environment=env).search.corpus:
        if not corpus.expanduser().is_absolute():
            full = corpus.absolute()
            raise InputError(f"search.corpus {str(corpus)!r}: hosts start the server in another folder; give {full}")
    module = manifest.entrypoints["mcp"].module
    if module is None:
        raise ConfigError("skill.json names no module to start")
    return Launch(command=sys.executable, args=("-P", "-m", module), env=env)


def report(host: Host, change: Change, launch: Launch, manifest: Manifest, *, dry_run: bool) -> None:
    """What was, or would be, written; secrets masked."""
    if change.kind == "none":
        click.echo(f"{host.title}: {change.path} has it already")
        return
    secrets = {one.name for one in manifest.env if one.secret}
    shown = {
        name: "********" if name in secrets or name.endswith(MASKED) else shown_value(value)
        for name, value in launch.env.items()
    }
    masked = launch.model_copy(update={"env": shown})
    verb = "would write" if dry_run else "wrote"
    click.echo(f"{host.title}: {verb} {'.'.join((*host.servers, SERVER))} to {change.path}")
    if dry_run:
        click.echo(with_entry("", (*host.servers, SERVER), dict(host.entry(masked, None))), nl=False)


def take_out(host: Host, path: Path, folder: Path | None, *, dry_run: bool) -> None:
    """The way back."""
    change = plan_uninstall(host, path)
    verb = "would be taken" if dry_run else "taken"
    if not dry_run:
        apply(change)
    if change.kind == "none":
        click.echo(f"{host.title}: {path} has no {SERVER}")
    else:
        click.echo(f"{host.title}: {'.'.join((*host.servers, SERVER))} {verb} out of {path}")
    if folder is not None:
        for target in remove_skills(folder, dry_run=dry_run):
            click.echo(f"skill {target.name} {verb} out of {folder}")
    click.echo("Memories stay where they are: mia memory list")


def skill_line(change: SkillChange, *, dry_run: bool) -> str:
    """What happened to one skill."""
    name = change.target.name
    if change.kind == "foreign":
        return (
            f"skill {name}: {change.target} holds another skill of this name and was left alone. If it is the "
            f"published {name}, its memories can be taken over: mia memory import --format mia-skill "
            f"{change.target}/memory/memory.jsonl; then remove that folder and run this again"
        )
    verb = {"create": "copied to", "update": "updated in", "none": "is already in"}[change.kind]
    kept = f"; your changes to {', '.join(change.kept)} were kept" if change.kept else ""
    return f"skill {name}: {'would be ' if dry_run and change.kind != 'none' else ''}{verb} {change.target}{kept}"


def left_out(manifest: Manifest, launch: Launch) -> list[str]:
    """Settings of this shell that the host will not pass to the server."""
    here = sorted(
        name for name in {one.name for one in manifest.env} if os.environ.get(name) and name not in launch.env
    )
    if not here:
        return []
    flags = " ".join(f"--env {name}" for name in here)
    file = f"{launch.env['MIA_HOME']}/config.toml"
    return [f"Set in this shell only, so the server will not see it: add {flags}, or use {file}"]
