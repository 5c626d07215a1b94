"""What is signed for memberships survives JSON; an authorization pays for nothing else than it names."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import domains, private_keys, structs

from waypost.errors import AmountOutOfRange, InvalidMembership
from waypost.protocol.eip712 import Domain, membership_domain
from waypost.protocol.memberships import Exit, Extension, Registration, authorize_membership, slash_hash
from waypost.protocol.signatures import address_of, checksum

KEY = b"\x07" * 32
CONTRACT, HOME, TOKEN = (checksum(bytes([n]) * 20) for n in (1, 2, 3))
TOKEN_DOMAIN = Domain("Dev Dollar", "1", 31337, TOKEN)
REGISTRATION = Registration(address_of(KEY), 5, 100, HOME, 4, 2_000_000_000)


@given(structs(Registration) | structs(Extension) | structs(Exit))
def test_structs_survive_json(struct: Registration | Extension | Exit) -> None:
    assert type(struct).from_json(json.loads(json.dumps(struct.to_json()))) == struct


@given(structs(Registration), private_keys, domains)
def test_a_signature_is_of_one_contract(registration: Registration, key: bytes, other: Domain) -> None:
    domain = membership_domain(31337, CONTRACT)
    signature = registration.sign(domain, key)
    assert registration.recover(domain, signature) == address_of(key)
    assert domain == other or registration.digest(domain) != registration.digest(other)


@pytest.mark.parametrize("change", [{"rate": 2**16}, {"rate": -1}, {"periods": 2**32}, {"deadline": 2**40}])
def test_what_does_not_fit_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(InvalidMembership):
        replace(REGISTRATION, **change)  # type: ignore[arg-type]


@given(structs(Registration) | structs(Extension), st.integers(0, 2**256 - 1), private_keys)
def test_an_authorization_is_for_one_purpose(
    purpose: Registration | Extension, amount: int, key: bytes
) -> None:
    paid = authorize_membership(purpose, amount, CONTRACT, TOKEN_DOMAIN, key, 99)
    transfer = paid.transfer
    assert (transfer.from_, transfer.to, transfer.value) == (purpose.payer, CONTRACT, amount)
    assert (transfer.valid_after, transfer.valid_before, transfer.nonce) == (0, 99, purpose.struct_hash())
    assert paid.to_abi()[:2] == (0, 99)


def test_a_slash_binds_secret_receiver_and_salt() -> None:
    base = slash_hash(1, HOME, bytes(32))
    others = slash_hash(2, HOME, bytes(32)), slash_hash(1, TOKEN, bytes(32)), slash_hash(1, HOME, b"\1" * 32)
    assert len({base, *others}) == 4
    with pytest.raises(AmountOutOfRange):
        slash_hash(-1, HOME, bytes(32))
    with pytest.raises(InvalidMembership):
        slash_hash(1, HOME, bytes(31))
