"""NodeRegistry.rotateKey: a new key for the node, and the period of each."""

import pytest

from channel_ledger import fresh_key
from errors import reverts
from operators import FOREVER, NOBODY


def rotate(operators, operator, node_key, key_sig=None):
    proof = (key_sig or operators.prove(operator, node_key)).packed
    return operators.registry.rotateKey(node_key.address, proof, {"from": operator})


@pytest.fixture
def first(operators, operator):
    """The key that the operator registered with."""
    node_key = fresh_key()
    operators.register(operator, node_key)
    return node_key


def test_one_period_ends_as_the_other_begins(operators, operator, first):
    registry, second = operators.registry, fresh_key()
    begun = operators.node(operator)["registeredAt"]
    assert registry.keyPeriod(first.address) == (operator, begun, FOREVER)
    tx = rotate(operators, operator, second)
    assert operators.node(operator)["nodeKey"] == second.address
    assert registry.keyPeriod(first.address) == (operator, begun, tx.timestamp)
    assert registry.keyPeriod(second.address) == (operator, tx.timestamp, FOREVER)
    assert dict(tx.events["KeyRotated"]) == {
        "operator": operator,
        "nodeKey": second.address,
        "previous": first.address,
    }


def test_nobodys_key_has_no_period(registry):
    assert registry.keyPeriod(fresh_key().address) == (NOBODY, 0, 0)


def test_no_key_comes_back(operators, operator, first):
    second = fresh_key()
    rotate(operators, operator, second)
    for used in (first, second):
        with reverts("NodeKeyUsed", used.address):
            rotate(operators, operator, used)


def test_refuses_another_operators_key(operators, operator, stranger, first):
    theirs = fresh_key()
    operators.register(stranger, theirs)
    with reverts("NodeKeyUsed", theirs.address):
        rotate(operators, operator, theirs)


def test_a_retired_key_is_nobodys_to_register(operators, operator, stranger, first):
    rotate(operators, operator, fresh_key())
    with reverts("NodeKeyUsed", first.address):
        operators.register(stranger, first)


def test_refuses_a_proof_of_another(operators, operator, stranger, first):
    mine, theirs = fresh_key(), fresh_key()
    for proof in (operators.prove(operator, mine), operators.prove(stranger, theirs)):
        with reverts("InvalidSignature", theirs.address):
            rotate(operators, operator, theirs, proof)
    assert operators.node(operator)["nodeKey"] == first.address


def test_refuses_strangers(operators, stranger):
    with reverts("NotRegistered", stranger):
        rotate(operators, stranger, fresh_key())
