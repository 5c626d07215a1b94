"""Reads the fields of untrusted JSON objects: each fault is one ProtocolError naming the field.
Amounts are decimal strings, times and sizes integers, bytes 0x-hex, addresses EIP-55."""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from eth_typing import ChecksumAddress

from waypost.errors import AmountOutOfRange, InvalidAddress, InvalidSignature, ProtocolError
from waypost.protocol.signatures import Signature, checksum

MAX_JSON_INTEGER = 2**53 - 1  # what every JSON parser keeps exactly (RFC 7493)

T = TypeVar("T")

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)  # 78 digits hold a uint256


class Fields:
    """One JSON object under inspection. `error` is what a fault raises."""

    def __init__(self, value: object, error: type[ProtocolError]) -> None:
        if not isinstance(value, Mapping):
            raise error(f"A JSON object is expected, not {type(value).__name__}.")
        self.value = cast(Mapping[str, object], value)
        self.error = error

    def __contains__(self, name: str) -> bool:
        return self.value.get(name) is not None

    def raw(self, name: str) -> object:
        """The value as it came; absent and null are faults."""
        value = self.value.get(name)
        if value is None:
            raise self.error(f"Field {name} is missing.", field=name)
        return value

    def fault(self, name: str, expected: str) -> ProtocolError:
        """The error to raise for a field that is not what is expected."""
        return self.error(f"Field {name} must be {expected}.", field=name)

    def text(self, name: str) -> str:
        """A string."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise self.fault(name, "a string")
        return value

    def integer(self, name: str, maximum: int = MAX_JSON_INTEGER) -> int:
        """An integer from 0 to `maximum`, as a JSON number."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
            raise self.fault(name, f"an integer from 0 to {maximum}")
        return value

    def amount(self, name: str, bits: int = 128) -> int:
        """Token base units, as a decimal string. Raises AmountOutOfRange beyond `bits`."""
        text = self.text(name)
        if not _DECIMAL.fullmatch(text):
            raise self.fault(name, "an amount as a decimal string")
        return in_range(name, int(text), bits)

    def data(self, name: str, length: int | None = None) -> bytes:
        """Bytes from 0x-hex, of the given length."""
        text = self.text(name)
        if not _HEX.fullmatch(text) or length not in (None, len(text) // 2 - 1):
            size = "" if length is None else f"{length} bytes of "
            raise self.fault(name, f"{size}0x-hex")
        return bytes.fromhex(text[2:])

    def address(self, name: str) -> ChecksumAddress:
        """An address, all one case or with a right EIP-55 checksum. Raises InvalidAddress."""
        return parse_address(self.text(name), name)

    def signature(self, name: str) -> Signature:
        """A compact signature, 64 bytes of 0x-hex. Raises InvalidSignature."""
        return Signature.from_bytes(Fields(self.value, InvalidSignature).data(name, 64))

    def items(self, name: str, read: Callable[[object], T]) -> tuple[T, ...]:
        """A list, each entry read by `read`."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise self.fault(name, "a list")
        return tuple(read(entry) for entry in value)


def in_range(name: str, amount: int, bits: int) -> int:
    """The amount, if an unsigned integer of so many bits holds it. Raises AmountOutOfRange."""
    if not 0 <= amount < 1 << bits:
        sentence = f"{name} is {amount}; it must be from 0 to 2^{bits} - 1."
        raise AmountOutOfRange(sentence, field=name, given=str(amount), maximum=str(2**bits - 1))
    return amount


def parse_address(text: str, name: str = "address") -> ChecksumAddress:
    """The EIP-55 form of an address, all one case or checksummed. Raises InvalidAddress."""
    digits = text[2:]
    if _HEX.fullmatch(text) and len(digits) == 40:
        address = checksum(bytes.fromhex(digits))
        if text == address or digits in (digits.lower(), digits.upper()):
            return address
        sentence = f"{name} has a wrong checksum: {text}."
    else:
        sentence = f"{name} is no address: 0x and 40 hexadecimal digits."
    raise InvalidAddress(sentence, field=name)
