"""The value types of the API's models: parsed as the protocol does, and shown in OpenAPI as JSON Schema.
A fault names its field and never repeats the value."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated, Any

from eth_typing import ChecksumAddress
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic.alias_generators import to_camel

from waypost.protocol.fields import in_range, parse_address
from waypost.protocol.signatures import Signature

INT64_MAX = 2**63 - 1
UINT40_MAX = 2**40 - 1
UINT32_MAX = 2**32 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)


class Model(BaseModel):
    """camelCase on the wire. Unknown fields are ignored, so that fields can be added."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


def _address(value: object) -> ChecksumAddress:
    if not isinstance(value, str):
        raise ValueError("an address is a string of 0x and 40 hexadecimal digits")
    return parse_address(value)


def _decimal(bits: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            raise ValueError("a number is expected, as a decimal string")
        return in_range("the number", int(value), bits)

    return parse


def _hex(length: int) -> Callable[[object], bytes]:
    def parse(value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not _HEX.fullmatch(value) or len(value) != 2 + 2 * length:
            raise ValueError(f"{length} bytes of 0x-hex are expected")
        return bytes.fromhex(value[2:])

    return parse


def _base64(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("base64 text is expected")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64 with padding (RFC 4648)") from None


def _nanoseconds(value: object) -> int:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise ValueError("Unix nanoseconds are expected, as an integer or a decimal string")
    return value


def _signature(value: object) -> Signature:
    return value if isinstance(value, Signature) else Signature.from_bytes(_hex(64)(value))


def _hex_text(value: bytes) -> str:
    return "0x" + value.hex()


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _text(pattern: str, **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, **schema})


def _hex_schema(length: int) -> WithJsonSchema:
    return _text(f"^0x[0-9a-fA-F]{{{2 * length}}}$")


_AMOUNT = "^(0|[1-9][0-9]{0,%d})$"
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Address = Annotated[
    ChecksumAddress, PlainValidator(_address), _text("^0x[0-9a-fA-F]{40}$", examples=["0x" + "0" * 40])
]
"""Any one case, or with a right EIP-55 checksum."""

Amount = Annotated[int, PlainSerializer(str), _text(_AMOUNT % 38)]
"""Base units of the payment token, in an answer."""

GivenAmount = Annotated[int, PlainValidator(_decimal(128)), _text(_AMOUNT % 38)]
"""The same in a request: text only, since a JSON number may have lost digits on its way."""

Uint256 = Annotated[int, PlainSerializer(str), _text(_AMOUNT % 77)]
GivenUint256 = Annotated[int, PlainValidator(_decimal(256)), _text(_AMOUNT % 77)]

Bytes32 = Annotated[bytes, PlainValidator(_hex(32)), PlainSerializer(_hex_text), _hex_schema(32)]

CompactSignature = Annotated[
    Signature, PlainValidator(_signature), PlainSerializer(Signature.to_hex), _hex_schema(64)
]
"""EIP-2098: r and vs."""

Proof = Annotated[bytes, PlainValidator(_hex(128)), PlainSerializer(_hex_text), _hex_schema(128)]

Base64 = Annotated[
    bytes, PlainValidator(_base64), PlainSerializer(_base64_text), _text(_BASE64, contentEncoding="base64")
]

Nanoseconds = Annotated[
    int,
    PlainValidator(_nanoseconds),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _AMOUNT % 18},
                {"type": "integer", "minimum": 0, "maximum": INT64_MAX},
            ]
        }
    ),
]
"""Unix time; decimal text in answers, since JSON readers round integers of this size."""
