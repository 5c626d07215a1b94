"""Secrets at rest: opened by their password alone, never overwritten, readable by their owner only."""

import json
import stat
from pathlib import Path

import pytest
from eth_account import Account as Wallet

from waypost.client import keystore
from waypost.client.account import Account
from waypost.errors import InvalidConfig, KeystoreLocked, WrongPassword

FAST = 2  # scrypt's work factor, for secrets that hold nothing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "account.json"


@pytest.mark.parametrize("password", ["hunter2", "päßwörd ✓", " "])
def test_an_account_comes_back_with_its_password(path: Path, password: str) -> None:
    account = Account.create()
    account.save(path, password, scrypt_n=FAST)
    assert Account.load(path, password) == account
    assert keystore.kind(path) == "account"
    assert keystore.payer_of(path) == account.payer


def test_the_file_is_private_and_names_no_secret(path: Path) -> None:
    account = Account.create()
    account.save(path, "hunter2", scrypt_n=FAST)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    assert account.entropy.hex() not in text
    assert "address" not in json.loads(text)  # it would be of the entropy taken as a key
    assert list(path.parent.iterdir()) == [path]


def test_no_keystore_is_overwritten(path: Path) -> None:
    first = Account.create()
    first.save(path, "hunter2", scrypt_n=FAST)
    with pytest.raises(InvalidConfig, match="exists already"):
        Account.create().save(path, "hunter2", scrypt_n=FAST)
    assert Account.load(path, "hunter2") == first
    assert list(path.parent.iterdir()) == [path]


def test_another_password_does_not_open_it(path: Path) -> None:
    Account.create().save(path, "hunter2", scrypt_n=FAST)
    with pytest.raises(WrongPassword):
        Account.load(path, "hunter3")
    with pytest.raises(KeystoreLocked):
        Account.load(path, "")


def test_another_password_does_not_open_a_newer_keystore(path: Path) -> None:
    kdf = {"function": "scrypt", "params": {"salt": "00" * 32, "n": FAST, "r": 1, "p": 1, "dklen": 32}}
    cipher = {"function": "aes-128-ctr", "params": {"iv": "00" * 16}, "message": "00" * 32}
    checksum = {"function": "sha256", "params": {}, "message": "00" * 32}
    path.parent.mkdir()
    crypto = {"kdf": kdf, "cipher": cipher, "checksum": checksum}
    path.write_text(json.dumps({"crypto": crypto, "version": 4}))
    with pytest.raises(WrongPassword):
        keystore.load_key(path, "hunter2")


def test_plain_keystores_of_wallets_open(path: Path) -> None:
    wallet = Wallet.create()
    path.parent.mkdir()
    path.write_text(json.dumps(Wallet.encrypt(wallet.key, "päss", kdf="scrypt", iterations=FAST)))
    assert keystore.kind(path) == "key"
    assert keystore.load_key(path, "päss") == wallet.key
    with pytest.raises(InvalidConfig, match="single key"):
        Account.load(path, "päss")


def test_an_account_is_not_taken_for_a_key(path: Path) -> None:
    Account.create().save(path, "hunter2", scrypt_n=FAST)
    with pytest.raises(InvalidConfig, match="Waypost account"):
        keystore.load_key(path, "hunter2")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        '{"crypto": {}, "version": 3}',
        '{"crypto": "", "version": 3}',
        '{"crypto": {}, "version": 9}',
        '{"crypto": {"kdf": "scrypt", "kdfparams": {}, "ciphertext": "zz", "mac": "00"}, "version": 3}',
    ],
)
def test_other_files_are_named_as_such(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InvalidConfig, match=r"not a keystore|single key"):
        keystore.load_key(path, "hunter2")


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no key file"):
        Account.load(path, "hunter2")


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match="cannot be written"):
        Account.create().save(tmp_path / "file" / "account.json", "hunter2", scrypt_n=FAST)
