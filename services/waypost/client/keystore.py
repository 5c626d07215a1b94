"""Secrets at rest: Web3 secret storage v3 files (scrypt, AES-128-CTR), written atomically for their owner
alone. A file holds a private key, or a BIP-39 seed's entropy, which a marker tells from a key."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import eth_keyfile

from waypost import files
from waypost.errors import InvalidConfig, KeystoreLocked, WrongPassword

SCRYPT_N = 2**18
MARKER = "waypost"
SEED = "bip39-entropy"


def save_seed(path: Path, entropy: bytes, password: str, *, payer: str, scrypt_n: int = SCRYPT_N) -> None:
    """Write a seed's 32 bytes of entropy. Never overwrites a file.

    `scrypt_n` is the work factor, a power of two; lower it only for seeds that hold nothing.
    """
    keystore = eth_keyfile.create_keyfile_json(entropy, _utf8(password), kdf="scrypt", iterations=scrypt_n)
    # The address that the library computes would be the one of the entropy taken as a key: nobody's.
    keystore.pop("address")
    files.write(path, json.dumps({**keystore, MARKER: {"kind": SEED, "payer": payer}}), replace=False)


def load_seed(path: Path, password: str) -> bytes:
    """The 32 bytes of entropy. Raises InvalidConfig, KeystoreLocked, WrongPassword."""
    keystore = _read(path)
    if not is_seed(keystore):
        raise InvalidConfig(f"{path} holds a single key, not a Waypost account.", path=str(path))
    return _open(path, keystore, password)


def load_key(path: Path, password: str) -> bytes:
    """The 32-byte private key of a plain keystore, as geth and cast write it. Raises as load_seed."""
    keystore = _read(path)
    if is_seed(keystore):
        raise InvalidConfig(f"{path} holds a Waypost account, not a single key.", path=str(path))
    return _open(path, keystore, password)


def kind(path: Path) -> str:
    """`"account"` for a seed, `"key"` for a plain keystore. Raises InvalidConfig."""
    return "account" if is_seed(_read(path)) else "key"


def is_seed(keystore: Mapping[str, Any]) -> bool:
    """Whether the keystore's marker says that it holds a seed."""
    marker = keystore.get(MARKER)
    return isinstance(marker, dict) and marker.get("kind") == SEED


def payer_of(path: Path) -> str:
    """The payer address that a seed's file names in the clear; no password needed. Raises InvalidConfig."""
    keystore = _read(path)
    if not is_seed(keystore) or not isinstance(keystore[MARKER].get("payer"), str):
        raise InvalidConfig(f"{path} is not a Waypost account.", path=str(path))
    return cast(str, keystore[MARKER]["payer"])


def _read(path: Path) -> dict[str, Any]:
    try:
        keystore = json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidConfig(f"There is no key file at {path}.", path=str(path)) from None
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
    except ValueError:
        keystore = None
    if not isinstance(keystore, dict) or "crypto" not in {str(key).lower() for key in keystore}:
        raise InvalidConfig(f"{path} is not a keystore file.", path=str(path))
    return keystore


def _open(path: Path, keystore: dict[str, Any], password: str) -> bytes:
    if not password:
        raise KeystoreLocked(f"{path} needs a password.", path=str(path))
    try:
        secret = bytes(eth_keyfile.decode_keyfile_json(keystore, _utf8(password)))
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        if str(error) in ("MAC mismatch", "Checksum mismatch"):
            raise WrongPassword(f"The password does not open {path}.", path=str(path)) from None
        sentence = f"{path} is not a keystore file, or is damaged: restore it from a backup."
        raise InvalidConfig(sentence, path=str(path)) from error
    if len(secret) != 32:
        raise InvalidConfig(f"{path} holds {len(secret)} bytes instead of 32.", path=str(path))
    return secret


def _utf8(password: str) -> str:
    # The library says str, but would encode it as Latin-1; wallets take UTF-8 (as Web3 secret storage says).
    return cast(str, password.encode())
