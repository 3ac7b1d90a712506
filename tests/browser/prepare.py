"""Sees to it that there is a Chromium: the one that is there, else Debian's, installed where this may be done."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
"""A container has no user namespaces and a small /dev/shm; nothing is asked of the network behind our back."""


def found() -> str | None:
    """The program of a Chromium on the path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    """Install one if there is none."""
    if found() is None and shutil.which("apt-get") and os.geteuid() == 0:
        sys.stderr.write("installing Debian's chromium (once)\n")
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True, **quiet)
    if found() is None:
        sys.stderr.write(f"no Chromium is on the path (one of {', '.join(NAMES)}): install your system's package\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
