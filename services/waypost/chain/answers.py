"""Reads what RPC endpoints answer. Strict: what is not exactly of its type raises ValueError saying so."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Log, TransactionReceipt
from waypost.protocol.signatures import checksum

T = TypeVar("T")

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)


def quantity(value: Any) -> int:
    """A number."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ValueError(f"{_shown(value)} is no quantity")
    return int(value, 16)


def data(value: Any) -> bytes:
    """Bytes."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise ValueError(f"{_shown(value)} is no data")
    return bytes.fromhex(value[2:])


def word(value: Any) -> bytes:
    """32 bytes."""
    return _sized(value, 32)


def address(value: Any) -> ChecksumAddress:
    """An address; endpoints differ in the case they use."""
    return checksum(_sized(value, 20))


def block(value: Any) -> BlockRef:
    """A mined block."""
    fields = _fields(value)
    return BlockRef(
        number=quantity(fields.get("number")),
        hash=word(fields.get("hash")),
        parent_hash=word(fields.get("parentHash")),
        timestamp=quantity(fields.get("timestamp")),
    )


def base_fee(value: Any) -> int | None:
    """A block's base fee in wei per gas; None where there is none."""
    return optional(quantity, _fields(value).get("baseFeePerGas"))


def log(value: Any) -> Log:
    """A log of a mined block."""
    fields = _fields(value)
    return Log(
        address=address(fields.get("address")),
        topics=tuple(word(topic) for topic in _list(fields.get("topics"))),
        data=data(fields.get("data")),
        block_number=quantity(fields.get("blockNumber")),
        block_hash=word(fields.get("blockHash")),
        transaction_hash=word(fields.get("transactionHash")),
        index=quantity(fields.get("logIndex")),
    )


def logs(value: Any) -> tuple[Log, ...]:
    """Logs, in chain order."""
    found = [log(entry) for entry in _list(value)]
    return tuple(sorted(found, key=lambda entry: (entry.block_number, entry.index)))


def receipt(value: Any) -> TransactionReceipt:
    """The receipt of a mined transaction."""
    fields = _fields(value)
    return TransactionReceipt(
        hash=word(fields.get("transactionHash")),
        block_number=quantity(fields.get("blockNumber")),
        block_hash=word(fields.get("blockHash")),
        succeeded=quantity(fields.get("status")) == 1,
        gas_used=quantity(fields.get("gasUsed")),
        gas_price=quantity(fields.get("effectiveGasPrice")),
        contract=optional(address, fields.get("contractAddress")),
        logs=logs(fields.get("logs")),
    )


def optional(read: Callable[[Any], T], value: Any) -> T | None:
    """None for null."""
    return None if value is None else read(value)


def _sized(value: Any, size: int) -> bytes:
    found = data(value)
    if len(found) != size:
        raise ValueError(f"{_shown(value)} is not {size} bytes")
    return found


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no object")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is no list")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:80]
