"""The `mia` command."""

try:
    from mia_skill.cli.main import main
except KeyboardInterrupt:  # Ctrl-C while its parts are loaded, which takes a moment: no page of tracebacks
    raise SystemExit("\nAborted!") from None

__all__ = ["main"]
