"""NodeRegistry.withdraw: thawed stake leaves, but for what is locked, and that not forever."""

import pytest
from brownie import ZERO_ADDRESS

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import REENTRANT_CALL, reverts
from operators import NOBODY, UNBONDING


@pytest.fixture
def thawing(provisioned, operator, slasher):
    """300 of the 400 dollars for the slasher thaw."""
    provisioned.thaw(slasher, 300 * DOLLAR, {"from": operator})
    return provisioned


@pytest.fixture
def thawed_at(thawing, operators, operator, slasher):
    return operators.provision(operator, slasher)["thawedAt"]


def test_sends_what_has_thawed(thawing, thawed_at, operators, operator, slasher, stranger):
    next_block_at(thawed_at)
    tx = thawing.withdraw(slasher, stranger, {"from": operator})
    assert operators.token.balanceOf(stranger) == 300 * DOLLAR
    assert operators.token.balanceOf(thawing) == thawing.total() == 700 * DOLLAR
    node = operators.node(operator)
    assert (node["stake"], node["thawing"]) == (700 * DOLLAR, 0)
    assert operators.provision(operator, slasher) == {
        "amount": 100 * DOLLAR,
        "thawing": 0,
        "thawedAt": 0,
        "locked": 0,
    }
    assert dict(tx.events["Withdrawn"]) == {
        "operator": operator,
        "slasher": slasher,
        "to": stranger,
        "amount": 300 * DOLLAR,
    }


def test_sends_what_was_assigned_to_nobody(provisioned, operators, operator, stranger):
    provisioned.thaw(NOBODY, 600 * DOLLAR, {"from": operator})
    next_block_at(operators.provision(operator)["thawedAt"])
    provisioned.withdraw(NOBODY, stranger, {"from": operator})
    assert operators.token.balanceOf(stranger) == 600 * DOLLAR


def test_refuses_a_second_too_early(thawing, thawed_at, operator, slasher):
    next_block_at(thawed_at - 1)
    with reverts("TooEarly", thawed_at - 1, thawed_at):
        thawing.withdraw(slasher, operator, {"from": operator})


def test_sends_it_once(thawing, thawed_at, operator, slasher):
    next_block_at(thawed_at)
    thawing.withdraw(slasher, operator, {"from": operator})
    with reverts("NothingThawing", operator, slasher):
        thawing.withdraw(slasher, operator, {"from": operator})


def test_refuses_if_nothing_thaws(thawing, operator, slasher, stranger):
    for caller, whose in ((operator, NOBODY), (stranger, slasher), (slasher, slasher)):
        with reverts("NothingThawing", caller, whose):
            thawing.withdraw(whose, caller, {"from": caller})


def test_refuses_after_cancelling(thawing, thawed_at, operator, slasher):
    thawing.cancelThaw(slasher, {"from": operator})
    next_block_at(thawed_at)
    with reverts("NothingThawing", operator, slasher):
        thawing.withdraw(slasher, operator, {"from": operator})


def test_refuses_to_lose_it(thawing, thawed_at, operators, operator, slasher):
    next_block_at(thawed_at)
    for nowhere in (ZERO_ADDRESS, thawing.address, operators.token.address):
        with reverts("InvalidReceiver", nowhere):
            thawing.withdraw(slasher, nowhere, {"from": operator})


# Locks: the slasher's provision has 100 dollars that back, and 300 that thaw.


@pytest.mark.parametrize(("locked", "sent"), [(100, 300), (150, 250), (399, 1)])
def test_what_is_locked_stays(thawing, thawed_at, operators, operator, slasher, locked, sent):  # N4
    """What backs is kept for it first, then what thaws."""
    thawing.lock(operator, locked * DOLLAR, {"from": slasher})
    next_block_at(thawed_at)
    tx = thawing.withdraw(slasher, operator, {"from": operator})
    assert tx.events["Withdrawn"]["amount"] == sent * DOLLAR
    assert operators.provision(operator, slasher) == {
        "amount": 100 * DOLLAR,
        "thawing": (300 - sent) * DOLLAR,
        "thawedAt": thawed_at if sent < 300 else 0,
        "locked": locked * DOLLAR,
    }


def test_refuses_if_all_of_it_is_locked(thawing, thawed_at, operator, slasher):  # N4
    thawing.lock(operator, 400 * DOLLAR, {"from": slasher})
    next_block_at(thawed_at + UNBONDING - 1)
    with reverts("StakeLocked", 300 * DOLLAR, thawed_at + UNBONDING):
        thawing.withdraw(slasher, operator, {"from": operator})


def test_leaves_after_it_was_unlocked(thawing, thawed_at, operators, operator, slasher):
    thawing.lock(operator, 400 * DOLLAR, {"from": slasher})
    thawing.unlock(operator, 300 * DOLLAR, {"from": slasher})
    next_block_at(thawed_at)
    thawing.withdraw(slasher, operator, {"from": operator})
    assert operators.provision(operator, slasher)["locked"] == 100 * DOLLAR


def test_no_lock_holds_forever(thawing, thawed_at, operators, operator, slasher):  # N5
    """A slasher that never unlocks keeps what thaws for one more unbonding time, and what backs."""
    thawing.lock(operator, 400 * DOLLAR, {"from": slasher})
    next_block_at(thawed_at + UNBONDING)
    thawing.withdraw(slasher, operator, {"from": operator})
    provision = operators.provision(operator, slasher)
    assert (provision["thawing"], provision["locked"]) == (0, 100 * DOLLAR)
    assert thawing.total() == 700 * DOLLAR


# Tokens


def test_a_refused_transfer_loses_nothing(other, operator, stranger, RefusingToken):
    """The operator names another receiver and tries again."""
    operators = other(RefusingToken)
    registry, token = operators.registry, operators.token
    registry.stake(100 * DOLLAR, {"from": operator})
    registry.thaw(NOBODY, 100 * DOLLAR, {"from": operator})
    token.refuse(operator, 1, {"from": operator})
    next_block_at(operators.provision(operator)["thawedAt"])
    with reverts("Denied", operator):
        registry.withdraw(NOBODY, operator, {"from": operator})
    registry.withdraw(NOBODY, stranger, {"from": operator})
    assert token.balanceOf(stranger) == 100 * DOLLAR


def test_token_cannot_reenter(other, operator, ReentrantToken):
    operators = other(ReentrantToken)
    registry, token = operators.registry, operators.token
    registry.stake(100 * DOLLAR, {"from": operator})
    registry.thaw(NOBODY, 100 * DOLLAR, {"from": operator})
    token.arm(registry, registry.withdraw.encode_input(NOBODY, operator), {"from": operator})
    next_block_at(operators.provision(operator)["thawedAt"])
    registry.withdraw(NOBODY, operator, {"from": operator})
    assert token.called()
    assert token.answer() == REENTRANT_CALL
    assert registry.total() == token.balanceOf(registry) == 0
