"""The commands for model servers."""

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
