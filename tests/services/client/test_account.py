"""Everything follows from 24 words, and only from them."""

import hashlib
import hmac

import pytest
from eth_account import Account as Wallet
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.client import addresses
from waypost.client.account import Account
from waypost.errors import InvalidAddress, InvalidMnemonic
from waypost.protocol.signatures import CURVE_ORDER, address_bytes

WORDS = ("abandon " * 23 + "art").strip()  # BIP-39's first 24-word vector: entropy of zeros
CHANNELS = "0x1111111111111111111111111111111111111111"
PAYEE = "0x2222222222222222222222222222222222222222"
TOKEN = "0x3333333333333333333333333333333333333333"


def key(account: Account, **changes: object) -> bytes:
    place = {"chain_id": 1, "channels": CHANNELS, "payee": PAYEE, "token": TOKEN, "index": 0, **changes}
    return account.channel_key(**place)  # type: ignore[arg-type]


def test_zero_entropy_is_the_first_vector_of_bip_39() -> None:
    assert Account(bytes(32)).mnemonic == WORDS
    assert Account.from_mnemonic(WORDS).entropy == bytes(32)


def test_the_payer_is_what_any_wallet_derives() -> None:
    Wallet.enable_unaudited_hdwallet_features()
    account = Account.create()
    wallet = Wallet.from_mnemonic(account.mnemonic)
    assert account.payer == wallet.address
    assert account.payer_key == wallet.key


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=20, deadline=None)
def test_words_and_entropy_are_the_same_thing(entropy: bytes) -> None:
    words = Account(entropy).mnemonic
    assert Account.from_mnemonic(words.upper().replace(" ", "\n  ")).entropy == entropy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "24 words, not 0"),
        ("abandon " * 12, "24 words, not 12"),
        ("abandon " * 24, "checksum"),
        ("abandon " * 22 + "abandn art", "Word 23 is not in"),
    ],
)
def test_wrong_words_are_refused_without_repeating_them(words: str, says: str) -> None:
    with pytest.raises(InvalidMnemonic, match=says) as raised:
        Account.from_mnemonic(words)
    assert "abandn" not in str(raised.value) + str(raised.value.details)


def test_secrets_stay_out_of_the_repr() -> None:
    account = Account.create()
    assert account.entropy.hex() not in repr(account)
    assert repr(account) == "Account()"


def test_channel_keys_are_hkdf_sha256() -> None:
    """RFC 5869, by hand."""
    account = Account(bytes(32))
    seed = hashlib.pbkdf2_hmac("sha512", WORDS.encode(), b"mnemonic", 2048)
    info = b"waypost channel" + (7).to_bytes(32) + b"".join(map(address_bytes, (CHANNELS, PAYEE, TOKEN)))
    extracted = hmac.digest(bytes(32), seed, "sha256")
    first = hmac.digest(extracted, info + (5).to_bytes(8) + b"\x01", "sha256")
    second = hmac.digest(extracted, first + info + (5).to_bytes(8) + b"\x02", "sha256")
    expected = int.from_bytes((first + second)[:48]) % (CURVE_ORDER - 1) + 1
    assert int.from_bytes(key(account, chain_id=7, index=5)) == expected


def test_channel_keys_differ_in_every_dimension() -> None:
    account = Account.create()
    changes: list[dict[str, object]] = [
        {},
        {"chain_id": 2},
        {"channels": PAYEE},
        {"payee": TOKEN},
        {"token": PAYEE},
        {"index": 1},
    ]
    keys = {key(account, **change) for change in changes} | {key(Account.create())}
    assert len(keys) == len(changes) + 1
    assert account.payer_key not in keys
    assert bytes(account.mailbox_key) not in keys


@given(st.binary(min_size=32, max_size=32))
def test_mailbox_addresses_survive_the_round_trip(public_key: bytes) -> None:
    address = addresses.encode(public_key)
    assert len(address) == 59
    assert addresses.decode(f"  {address.upper()} ") == public_key


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 58),
    st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"),
)
def test_a_mistyped_mailbox_address_is_refused(public_key: bytes, place: int, letter: str) -> None:
    address = addresses.encode(public_key)
    mistyped = address[:place] + letter + address[place + 1 :]
    if mistyped != address:
        with pytest.raises(InvalidAddress):
            addresses.decode(mistyped)


@pytest.mark.parametrize("text", ["", "wp1", "wp1é", "0x" + "11" * 32, "wp1" + "a" * 55, "wp1" + "1" * 56])
def test_what_is_no_mailbox_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        addresses.decode(text)
