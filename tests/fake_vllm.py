"""Stands in for the `vllm` program: takes its flags, is unhealthy at first, dies when the model is called "broken"."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

LOOKS = 1
"""Health checks before it is up."""


class Handler(BaseHTTPRequestHandler):
    looked = 0

    def do_GET(self) -> None:
        Handler.looked += 1
        self.send_response(200 if Handler.looked > LOOKS else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def main() -> None:
    given = sys.argv[1:]
    if "broken" in given[1]:
        sys.exit("no such model")
    port = int(given[given.index("--port") + 1])
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
