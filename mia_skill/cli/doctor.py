"""`mia doctor`: what works here, what does not, and the line that mends it."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import anyio
import click

from mia_skill.cli.console import ANSWER_IS_NO, Settings, as_json, json_flag
from mia_skill.cli.train_doctor import examine_training
from mia_skill.core.config import EndpointConfig, MiaConfig, Role
from mia_skill.core.errors import MiaError
from mia_skill.core.legacy import explain
from mia_skill.install.finding import Finding
from mia_skill.install.hosts import Place
from mia_skill.install.inside import check_hosts

__all__ = ["Finding", "doctor", "examine"]

JUDGES = ("endpoint", "evidence")
"""Whom canaries can be put before."""
EXTRAS = {
    "corpus": "pyarrow",
    "web": "ddgs",
    "images": "PIL",
    "postgres": "psycopg",
    "serve": "vllm",
    "train": "verl",
    "rl": "torch",
    "checker": "onnx",
    "ray": "ray",
    "flash": "flash_attn",
    "mem0": "mem0",
    "tensorboard": "tensorboard",
}
"""A package that only this extra brings."""
DISTRIBUTIONS = {"PIL": "pillow", "mem0": "mem0ai"}
"""Where a package is published under another name than it is imported by."""
ROLES: tuple[Role, ...] = ("manager", "planner", "executor", "judge", "router")


@click.command()
@click.option("--train", is_flag=True, help="Check what training needs instead: versions, GPUs, agent loops.")
@json_flag
@click.pass_obj
def doctor(settings: Settings, train: bool, json_: bool) -> None:
    """Check interpreter, packages, bank, search, endpoints and hosts. Exit code 3 when something must be mended.

    Each host that has mia is tried as it would start the server: with almost no environment, in another folder.
    """
    found = examine_training() if train else examine(settings.load())
    if json_:
        click.echo(as_json({"findings": [one.model_dump() for one in found]}))
    else:
        for one in found:
            colour = {"ok": "green", "off": "white", "problem": "red"}[one.state]
            click.echo(f"{click.style(f'{one.state:8}', fg=colour)}{one.part:12} {one.detail}")
            if one.fix:
                click.echo(f"{'':21}fix: {one.fix}")
    if any(one.state == "problem" for one in found):
        sys.exit(ANSWER_IS_NO)


def examine(config: MiaConfig) -> list[Finding]:
    """Everything, in the order in which it should be mended."""
    place = Place(home=Path.home(), platform=sys.platform, environment=os.environ)
    here = [python(), environment(), *old_names(), faiss_build(), *extras(), bank(config)]
    return [*here, *search(config), *anyio.run(endpoints, config), *check_hosts(place)]


def python() -> Finding:
    """The interpreter and this package."""
    where = f"{platform.python_version()} at {sys.executable}, mia-skill {_version('mia-skill')}, mcp {_version('mcp')}"
    return Finding(part="python", state="ok", detail=where)


def environment() -> Finding:
    """Which settings this process was given; a host passes only what its entry says."""
    seen = sorted(name for name in os.environ if name.startswith("MIA_") and os.environ[name])
    if unfilled := [name for name in seen if os.environ[name].startswith("${")]:
        fix = "give them a value in the host's entry, or take them out"
        return Finding(part="variables", state="problem", detail=f"{', '.join(unfilled)}: not filled in", fix=fix)
    return Finding(part="variables", state="ok" if seen else "off", detail=", ".join(seen) or "no MIA_* is set")


def old_names() -> list[Finding]:
    """Variables of the published skills, and what becomes of them."""
    return [
        Finding(part="old name", state="ok", detail=f"{name}: {what}") for name, what in explain(os.environ).items()
    ]


def faiss_build() -> Finding:
    """Which FAISS is installed: two builds overwrite each other's folder."""
    builds = [name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs") if _version(name) != "missing"]
    if len(builds) > 1:
        keep = builds[-1]
        fix = f"pip uninstall -y {' '.join(builds)} && pip install {keep}"
        return Finding(part="faiss", state="problem", detail=f"{' and '.join(builds)} are both installed", fix=fix)
    try:
        import faiss
    except (ImportError, RuntimeError, OSError) as cause:
        return Finding(part="faiss", state="problem", detail=str(cause), fix="pip install --force-reinstall faiss-cpu")
    gpus = faiss.get_num_gpus()
    return Finding(part="faiss", state="ok", detail=f"{builds[0]} {faiss.__version__}, {gpus} GPU(s) seen")


def extras() -> list[Finding]:
    """The optional packages."""
    found = []
    for extra, module in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        detail = (
            f"{module} {_version(module.replace('_', '-'))}"
            if there
            else f"not installed: pip install 'mia-skill[{extra}]'"
        )
        found.append(Finding(part=f"[{extra}]", state="ok" if there else "off", detail=detail))
    return found


def bank(config: MiaConfig) -> Finding:
    """Can the bank be opened, and is it healthy?"""
    from mia_skill.app import open_bank

    try:
        opened = open_bank(config)
    except MiaError as error:
        return Finding(part="bank", state="problem", detail=str(config.bank_path), fix=str(error))
    health, held = opened.health(), opened.held()
    alarmed = [judge for judge in JUDGES if opened.standing(judge).alarm]
    opened.close()
    embedder = (health.embedder or "none yet")[:24]
    detail = f"{health.units} units, {health.pairs} plan pairs in {health.path}, embedder {embedder}"
    detail += f", {held} lessons wait for canaries" if held else ""
    if alarmed:
        told = f"the canaries speak against {' and '.join(alarmed)}, whose verdicts teach nothing"
        fix = "look into the judge with `mia guard --canaries`; it is believed again when enough of them are right"
        return Finding(part="bank", state="problem", detail=f"{detail}; {told}", fix=fix)
    if health.problems:
        return Finding(part="bank", state="problem", detail=detail, fix="; ".join(health.problems))
    return Finding(part="bank", state="ok", detail=detail)


def search(config: MiaConfig) -> list[Finding]:
    """Corpus files and the web engine."""
    from retrieval.web import NAMES

    found = [_corpus_file(path.expanduser()) for path in config.search.corpus]
    if config.search.corpus_url is not None:
        found = [Finding(part="corpus", state="ok", detail=f"the service {config.search.corpus_url}, not asked here")]
    if not found:
        hint = "set search.corpus to jsonl files of id, title, text (try: mia world --out world)"
        found.append(Finding(part="corpus", state="off", detail=hint))
    web = ", ".join(config.search.web)
    unknown = [name for name in config.search.web if name not in NAMES]
    missing = [name for name in web_packages(config) if importlib.util.find_spec(name) is None]
    if not web:
        found.append(Finding(part="web", state="off", detail="set search.web to an engine, e.g. ddgs"))
    elif unknown:
        fix = f"use {', '.join(NAMES)} in search.web"
        found.append(Finding(part="web", state="problem", detail=f"no such engine: {', '.join(unknown)}", fix=fix))
    elif missing:
        detail = f"{web}; missing: {', '.join(missing)}"
        found.append(Finding(part="web", state="problem", detail=detail, fix="pip install 'mia-skill[web]'"))
    else:
        found.append(Finding(part="web", state="ok", detail=web))
    return found


def web_packages(config: MiaConfig) -> tuple[str, ...]:
    """What the configured web engines and visits import when they are used."""
    engines = ("ddgs",) if "ddgs" in config.search.web else ()
    return engines + (("trafilatura", "pypdf", "protego") if config.visits else ())


def _corpus_file(path: Path) -> Finding:
    if path.is_file():
        return _first_passage(path)
    if path.is_dir():
        return _built_corpus(path)
    return Finding(part="corpus", state="problem", detail=f"{path} is missing", fix="correct search.corpus")


def _first_passage(path: Path) -> Finding:
    """Of a jsonl file only the beginning is read: enough to see that it is no such file."""
    from retrieval.passages import passage_of_line

    try:
        with path.open("rb") as lines:
            line = next((one for one in lines if one.strip()), b"")
        passage_of_line(line.removeprefix(b"\xef\xbb\xbf"), f"{path}, first line")
    except MiaError as error:
        fix = f"{error}; search.corpus wants jsonl files of id, title, text"
        return Finding(part="corpus", state="problem", detail=f"{path} cannot be used", fix=fix)
    return Finding(part="corpus", state="ok", detail=f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def _built_corpus(path: Path) -> Finding:
    from retrieval.manifest import read_manifest

    try:
        made = read_manifest(path)
        made.check(path)
    except MiaError as error:
        return Finding(part="corpus", state="problem", detail=f"{path} cannot be used", fix=str(error))
    return Finding(part="corpus", state="ok", detail=f"{path} ({made.passages} passages)")


async def endpoints(config: MiaConfig) -> list[Finding]:
    """Is every configured endpoint there, and does it serve its model?"""
    asked = {role: config.models.of(role) for role in ROLES}
    distinct = {endpoint for endpoint in asked.values() if endpoint is not None}
    if not distinct:
        hint = "none: the host's own model plans and judges. Set models.default.base_url and .model to use vLLM"
        return [Finding(part="model", state="off", detail=hint)]
    return [await _endpoint(one, [role for role in ROLES if asked[role] == one]) for one in distinct]


async def _endpoint(endpoint: EndpointConfig, roles: list[Role]) -> Finding:
    from mia_skill.core.openai_chat import OpenAIChat

    detail = f"{endpoint.model} at {endpoint.base_url} for {', '.join(roles)}"
    chat = OpenAIChat(endpoint.model_copy(update={"timeout_s": 10.0, "max_retries": 0}))
    try:
        served = await chat.models()
    except MiaError as error:
        fix = f"start the server (`mia models up`) or correct models.default.base_url ({error})"
        return Finding(part="model", state="problem", detail=detail, fix=fix)
    finally:
        await chat.aclose()
    if endpoint.model not in served:
        return Finding(part="model", state="problem", detail=detail, fix=f"it serves {', '.join(served) or 'nothing'}")
    return Finding(part="model", state="ok", detail=detail)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return "missing"
