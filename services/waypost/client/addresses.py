"""Mailbox addresses, which people give each other: "wp1" and base32 of an X25519 key with a checksum."""

import base64
import hashlib

from waypost.errors import InvalidAddress

PREFIX = "wp1"
KEY_BYTES = 32
CHECKSUM_BYTES = 3


def encode(public_key: bytes) -> str:
    """The address of a 32-byte X25519 public key: 59 characters, lower case."""
    return PREFIX + base64.b32encode(public_key + _checksum(public_key)).decode().lower()


def decode(address: str) -> bytes:
    """The public key; letter case is free. Raises InvalidAddress when anything is mistyped."""
    text = address.strip().lower()
    try:
        data = base64.b32decode(text.removeprefix(PREFIX).upper()) if text.startswith(PREFIX) else b""
    except ValueError:  # letters outside of base32, or outside of ASCII
        data = b""
    key, checksum = data[:KEY_BYTES], data[KEY_BYTES:]
    if len(data) != KEY_BYTES + CHECKSUM_BYTES or checksum != _checksum(key):
        raise InvalidAddress(f"{address[:80]!r} is no mailbox address, or is mistyped.", given=address[:80])
    return key


def _checksum(key: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + key).digest()[:CHECKSUM_BYTES]
