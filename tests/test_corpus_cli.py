"""`mia corpus` as a person uses it, and what the settings make of a folder, files and an address."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from click.testing import CliRunner, Result

from mia_skill.app import LazyCorpus, corpus_engine, open_corpus
from mia_skill.cli import main
from mia_skill.core.config import MemoryConfig, MiaConfig, SearchConfig
from mia_skill.core.errors import ConfigError
from retrieval.embed import HashEmbedder
from retrieval.remote import RemoteCorpus

ROWS = [
    {"id": "a", "title": "Velmora Works", "text": "Velmora Works was set up in 1874 by Aldric Tesh."},
    {"id": "c", "title": "Vesk River", "text": "The Vesk River flows through Ostrava Nova."},
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    path = tmp_path / "pages.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, ROWS)))
    return path


def mia(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_a_corpus_is_built_checked_and_looked_at_by_doctor(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "2 passages of 2 documents" in mia("corpus", "build", file, "--out", out).stdout
    made = json.loads(mia("corpus", "build", file, "--out", out, "--json").stdout)
    assert made["passages"] == 2
    assert "2 passages" in mia("corpus", "check", out).stdout
    doctor = ("--home", tmp_path, "--set", f'search.corpus=["{out}"]', "doctor", "--json")
    assert f"{out} (2 passages)" in CliRunner().invoke(main, [str(word) for word in doctor]).stdout
    (out / "passages.jsonl").write_bytes(b"x")
    assert "missing or damaged" in mia("corpus", "check", out, code=1).output
    assert "cannot be used" in CliRunner().invoke(main, [str(word) for word in doctor]).stdout


def test_a_broken_file_is_one_line_and_exit_code_one(file: Path, tmp_path: Path) -> None:
    file.write_text("{")
    assert "CorpusError" in mia("corpus", "build", file, "--out", tmp_path / "out", code=1).output


def test_serving_needs_a_corpus_and_beyond_loopback_a_token(file: Path, tmp_path: Path) -> None:
    mia("corpus", "build", file, "--out", tmp_path / "out", "--words-only")
    assert "server.token" in mia("corpus", "serve", tmp_path / "out", "--host", "0.0.0.0", code=1).output
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "cannot serve at" in mia("corpus", "serve", tmp_path / "out", "--port", port, code=1).output
    assert "CorpusError" in mia("--home", tmp_path, "corpus", "serve", code=1).output


def settings(tmp_path: Path, **search: object) -> MiaConfig:
    return MiaConfig(home=tmp_path, memory=MemoryConfig(embedder="hash"), search=SearchConfig.model_validate(search))


async def test_the_settings_take_files_a_built_folder_or_an_address(file: Path, tmp_path: Path) -> None:
    mia("corpus", "build", file, "--out", tmp_path / "out")
    for paths in ([file], [tmp_path / "out"]):
        config = settings(tmp_path, corpus=paths)
        engine = corpus_engine(config, HashEmbedder())
        assert isinstance(engine, LazyCorpus)
        assert [page.id for page in await engine.search("Vesk River", 1)] == ["c"]
        assert open_corpus(config).best == "reranked"
        assert open_corpus(settings(tmp_path, corpus=paths, rerank="none")).best == "fused"
    assert isinstance(corpus_engine(settings(tmp_path, corpus_url="http://x"), HashEmbedder()), RemoteCorpus)
    assert corpus_engine(settings(tmp_path), HashEmbedder()) is None
    with pytest.raises(ConfigError):
        corpus_engine(settings(tmp_path, corpus_url="x"), HashEmbedder())


@pytest.mark.slow
@pytest.mark.parametrize("words", [["corpus", "serve"], ["serve", "--rest", "retrieve"]])
def test_the_served_process_answers_over_a_socket_and_ends_on_a_signal(
    file: Path, tmp_path: Path, words: list[str]
) -> None:
    command = [sys.executable, "-c", "from mia_skill.cli import main; main()", "--home", str(tmp_path)]
    command += ["--set", f'search.corpus=["{file}"]', *words, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        line = next(one.decode() for one in lines if b"MIA serves 2 passages" in one)
        url = line.rpartition(" ")[2].strip()
        found = httpx.post(url, json={"queries": ["Vesk"], "topk": 1, "return_scores": True}, trust_env=False)
        assert found.json()["result"][0][0]["document"]["id"] == "c"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
