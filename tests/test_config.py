"""Settings: the file, the environment, the flags, and what is refused in each."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mia_skill.core.config import EndpointConfig, MiaConfig, default_home, load_config
from mia_skill.core.errors import ConfigError

SECRET = "sk-very-secret"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [memory]
        k_success = 3
        namespace = "from-file"

        [models.default]
        base_url = "http://127.0.0.1:8000/v1/"
        model = "qwen"
        """,
        encoding="utf-8",
    )
    return path


def load(path: Path | None = None, environment: dict[str, str] | None = None, **flags: object) -> MiaConfig:
    """With no setting of the machine that runs the tests."""
    dotted = {key.replace("__", "."): value for key, value in flags.items()}
    return load_config(path, environment={"MIA_HOME": "/nowhere/mia", **(environment or {})}, flags=dotted)


# --- layers


def test_without_anything_the_defaults_hold_and_there_is_no_model() -> None:
    config = load()
    assert config.memory.k_success == 2
    assert config.models.of("planner") is None
    assert config.bank_path == Path("/nowhere/mia/memory.sqlite3")


def test_a_file_is_read(toml: Path) -> None:
    config = load(toml)
    assert (config.memory.k_success, config.memory.namespace) == (3, "from-file")
    assert config.models.default is not None
    assert config.models.default.base_url == "http://127.0.0.1:8000/v1"


def test_the_environment_beats_the_file_and_a_flag_beats_both(toml: Path) -> None:
    environment = {"MIA_MEMORY__NAMESPACE": "from-env", "MIA_MEMORY__K_SUCCESS": "4", "MIA_MEMORY__K_FAILURE": "1"}
    config = load(toml, environment, memory__k_success=5)
    assert config.memory.namespace == "from-env"
    assert config.memory.k_success == 5
    assert config.memory.k_failure == 1


def test_one_key_of_an_endpoint_can_be_changed_from_outside(toml: Path) -> None:
    config = load(toml, {"MIA_MODELS__DEFAULT__MODEL": "llama"})
    assert config.models.default is not None
    assert (config.models.default.model, config.models.default.base_url) == ("llama", "http://127.0.0.1:8000/v1")


def test_a_role_without_its_own_endpoint_uses_the_default(toml: Path) -> None:
    own = {"MIA_MODELS__JUDGE__BASE_URL": "https://example.org/v1", "MIA_MODELS__JUDGE__MODEL": "judge"}
    config = load(toml, own)
    judge, planner = config.models.of("judge"), config.models.of("planner")
    assert judge is not None
    assert planner is config.models.default
    assert judge.model == "judge"


def test_the_file_named_by_mia_config_is_read(toml: Path) -> None:
    assert load(environment={"MIA_CONFIG": str(toml)}).memory.k_success == 3


def test_the_file_in_the_home_folder_is_read_when_it_is_there(toml: Path) -> None:
    assert load(environment={"MIA_HOME": str(toml.parent)}).memory.k_success == 3


def test_a_named_file_beats_that_of_the_home_folder(toml: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[memory]\nk_success = 7\n", encoding="utf-8")
    assert load(other, {"MIA_HOME": str(toml.parent), "MIA_CONFIG": str(toml)}).memory.k_success == 7


def test_lists_and_booleans_can_be_given_as_text() -> None:
    environment = {"MIA_SEARCH__CORPUS": '["a.jsonl", "b.jsonl"]', "MIA_SERVER__READ_ONLY": "true"}
    config = load(environment=environment)
    assert config.search.corpus == (Path("a.jsonl"), Path("b.jsonl"))
    assert config.server.read_only is True


def test_other_variables_are_left_alone() -> None:
    assert load(environment={"PATH": "/bin", "MIASMA": "x", "OPENAI_API_KEY": "y"}) == load()


def test_the_usual_home_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_home() == Path("/data/mia")


# --- refusals


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("memory.namespce", "memory.namespace"),
        ("memory.k_sucess", "memory.k_success"),
        ("models.default.base_uri", "models.default.base_url"),
        ("models.planer.model", "models.planner.model"),
        ("trust.acept", "trust.accept"),
        ("server", "server"),
        ("qqq", ""),
    ],
)
def test_an_unknown_setting_is_refused_and_the_nearest_named(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting '{key}' in the flags; the nearest is '{nearest}") as caught:
        load_config(environment={"MIA_HOME": "/nowhere"}, flags={key: "x"})
    assert caught.value.__cause__ is None


def test_an_unknown_variable_names_the_environment() -> None:
    with pytest.raises(ConfigError, match=r"'memory.namespce' in the environment; the nearest is 'memory.namespace'"):
        load(environment={"MIA_MEMORY__NAMESPCE": "x"})


def test_an_unknown_key_in_the_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[memroy]\nk_success = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'memroy.k_success' in the file; the nearest is 'memory.k_success'"):
        load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory.k_success", 21),
        ("memory.k_success", -1),
        ("memory.k_success", "two"),
        ("memory.namespace", "a b"),
        ("memory.namespace", "../x"),
        ("memory.min_similarity", 1.5),
        ("memory.weights.sim", -0.1),
        ("budget.steps", 0),
        ("budget.seconds", 0),
        ("trust.accept", 11),
        ("server.port", 70000),
        ("search.k", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"setting '{key}'"):
        load_config(environment={"MIA_HOME": "/nowhere"}, flags={key: value})


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000/v1", "ftp://host/v1", "http://", "http:///v1", "http://[::bad/v1", "http://host:99999/v1", ""],
)
def test_an_endpoint_needs_an_address_that_can_be_called(url: str) -> None:
    with pytest.raises(ConfigError, match=r"setting 'models.default.base_url'"):
        load(environment={"MIA_MODELS__DEFAULT__BASE_URL": url, "MIA_MODELS__DEFAULT__MODEL": "m"})


def test_an_endpoint_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"setting 'models.default.model': Field required"):
        load(environment={"MIA_MODELS__DEFAULT__BASE_URL": "http://127.0.0.1:8000/v1"})


def test_a_section_given_as_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory"):
        load_config(environment={"MIA_HOME": "/nowhere"}, flags={"memory": "x", "memory.k_success": 1})


@pytest.mark.parametrize("name", ["MIA_CACHE", "MIA_SHARED_DATA", "MIA_VLLM_PYTHON", "MIA_VLLM_URL"])
def test_variables_that_steer_tests_and_caches_are_no_settings(name: str) -> None:
    assert load(environment={name: "/somewhere"}) == load()


@pytest.mark.parametrize("text", [b"[memory\n", b"\xff\xfe", b"k = 1\nk = 2\n"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"config.toml is no valid TOML"):
        load(path)


def test_a_named_file_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*gone.toml: No such file"):
        load(tmp_path / "gone.toml")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load(tmp_path)


# --- secrets and values


def test_secrets_are_masked_wherever_a_configuration_is_shown() -> None:
    environment = {
        "MIA_MODELS__DEFAULT__BASE_URL": "http://127.0.0.1:8000/v1",
        "MIA_MODELS__DEFAULT__MODEL": "m",
        "MIA_MODELS__DEFAULT__API_KEY": SECRET,
        "MIA_SEARCH__WEB_KEY": SECRET,
        "MIA_SERVER__TOKEN": SECRET,
    }
    config = load(environment=environment)
    shown = repr(config) + str(config) + str(config.model_dump()) + config.model_dump_json()
    assert SECRET not in shown
    assert config.models.default is not None
    assert config.models.default.api_key is not None
    assert config.models.default.api_key.get_secret_value() == SECRET


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment={"MIA_MODELS__DEFAULT__API_KEY": SECRET, "MIA_MODELS__DEFAULT__MODEL": "m"})
    assert SECRET not in str(caught.value)


def test_a_configuration_cannot_be_changed_and_endpoints_can_be_compared() -> None:
    one = EndpointConfig(base_url="http://h/v1", model="m")
    with pytest.raises(ValidationError, match="frozen"):
        one.model = "other"  # type: ignore[misc]
    assert {one, EndpointConfig(base_url="http://h/v1/", model="m")} == {one}


def test_the_defaults_of_the_score_are_the_papers() -> None:
    weights = MiaConfig().memory.weights
    assert (weights.sim, weights.value, weights.rarity) == (0.7, 0.3, 0.3)
    assert (weights.question, weights.caption) == (0.8, 0.2)
