"""NodeRegistry.update: what an operator publishes."""

import pytest
from brownie import ZERO_ADDRESS

from errors import reverts

LEASE = 4
METADATA = b"\x0b" * 32


def send(operators, operator, services=LEASE, payout=None, endpoint="https://two.example"):
    return operators.registry.update(services, payout or operator, endpoint, METADATA, {"from": operator})


def test_replaces_what_is_published(staked, operators, operator, stranger):
    before = operators.node(operator)
    tx = send(operators, operator, payout=stranger)
    published = {
        "services": LEASE,
        "payout": stranger,
        "endpoint": "https://two.example",
        "metadataHash": "0x" + METADATA.hex(),
    }
    assert operators.node(operator) == before | published
    assert dict(tx.events["Updated"]) == published | {"operator": operator}


@pytest.mark.parametrize("endpoint", ["https://" + "a" * 100, "e"], ids=len)
def test_the_endpoint_may_grow_and_shrink(staked, operators, operator, endpoint):
    send(operators, operator, endpoint=endpoint)
    assert operators.node(operator)["endpoint"] == endpoint


def test_refuses_strangers(staked, operators, stranger):
    with reverts("NotRegistered", stranger):
        send(operators, stranger)


def test_refuses_no_services(staked, operators, operator):
    with reverts("NoServices"):
        send(operators, operator, services=0)


def test_refuses_payout_to_nobody(staked, operators, operator):
    with reverts("InvalidPayout", ZERO_ADDRESS):
        send(operators, operator, payout=ZERO_ADDRESS)


@pytest.mark.parametrize("endpoint", ["", "e" * 257], ids=len)
def test_refuses_endpoints_of(staked, operators, operator, endpoint):
    with reverts("EndpointLengthOutOfRange", len(endpoint), 1, 256):
        send(operators, operator, endpoint=endpoint)
