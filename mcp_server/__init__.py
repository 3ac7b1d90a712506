"""The MCP server: memory, planning, search and judgment for host agents, over stdio and streamable HTTP."""
