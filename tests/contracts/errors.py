"""One way to expect a custom error."""

from contextlib import AbstractContextManager
from typing import Any

import brownie

REENTRANT_CALL = "0x3ee5aeb5"  # ReentrancyGuardReentrantCall(), as returned by the guarded contract


def reverts(error: str, *arguments: Any) -> AbstractContextManager[None]:
    """Expects `error(arguments…)`, each argument as the contract must report it."""
    return brownie.reverts(f"{error}: {', '.join(map(_written, arguments))}")


def _written(argument: Any) -> str:
    """As Brownie writes it, with addresses in lower case."""
    text = str(argument)
    return text.lower() if text.startswith("0x") else text
