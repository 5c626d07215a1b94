"""NodeRegistry.thaw and cancelThaw: stake on its way out, and back."""

from brownie import chain

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import reverts
from operators import UNBONDING


def test_stops_being_stake_at_once(staked, operators, operator):
    tx = staked.thaw(300 * DOLLAR, {"from": operator})
    node = operators.node(operator)
    assert (node["stake"], node["thawing"]) == (700 * DOLLAR, 300 * DOLLAR)
    assert node["thawedAt"] == tx.timestamp + UNBONDING
    assert staked.total() == 1_000 * DOLLAR
    assert dict(tx.events["Thawing"]) == {
        "operator": operator,
        "amount": 300 * DOLLAR,
        "thawedAt": tx.timestamp + UNBONDING,
    }


def test_thawing_more_restarts_the_clock(staked, operators, operator):
    staked.thaw(300 * DOLLAR, {"from": operator})
    next_block_at(chain.time() + 1_000)
    tx = staked.thaw(100 * DOLLAR, {"from": operator})
    node = operators.node(operator)
    assert (node["thawing"], node["thawedAt"]) == (400 * DOLLAR, tx.timestamp + UNBONDING)


def test_thaws_all(staked, operators, operator):
    staked.thaw(1_000 * DOLLAR, {"from": operator})
    assert operators.node(operator)["stake"] == 0


def test_refuses_more_than_the_stake(staked, operator):
    with reverts("AmountOutOfRange", 1_000 * DOLLAR + 1, 1_000 * DOLLAR):
        staked.thaw(1_000 * DOLLAR + 1, {"from": operator})


def test_refuses_what_thaws_already(staked, operator):
    staked.thaw(1_000 * DOLLAR, {"from": operator})
    with reverts("AmountOutOfRange", 1, 0):
        staked.thaw(1, {"from": operator})


def test_refuses_zero(staked, operator):
    """Which would only move the clock."""
    with reverts("ZeroAmount"):
        staked.thaw(0, {"from": operator})


def test_refuses_strangers(staked, stranger):
    with reverts("NotRegistered", stranger):
        staked.thaw(1, {"from": stranger})


def test_cancel_makes_it_stake_again(staked, operators, operator):
    before = operators.node(operator)
    staked.thaw(300 * DOLLAR, {"from": operator})
    tx = staked.cancelThaw({"from": operator})
    assert operators.node(operator) == before
    assert dict(tx.events["ThawCancelled"]) == {"operator": operator, "amount": 300 * DOLLAR}


def test_cancel_refuses_if_nothing_thaws(staked, operator, stranger):
    for caller in (operator, stranger):
        with reverts("NothingThawing", caller):
            staked.cancelThaw({"from": caller})
