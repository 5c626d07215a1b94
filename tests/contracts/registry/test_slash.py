"""NodeRegistry.slash and sweep: the victim is paid, as much is burned, and nothing is stranded."""

import pytest
from brownie import ZERO_ADDRESS

from anvil import next_block_at
from channel_ledger import DOLLAR
from errors import REENTRANT_CALL, reverts
from operators import BURNED, NOBODY, UNBONDING


@pytest.fixture
def slashable(other, operator, slasher):
    """Deploys a registry with a token of another kind, where 200 of 300 dollars are for the slasher."""

    def build(kind):
        operators = other(kind)
        operators.registry.stake(300 * DOLLAR, {"from": operator})
        operators.registry.provision(slasher, 200 * DOLLAR, {"from": operator})
        return operators

    return build


def test_pays_the_victim_and_burns_as_much(provisioned, operators, operator, slasher, stranger):  # S2
    tx = provisioned.slash(operator, 150 * DOLLAR, stranger, {"from": slasher})
    token = operators.token
    assert token.balanceOf(stranger) == token.balanceOf(BURNED) == 150 * DOLLAR
    assert operators.provision(operator, slasher)["amount"] == 100 * DOLLAR
    assert operators.node(operator)["stake"] == 700 * DOLLAR
    assert token.balanceOf(provisioned) == provisioned.total() == 700 * DOLLAR
    assert dict(tx.events["Slashed"]) == {
        "operator": operator,
        "slasher": slasher,
        "beneficiary": stranger,
        "amount": 150 * DOLLAR,
    }


def test_slashing_oneself_loses_half(staked, operators, operator):  # S2
    before = operators.token.balanceOf(operator)
    staked.provision(operator, 1_000 * DOLLAR, {"from": operator})
    staked.slash(operator, 500 * DOLLAR, operator, {"from": operator})
    assert operators.token.balanceOf(operator) == before + 500 * DOLLAR
    assert operators.node(operator)["stake"] == staked.total() == 0


def test_refuses_more_than_the_provision(provisioned, operator, slasher, stranger):  # N3
    with reverts("AmountOutOfRange", 402 * DOLLAR, 400 * DOLLAR):
        provisioned.slash(operator, 201 * DOLLAR, stranger, {"from": slasher})
    provisioned.slash(operator, 200 * DOLLAR, stranger, {"from": slasher})
    with reverts("AmountOutOfRange", 2, 0):
        provisioned.slash(operator, 1, stranger, {"from": slasher})


def test_refuses_what_overflows(provisioned, operator, slasher, stranger):
    most = 2**96 - 1
    with reverts("AmountOutOfRange", 2 * most, 400 * DOLLAR):
        provisioned.slash(operator, most, stranger, {"from": slasher})


def test_refuses_others(provisioned, operator, stranger):  # N3
    for caller in (stranger, operator):
        with reverts("AmountOutOfRange", 2, 0):
            provisioned.slash(operator, 1, caller, {"from": caller})


def test_cannot_reach_other_provisions(provisioned, operators, operator, slasher, stranger):  # N3
    provisioned.provision(stranger, 600 * DOLLAR, {"from": operator})
    provisioned.slash(operator, 200 * DOLLAR, stranger, {"from": slasher})
    assert operators.provision(operator, stranger)["amount"] == 600 * DOLLAR


def test_refuses_zero(provisioned, operator, slasher, stranger):
    with reverts("ZeroAmount"):
        provisioned.slash(operator, 0, stranger, {"from": slasher})


def test_refuses_to_strand_it(provisioned, operators, operator, slasher):
    for nowhere in (ZERO_ADDRESS, provisioned.address, operators.token.address):
        with reverts("InvalidReceiver", nowhere):
            provisioned.slash(operator, 1, nowhere, {"from": slasher})


# Thawing and locks


def test_what_thaws_goes_first(provisioned, operators, operator, slasher, stranger):
    tx = provisioned.thaw(slasher, 300 * DOLLAR, {"from": operator})
    provisioned.slash(operator, 100 * DOLLAR, stranger, {"from": slasher})
    assert operators.provision(operator, slasher) == {
        "amount": 100 * DOLLAR,
        "thawing": 100 * DOLLAR,
        "thawedAt": tx.timestamp + UNBONDING,
        "locked": 0,
    }
    provisioned.slash(operator, 75 * DOLLAR, stranger, {"from": slasher})
    assert operators.provision(operator, slasher) == {
        "amount": 50 * DOLLAR,
        "thawing": 0,
        "thawedAt": 0,
        "locked": 0,
    }
    node = operators.node(operator)
    assert (node["stake"], node["thawing"]) == (650 * DOLLAR, 0)
    assert provisioned.total() == 650 * DOLLAR


def test_reaches_what_has_thawed_until_it_is_withdrawn(provisioned, operators, operator, slasher, stranger):
    provisioned.thaw(slasher, 400 * DOLLAR, {"from": operator})  # S5
    next_block_at(operators.provision(operator, slasher)["thawedAt"] + UNBONDING)
    provisioned.slash(operator, 150 * DOLLAR, stranger, {"from": slasher})
    tx = provisioned.withdraw(slasher, operator, {"from": operator})
    assert tx.events["Withdrawn"]["amount"] == 100 * DOLLAR
    with reverts("AmountOutOfRange", 2, 0):
        provisioned.slash(operator, 1, stranger, {"from": slasher})


def test_what_is_locked_is_for_its_obligation(provisioned, operators, operator, slasher, stranger):
    """Two open obligations: settling one leaves the other's part alone."""
    for amount in (300, 100):
        provisioned.lock(operator, amount * DOLLAR, {"from": slasher})
    with reverts("AmountOutOfRange", 2, 0):
        provisioned.slash(operator, 1, stranger, {"from": slasher})
    provisioned.unlock(operator, 300 * DOLLAR, {"from": slasher})
    with reverts("AmountOutOfRange", 302 * DOLLAR, 300 * DOLLAR):
        provisioned.slash(operator, 151 * DOLLAR, stranger, {"from": slasher})
    provisioned.slash(operator, 150 * DOLLAR, stranger, {"from": slasher})
    provision = operators.provision(operator, slasher)
    assert (provision["amount"], provision["locked"]) == (100 * DOLLAR, 100 * DOLLAR)


# Tokens


def test_a_victim_who_cannot_be_paid_is_credited(
    slashable, operator, slasher, stranger, payee, RefusingToken
):
    operators = slashable(RefusingToken)
    registry, token = operators.registry, operators.token
    token.refuse(stranger, 1, {"from": operator})
    tx = registry.slash(operator, 60 * DOLLAR, stranger, {"from": slasher})
    assert registry.credit(stranger, token) == 60 * DOLLAR
    assert dict(tx.events["Credited"]) == {"owner": stranger, "token": token, "amount": 60 * DOLLAR}
    assert token.balanceOf(registry) == registry.total() + 60 * DOLLAR == 240 * DOLLAR  # N1
    registry.withdrawCredit(token, payee, {"from": stranger})
    assert token.balanceOf(payee) == 60 * DOLLAR
    assert token.balanceOf(registry) == registry.total()


def test_what_cannot_be_burned_is_swept_later(slashable, operator, slasher, stranger, RefusingToken):
    operators = slashable(RefusingToken)
    registry, token = operators.registry, operators.token
    token.refuse(BURNED, 2, {"from": operator})
    registry.slash(operator, 60 * DOLLAR, stranger, {"from": slasher})
    assert token.balanceOf(stranger) == registry.credit(BURNED, token) == 60 * DOLLAR
    with reverts("SafeERC20FailedOperation", token):
        registry.sweep({"from": stranger})
    token.refuse(BURNED, 0, {"from": operator})
    registry.sweep({"from": stranger})
    assert token.balanceOf(BURNED) == 60 * DOLLAR
    assert token.balanceOf(registry) == registry.total()
    with reverts("NothingToWithdraw", BURNED, token):
        registry.sweep({"from": stranger})


def test_token_cannot_reenter(slashable, operator, slasher, stranger, ReentrantToken):
    operators = slashable(ReentrantToken)
    registry, token = operators.registry, operators.token
    calls = (
        registry.stake.encode_input(1),
        registry.provision.encode_input(slasher, 1),
        registry.thaw.encode_input(NOBODY, 1),
        registry.cancelThaw.encode_input(NOBODY),
        registry.withdraw.encode_input(NOBODY, stranger),
        registry.lock.encode_input(operator, 1),
        registry.unlock.encode_input(operator, 1),
        registry.slash.encode_input(operator, 1, stranger),
        registry.sweep.encode_input(),
        registry.withdrawCredit.encode_input(token, stranger),
    )
    for call in calls:
        token.arm(registry, call, {"from": operator})
        registry.slash(operator, 1, stranger, {"from": slasher})
        assert token.called()
        assert token.answer() == REENTRANT_CALL
    assert registry.total() == token.balanceOf(registry) == 300 * DOLLAR - 2 * len(calls)
