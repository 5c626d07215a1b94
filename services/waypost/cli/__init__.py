"""The command line: one module per noun, thin over the SDK, the node and the chain."""

from waypost.cli.app import main

__all__ = ["main"]
