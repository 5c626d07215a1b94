"""Keccak, addresses and compact ECDSA signatures (EIP-55, EIP-2098) on libsecp256k1.
The hot path of a node: nothing here parses hex or builds objects that it need not."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, cast

from coincurve import PrivateKey, PublicKey
from eth_typing import ChecksumAddress
from sha3 import keccak_256

from waypost.errors import InvalidAddress, InvalidPrivateKey, InvalidSignature

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MAX_S = CURVE_ORDER // 2
PARITY_BIT = 1 << 255

_HEX = re.compile("0x[0-9a-fA-F]{128}")


def keccak(data: bytes) -> bytes:
    """Keccak-256, 32 bytes."""
    return cast(bytes, keccak_256(data).digest())


@lru_cache(maxsize=8192)  # the same tokens, payees and signers come again and again
def checksum(address: bytes) -> ChecksumAddress:
    """EIP-55 form of a 20-byte address."""
    digits = address.hex()
    hashed = keccak(digits.encode()).hex()
    letters = (d.upper() if h > "7" else d for d, h in zip(digits, hashed, strict=False))
    return ChecksumAddress("0x" + "".join(letters))  # type: ignore[arg-type]


def address_bytes(address: str) -> bytes:
    """The 20 bytes of an EIP-55 address. Raises InvalidAddress."""
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except (AttributeError, ValueError, TypeError):
        raw = b""
    if len(raw) != 20 or checksum(raw) != address:
        raise InvalidAddress(f"{address!r} is no checksummed address.")
    return raw


@dataclass(frozen=True, slots=True)
class Signature:
    """EIP-2098: `vs` is s with the recovery bit on top. Two 32-byte words."""

    r: bytes
    vs: bytes

    def __post_init__(self) -> None:
        if len(self.r) != 32 or len(self.vs) != 32:
            raise InvalidSignature("A compact signature is two words of 32 bytes.")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From 64 bytes, r ‖ vs. Raises InvalidSignature."""
        return cls(data[:32], data[32:])

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """From 0x and 128 hexadecimal digits. Raises InvalidSignature."""
        if not _HEX.fullmatch(text):
            raise InvalidSignature("A signature is 0x and 128 hexadecimal digits.")
        return cls.from_bytes(bytes.fromhex(text[2:]))

    def to_bytes(self) -> bytes:
        """64 bytes, r ‖ vs."""
        return self.r + self.vs

    def to_hex(self) -> str:
        """0x and 128 lower-case hexadecimal digits."""
        return "0x" + self.to_bytes().hex()

    def to_rsv(self) -> bytes:
        """65 bytes, r ‖ s ‖ v: where a contract wallet might sign instead (ERC-1271)."""
        return self.r + self.s + bytes((self.v,))

    def to_abi(self) -> tuple[bytes, bytes]:
        """The contracts' `Signature` struct."""
        return self.r, self.vs

    @property
    def v(self) -> int:
        """27 or 28, as ecrecover takes it."""
        return 27 + (self.vs[0] >> 7)

    @property
    def s(self) -> bytes:
        """The second scalar without the recovery bit, 32 bytes."""
        return bytes((self.vs[0] & 0x7F,)) + self.vs[1:]


def sign(digest: bytes, private_key: bytes) -> Signature:
    """Deterministic (RFC 6979), low-s signature of a 32-byte digest. Raises InvalidPrivateKey."""
    raw = _key(private_key).sign_recoverable(digest, hasher=None)
    return Signature(raw[:32], bytes((raw[32] | raw[64] << 7,)) + raw[33:64])


def recover_address_bytes(digest: bytes, signature: Signature) -> bytes:
    """The 20-byte address whose key signed the digest. Raises InvalidSignature."""
    # Low s as in EIP-2, so that a node accepts nothing that a contract refuses. libsecp256k1 refuses
    # everything else that ecrecover does.
    word = int.from_bytes(signature.vs)
    s = word & ~PARITY_BIT
    if s > MAX_S:
        raise InvalidSignature("The signature's s is out of range.")
    try:
        raw = signature.r + s.to_bytes(32) + bytes((word >> 255,))
        point = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except ValueError:
        raise InvalidSignature("No key can have made this signature.") from None
    return keccak(point.format(compressed=False)[1:])[12:]


def recover(digest: bytes, signature: Signature) -> ChecksumAddress:
    """The address whose key signed the digest. Raises InvalidSignature."""
    return checksum(recover_address_bytes(digest, signature))


def address_of(private_key: bytes) -> ChecksumAddress:
    """The address of a 32-byte private key. Raises InvalidPrivateKey."""
    point = _key(private_key).public_key.format(compressed=False)
    return checksum(keccak(point[1:])[12:])


def _key(private_key: bytes) -> PrivateKey:
    if len(private_key) != 32 or not 0 < int.from_bytes(private_key) < CURVE_ORDER:
        raise InvalidPrivateKey("A private key is 32 bytes between 1 and the curve's order.")
    return PrivateKey(private_key)
