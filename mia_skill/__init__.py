"""Memory, planning and trustworthy judgment for host agents."""

__version__ = "0.1.0"
