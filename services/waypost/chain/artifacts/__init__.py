"""Contract artifacts (ABI and bytecode), generated from contracts/ by scripts/export_artifacts.py."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from eth_abi import encode

from waypost.protocol.signatures import keccak

CONTRACTS = ("Channels", "DevDollar", "NodeRegistry", "RlnMembership")

_PUSH1, _PUSH32 = 0x60, 0x7F


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract: the file it is in, and the compiler's version that made it. `hash` is the keccak
    of the init code without constructor arguments."""

    name: str
    source: str
    compiler: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    hash: bytes

    @property
    def constructor_types(self) -> list[str]:
        """The ABI types of the constructor's arguments."""
        constructors = [entry for entry in self.abi if entry["type"] == "constructor"]
        return [field["type"] for entry in constructors for field in entry["inputs"]]

    def encode_arguments(self, arguments: Sequence[str | int]) -> bytes:
        """The constructor's arguments as they follow the bytecode."""
        return encode(self.constructor_types, arguments)

    def init_code(self, arguments: Sequence[str | int]) -> bytes:
        """What creates the contract with these constructor arguments."""
        return self.bytecode + self.encode_arguments(arguments)

    def matches(self, code: bytes) -> bool:
        """Whether deployed code is this contract's, whatever the values of its immutables."""
        if len(code) != len(self.deployed_bytecode):
            return False
        masked = bytearray(code)
        for start in _immutables(self.deployed_bytecode):
            masked[start : start + 32] = bytes(32)
        return masked == self.deployed_bytecode


@cache
def load(name: str) -> Artifact:
    """The artifact of a contract by its Solidity name. Raises FileNotFoundError."""
    fields = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    bytecode = _code(fields["bytecode"])
    return Artifact(
        name=name,
        source=fields["sourceName"],
        compiler=fields["compiler"]["version"],
        abi=tuple(fields["abi"]),
        bytecode=bytecode,
        deployed_bytecode=_code(fields["deployedBytecode"]),
        hash=keccak(bytecode),
    )


def standard_input(name: str) -> str:
    """The compiler's standard-JSON input for a contract: all sources and settings, as block explorers ask."""
    return resources.files(__name__).joinpath("inputs", f"{name}.json").read_text("utf-8")


def _code(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _immutables(template: bytes) -> Iterator[int]:
    # The compiler leaves PUSH32 of zeros wherever the constructor puts an immutable.
    position = 0
    while position < len(template):
        opcode = template[position]
        width = opcode - _PUSH1 + 1 if _PUSH1 <= opcode <= _PUSH32 else 0
        if width == 32 and not any(template[position + 1 : position + 33]):
            yield position + 1
        position += 1 + width
