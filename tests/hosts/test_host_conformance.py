"""The official conformance suite: the scenarios that apply to any server, in both protocol eras.

Left out are those that need fixture tools (`test_simple_text` and its kin), those that pass on any server without
looking at it (tools-call-error, tools-call-simple-text), and logging, which the protocol has dropped.
"""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
HANDSHAKE = (
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-session-lifecycle",
    "server-sse-multiple-streams",
)
STABLE = ("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection")
MODERN = (
    "server-stateless",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
    "http-header-validation",
    "caching",
    "sep-2164-resource-not-found",
    "input-required-result-unsupported-methods",
    "input-required-result-ignore-extra-params",
)
SUITES = [
    *(("conformance-stable", "2025-11-25", scenario) for scenario in STABLE),
    *(("conformance-modern", "2025-11-25", scenario) for scenario in HANDSHAKE),
    *(("conformance-modern", "2026-07-28", scenario) for scenario in MODERN),
]
NEED_A_FIXTURE = {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
"""Both call a tool named test_missing_capability, which only a fixture server has."""


@pytest.mark.parametrize(("suite", "version", "scenario"), SUITES, ids=["-".join(one) for one in SUITES])
def test_scenario(host: Any, url: str, tmp_path: Path, suite: str, version: str, scenario: str) -> None:
    out = tmp_path / "checks"
    asked = ("server", "--url", url, "--scenario", scenario, "-o", str(out))
    version_option = () if suite == "conformance-stable" else ("--spec-version", version)
    done = host.run(f"{suite}/dist/index.js", *asked, *version_option)
    (file,) = out.rglob("checks.json")
    checks = json.loads(file.read_text())
    failed = {check["id"] for check in checks if check["status"] == "FAILURE"}
    assert any(check["status"] == "SUCCESS" for check in checks), done.stdout
    assert failed <= NEED_A_FIXTURE, done.stdout[-3000:]
    assert done.returncode == (1 if failed else 0), done.stdout[-3000:]
