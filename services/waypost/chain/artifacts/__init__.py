"""Contract artifacts (ABI and bytecode), generated from contracts/ by scripts/export_artifacts.py."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from waypost.protocol.signatures import keccak

CONTRACTS = ("Channels", "DevDollar", "NodeRegistry")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract. `hash` is the keccak of the init code without constructor arguments."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    hash: bytes


@cache
def load(name: str) -> Artifact:
    """The artifact of a contract by its Solidity name. Raises FileNotFoundError."""
    fields = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    bytecode = _code(fields["bytecode"])
    return Artifact(
        name=name,
        abi=tuple(fields["abi"]),
        bytecode=bytecode,
        deployed_bytecode=_code(fields["deployedBytecode"]),
        hash=keccak(bytecode),
    )


def _code(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
