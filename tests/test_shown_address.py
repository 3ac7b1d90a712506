"""No user, password or secret parameter of an address is printed, whatever prints it."""

from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mia_skill.cli import main
from mia_skill.core.shown_address import shown_address
from training.reward_function import RewardFailed, url_reward

SECRET = "hunter22"
ADDRESSES = {
    f"http://me:{SECRET}@h:8000/v1": "http://***@h:8000/v1",
    f"http://{SECRET}@h/": "http://***@h/",
    f"http://me:{SECRET}/x@h/v1": "http://***@h/v1",
    f"http://me:a@{SECRET}@h/v1": "http://***@h/v1",
    f"http://me:{SECRET}@[::1]:8000/v1": "http://***@[::1]:8000/v1",
    f"me:{SECRET}@h/v1": "***@h/v1",
    f"postgresql://me:{SECRET}@db:5433/mia?sslmode=require": "postgresql://***@db:5433/mia?sslmode=require",
    f"http://h/v1?api_key={SECRET}&k=5": "http://h/v1?api_key=***&k=5",
    f"http://h/v1?k=5&X-Amz-Signature={SECRET}": "http://h/v1?k=5&X-Amz-Signature=***",
    f"http://h/#access_token={SECRET}": "http://h/#access_token=***",
    f"http://h/{SECRET.join(['sk-proj-', 'abcdefghijklmnop'])}/v1": "http://h/[redacted]/v1",
}
PLAIN = (
    "http://127.0.0.1:8000/v1",
    "http://[::1]:8000/v1",
    "http://h/a@b/c?k=5&page=2#part",
    "http://h:8000/x@y",
    "https://example.org/retrieve",
    "h:8000/v1",
    "",
)


@pytest.mark.parametrize(("given", "shown"), ADDRESSES.items())
def test_credentials_are_masked_and_the_rest_of_the_address_stays(given: str, shown: str) -> None:
    assert shown_address(given) == shown


@pytest.mark.parametrize("plain", PLAIN)
def test_an_address_without_credentials_is_shown_as_it_is(plain: str) -> None:
    assert shown_address(plain) == plain


words = st.text("abz09.-_~%/?#:@ ü", max_size=12)
no_signs = str.maketrans("", "", "/?#:@ ")


@given(user=words, before=words, after=words, path=words)
def test_no_password_survives_whatever_signs_stand_in_it(user: str, before: str, after: str, path: str) -> None:
    whole = f"http://u{user.translate(no_signs)}:{before.translate(no_signs)}Q9{after}@host/{path.translate(no_signs)}"
    assert "Q9" not in shown_address(whole)
    assert "host" in shown_address(whole)


def mia(home: Path, *words: str) -> str:
    return CliRunner().invoke(main, ["--home", str(home), *words]).output


ENDPOINT = f"http://me:{SECRET}@127.0.0.1:9/v1?api_key={SECRET}"


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("doctor", "--json"),
        ("ask", "Who founded Velmora?"),
        ("judge", "q", "--answer", "a", "--evidence", "corpus:p1"),
    ],
)
def test_no_command_prints_the_credentials_of_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("models.default.base_url", "search.corpus_url", "memory.embedder_url", "memory.url", "search.web_url"):
        more = ("--set", "search.web=searxng") if key == "search.web_url" else ()
        for address in (ENDPOINT, ENDPOINT.replace("http:", "gopher:"), ENDPOINT.replace(":9/", ":none/")):
            given = ("--set", f"{key}={address}", "--set", "models.default.model=m", *more)
            assert SECRET not in mia(tmp_path, *given, *words), key


def test_an_installation_shows_the_addresses_that_it_writes_without_their_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = ("--env", f"MIA_MODELS__DEFAULT__BASE_URL={ENDPOINT}", "--env", "MIA_MODELS__DEFAULT__MODEL=m")
    told = mia(tmp_path, "install", "claude-code", "--dry-run", *given)
    assert "http://***@127.0.0.1:9/v1?api_key=***" in told
    assert SECRET not in told


def test_a_reward_service_that_is_gone_is_named_without_its_credentials() -> None:
    with pytest.raises(RewardFailed, match=r"http://\*\*\*@127\.0\.0\.1:9") as caught:
        anyio.run(url_reward(ENDPOINT), "q", "r", "g")
    assert SECRET not in str(caught.value)
