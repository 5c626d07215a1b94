"""NodeRegistry.withdraw: thawed stake leaves."""

import pytest
from brownie import ZERO_ADDRESS

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import REENTRANT_CALL, reverts


@pytest.fixture
def thawing(staked, operator):
    staked.thaw(300 * DOLLAR, {"from": operator})
    return staked


def test_sends_what_has_thawed(thawing, operators, operator, stranger):
    next_block_at(operators.node(operator)["thawedAt"])
    tx = thawing.withdraw(stranger, {"from": operator})
    assert operators.token.balanceOf(stranger) == 300 * DOLLAR
    assert operators.token.balanceOf(thawing) == thawing.total() == 700 * DOLLAR
    node = operators.node(operator)
    assert (node["stake"], node["thawing"], node["thawedAt"]) == (700 * DOLLAR, 0, 0)
    assert dict(tx.events["Withdrawn"]) == {"operator": operator, "to": stranger, "amount": 300 * DOLLAR}


def test_refuses_a_second_too_early(thawing, operators, operator):
    thawed_at = operators.node(operator)["thawedAt"]
    next_block_at(thawed_at - 1)
    with reverts("TooEarly", thawed_at - 1, thawed_at):
        thawing.withdraw(operator, {"from": operator})


def test_sends_it_once(thawing, operators, operator):
    next_block_at(operators.node(operator)["thawedAt"])
    thawing.withdraw(operator, {"from": operator})
    with reverts("NothingThawing", operator):
        thawing.withdraw(operator, {"from": operator})


def test_refuses_if_nothing_thaws(staked, operator, stranger):
    for caller in (operator, stranger):
        with reverts("NothingThawing", caller):
            staked.withdraw(caller, {"from": caller})


def test_refuses_after_cancelling(thawing, operators, operator):
    thawed_at = operators.node(operator)["thawedAt"]
    thawing.cancelThaw({"from": operator})
    next_block_at(thawed_at)
    with reverts("NothingThawing", operator):
        thawing.withdraw(operator, {"from": operator})


def test_refuses_to_lose_it(thawing, operators, operator):
    for nowhere in (ZERO_ADDRESS, thawing.address, operators.token.address):
        with reverts("InvalidReceiver", nowhere):
            thawing.withdraw(nowhere, {"from": operator})


def test_a_refused_transfer_loses_nothing(other, operator, stranger, RefusingToken):
    """The operator names another receiver and tries again."""
    operators = other(RefusingToken)
    registry, token = operators.registry, operators.token
    registry.stake(100 * DOLLAR, {"from": operator})
    registry.thaw(100 * DOLLAR, {"from": operator})
    token.refuse(operator, 1, {"from": operator})
    next_block_at(operators.node(operator)["thawedAt"])
    with reverts("Denied", operator):
        registry.withdraw(operator, {"from": operator})
    registry.withdraw(stranger, {"from": operator})
    assert token.balanceOf(stranger) == 100 * DOLLAR


def test_token_cannot_reenter(other, operator, ReentrantToken):
    operators = other(ReentrantToken)
    registry, token = operators.registry, operators.token
    registry.stake(100 * DOLLAR, {"from": operator})
    registry.thaw(100 * DOLLAR, {"from": operator})
    token.arm(registry, registry.withdraw.encode_input(operator), {"from": operator})
    next_block_at(operators.node(operator)["thawedAt"])
    registry.withdraw(operator, {"from": operator})
    assert token.called()
    assert token.answer() == REENTRANT_CALL
    assert registry.total() == token.balanceOf(registry) == 0
