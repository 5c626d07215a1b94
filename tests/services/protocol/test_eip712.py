"""Typed structs equal what eth-account signs, and what their JSON says."""

import contextlib
import json
from dataclasses import dataclass

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import addresses, domains, private_keys, structs

from waypost.errors import AmountOutOfRange, InvalidAddress, InvalidOpening, InvalidSignature
from waypost.protocol.eip712 import (
    Domain,
    TypedStruct,
    Uint40,
    channels_domain,
    node_domain,
    registry_domain,
)
from waypost.protocol.nodes import NodeKey, NodeStatement
from waypost.protocol.openings import (
    Close,
    Opening,
    ReceiveWithAuthorization,
    StartClose,
    TopUp,
    WithdrawCredit,
)
from waypost.protocol.receipts import Receipt
from waypost.protocol.sessions import Session
from waypost.protocol.signatures import address_of, checksum, keccak

KINDS: list[type[TypedStruct]] = [
    Close,
    NodeKey,
    NodeStatement,
    Opening,
    Receipt,
    ReceiveWithAuthorization,
    Session,
    StartClose,
    TopUp,
    WithdrawCredit,
]
ADDRESS = checksum(b"\xab" * 20)
OPENING = Opening(ADDRESS, ADDRESS, ADDRESS, ADDRESS, 1, 2, bytes(32), 3)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), domain=domains)
def test_digests_equal_those_of_eth_account(
    kind: type[TypedStruct], data: st.DataObject, domain: Domain
) -> None:
    struct = data.draw(structs(kind))
    wallet = json.loads(json.dumps(struct.typed_data(domain)))
    encoded = encode_typed_data(full_message=wallet)
    assert encoded.header == domain.separator
    assert encoded.body == struct.struct_hash()
    assert keccak(b"\x19" + encoded.version + encoded.header + encoded.body) == struct.digest(domain)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_structs_survive_json(kind: type[TypedStruct], data: st.DataObject) -> None:
    struct = data.draw(structs(kind))
    assert kind.from_json(json.loads(json.dumps(struct.to_json()))) == struct


@given(struct=structs(Opening), domain=domains, other=domains, key=private_keys)
def test_a_signature_holds_for_one_domain(struct: Opening, domain: Domain, other: Domain, key: bytes) -> None:
    signature = struct.sign(domain, key)
    assert struct.recover(domain, signature) == address_of(key)
    if other != domain:
        with contextlib.suppress(InvalidSignature):
            assert struct.recover(other, signature) != address_of(key)


def test_the_domains_differ() -> None:
    make = (channels_domain, registry_domain, node_domain)
    assert len({domain(1, ADDRESS).separator for domain in make}) == 3
    assert channels_domain(1, ADDRESS).separator != channels_domain(2, ADDRESS).separator


def test_types_are_encoded_as_the_contracts_declare_them() -> None:
    assert OPENING.type_string == (
        "Opening(address payer,address payee,address token,address signer,uint32 closeDelay,"
        "uint128 amount,bytes32 salt,uint40 deadline)"
    )
    assert NodeStatement.type_string == "Node(address operator,bytes32 descriptorHash,uint40 issued)"
    assert ReceiveWithAuthorization.type_string.startswith("ReceiveWithAuthorization(address from,")


def test_abi_form_lists_the_members_in_order() -> None:
    assert OPENING.to_abi() == (ADDRESS, ADDRESS, ADDRESS, ADDRESS, 1, 2, bytes(32), 3)


def test_money_is_a_decimal_string_and_time_a_number() -> None:
    written = OPENING.to_json()
    assert (written["amount"], written["deadline"], written["closeDelay"]) == ("2", 3, 1)
    assert written["salt"] == "0x" + "00" * 32


@given(addresses, st.integers(0, 2**40 - 1))
def test_a_subclass_is_all_it_takes(owner: str, expires: int) -> None:
    @dataclass(frozen=True, slots=True)
    class Lease(TypedStruct):
        expires_at: Uint40

    assert Lease.type_string == "Lease(uint40 expiresAt)"
    assert Lease(expires).struct_hash() == keccak(keccak(b"Lease(uint40 expiresAt)") + expires.to_bytes(32))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"payer": ADDRESS.lower()}, InvalidAddress),
        ({"amount": -1}, AmountOutOfRange),
        ({"amount": 2**128}, AmountOutOfRange),
        ({"amount": "1"}, InvalidOpening),
        ({"close_delay": 2**32}, InvalidOpening),
        ({"deadline": -1}, InvalidOpening),
        ({"deadline": 2**40}, InvalidOpening),
        ({"deadline": None}, InvalidOpening),
        ({"salt": bytes(31)}, InvalidOpening),
        ({"salt": "0x" + "00" * 32}, InvalidOpening),
    ],
)
def test_no_struct_holds_what_cannot_be_signed(change: dict[str, object], error: type[Exception]) -> None:
    members = {name: getattr(OPENING, name) for name in Opening.members}
    with pytest.raises(error):
        Opening(**(members | change))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"amount": 2}, InvalidOpening),
        ({"amount": "2.0"}, InvalidOpening),
        ({"amount": "02"}, InvalidOpening),
        ({"amount": "-2"}, InvalidOpening),
        ({"amount": "\u0662"}, InvalidOpening),
        ({"amount": str(2**128)}, AmountOutOfRange),
        ({"deadline": "3"}, InvalidOpening),
        ({"deadline": 3.0}, InvalidOpening),
        ({"deadline": True}, InvalidOpening),
        ({"deadline": 2**40}, InvalidOpening),
        ({"salt": "00" * 32}, InvalidOpening),
        ({"salt": "0x" + "00" * 33}, InvalidOpening),
        ({"payer": "0x00"}, InvalidAddress),
        ({"payer": ADDRESS[:-1] + "x"}, InvalidAddress),
        ({"payer": None}, InvalidOpening),
        ({"payer": 1}, InvalidOpening),
    ],
)
def test_json_faults_name_the_field(change: dict[str, object], error: type[InvalidOpening]) -> None:
    with pytest.raises(error) as caught:
        Opening.from_json(OPENING.to_json() | change)
    assert caught.type is error
    assert caught.value.details["field"] == next(iter(change))


def test_a_lower_case_address_is_understood() -> None:
    written = {
        name: value.lower() if isinstance(value, str) else value for name, value in OPENING.to_json().items()
    }
    assert Opening.from_json(written) == OPENING


def test_unknown_fields_are_ignored() -> None:
    assert Opening.from_json({**OPENING.to_json(), "colour": "red"}) == OPENING
