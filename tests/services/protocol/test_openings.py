"""Openings: agreed to by the signer, paid by an authorization that fits no other opening."""

import json
from dataclasses import replace

import pytest
from eth_typing import ChecksumAddress
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import addresses, domains, private_keys, structs

from waypost.errors import InvalidAuthorization, InvalidOpening, InvalidSignature
from waypost.protocol.eip712 import Domain, channels_domain
from waypost.protocol.openings import Authorization, Opening, SignedOpening, TopUp, authorize
from waypost.protocol.signatures import Signature, address_of, checksum

KEY = b"\x07" * 32
CHANNELS, PAYER, PAYEE, TOKEN = (checksum(bytes([n]) * 20) for n in (1, 2, 3, 4))
DOMAIN = channels_domain(31337, CHANNELS)
TOKEN_DOMAIN = Domain("Dev Dollar", "1", 31337, TOKEN)
OPENING = Opening(PAYER, PAYEE, TOKEN, address_of(KEY), 60, 5_000_000, b"\x09" * 32, 2_000_000_000)
SIGNED = SignedOpening(OPENING, OPENING.sign(DOMAIN, KEY))


def test_the_signer_agrees() -> None:
    SIGNED.verify(DOMAIN)


def test_nobody_squats_on_anothers_key() -> None:
    stranger = SignedOpening(OPENING, OPENING.sign(DOMAIN, b"\x08" * 32))
    with pytest.raises(InvalidSignature) as caught:
        stranger.verify(DOMAIN)
    assert caught.value.details["signer"] == OPENING.signer


@pytest.mark.parametrize("change", [{"amount": 1}, {"payee": PAYER}, {"close_delay": 1}, {"salt": bytes(32)}])
def test_a_changed_opening_is_not_agreed_to(change: dict[str, object]) -> None:
    changed = SignedOpening(replace(OPENING, **change), SIGNED.signer_signature)  # type: ignore[arg-type]
    with pytest.raises(InvalidSignature):
        changed.verify(DOMAIN)


@given(structs(Opening), private_keys)
def test_signed_openings_survive_json(opening: Opening, key: bytes) -> None:
    signed = SignedOpening(opening, opening.sign(DOMAIN, key))
    assert SignedOpening.from_json(json.loads(json.dumps(signed.to_json()))) == signed


@given(structs(Opening) | structs(TopUp), addresses, domains, private_keys, st.integers(0, 2**53 - 1))
def test_authorizations_survive_json(
    purpose: Opening | TopUp, channels: ChecksumAddress, token: Domain, key: bytes, valid_before: int
) -> None:
    authorization = authorize(purpose, channels, token, key, valid_before)
    written = json.loads(json.dumps(authorization.to_json()))
    assert Authorization.from_json(written, purpose, channels) == authorization
    assert authorization.to_abi() == (0, valid_before, authorization.v, authorization.r, authorization.s)


def test_an_authorization_is_for_one_opening() -> None:
    authorization = authorize(OPENING, CHANNELS, TOKEN_DOMAIN, KEY, 2_000_000_000)
    transfer = authorization.transfer
    assert (transfer.from_, transfer.to, transfer.value) == (PAYER, CHANNELS, OPENING.amount)
    assert transfer.nonce == OPENING.struct_hash()
    s = int.from_bytes(authorization.s) | (authorization.v - 27) << 255
    signature = Signature(authorization.r, s.to_bytes(32))
    assert transfer.recover(TOKEN_DOMAIN, signature) == address_of(KEY)
    other = Authorization.from_json(authorization.to_json(), replace(OPENING, salt=bytes(32)), CHANNELS)
    assert other.transfer.nonce != transfer.nonce


@pytest.mark.parametrize(
    "change", [{"v": 256}, {"v": "27"}, {"r": "0x00"}, {"validBefore": "1"}, {"validAfter": -1}, {"s": None}]
)
def test_malformed_authorizations(change: dict[str, object]) -> None:
    written = authorize(OPENING, CHANNELS, TOKEN_DOMAIN, KEY, 2_000_000_000).to_json()
    with pytest.raises(InvalidAuthorization):
        Authorization.from_json(written | change, OPENING, CHANNELS)


@pytest.mark.parametrize("value", [None, [], "opening", {}, {"opening": None}, {"opening": []}])
def test_malformed_signed_openings(value: object) -> None:
    with pytest.raises(InvalidOpening):
        SignedOpening.from_json(value)
