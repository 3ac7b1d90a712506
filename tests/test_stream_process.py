"""`mia stream serve` and `mia stream send` as processes, with a kill in between."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import orjson
from click.testing import CliRunner, Result

from mia_skill.cli import main

PATIENCE_S = 60


def served(home: Path, *more: str) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "mia_skill.cli", "--home", str(home), "stream", "serve", "--port", "0", *more]
    # Unbuffered: what a buffer has read ahead is lost to `communicate`.
    process = subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], PATIENCE_S)[0], "the server said nothing"
    line = process.stderr.readline().decode()
    assert "http://127.0.0.1:" in line, line
    return process, line.split()[-1].removesuffix("/health")


def sent(questions: Path, url: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["stream", "send", str(questions), "--url", url, *more])


def test_a_stream_is_sent_learnt_from_and_known_after_a_kill(tmp_path: Path) -> None:
    rows = [{"data_id": f"d{n}", "question": f"is it {n}?", "ground_truth": "no"} for n in range(5)]
    (tmp_path / "q.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    seen: list[dict[str, int]] = []
    for _ in range(2):
        process, url = served(tmp_path)
        try:
            done = sent(tmp_path / "q.jsonl", url)
            assert done.exit_code == 0, done.stderr
            assert done.stdout.startswith("5 samples")
            seen.append(httpx.get(f"{url}/health", trust_env=False).json())
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert [one["version"] for one in seen] == [3, 3]
    assert [one["waiting"] for one in seen] == [0, 0]


STUCK = """import asyncio

async def reward(question, reply, gold):
    print("begun", flush=True)
    await asyncio.Event().wait()
"""


def test_a_server_that_is_stopped_tells_whoever_waits_to_send_again(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    process, url = served(tmp_path, "--reward", str(tmp_path / "stuck.py"))
    assert process.stdout is not None
    answers: list[httpx.Response] = []

    def ask() -> None:
        asked = {"rollout": {"data_id": "d", "question": "is it?"}}
        answers.append(httpx.post(f"{url}/submit_sample", json=asked, trust_env=False, timeout=PATIENCE_S))

    try:
        golds = {"entries": [{"data_id": "d", "ground_truth": "yes"}]}
        httpx.post(f"{url}/register_gts", json=golds, trust_env=False)
        client = threading.Thread(target=ask)
        client.start()
        assert process.stdout.readline() == b"begun\n"
    finally:
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=PATIENCE_S)[1].decode()
    client.join(PATIENCE_S)
    (answer,) = answers
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "send this again" in answer.json()["detail"]
    assert (process.returncode, "Traceback" in told) == (0, False), told
    assert f"mia stream send FILE --url {url}" in told


def test_a_second_server_of_the_same_stream_is_refused(tmp_path: Path) -> None:
    process, _ = served(tmp_path)
    try:
        command = [sys.executable, "-m", "mia_skill.cli", "--home", str(tmp_path), "stream", "serve", "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=dict(os.environ))
        assert second.returncode == 1
        assert "is held by another process" in second.stderr
        assert "--folder" in second.stderr
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_sending_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(orjson.dumps({"data_id": "1", "question": "q", "ground_truth": "a"}))
    send = [sys.executable, "-m", "mia_skill.cli", "stream", "send", str(tmp_path / "q.jsonl")]
    done = subprocess.run([*send, "--url", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "start it with `mia stream serve`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_that_is_no_question_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"data_id": "1", "question": "q", "ground_truth": "a"}\n{"question": 3}\n')
    done = sent(tmp_path / "q.jsonl", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "line 2" in done.stderr


def test_many_questions_are_under_way_at_a_time_and_each_is_learnt_from_once(tmp_path: Path) -> None:
    rows = [{"data_id": f"d{n}", "question": f"is it {n}?", "ground_truth": "no"} for n in range(60)]
    (tmp_path / "q.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    process, url = served(tmp_path)
    try:
        done = sent(tmp_path / "q.jsonl", url, "--clients", "20")
        assert done.stdout.startswith("60 samples, 30 updates, "), done.stderr
        again = orjson.loads(sent(tmp_path / "q.jsonl", url, "--json").stdout)
        assert (again["samples"], again["updates"], again["version"], again["unscored"]) == (60, 0, 30, 0)
        assert re.search(r"[\d.]+ samples/s, version 30 is served, mean reward [\d.]+ in the first half", done.stdout)
        told = httpx.get(f"{url}/health", trust_env=False).json()
        assert (told["version"], told["waiting"], told["rollout_buffer_len"]) == (30, 0, 0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
