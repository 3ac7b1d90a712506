"""How a host sees our server: its entry, what it passes and drops, and whether the server starts with only that."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from mia_skill.core.errors import InputError
from mia_skill.install.config_file import SERVER, read
from mia_skill.install.edit import lookup
from mia_skill.install.finding import Finding
from mia_skill.install.hosts import HOSTS, Host, Place
from mia_skill.install.json5 import Json
from mia_skill.install.skills import plan_skills

__all__ = ["check_host", "check_hosts", "given_environment"]

PASSED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "USERPROFILE", "SYSTEMROOT", "APPDATA", "TEMP")
"""What hosts pass on to a stdio server next to the `env` block of its entry."""
DROPPED = re.compile(r"PYTHON(PATH|HOME|STARTUP)|VIRTUAL_ENV|UV_PYTHON|PIP_INDEX_URL|LD_\w+|DYLD_\w+|NODE_OPTIONS")
"""What OpenClaw takes out of that block."""
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
START_TIMEOUT_S = 30.0
"""OpenClaw and Claude Code give up after that."""


def check_hosts(place: Place) -> list[Finding]:
    """All hosts that have an entry of ours; one line when none has."""
    found = [finding for host in HOSTS.values() if (finding := check_host(host, place)) is not None]
    if found:
        return found
    return [Finding(part="hosts", state="off", detail=f"in none yet: mia install {'|'.join(HOSTS)}")]


def check_host(host: Host, place: Place) -> Finding | None:
    """One host; None when it has no entry of ours."""
    path = host.config(place)
    try:
        text = read(path)
        entry = lookup(text, (*host.servers, SERVER)) if text is not None else None
    except InputError as error:
        return Finding(part=host.name, state="problem", detail=f"{path}: {error}", fix="mend the file")
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("url"), str):
        return Finding(part=host.name, state="ok", detail=f"over HTTP, in {path}; not tried from here")
    trouble = entry_trouble(entry, host, place) or start_trouble(entry, place) or skill_trouble(host, place)
    if trouble:
        again = f"mia install {host.name}"
        return Finding(part=host.name, state="problem", detail=trouble, fix=f"{again}, or edit {path}")
    passed = ", ".join(sorted(env_of(entry))) or "no variable"
    return Finding(part=host.name, state="ok", detail=f"starts with what the host gives it ({passed}), in {path}")


def entry_trouble(entry: Mapping[str, Json], host: Host, place: Place) -> str:
    """What is wrong with the entry as written; empty when nothing is."""
    if entry.get("enabled") is False or entry.get("disabled") is True:
        return "the entry is switched off"
    command = entry.get("command")
    if not isinstance(command, str) or not command:
        return "the entry has no command"
    block = env_of(entry)
    if host.name == "openclaw":
        if gone := sorted(name for name in block if DROPPED.fullmatch(name)):
            return f"the host drops {', '.join(gone)} from the entry's env"
        wanted = {name for text in block.values() for name in PLACEHOLDER.findall(text)}
        if unset := sorted(name for name in wanted if not place.environment.get(name)):
            return f"the entry needs {', '.join(unset)} in the host's own environment"
    if not Path(command).is_absolute() and shutil.which(command, path=host_path(place)) is None:
        return f"{command} is not on the PATH that the host gives to its servers; name it by its absolute path"
    return ""


def start_trouble(entry: Mapping[str, Json], place: Place) -> str:
    """Start the server as the host would, for its listing only; what went wrong, or nothing."""
    given = entry.get("args")
    args = [str(one) for one in given] if isinstance(given, list) else []
    environment = given_environment(entry, place)
    command = shutil.which(str(entry["command"]), path=environment.get("PATH")) or str(entry["command"])
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            done = subprocess.run(
                [command, *args, "--print-tools"],
                env=environment,
                cwd=elsewhere,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        except OSError as cause:
            return f"{command} cannot be started: {cause.strerror}"
        except subprocess.TimeoutExpired:
            return f"the server took longer than {START_TIMEOUT_S:.0f} s to start"
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"the server does not start with what the host gives it: {said[-1]}"
    try:
        tools = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        return f"{command} is not our server: it did not print a listing"
    return "" if isinstance(tools, list) and tools else "the server offers no tool"


def skill_trouble(host: Host, place: Place) -> str:
    """Is the copied skill the one of this version? Skills that were never copied are no trouble."""
    if host.skills is None:
        return ""
    try:
        stale = [one.target.name for one in plan_skills(host.skills(place)) if one.kind == "update"]
    except InputError as error:
        return str(error)
    return f"skill {', '.join(stale)} is of another version" if stale else ""


def given_environment(entry: Mapping[str, Json], place: Place) -> dict[str, str]:
    """What the server gets to see."""
    passed = {name: place.environment[name] for name in PASSED if name in place.environment}
    passed["PATH"] = host_path(place)
    own = {name: text for name, text in env_of(entry).items() if not DROPPED.fullmatch(name)}
    filled = {
        name: PLACEHOLDER.sub(lambda match: place.environment.get(match[1], match[0]), text)
        for name, text in own.items()
    }
    return passed | filled


def host_path(place: Place) -> str:
    """PATH as hosts reorder it: the system's folders come first, and so before any virtual environment."""
    own = place.environment.get("PATH", "")
    if place.platform == "win32":
        return own
    return ":".join(dict.fromkeys(["/usr/bin", "/bin", *filter(None, own.split(":"))]))


def env_of(entry: Mapping[str, Json]) -> dict[str, str]:
    """The `env` block of an entry, its texts only."""
    block = entry.get("env")
    return {name: text for name, text in block.items() if isinstance(text, str)} if isinstance(block, dict) else {}
