"""NodeRegistry.lock and unlock: what a slasher sets aside for open obligations."""

import pytest

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import reverts


def test_sets_aside(provisioned, operators, operator, slasher):
    tx = provisioned.lock(operator, 30 * DOLLAR, {"from": slasher})
    assert operators.provision(operator, slasher)["locked"] == 30 * DOLLAR
    assert operators.node(operator)["stake"] == 1_000 * DOLLAR
    event = {"operator": operator, "slasher": slasher, "amount": 30 * DOLLAR, "locked": 30 * DOLLAR}
    assert dict(tx.events["Locked"]) == event
    tx = provisioned.lock(operator, 20 * DOLLAR, {"from": slasher})
    assert dict(tx.events["Locked"]) == event | {"amount": 20 * DOLLAR, "locked": 50 * DOLLAR}


def test_refuses_more_than_there_is(provisioned, operator, slasher):
    provisioned.lock(operator, 300 * DOLLAR, {"from": slasher})
    with reverts("AmountOutOfRange", 101 * DOLLAR, 100 * DOLLAR):
        provisioned.lock(operator, 101 * DOLLAR, {"from": slasher})
    provisioned.lock(operator, 100 * DOLLAR, {"from": slasher})


def test_refuses_others(provisioned, operator, stranger):  # N3
    """The operator itself too: it is no slasher of its own."""
    for caller in (stranger, operator):
        with reverts("AmountOutOfRange", 1, 0):
            provisioned.lock(operator, 1, {"from": caller})


def test_refuses_zero(provisioned, operator, slasher):
    for act in (provisioned.lock, provisioned.unlock):
        with reverts("ZeroAmount"):
            act(operator, 0, {"from": slasher})


def test_takes_stake_that_still_thaws(provisioned, operators, operator, slasher):
    provisioned.thaw(slasher, 400 * DOLLAR, {"from": operator})
    next_block_at(operators.provision(operator, slasher)["thawedAt"] - 1)
    provisioned.lock(operator, 400 * DOLLAR, {"from": slasher})


@pytest.mark.parametrize("before", [0, 350])
def test_refuses_stake_that_has_thawed(provisioned, operators, operator, slasher, before):
    """It could leave at once: such a lock would promise what it cannot hold."""
    if before:
        provisioned.lock(operator, before * DOLLAR, {"from": slasher})
    provisioned.thaw(slasher, 300 * DOLLAR, {"from": operator})
    next_block_at(operators.provision(operator, slasher)["thawedAt"])
    room = max(0, 100 - before)
    with reverts("AmountOutOfRange", room * DOLLAR + 1, room * DOLLAR):
        provisioned.lock(operator, room * DOLLAR + 1, {"from": slasher})


def test_releases(provisioned, operators, operator, slasher):
    provisioned.lock(operator, 50 * DOLLAR, {"from": slasher})
    tx = provisioned.unlock(operator, 20 * DOLLAR, {"from": slasher})
    assert operators.provision(operator, slasher)["locked"] == 30 * DOLLAR
    assert dict(tx.events["Unlocked"]) == {
        "operator": operator,
        "slasher": slasher,
        "amount": 20 * DOLLAR,
        "locked": 30 * DOLLAR,
    }


def test_releases_all_if_it_is_less(provisioned, operator, slasher):
    """A slasher can always finish, also after a bounded exit took what it had locked."""
    provisioned.lock(operator, 50 * DOLLAR, {"from": slasher})
    tx = provisioned.unlock(operator, 400 * DOLLAR, {"from": slasher})
    assert (tx.events["Unlocked"]["amount"], tx.events["Unlocked"]["locked"]) == (50 * DOLLAR, 0)
    tx = provisioned.unlock(operator, 1, {"from": slasher})
    assert tx.events["Unlocked"]["amount"] == 0


def test_others_release_nothing(provisioned, operators, operator, slasher, stranger):
    provisioned.lock(operator, 50 * DOLLAR, {"from": slasher})
    for caller in (operator, stranger):
        provisioned.unlock(operator, 50 * DOLLAR, {"from": caller})
    assert operators.provision(operator, slasher)["locked"] == 50 * DOLLAR
