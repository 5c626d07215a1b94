"""Reads the parameters of Ethereum's JSON-RPC methods.
Each reader raises ValueError saying what is expected."""

import re
from dataclasses import dataclass
from typing import Any

from eth_typing import Address

from waypost.chain.embedded.machine import Message

MAX_UINT256 = 2**256 - 1

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)

BlockChoice = int | bytes | str
"""A number, a hash, or a tag."""

TAGS = ("latest", "pending", "earliest", "safe", "finalized")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which logs `eth_getLogs` wants. `topics[i]` None accepts any; a block hash excludes a range."""

    block_hash: bytes | None
    first: BlockChoice
    last: BlockChoice
    addresses: frozenset[bytes]
    topics: tuple[frozenset[bytes] | None, ...]


def quantity(raw: Any) -> int:
    """A number as 0x-hex of at most 256 bits."""
    if not isinstance(raw, str) or not _QUANTITY.fullmatch(raw):
        raise ValueError("a quantity is 0x and 1 to 64 hexadecimal digits")
    return int(raw, 16)


def number(raw: Any) -> int:
    """A number as 0x-hex or as a JSON number, as the evm_ methods of other tools take it."""
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= MAX_UINT256:
        return raw
    return quantity(raw)


def flag(raw: Any) -> bool:
    """true or false."""
    if not isinstance(raw, bool):
        raise ValueError("expected true or false")
    return raw


def data(raw: Any) -> bytes:
    """Bytes as 0x-hex."""
    if not isinstance(raw, str) or not _DATA.fullmatch(raw):
        raise ValueError("data is 0x and pairs of hexadecimal digits")
    return bytes.fromhex(raw[2:])


def word(raw: Any) -> bytes:
    """32 bytes, such as a hash."""
    value = data(raw)
    if len(value) != 32:
        raise ValueError("expected 32 bytes")
    return value


def address(raw: Any) -> Address:
    """20 bytes."""
    value = data(raw)
    if len(value) != 20:
        raise ValueError("an address is 20 bytes")
    return Address(value)


def slot(raw: Any) -> int:
    """A storage slot, as a quantity or as a word."""
    return quantity(raw)


def block(raw: Any) -> BlockChoice:
    """A number, a tag, or EIP-1898's object with a number or a hash."""
    if isinstance(raw, dict):
        match {name: value for name, value in raw.items() if name != "requireCanonical"}:
            case {"blockHash": value, **rest} if not rest:
                return word(value)
            case {"blockNumber": value, **rest} if not rest:
                return quantity(value)
        raise ValueError("expected either blockNumber or blockHash")
    if raw in TAGS:
        return str(raw)
    try:
        return quantity(raw)
    except ValueError:
        raise ValueError(f"a block is a quantity or one of {', '.join(TAGS)}") from None


def message(raw: Any) -> Message:
    """A transaction object of `eth_call`. Fees are not looked at: calls are free."""
    fields = _object(raw)
    if fields.get("accessList"):
        raise ValueError("access lists are not supported in calls")
    given, other = fields.get("data"), fields.get("input")
    if given is not None and other is not None and given != other:
        raise ValueError("data and input differ")
    return Message(
        sender=_optional(address, fields.get("from"), Address(bytes(20))),
        to=_optional(address, fields.get("to"), None),
        data=_optional(data, given if given is not None else other, b""),
        value=_optional(quantity, fields.get("value"), 0),
        gas=_optional(quantity, fields.get("gas"), None),
    )


def log_filter(raw: Any) -> Filter:
    """The filter object of `eth_getLogs`."""
    fields = _object(raw)
    block_hash = _optional(word, fields.get("blockHash"), None)
    if block_hash is not None and (fields.get("fromBlock") or fields.get("toBlock")):
        raise ValueError("blockHash excludes fromBlock and toBlock")
    return Filter(
        block_hash=block_hash,
        first=_optional(block, fields.get("fromBlock"), "latest"),
        last=_optional(block, fields.get("toBlock"), "latest"),
        addresses=frozenset(_one_or_many(address, fields.get("address"))),
        topics=tuple(_topic(entry) for entry in _list(fields.get("topics") or [], 4)),
    )


def percentiles(raw: Any) -> list[float]:
    """Growing numbers from 0 to 100."""
    values = _list(raw, 100)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ValueError("percentiles are numbers")
    if any(not 0 <= value <= 100 for value in values) or values != sorted(values):
        raise ValueError("percentiles grow from 0 to 100")
    return [float(value) for value in values]


def nothing(raw: Any) -> None:
    """An empty object: a feature that exists elsewhere and not here."""
    if raw != {}:
        raise ValueError("state and block overrides are not supported")


def _topic(entry: Any) -> frozenset[bytes] | None:
    return None if entry is None else frozenset(_one_or_many(word, entry)) or None


def _one_or_many(read: Any, raw: Any) -> list[bytes]:
    if raw is None:
        return []
    return [read(entry) for entry in _list(raw, 1_000)] if isinstance(raw, list) else [read(raw)]


def _optional(read: Any, raw: Any, default: Any) -> Any:
    return default if raw is None else read(raw)


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("expected an object")
    return raw


def _list(raw: Any, longest: int) -> list[Any]:
    if not isinstance(raw, list) or len(raw) > longest:
        raise ValueError(f"expected a list of at most {longest}")
    return raw
