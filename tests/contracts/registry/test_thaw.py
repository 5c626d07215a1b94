"""NodeRegistry.thaw and cancelThaw: stake on its way out of a provision, and back."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import reverts
from operators import NOBODY, UNBONDING


@pytest.fixture(params=["unassigned", "provisioned"])
def whose(request, provisioned, slasher):
    """The operator has 600 dollars that are assigned to nobody, and 400 for the slasher."""
    return NOBODY if request.param == "unassigned" else slasher


def test_stops_backing_at_once(provisioned, operators, operator, whose):
    before = operators.provision(operator, whose)["amount"]
    tx = provisioned.thaw(whose, 300 * DOLLAR, {"from": operator})
    thawed_at = tx.timestamp + UNBONDING
    assert operators.provision(operator, whose) == {
        "amount": before - 300 * DOLLAR,
        "thawing": 300 * DOLLAR,
        "thawedAt": thawed_at,
        "locked": 0,
    }
    node = operators.node(operator)
    assert (node["stake"], node["thawing"]) == (700 * DOLLAR, 300 * DOLLAR)
    assert provisioned.total() == 1_000 * DOLLAR
    assert dict(tx.events["Thawing"]) == {
        "operator": operator,
        "slasher": whose,
        "amount": 300 * DOLLAR,
        "thawedAt": thawed_at,
    }


def test_thawing_more_restarts_the_clock(provisioned, operators, operator, whose):
    provisioned.thaw(whose, 300 * DOLLAR, {"from": operator})
    next_block_at(chain.time() + 1_000)
    tx = provisioned.thaw(whose, 100 * DOLLAR, {"from": operator})
    provision = operators.provision(operator, whose)
    assert (provision["thawing"], provision["thawedAt"]) == (400 * DOLLAR, tx.timestamp + UNBONDING)


def test_each_provision_has_its_clock(provisioned, operators, operator, slasher):
    first = provisioned.thaw(slasher, 100 * DOLLAR, {"from": operator}).timestamp
    next_block_at(first + 1_000)
    provisioned.thaw(NOBODY, 100 * DOLLAR, {"from": operator})
    assert operators.provision(operator, slasher)["thawedAt"] == first + UNBONDING
    assert operators.provision(operator)["thawedAt"] == first + 1_000 + UNBONDING


def test_refuses_more_than_backs(provisioned, operators, operator, whose):
    most = operators.provision(operator, whose)["amount"]
    with reverts("AmountOutOfRange", most + 1, most):
        provisioned.thaw(whose, most + 1, {"from": operator})
    provisioned.thaw(whose, most, {"from": operator})
    with reverts("AmountOutOfRange", 1, 0):
        provisioned.thaw(whose, 1, {"from": operator})


def test_refuses_zero(provisioned, operator, whose):
    """Which would only move the clock."""
    with reverts("ZeroAmount"):
        provisioned.thaw(whose, 0, {"from": operator})


def test_strangers_have_nothing(provisioned, stranger, slasher, whose):
    for caller in (stranger, slasher):
        with reverts("AmountOutOfRange", 1, 0):
            provisioned.thaw(whose, 1, {"from": caller})


def test_locked_stake_may_thaw(provisioned, operators, operator, slasher):
    """It waits, and stays locked."""
    provisioned.lock(operator, 400 * DOLLAR, {"from": slasher})
    provisioned.thaw(slasher, 400 * DOLLAR, {"from": operator})
    provision = operators.provision(operator, slasher)
    assert (provision["thawing"], provision["locked"]) == (400 * DOLLAR, 400 * DOLLAR)


def test_cancel_makes_it_back_promises_again(provisioned, operators, operator, whose):
    before = operators.node(operator), operators.provision(operator, whose)
    provisioned.thaw(whose, 300 * DOLLAR, {"from": operator})
    tx = provisioned.cancelThaw(whose, {"from": operator})
    assert (operators.node(operator), operators.provision(operator, whose)) == before
    assert dict(tx.events["ThawCancelled"]) == {
        "operator": operator,
        "slasher": whose,
        "amount": 300 * DOLLAR,
    }


def test_cancel_refuses_if_nothing_thaws(provisioned, operator, stranger, slasher):
    provisioned.thaw(NOBODY, 1, {"from": operator})
    for caller, whose in ((operator, slasher), (stranger, NOBODY)):
        with reverts("NothingThawing", caller, whose):
            provisioned.cancelThaw(whose, {"from": caller})
