"""`mia doctor`: what works here, what does not, and the line that mends it."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from mia_skill.cli.console import ANSWER_IS_NO, Settings, as_json, json_flag
from mia_skill.cli.endpoints import check_endpoints, load_unnamed
from mia_skill.cli.train_doctor import examine_training
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import ConfigError, InputError, MiaError
from mia_skill.core.legacy import explain
from mia_skill.core.shown_address import shown_address
from mia_skill.install.finding import Finding
from mia_skill.install.hosts import Place
from mia_skill.install.inside import check_hosts

__all__ = ["Finding", "doctor", "look"]

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
RANKS = ("problem", "ok", "off")
"""What must be mended comes first."""


@click.command()
@click.option("--train", is_flag=True, help="Check what training needs instead: versions, GPUs, agent loops.")
@json_flag
@click.pass_obj
def doctor(settings: Settings, train: bool, json_: bool) -> None:
    """Check interpreter, packages, bank, search, endpoints and hosts. Exit code 3 when something must be mended.

    What must be mended comes first, optional packages that no setting asks for come last. Each host that has mia is
    tried as it would start the server: with almost no environment, in another folder.
    """
    found, spare = (examine_training(), []) if train else look(settings)
    if json_:
        click.echo(as_json({"findings": [one.model_dump() for one in (*found, *spare)]}))
    else:
        show([*found, *in_one_line(spare)])
    if any(one.state == "problem" for one in found):
        sys.exit(ANSWER_IS_NO)


def show(findings: Sequence[Finding]) -> None:
    """One line each, and its fix."""
    for one in findings:
        colour = {"ok": "green", "off": "white", "problem": "red"}[one.state]
        click.echo(f"{click.style(f'{one.state:8}', fg=colour)}{one.part:12} {one.detail}")
        if one.fix:
            click.echo(f"{'':21}fix: {one.fix}")


def look(settings: Settings) -> tuple[list[Finding], list[Finding]]:
    """Everything, in the order in which it should be mended; and the optional packages that no setting asks for.
    Settings that cannot be read are a finding too, beside what can be said without them."""
    try:
        config = load_unnamed(settings)
    except (ConfigError, InputError) as error:
        fix = "correct it where it is set: the configuration file, a MIA_* variable or --set"
        wrong = Finding(part="settings", state="problem", detail=str(error), fix=fix)
        return [wrong, *in_order([*surroundings(), *check_hosts(place())])], extras()
    needed = asked_for(config)
    packages = extras()
    used = [_needed(one) for one in packages if one.part in needed - {"[web]"}]  # of that one `search` tells
    set_up = [
        bank(config),
        *search(config),
        *pictures(config),
        *anyio.run(check_endpoints, config),
        *check_hosts(place()),
    ]
    return in_order([*set_up, *used, *surroundings()]), [one for one in packages if one.part not in needed]


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Problems first, what is not configured last; else as they came."""
    return sorted(findings, key=lambda one: RANKS.index(one.state))


def in_one_line(spare: Sequence[Finding]) -> list[Finding]:
    """All optional packages that nothing asks for, as one finding."""
    there = ", ".join(one.part.strip("[]") for one in spare if one.state == "ok") or "none"
    missing = ", ".join(one.part.strip("[]") for one in spare if one.state == "off") or "none"
    detail = f"not in use; installed: {there}; not installed: {missing} (pip install 'mia-skill[NAME]')"
    return [Finding(part="extras", state="off", detail=detail)] if spare else []


def surroundings() -> list[Finding]:
    """What can be said without any setting."""
    return [environment(), *old_names(), python(), faiss_build()]


def place() -> Place:
    """This machine, as hosts see it."""
    return Place(home=Path.home(), platform=sys.platform, environment=os.environ)


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


def asked_for(config: MiaConfig) -> frozenset[str]:
    """The extras that the settings cannot do without."""
    needed = {"postgres": config.memory.url is not None, "images": config.images.folder is not None}
    needed["web"] = bool(web_packages(config))
    return frozenset(f"[{extra}]" for extra, asked in needed.items() if asked)


def _needed(package: Finding) -> Finding:
    """A package that is needed: its absence is a problem."""
    if package.state == "ok":
        return package
    fix = f"pip install 'mia-skill{package.part}'"
    return Finding(part=package.part, state="problem", detail="needed by the settings, and not installed", fix=fix)


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
        where = str(config.bank_path) if config.memory.url is None else "the server of memory.url"
        return Finding(part="bank", state="problem", detail=where, fix=str(error))
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
        found = [_corpus_service(config.search.corpus_url)]
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


def _corpus_service(url: str) -> Finding:
    where = shown_address(url)
    if not url.startswith(("http://", "https://")):
        fix = "search.corpus_url must start with http:// or https://"
        return Finding(part="corpus", state="problem", detail=f"the service {where!r} is no address", fix=fix)
    return Finding(part="corpus", state="ok", detail=f"the service {where}, not asked here")


def pictures(config: MiaConfig) -> list[Finding]:
    """The folder of one's own images, where one is set."""
    folder = config.images.folder
    if folder is None:
        return []
    if folder.expanduser().is_dir():
        return [Finding(part="images", state="ok", detail=str(folder))]
    return [Finding(part="images", state="problem", detail=f"{folder} is no folder", fix="correct images.folder")]


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


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return "missing"
