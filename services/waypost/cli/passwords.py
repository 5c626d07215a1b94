"""Where passwords and keys come from: a file, the environment or a prompt. Never from the command line."""

import os
import sys
from functools import cache
from pathlib import Path

import typer

from waypost.chain.development import CHAIN_ID, FUNDED_KEYS
from waypost.client import keystore
from waypost.client.account import Account
from waypost.errors import InvalidConfig, KeystoreLocked

VARIABLE = "WAYPOST_PASSWORD"


def password(what: str, file: Path | None, *, new: bool = False) -> str:
    """The password for `what`; a `new` one is asked for twice. Raises InvalidConfig, KeystoreLocked."""
    if file is not None:
        return _from_file(file)
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise KeystoreLocked(f"{what} needs a password: give --password-file or set {VARIABLE}.")
    return _ask(what, new)


@cache
def _ask(what: str, new: bool) -> str:
    """A command that needs a password twice asks for it once."""
    entered: str = typer.prompt(f"Password for {what}", hide_input=True, confirmation_prompt=new, err=True)
    return entered


def signing_key(
    chosen: Path | None, dev_account: int | None, password_file: Path | None, chain_id: int
) -> bytes | None:
    """The key that a command's --keystore or --dev-account names, or None when neither is given.

    Raises InvalidConfig, KeystoreLocked, WrongPassword.
    """
    if chosen is not None and dev_account is not None:
        raise InvalidConfig("Give either --keystore or --dev-account, not both.")
    if dev_account is not None:
        if chain_id != CHAIN_ID:
            raise InvalidConfig(
                f"Development accounts have public keys: they are for chain {CHAIN_ID}, not {chain_id}.",
                given=chain_id,
                expected=CHAIN_ID,
            )
        return FUNDED_KEYS[dev_account]
    if chosen is None:
        return None
    return unlock(chosen, password_file)


def unlock(path: Path, password_file: Path | None) -> bytes:
    """The private key in a wallet's keystore, or the payer's key of an account file."""
    if keystore.kind(path) == "account":
        return load_account(path, password_file).payer_key
    return keystore.load_key(path, password(str(path), password_file))


def load_account(path: Path, password_file: Path | None) -> Account:
    """An account from its file. Raises InvalidConfig, KeystoreLocked, WrongPassword."""
    keystore.kind(path)  # names a missing file before anybody is asked for its password
    return Account.load(path, password(str(path), password_file))


def _from_file(path: Path) -> str:
    try:
        text = path.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"The password file {path} cannot be read.", path=str(path)) from error
    first = text.splitlines()[0] if text else ""
    if not first:
        raise InvalidConfig(f"The password file {path} is empty.", path=str(path))
    return first
