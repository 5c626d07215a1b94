"""Why a call reverted, in the words of the contracts: custom errors are decoded by the artifacts' ABIs."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address

from waypost.chain import artifacts
from waypost.errors import JSON, TransactionReverted

# What the compiler itself emits: revert("…"), and failed checks (Solidity docs, "Panic via assert").
_BUILT_IN: tuple[dict[str, Any], ...] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "panicCode", "type": "uint256"}]},
)


@dataclass(frozen=True, slots=True)
class Revert:
    """A decoded revert: the error's name and its arguments by name. Unknown errors have no arguments."""

    name: str
    arguments: dict[str, JSON]

    def __str__(self) -> str:
        if self.name == "Error":
            return str(self.arguments.get("message", ""))
        listed = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({listed})"


def explain(data: bytes, contract: str = "") -> Revert | None:
    """The error that this revert data stands for; None if there is no data. Where contracts share an error,
    its arguments are named as by `contract`."""
    if not data:
        return None
    error = _errors(contract if contract in artifacts.CONTRACTS else "").get(data[:4])
    if error is None:
        return Revert(f"0x{data[:4].hex()}", {})
    types = [collapse_if_tuple(field) for field in error["inputs"]]
    try:
        values = decode(types, data[4:])
    except DecodingError:
        return Revert(error["name"], {})
    arguments = zip(error["inputs"], values, strict=True)
    return Revert(error["name"], {field["name"]: _to_json(field["type"], v) for field, v in arguments})


def reverted(data: object, call: str) -> TransactionReverted:
    """The error to raise for a call named `Contract.function`. `data` is what the endpoint gave: 0x-hex, or
    anything if it gave none."""
    reason = explain(_bytes(data), call.partition(".")[0])
    sentence = f"{call} reverted: {reason}." if reason else f"{call} reverted without a reason."
    details = {"reason": reason.name, "arguments": reason.arguments} if reason else {"reason": None}
    return TransactionReverted(sentence, **details)


@cache
def _errors(contract: str) -> dict[bytes, dict[str, Any]]:
    names = sorted(artifacts.CONTRACTS, key=lambda name: name == contract)
    listed = [entry for name in names for entry in artifacts.load(name).abi]
    errors = [entry for entry in (*_BUILT_IN, *listed) if entry["type"] == "error"]
    return {function_abi_to_4byte_selector(entry): entry for entry in errors}  # type: ignore[arg-type]


def _bytes(data: object) -> bytes:
    if isinstance(data, dict):  # some endpoints nest it
        data = data.get("data")
    try:
        return bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) else b""
    except ValueError:
        return b""


def _to_json(kind: str, value: Any) -> JSON:
    if kind == "address":
        return to_checksum_address(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, bool) or (isinstance(value, int) and value < 2**53):
        return value
    return str(value)
