"""Reads the fields of untrusted JSON objects: each fault is one ProtocolError naming the field.
Amounts are decimal strings, times and sizes integers, bytes 0x-hex, addresses EIP-55."""

import base64
import re
from collections.abc import Mapping
from typing import cast

from eth_typing import ChecksumAddress

from waypost.errors import AmountOutOfRange, InvalidAddress, ProtocolError
from waypost.protocol.signatures import Signature, checksum

MAX_JSON_INTEGER = 2**53 - 1  # what every JSON parser keeps exactly (RFC 7493)

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")  # 78 digits hold a uint256


class Fields:
    """One JSON object under inspection. `error` is what a fault raises."""

    def __init__(self, value: object, error: type[ProtocolError]) -> None:
        if not isinstance(value, (dict, Mapping)):  # dict first: it is what JSON gives
            raise error(f"A JSON object is expected, not {type(value).__name__}.")
        self.value = cast(Mapping[str, object], value)
        self.error = error

    def __contains__(self, name: str) -> bool:
        return self.value.get(name) is not None

    def fault(self, name: str, expected: str) -> ProtocolError:
        """The error to raise for a field that is not what is expected."""
        return self.error(f"Field {name} must be {expected}.", field=name)

    def raw(self, name: str) -> object:
        """The value as it came; absent and null are faults."""
        value = self.value.get(name)
        if value is None:
            raise self.error(f"Field {name} is missing.", field=name)
        return value

    def fields(self, name: str) -> "Fields":
        """A nested object."""
        value = self.raw(name)
        if not isinstance(value, (dict, Mapping)):
            raise self.fault(name, "an object")
        return Fields(value, self.error)

    def items(self, name: str) -> list[object]:
        """A list of anything."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise self.fault(name, "a list")
        return value

    def text(self, name: str) -> str:
        """A string that UTF-8 can encode: JSON's escapes can spell half a surrogate pair."""
        value = self.value.get(name)
        if isinstance(value, str) and (value.isascii() or _is_unicode(value)):
            return value
        self.raw(name)
        raise self.fault(name, "a string")

    def integer(self, name: str, maximum: int = MAX_JSON_INTEGER) -> int:
        """An integer from 0 to `maximum`, as a JSON number."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
            raise self.fault(name, f"an integer from 0 to {maximum}")
        return value

    def decimal(self, name: str) -> int:
        """An integer of up to 78 digits, as a decimal string."""
        text = self.text(name)
        if not _DECIMAL.fullmatch(text):
            raise self.fault(name, "an integer as a decimal string")
        return int(text)

    def amount(self, name: str, bits: int = 128) -> int:
        """Token base units, as a decimal string. Raises AmountOutOfRange beyond `bits`."""
        return in_range(name, self.decimal(name), bits)

    def data(self, name: str, length: int) -> bytes:
        """So many bytes, from 0x-hex."""
        text = self.text(name)
        if not _HEX.fullmatch(text) or len(text) != 2 + 2 * length:
            raise self.fault(name, f"{length} bytes of 0x-hex")
        return bytes.fromhex(text[2:])

    def base64(self, name: str) -> bytes:
        """Bytes from base64 (RFC 4648 section 4, padded)."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except ValueError:
            raise self.fault(name, "base64") from None

    def address(self, name: str) -> ChecksumAddress:
        """An address, all one case or with a right EIP-55 checksum. Raises InvalidAddress."""
        return parse_address(self.text(name), name)

    def signature(self, name: str) -> Signature:
        """A compact signature, 64 bytes of 0x-hex. Raises InvalidSignature."""
        return Signature.from_hex(self.text(name))


def in_range(name: str, amount: int, bits: int) -> int:
    """The amount, if an unsigned integer of so many bits holds it. Raises AmountOutOfRange."""
    if not 0 <= amount < 1 << bits:
        sentence = f"{name} is {amount}; it must be from 0 to 2^{bits} - 1."
        raise AmountOutOfRange(sentence, field=name, given=str(amount), maximum=str(2**bits - 1))
    return amount


def parse_address(text: str, name: str = "address") -> ChecksumAddress:
    """The EIP-55 form of an address, all one case or checksummed. Raises InvalidAddress."""
    digits = text[2:]
    if not (_HEX.fullmatch(text) and len(digits) == 40):
        raise InvalidAddress(f"{name} is no address: 0x and 40 hexadecimal digits.", field=name)
    address = checksum(bytes.fromhex(digits))
    if address != text and digits not in (digits.lower(), digits.upper()):
        raise InvalidAddress(f"{name} has a wrong checksum: {text}.", field=name)
    return address


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def camel_case(name: str) -> str:
    """The JSON name of a Python attribute; a trailing underscore only avoids a keyword."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name.rstrip("_"))
