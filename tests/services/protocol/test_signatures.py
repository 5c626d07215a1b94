"""Keys, addresses and compact signatures, against eth-account and the published EIP vectors."""

import hashlib

import pytest
from eth_account import Account
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import private_keys, words

from waypost.errors import InvalidAddress, InvalidPrivateKey, InvalidSignature
from waypost.protocol.signatures import (
    CURVE_ORDER,
    MAX_S,
    PARITY_BIT,
    Signature,
    address_bytes,
    address_of,
    checksum,
    keccak,
    recover,
    recover_address_bytes,
    sign,
)

KEY = bytes.fromhex("1234567890123456789012345678901234567890123456789012345678901234")

# The examples of EIP-2098.
EIP_2098 = [
    (
        "Hello World",
        "68a020a209d3d56c46f38cc50a33f704f4a9a10a59377f8dd762ac66910e9b90",
        "7e865ad05c4035ab5792787d4a0297a43617ae897930a6fe4d822b8faea52064",
        27,
    ),
    (
        "It's a small(er) world",
        "9328da16089fcba9bececa81663203989f2df5fe1faa6291a45381c81bd17f76",
        "939c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f550793",
        28,
    ),
]


def personal_digest(message: str) -> bytes:
    """EIP-191, version 0x45."""
    return keccak(f"\x19Ethereum Signed Message:\n{len(message)}{message}".encode())


@pytest.mark.parametrize(("message", "r", "vs", "v"), EIP_2098)
def test_eip_2098_examples(message: str, r: str, vs: str, v: int) -> None:
    signature = sign(personal_digest(message), KEY)
    assert (signature.r.hex(), signature.vs.hex(), signature.v) == (r, vs, v)
    assert recover(personal_digest(message), signature) == address_of(KEY)


@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_eip_55_examples(address: str) -> None:
    assert checksum(bytes.fromhex(address[2:])) == address


def test_keccak_is_not_sha3() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak(b"") != hashlib.sha3_256(b"").digest()


@given(st.binary(min_size=20, max_size=20))
def test_checksum_equals_eth_utils(raw: bytes) -> None:
    assert checksum(raw) == to_checksum_address(raw)
    assert address_bytes(checksum(raw)) == raw


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0x",
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1B Aed",
        "vitalik.eth",
        b"\0" * 20,
        None,
        7,
    ],
)
def test_only_checksummed_addresses_are_encoded(address: str) -> None:
    with pytest.raises(InvalidAddress):
        address_bytes(address)


@given(private_keys, words)
def test_signing_equals_eth_account(key: bytes, digest: bytes) -> None:
    theirs = Account.unsafe_sign_hash(digest, key)
    ours = sign(digest, key)
    assert (ours.r, ours.s, ours.v) == (theirs.r.to_bytes(32), theirs.s.to_bytes(32), theirs.v)
    assert ours.to_rsv() == theirs.signature
    assert int.from_bytes(ours.s) <= MAX_S
    assert address_of(key) == Account.from_key(key).address == recover(digest, ours)


@given(private_keys, words)
def test_signatures_survive_both_encodings(key: bytes, digest: bytes) -> None:
    signature = sign(digest, key)
    assert Signature.from_bytes(signature.to_bytes()) == signature
    assert Signature.from_hex(signature.to_hex()) == signature
    assert Signature.from_hex("0x" + signature.to_hex()[2:].upper()) == signature
    assert signature.to_abi() == (signature.r, signature.vs)


@given(words, words, words)
def test_recovery_gives_an_address_or_one_error(digest: bytes, r: bytes, vs: bytes) -> None:
    try:
        found = recover(digest, Signature(r, vs))
    except InvalidSignature:
        return
    assert address_bytes(found)


def _signature(r: int, s: int, parity: int = 0) -> Signature:
    return Signature(r.to_bytes(32), (s | parity << 255).to_bytes(32))


SOUND_R = int.from_bytes(sign(bytes(32), KEY).r)


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 1),
        (SOUND_R, 0),
        (CURVE_ORDER, 1),
        (2**256 - 1, 1),
        (SOUND_R, MAX_S + 1),
        (SOUND_R, PARITY_BIT - 1),
        (5, 1),  # no point of the curve has x = 5
    ],
)
@pytest.mark.parametrize("parity", [0, 1])
def test_values_out_of_range_are_refused(r: int, s: int, parity: int) -> None:
    with pytest.raises(InvalidSignature):
        recover_address_bytes(bytes(32), _signature(r, s, parity))


@pytest.mark.parametrize("parity", [0, 1])
def test_the_largest_s_is_accepted(parity: int) -> None:
    assert len(recover_address_bytes(bytes(32), _signature(SOUND_R, MAX_S, parity))) == 20


def test_the_other_parity_is_another_key() -> None:
    signature = sign(bytes(32), KEY)
    flipped = Signature(signature.r, bytes([signature.vs[0] ^ 0x80]) + signature.vs[1:])
    assert recover(bytes(32), flipped) != address_of(KEY)


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        recover(b"short", sign(bytes(32), KEY))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signatures_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InvalidSignature):
        Signature.from_bytes(bytes(length))
    with pytest.raises(InvalidSignature):
        Signature.from_hex("0x" + "00" * length)


@pytest.mark.parametrize("text", ["", "0x", "00" * 64, "0x" + "zz" * 64, "0x" + "\u0660" * 128])
def test_signatures_that_are_no_hex_are_refused(text: str) -> None:
    with pytest.raises(InvalidSignature):
        Signature.from_hex(text)


@pytest.mark.parametrize(
    "key", [b"", bytes(31), bytes(32), CURVE_ORDER.to_bytes(32), b"\xff" * 32, b"\x01" * 33]
)
def test_only_keys_of_the_curve_sign(key: bytes) -> None:
    with pytest.raises(InvalidPrivateKey):
        sign(bytes(32), key)
    with pytest.raises(InvalidPrivateKey):
        address_of(key)


def test_the_largest_key_signs() -> None:
    key = (CURVE_ORDER - 1).to_bytes(32)
    assert recover(bytes(32), sign(bytes(32), key)) == address_of(key)


def test_addresses_are_typed() -> None:
    found: ChecksumAddress = address_of((1).to_bytes(32))
    assert found == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
