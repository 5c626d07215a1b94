"""Mailboxes: topics that change daily and say nothing of their owner, and sealed payloads."""

import base64
import hashlib
import hmac

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from waypost.errors import InvalidSeal

SECONDS_PER_DAY = 86_400


def day_of(unix_seconds: int) -> int:
    """Days since 1970."""
    return unix_seconds // SECONDS_PER_DAY


def topic(mailbox_key: bytes, day: int) -> str:
    """The content topic of a mailbox on a day. Who lacks `mailbox_key` cannot link two days."""
    label = hmac.digest(mailbox_key, b"waypost mailbox" + day.to_bytes(8), hashlib.sha256)
    return f"/waypost/1/{base64.b32encode(label).decode().lower()[:26]}/raw"


def public_key(private_key: bytes) -> bytes:
    """The X25519 public key, 32 bytes."""
    return bytes(PrivateKey(private_key).public_key)


def seal(payload: bytes, recipient: bytes) -> bytes:
    """Encrypts to an X25519 public key from a throw-away key; adds 48 bytes (libsodium's sealed
    box). The sender cannot open it again. Raises InvalidSeal for an unusable key."""
    try:
        return bytes(SealedBox(PublicKey(recipient)).encrypt(payload))
    except CryptoError:
        raise InvalidSeal("The recipient's key is no X25519 public key.") from None


def unseal(sealed: bytes, private_key: bytes) -> bytes:
    """The payload. Raises InvalidSeal when it was sealed to another key, or altered."""
    try:
        return bytes(SealedBox(PrivateKey(private_key)).decrypt(sealed))
    except CryptoError:
        raise InvalidSeal from None
