"""Lines in and out: everything with an id is answered, nothing kills the wire."""

import json
import os
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from mcp_server.stdio import fits, lines, parse
from mcp_server.wire import dump

DEEP = b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


@pytest.mark.parametrize(
    ("line", "code", "asked"),
    [
        (b'{"jsonrpc":"2.0","id":1,', -32700, 1),
        (b'{"jsonrpc":"2.0","id":"a","method":"m","params":[1]}', -32600, "a"),
        (b'{"id":2,"method":"m"}', -32600, 2),
        (b'{"jsonrpc":"2.0","id":3,"method":"m","params":{"n":' + b"9" * 5000 + b"}}", -32700, 3),
        (DEEP, -32700, 7),
        (b"\xff\xfe not json", -32700, None),
        (b"[]", -32600, None),
        (b"null", -32600, None),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":"m"}', -32600, None),
        (b'{"jsonrpc":"2.0","method":"m","id":99999999999999999999,', -32700, None),
    ],
)
def test_a_line_that_is_no_message_is_answered_under_its_id(line: bytes, code: int, asked: int | str | None) -> None:
    message, answer = parse(line)
    assert message is None
    assert isinstance(answer, JSONRPCError)
    assert (answer.error.code, answer.id) == (code, asked)


@pytest.mark.parametrize("line", [b"", b"  ", b"\r"])
def test_an_empty_line_is_passed_over(line: bytes) -> None:
    assert parse(line) == (None, None)


def test_a_lone_surrogate_in_a_line_is_mended_and_the_message_goes_on() -> None:
    message, answer = parse(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a\\udc00":"cut \\ud83d"}}')
    assert answer is None
    assert isinstance(message, JSONRPCRequest)
    ((key, value),) = (message.params or {}).items()
    (key + value).encode()


def test_a_byte_order_mark_is_passed_over() -> None:
    message, _ = parse(b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"m"}')
    assert isinstance(message, JSONRPCNotification)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    parse(line)


@given(st.text(alphabet=st.characters(codec=None), max_size=50))
def test_every_message_can_be_written_as_one_line(text: str) -> None:
    line = dump(JSONRPCResponse(jsonrpc="2.0", id=1, result={"a": [text]}))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    shown: Any = json.loads(line)["result"]["a"][0]
    assert len(shown) == len(text)


def test_lines_come_out_whole_however_they_are_cut_on_the_way() -> None:
    source, sink = os.pipe()
    sent = [b"one", b"", b"x" * 200_000, b"last without end"]

    def feed() -> None:
        data = b"\n".join(sent)
        for start in range(0, len(data), 7919):
            os.write(sink, data[start : start + 7919])
        os.close(sink)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert list(lines(source)) == sent
    feeder.join()
    os.close(source)


def test_of_a_line_that_is_too_long_only_the_start_is_kept() -> None:
    source, sink = os.pipe()

    def feed() -> None:
        os.write(sink, b"{" + b"x" * 1000)
        for _ in range(40):
            os.write(sink, b"y" * 10_000)
        os.write(sink, b"\nnext\n")
        os.close(sink)

    feeder = threading.Thread(target=feed)
    feeder.start()
    first, second = lines(source, longest=100_000)
    assert first.startswith(b"{xxx")
    assert len(first) < 200_000
    assert second == b"next"
    feeder.join()
    os.close(source)


def test_a_full_pipe_is_not_written_to_on_the_loop() -> None:
    source, sink = os.pipe()
    assert fits(sink, b"x" * 100)
    assert not fits(sink, b"x" * 1_000_000)
    os.set_blocking(sink, False)
    with suppress(BlockingIOError):
        while True:
            os.write(sink, b"x" * 4096)
    assert not fits(sink, b"x" * 100)
    os.close(source)
    os.close(sink)
