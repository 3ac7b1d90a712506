"""Manifest, skills, bundles, registry entry and the running server say the same."""

import importlib.util
import json
import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.types import Tool

from mcp_server.server import build_server
from mia_skill import __version__
from mia_skill.cli import main
from mia_skill.cli.manifest import written_files
from mia_skill.core.config import MiaConfig, load_config
from mia_skill.install.bundles import build_bundles, mcpb_manifest
from mia_skill.install.manifest import COMMON, Manifest, read_manifest

ROOT = Path(__file__).resolve().parents[1]
SKILLS = sorted((ROOT / "skills").iterdir())
PAGES = sorted((ROOT / "skills").rglob("*.md"))
TOOL = re.compile(r"\bmia__(\w+)")
EXAMPLE = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
ALLOWED = {"name", "description", "license", "metadata"}
"""Keys that OpenClaw's validator and the AgentSkills reference both know; version and homepage belong to metadata."""


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(ROOT / "skill.json")


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    async def listed() -> list[Tool]:
        async with Client(build_server(MiaConfig(home=tmp_path_factory.mktemp("home")))) as client:
            return (await client.list_tools()).tools

    tools = anyio.run(listed)
    return {tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools}


def scripts() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    made: dict[str, str] = project["project"]["scripts"]
    return made


def front(skill: Path) -> str:
    return (skill / "SKILL.md").read_text(encoding="utf-8").split("---\n")[1]


# --- the manifest


def test_the_written_files_are_current() -> None:
    for path, text in written_files(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run mia manifest"


def test_the_check_command_says_the_same() -> None:
    assert CliRunner().invoke(main, ["manifest", "--check"]).exit_code == 0


def test_the_manifest_names_the_tools_of_the_live_listing(
    manifest: Manifest, listing: dict[str, dict[str, Any]]
) -> None:
    assert [tool.name for tool in manifest.tools] == list(listing)
    for tool in manifest.tools:
        live = listing[tool.name]
        assert (tool.title, tool.description) == (live["title"], live["description"])
        assert tool.parameters == live["inputSchema"]
        assert tool.annotations == live["annotations"]


def test_entry_points_are_scripts_and_modules_that_exist(manifest: Manifest) -> None:
    assert manifest.version == __version__
    for point in manifest.entrypoints.values():
        assert point.command in scripts()
        assert point.module is not None
        assert importlib.util.find_spec(f"{point.module}.__main__") is not None
    assert manifest.name in scripts(), "uvx runs the script that is named like the package"


def test_every_variable_is_a_setting_that_the_configuration_accepts(manifest: Manifest) -> None:
    samples = {"number": "100", "boolean": "true", "path": "/x", "list": "[]"}
    good = {"MIA_MODELS__{}__BASE_URL": "http://localhost/v1", "MIA_MEMORY__NAMESPACE": "x"}
    environment = {}
    for one in manifest.env:
        if one.name != "MIA_CONFIG":
            plain = re.sub(r"__(DEFAULT|MANAGER|PLANNER|EXECUTOR|JUDGE|ROUTER)__", "__{}__", one.name)
            environment[one.name] = one.default or good.get(plain) or samples.get(one.kind, "x")
    assert load_config(environment=environment).models.router is not None


def test_secrets_are_flagged_and_nothing_of_this_machine_is_written(manifest: Manifest) -> None:
    secret = {one.name for one in manifest.env if one.secret}
    assert secret >= {"MIA_MODELS__DEFAULT__API_KEY", "MIA_SEARCH__WEB_KEY", "MIA_SERVER__TOKEN"}
    assert all(re.search(r"KEY|TOKEN|CLIENTS|SECRET|MEMORY__URL", name) for name in secret)
    for name in ("skill.json", "server.json"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert str(Path.home()) not in text
        assert not re.search(r"https?://\d+\.\d+", text), "scanners flag addresses without a name"


def test_the_registry_entry_asks_for_the_common_variables(manifest: Manifest) -> None:
    entry = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
    (package,) = entry["packages"]
    flags = {one["name"]: one["isSecret"] for one in package["environmentVariables"]}
    assert flags == {one.name: one.secret for one in manifest.common()}
    assert tuple(flags) == COMMON
    assert entry["version"] == package["version"] == __version__
    assert len(entry["description"]) <= 100
    assert f"mcp-name: {entry['name']}" in (ROOT / "README.md").read_text(encoding="utf-8")


# --- the skills


@pytest.mark.parametrize("skill", SKILLS, ids=lambda path: path.name)
def test_a_skill_keeps_to_what_all_hosts_understand(skill: Path, manifest: Manifest) -> None:
    text = front(skill)
    keys = set(re.findall(r"^(\w[\w-]*):", text, re.MULTILINE))
    assert keys == ALLOWED
    assert f"name: {skill.name}\n" in text
    assert f'  version: "{__version__}"' in text
    (description,) = re.findall(r"^description: (.*)$", text, re.MULTILINE)
    assert len(description) < 160
    assert not {"<", ">", ": "} & set(description), "angle brackets are refused; a colon would need quotes"
    assert "Use before" in description
    assert "requires:" not in text, "one unset variable would hide the skill"
    named = set(re.findall(r"- name: (\w+)", text))
    assert named
    assert named <= {one.name for one in manifest.env}
    assert f"skills/{skill.name}/SKILL.md" in manifest.skills


def test_the_skills_name_live_tools_only_and_all_of_them(listing: dict[str, dict[str, Any]]) -> None:
    named = {name for page in PAGES for name in TOOL.findall(page.read_text(encoding="utf-8"))}
    assert named == set(listing)
    loop = (ROOT / "skills" / "mia" / "SKILL.md").read_text(encoding="utf-8")
    order = ["memory_retrieve", "plan", "search", "replan", "judge", "memory_store"]
    assert [name for name in dict.fromkeys(TOOL.findall(loop)) if name in order] == order


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_call_is_one_that_the_server_accepts(page: Path, listing: dict[str, dict[str, Any]]) -> None:
    text = page.read_text(encoding="utf-8")
    for match in EXAMPLE.finditer(text):
        given = json.loads(match[1])
        name = given["id"] if "id" in given else TOOL.findall(text[: match.start()])[-1]
        schema = listing[name.removeprefix("mia__")]["inputSchema"]
        Draft202012Validator(schema).validate(given.get("args", given))


def test_nothing_in_a_published_folder_looks_like_an_attack_or_a_plugin() -> None:
    for path in (ROOT / "skills").rglob("*"):
        assert not path.is_symlink()
        assert not path.name.startswith(".")
        assert path.name not in {"plugin.json", "package.json", "openclaw.plugin.json"}
        if path.is_file():
            text = path.read_text(encoding="utf-8").lower()
            assert not re.search(r"ignore (all )?(previous|prior)|system prompt:|https?://\d|eval\(", text), path


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page.name} links to {target}"


# --- all of them at once


def test_manifest_skills_bundles_and_live_listing_agree(
    manifest: Manifest, listing: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """One set of tools, one version and one way to start the server, wherever they are written down."""
    claude, agent, packed = build_bundles(manifest, tmp_path, command=None)
    with zipfile.ZipFile(packed) as inside:
        desktop, carried = json.loads(inside.read("manifest.json")), json.loads(inside.read("skill.json"))
    plugin = json.loads((claude / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))
    registry = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
    written = {path.name: (path / "SKILL.md").read_text(encoding="utf-8") for path in SKILLS}
    tools = {
        "listing": set(listing),
        "manifest": {tool.name for tool in manifest.tools},
        "manifest in the desktop bundle": {tool["name"] for tool in carried["tools"]},
        "desktop bundle": {tool["name"] for tool in desktop["tools"]},
        "skills": {name for page in PAGES for name in TOOL.findall(page.read_text(encoding="utf-8"))},
        "skills in the Claude plugin": skilled(claude),
        "skills in the Agent Plugin": skilled(agent),
    }
    assert {name: found ^ set(listing) for name, found in tools.items()} == {name: set() for name in tools}
    descriptions = {tool["name"]: tool["description"] for tool in desktop["tools"]}
    assert descriptions == {name: one["description"] for name, one in listing.items()}
    versions = {
        manifest.version,
        desktop["version"],
        carried["version"],
        plugin["version"],
        registry["version"],
        json.loads((agent / "plugin.json").read_text(encoding="utf-8"))["version"],
        *(re.findall(r'^  version: "(.*)"$', text, re.MULTILINE)[0] for text in written.values()),
    }
    assert versions == {__version__}
    starts = {
        (manifest.entrypoints["mcp"].command, *manifest.entrypoints["mcp"].args),
        *(started(file) for file in (claude / ".mcp.json", agent / "mcp.json")),
        tuple(desktop["server"]["mcp_config"]["args"][-1:]),
    }
    assert starts == {("mia-mcp",)}


def skilled(bundle: Path) -> set[str]:
    """The tools that the skills of a bundle name."""
    return {name for page in bundle.glob("skills/**/*.md") for name in TOOL.findall(page.read_text(encoding="utf-8"))}


def started(file: Path) -> tuple[str, ...]:
    """How the server is started by a bundle's entry."""
    (entry,) = json.loads(file.read_text(encoding="utf-8"))["mcpServers"].values()
    return (entry["command"], *entry["args"])


# --- the bundles


def test_the_bundles_start_the_server_and_carry_the_skills(manifest: Manifest, tmp_path: Path) -> None:
    claude, agent, packed = build_bundles(manifest, tmp_path, command=None)
    about = json.loads((claude / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))
    assert (about["name"], about["version"]) == ("mia", __version__)
    (server,) = json.loads((claude / ".mcp.json").read_text(encoding="utf-8"))["mcpServers"].values()
    assert server["command"] in scripts()
    plugin = json.loads((agent / "plugin.json").read_text(encoding="utf-8"))
    assert set(plugin) == {"$schema", "name", "version"}
    (strict,) = json.loads((agent / "mcp.json").read_text(encoding="utf-8"))["mcpServers"].values()
    assert set(strict) <= {"type", "command", "args", "env", "cwd"}
    assert "/" not in strict["command"]
    for folder in (claude, agent):
        copied = {str(path.relative_to(folder / "skills")): path.read_bytes() for path in folder.glob("skills/**/*.md")}
        assert copied == {str(path.relative_to(ROOT / "skills")): path.read_bytes() for path in PAGES}
    with zipfile.ZipFile(packed) as inside:
        assert json.loads(inside.read("manifest.json")) == mcpb_manifest(manifest)
        assert {"pyproject.toml", "skill.json", "mcp_server/__main__.py"} <= set(inside.namelist())


def test_the_desktop_bundle_lists_the_live_tools_and_hides_secrets(
    manifest: Manifest, listing: dict[str, dict[str, Any]]
) -> None:
    made = mcpb_manifest(manifest)
    assert [tool["name"] for tool in made["tools"]] == list(listing)
    secrets = {one.name.lower() for one in manifest.env if one.secret}
    for name, field in made["user_config"].items():
        assert field["sensitive"] is (name in secrets)
        assert made["server"]["mcp_config"]["env"][name.upper()] == f"${{user_config.{name}}}"


def test_bundling_twice_gives_the_same_bytes_and_leaves_other_files_alone(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x", encoding="utf-8")
    *_, packed = build_bundles(manifest, tmp_path, command=None)
    before = packed.read_bytes()
    build_bundles(manifest, tmp_path, command=None)
    assert packed.read_bytes() == before
    assert (tmp_path / "other.txt").exists()


def test_a_bundle_for_this_machine_names_its_interpreter(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["bundle", "--here", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (server,) = json.loads((tmp_path / "claude-plugin" / ".mcp.json").read_text(encoding="utf-8"))[
        "mcpServers"
    ].values()
    assert Path(server["command"]).is_absolute()
    assert server["args"] == ["-P", "-m", "mcp_server"]


def test_the_hooks_for_openclaw_are_of_this_version() -> None:
    package = json.loads((ROOT / "integrations" / "openclaw" / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == __version__
