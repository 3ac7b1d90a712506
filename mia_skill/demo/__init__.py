"""The demonstration: a small host agent, a real MCP client, and a stream of questions."""

from mia_skill.demo.stage import run_demo

__all__ = ["run_demo"]
