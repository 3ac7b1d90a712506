"""`python -m mia_skill.cli`: the `mia` command by interpreter, where its script is not on PATH."""

from mia_skill.cli.main import main

if __name__ == "__main__":
    main(prog_name="mia")
