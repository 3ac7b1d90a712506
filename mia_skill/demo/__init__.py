"""The demonstration: a small host agent, a real MCP client, and a stream of questions."""
