"""NodeRegistry.register: an operator and the key of its node."""

import pytest
from brownie import ZERO_ADDRESS

from channel_ledger import fresh_key
from errors import reverts
from operators import ENDPOINT, FOREVER, METADATA, RELAY, STORE


def test_registers(operators, operator, stranger):
    node_key = fresh_key()
    tx = operators.register(operator, node_key, payout=stranger)
    assert operators.node(operator) == {
        "operator": operator,
        "nodeKey": node_key.address,
        "payout": stranger,
        "services": STORE | RELAY,
        "registeredAt": tx.timestamp,
        "stake": 0,
        "thawing": 0,
        "metadataHash": "0x" + METADATA.hex(),
        "endpoint": ENDPOINT,
    }
    assert operators.registry.keyPeriod(node_key.address) == (operator, tx.timestamp, FOREVER)
    assert operators.registry.count() == 1
    assert dict(tx.events["Registered"]) == {
        "operator": operator,
        "nodeKey": node_key.address,
        "services": STORE | RELAY,
        "payout": stranger,
        "endpoint": ENDPOINT,
        "metadataHash": "0x" + METADATA.hex(),
    }


def test_nobody_is_registered_before(operators, operator):
    assert operators.node(operator)["operator"] == ZERO_ADDRESS


def test_refuses_an_operator_twice(operators, operator):
    operators.register(operator)
    with reverts("AlreadyRegistered", operator):
        operators.register(operator)


def test_refuses_a_key_twice(operators, operator, stranger):
    node_key = fresh_key()
    operators.register(operator, node_key)
    with reverts("NodeKeyUsed", node_key.address):
        operators.register(stranger, node_key)


def test_refuses_somebody_elses_key(operators, operator):
    mine, theirs = fresh_key(), fresh_key()
    with reverts("InvalidSignature", theirs.address):
        operators.register(operator, theirs, key_sig=operators.prove(operator, mine))


def test_refuses_a_copied_proof(operators, operator, stranger):
    """Who sees a registration in the mempool cannot take its key."""
    node_key = fresh_key()
    with reverts("InvalidSignature", node_key.address):
        operators.register(stranger, node_key, key_sig=operators.prove(operator, node_key))


@pytest.mark.parametrize(
    "other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}, {"name": "Waypost"}], ids=str
)
def test_refuses_a_proof_of_another_domain(operators, operator, other):
    node_key = fresh_key()
    message = {"operator": str(operator), "nodeKey": node_key.address}
    foreign = operators.domain.with_(**other).sign(node_key, "NodeKey", message)
    with reverts("InvalidSignature", node_key.address):
        operators.register(operator, node_key, key_sig=foreign)


@pytest.mark.parametrize("proof", [b"", b"\x00" * 64, b"\x00" * 65, b"\xff" * 66], ids=len)
def test_refuses_no_proof(operators, operator, proof):
    node_key = fresh_key()
    arguments = (STORE, node_key.address, operator, ENDPOINT, METADATA, proof, {"from": operator})
    with reverts("InvalidSignature", node_key.address):
        operators.registry.register(*arguments)


def test_refuses_nobodys_key(operators, operator):
    """A malformed proof recovers to nobody, who must not become a node."""
    with reverts("InvalidSignature", ZERO_ADDRESS):
        operators.registry.register(
            STORE, ZERO_ADDRESS, operator, ENDPOINT, METADATA, b"\x00" * 65, {"from": operator}
        )


def test_refuses_no_services(operators, operator):
    with reverts("NoServices"):
        operators.register(operator, services=0)


def test_keeps_bits_of_services_to_come(operators, operator):
    operators.register(operator, services=2**32 - 1)
    assert operators.node(operator)["services"] == 2**32 - 1


def test_refuses_payout_to_nobody(operators, operator):
    with reverts("InvalidPayout", ZERO_ADDRESS):
        operators.register(operator, payout=ZERO_ADDRESS)


@pytest.mark.parametrize("length", [1, 31, 32, 256])
def test_accepts_endpoints_of(operators, operator, length):
    operators.register(operator, endpoint="e" * length)
    assert operators.node(operator)["endpoint"] == "e" * length


@pytest.mark.parametrize("endpoint", ["", "e" * 257, "é" * 129], ids=len)
def test_refuses_endpoints_of(operators, operator, endpoint):
    with reverts("EndpointLengthOutOfRange", len(endpoint.encode()), 1, 256):
        operators.register(operator, endpoint=endpoint)


@pytest.mark.parametrize("character", ["\x00", "\x1b", " ", "\x7f", "\x80", "é"], ids=repr)
def test_refuses_endpoints_with(operators, operator, character):
    """One undecodable endpoint would hide the whole page that it is on."""
    with reverts("InvalidEndpoint", 9, character.encode()[:1]):
        operators.register(operator, endpoint=f"https://a{character}")
