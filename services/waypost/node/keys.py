"""The node's own key, and the one that is to follow it. Every step is on disk before the next is taken: a
rotation that stopped halfway is taken up where it was."""

import json
import os
import secrets
from pathlib import Path

from eth_account import Account

from waypost import files
from waypost.errors import InvalidConfig
from waypost.node.settings import KEYS_FOLDER, keystore_path, read_key
from waypost.protocol.signatures import address_of

NEXT = "next"


def prepare_next(data_dir: Path, password: str, *, scrypt_n: int = 2**18) -> bytes:
    """The key that follows the present one, which may be lost: made and stored now, unless it was before.

    Raises InvalidConfig, WrongPassword.
    """
    known = read_key(data_dir, NEXT, password)
    if known is not None:
        return known
    key = secrets.token_bytes(32)
    keystore = Account.encrypt(key, password, kdf="scrypt", iterations=scrypt_n)
    files.write(keystore_path(data_dir, NEXT), json.dumps(keystore))
    return key


def promote_next(data_dir: Path, password: str) -> Path | None:
    """Makes the next key the node's; the present one is kept, since what it signed is still held against the
    node. Returns where it is kept, if there was one. Raises InvalidConfig, WrongPassword."""
    present, following = keystore_path(data_dir, "node"), keystore_path(data_dir, NEXT)
    retired, kept = read_key(data_dir, "node", password), None
    if not following.exists():
        raise InvalidConfig(f"{data_dir} has no key to follow the node's.", path=str(data_dir))
    if retired is not None:
        kept = data_dir / KEYS_FOLDER / f"retired-{address_of(retired)}.keystore.json"
        files.write(kept, present.read_text())
    os.replace(following, present)
    files.sync_folder(present.parent)
    return kept
