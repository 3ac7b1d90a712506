"""Install the hosts that are tested (package.json beside this file) into `.hosts/`, once per change of that file.

Needs npm of any age, only for this step: the hosts run on the node that is installed with them.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "package.json"
HOSTS = HERE.parents[1] / ".hosts"
STAMP = HOSTS / "installed"


def wanted() -> str:
    """What the stamp must say."""
    return hashlib.sha256(PINS.read_bytes()).hexdigest()


def installed() -> bool:
    """Is `.hosts/` what package.json asks for?"""
    return STAMP.is_file() and STAMP.read_text() == wanted()


def main() -> None:
    """Install, unless it is done."""
    if installed():
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("make test-hosts needs npm (any version) to install the hosts: https://docs.npmjs.com, then try again")
    sys.stderr.write("installing the hosts into .hosts/ (once; about two minutes, 1.5 GB)\n")
    HOSTS.mkdir(exist_ok=True)
    shutil.copy(PINS, HOSTS / "package.json")
    done = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
        cwd=HOSTS,
        check=False,
    )
    if done.returncode:
        sys.exit(f"npm could not install the hosts (exit {done.returncode}); its message is above")
    STAMP.write_text(wanted())


if __name__ == "__main__":
    main()
