"""Clients of a `/retrieve` service as one lean process: blocking-free sockets and one `select`, no event loop.

    python retrieve_load.py PORT QUESTIONS_FILE CLIENTS REQUESTS PER_REQUEST [CORE]

Each client keeps its connection and asks one request after the other; all texts are new ones. Prints one JSON object.
It costs about 30 microseconds of processor a request, a tenth of the leanest server that it loads; with CORE it keeps
to that core, so that the servers have theirs alone.
"""

import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

TOPK = 3


def main() -> None:
    port, questions, clients, total, per_request, *core = sys.argv[1:]
    if core:
        os.sched_setaffinity(0, {int(core[0])})
    texts = Path(questions).read_text(encoding="utf-8").splitlines()
    run = Run(int(port), list(requests(texts, int(total), int(per_request))), TOPK * int(per_request))
    sys.stdout.write(orjson.dumps(run.measured(int(clients))).decode())


def requests(questions: Sequence[str], total: int, per_request: int) -> Iterator[bytes]:
    """Made before the clock runs."""
    mark = time.time_ns()
    head = "POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    for number in range(total):
        asked = [f"{questions[(number + at) % len(questions)]} {mark + number}" for at in range(per_request)]
        body = orjson.dumps({"queries": asked, "topk": TOPK, "return_scores": True})
        yield f"{head}{len(body)}\r\n\r\n".encode() + body


@dataclass
class Client:
    """One kept connection."""

    socket: socket.socket
    buffer: bytes = b""
    wanted: int = 0
    """Bytes of the answer under way, head and body; 0 while its length is unknown."""
    began: float = 0.0


@dataclass
class Run:
    """Some requests, sent by some clients."""

    port: int
    requests: list[bytes]
    scores: int
    """In each right answer."""
    taken: list[float] = field(default_factory=list)
    good: int = 0
    sent: int = 0

    def measured(self, count: int) -> dict[str, float]:
        """Send them all; what was seen. An answer that never came counts as an error."""
        ready = selectors.DefaultSelector()
        clients = [Client(socket.create_connection(("127.0.0.1", self.port))) for _ in range(count)]
        began, used = time.perf_counter(), time.process_time()
        for client in clients:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(client.socket, selectors.EVENT_READ, client)
            self._ask(client)
        working = sum(client.began > 0 for client in clients)
        while working:
            found = ready.select(60)
            if not found:
                break
            for key, _ in found:
                if not self._heard(key.data):
                    ready.unregister(key.data.socket)
                    key.data.socket.close()
                    working -= 1
        seconds = time.perf_counter() - began
        taken = sorted(self.taken) or [0.0]
        return {
            "requests_s": len(self.requests) / seconds,
            "p50_ms": 1000 * taken[len(taken) // 2],
            "p99_ms": 1000 * taken[len(taken) * 99 // 100],
            "errors": len(self.requests) - self.good,
            "client_cpu_ms": 1000 * (time.process_time() - used) / len(self.requests),
        }

    def _ask(self, client: Client) -> bool:
        if self.sent == len(self.requests):
            return False
        client.buffer, client.wanted = b"", 0
        client.began = time.perf_counter()
        client.socket.sendall(self.requests[self.sent])
        self.sent += 1
        return True

    def _heard(self, client: Client) -> bool:
        """Take what came; false when this client has nothing left to do."""
        try:
            data = client.socket.recv(262_144)
        except ConnectionError:
            return False
        if not data:
            return False
        client.buffer = client.buffer + data if client.buffer else data
        if not client.wanted:
            end = client.buffer.find(b"\r\n\r\n")
            if end < 0:
                return True
            head = client.buffer[:end].lower()
            client.wanted = end + 4 + int(head[head.index(b"content-length:") + 15 :].split(b"\r", 1)[0])
        if len(client.buffer) < client.wanted:
            return True
        self.taken.append(time.perf_counter() - client.began)
        self.good += client.buffer[9:12] == b"200" and client.buffer.count(b'"score"') == self.scores
        return self._ask(client)


if __name__ == "__main__":
    main()
