"""NodeRegistry.stake: what backs a node."""

from channel_ledger import DOLLAR
from errors import REENTRANT_CALL, reverts
from operators import NOBODY

MAX = 2**96 - 1


def test_adds_to_the_stake(staked, operators, operator):
    tx = staked.stake(5 * DOLLAR, {"from": operator})
    assert operators.node(operator)["stake"] == 1_005 * DOLLAR
    assert operators.token.balanceOf(staked) == staked.total() == 1_005 * DOLLAR
    assert operators.provision(operator)["amount"] == 1_005 * DOLLAR
    assert dict(tx.events["Staked"]) == {"operator": operator, "amount": 5 * DOLLAR, "stake": 1_005 * DOLLAR}


def test_refuses_strangers(staked, stranger):
    with reverts("NotRegistered", stranger):
        staked.stake(1, {"from": stranger})


def test_refuses_zero(staked, operator):
    with reverts("ZeroAmount"):
        staked.stake(0, {"from": operator})


def test_fills_to_the_largest_stake_thawing_included(staked, operators, operator):
    operators.token.mint(operator, 2**97, {"from": operator})
    staked.thaw(NOBODY, 400 * DOLLAR, {"from": operator})
    room = MAX - 1_000 * DOLLAR
    with reverts("AmountOutOfRange", room + 1, room):
        staked.stake(room + 1, {"from": operator})
    staked.stake(room, {"from": operator})
    staked.cancelThaw(NOBODY, {"from": operator})
    assert operators.node(operator)["stake"] == staked.total() == MAX


def test_refuses_without_allowance(staked, operators, operator):
    operators.token.approve(staked, 0, {"from": operator})
    with reverts("ERC20InsufficientAllowance", staked, 0, 1):
        staked.stake(1, {"from": operator})
    assert operators.node(operator)["stake"] == staked.total() == 1_000 * DOLLAR


def test_refuses_fee_on_transfer(other, operator, FeeToken):
    registry = other(FeeToken).registry
    with reverts("ShortTransfer", 99 * DOLLAR, 100 * DOLLAR):
        registry.stake(100 * DOLLAR, {"from": operator})


def test_token_cannot_reenter(other, operator, ReentrantToken):
    operators = other(ReentrantToken)
    registry, token = operators.registry, operators.token
    token.arm(registry, registry.stake.encode_input(1), {"from": operator})
    registry.stake(100 * DOLLAR, {"from": operator})
    assert token.called()
    assert token.answer() == REENTRANT_CALL
    assert registry.total() == token.balanceOf(registry) == 100 * DOLLAR


def test_stakes_a_token_that_returns_nothing(other, operator, SilentToken):
    operators = other(SilentToken)
    registry, token = operators.registry, operators.token
    registry.stake(100 * DOLLAR, {"from": operator})
    assert token.balanceOf(registry) == 100 * DOLLAR
