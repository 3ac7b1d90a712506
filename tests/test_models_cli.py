"""The commands for model servers."""

from pathlib import Path

import orjson
from click.testing import CliRunner

from mia_skill.cli.main import main
from mia_skill.cli.models import commands_of, settings_of
from mia_skill.core.config import load_config


def test_the_printed_settings_load_and_name_a_server_for_every_role() -> None:
    for profile in ("one-gpu", "three-nodes", "cpu"):
        served = commands_of(profile)  # type: ignore[arg-type]
        pairs = (line.partition("=") for line in settings_of(served))
        config = load_config(environment={key: value for key, _, value in pairs})
        ports = {one.port: one.name for one in served}
        for role in ("manager", "planner", "executor", "judge", "router"):
            endpoint = config.models.of(role)  # type: ignore[arg-type]
            assert endpoint is not None
            assert ports[int(endpoint.base_url.split(":")[-1].removesuffix("/v1"))] == endpoint.model


def test_only_a_server_with_adapters_may_take_them_at_run_time_and_all_are_on_loopback() -> None:
    for one in commands_of("three-nodes"):
        assert one.lora == ("VLLM_ALLOW_RUNTIME_LORA_UPDATING" in one.variables) == ("--enable-lora" in one.command)
        assert one.command[one.command.index("--host") + 1] == "127.0.0.1"


def test_print_shows_commands_that_a_shell_takes() -> None:
    shown = CliRunner().invoke(main, ["models", "print", "--profile", "cpu", "--model", "/a folder/model"])
    assert shown.exit_code == 0
    assert "--model '/a folder/model'" in shown.output


def test_one_model_serves_several_roles_each_with_its_own_adapter(tmp_path: Path) -> None:
    for role in ("planner", "executor"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "adapter_config.json").write_text("{}")
    given = [f"{role}={tmp_path / role}" for role in ("planner", "executor")]
    done = CliRunner().invoke(main, ["models", "print", "--adapter", given[0], "--adapter", given[1], "--json"])
    told = orjson.loads(done.output)
    (server,) = told["servers"]
    at = server["command"].index("--lora-modules")
    assert server["command"][at + 1 : at + 3] == given
    models = {line.split("=")[0]: line.split("=")[1] for line in told["settings"] if "__MODEL" in line}
    assert (models["MIA_MODELS__PLANNER__MODEL"], models["MIA_MODELS__JUDGE__MODEL"]) == ("planner", "mia")


def test_an_adapter_of_nobody_or_for_a_server_that_takes_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    cases = (
        (["--adapter", f"cook={tmp_path}"], "give ROLE=FOLDER"),
        (["--adapter", f"planner={tmp_path / 'none'}"], "a folder with adapter_config.json"),
        (["--profile", "three-nodes", "--adapter", f"judge={tmp_path}"], "the judge's server takes no adapters"),
    )
    for given, told in cases:
        done = CliRunner().invoke(main, ["models", "print", *given])
        assert done.exit_code == 1
        assert told in done.output
