"""Waypost: paid store nodes, the client that pays them and the chain that settles."""

__version__ = "0.1.0"
