"""Channels.topUp: anybody adds to an open channel."""

import pytest

from channel_ledger import CLOSED, CLOSING, DELAY, DOLLAR, NONE, fresh_key
from errors import reverts

MAX = 2**96 - 1


@pytest.fixture
def opened(ledger):
    return ledger.open()


def send(ledger, signer, amount, sender=None):
    return ledger.channels.topUp(
        ledger.payee, ledger.token, signer.address, amount, {"from": sender or ledger.payer}
    )


def test_adds_to_the_deposit(ledger, opened):
    tx = send(ledger, opened, 5 * DOLLAR)
    assert ledger.state(opened)["deposited"] == ledger.token.balanceOf(ledger.channels) == 105 * DOLLAR
    assert dict(tx.events["ToppedUp"]) == {
        "payee": ledger.payee,
        "token": ledger.token,
        "signer": opened.address,
        "from": ledger.payer,
        "amount": 5 * DOLLAR,
        "deposited": 105 * DOLLAR,
    }


def test_anybody_may_add_and_the_payer_gets_the_rest_back(ledger, opened, stranger):
    ledger.token.mint(stranger, DOLLAR, {"from": stranger})
    ledger.token.approve(ledger.channels, DOLLAR, {"from": stranger})
    send(ledger, opened, DOLLAR, sender=stranger)
    before = ledger.token.balanceOf(ledger.payer)
    ledger.start_close(opened)
    ledger.finish_close(opened)
    assert ledger.token.balanceOf(ledger.payer) == before + 101 * DOLLAR
    assert ledger.token.balanceOf(stranger) == 0


def test_a_receipt_above_the_old_deposit_is_worth_more_after(ledger, opened):
    receipt = ledger.receipt(opened, 104 * DOLLAR)
    ledger.claim(receipt)
    assert ledger.state(opened)["claimed"] == 100 * DOLLAR
    send(ledger, opened, 5 * DOLLAR)
    ledger.claim(receipt)
    assert ledger.state(opened)["claimed"] == 104 * DOLLAR


def test_fills_to_the_largest_deposit(ledger, opened):
    send(ledger, opened, MAX - 100 * DOLLAR)
    assert ledger.state(opened)["deposited"] == MAX


def test_refuses_beyond_the_largest_deposit(ledger, opened):
    with reverts("AmountOutOfRange", MAX - 100 * DOLLAR + 1, MAX - 100 * DOLLAR):
        send(ledger, opened, MAX - 100 * DOLLAR + 1)


def test_refuses_amounts_that_do_not_fit(ledger, opened):
    with reverts("AmountOutOfRange", 2**96, MAX):
        send(ledger, opened, 2**96)


def test_refuses_zero(ledger, opened):
    with reverts("ZeroAmount"):
        send(ledger, opened, 0)


def test_refuses_unknown_channel(ledger):
    with reverts("ChannelNotOpen", NONE):
        send(ledger, fresh_key(), DOLLAR)


def test_refuses_while_closing(ledger, opened):
    ledger.start_close(opened)
    with reverts("ChannelNotOpen", CLOSING):
        send(ledger, opened, DOLLAR)


def test_refuses_when_closed(ledger, opened):
    ledger.start_close(opened)
    ledger.finish_close(opened, wait=DELAY)
    with reverts("ChannelNotOpen", CLOSED):
        send(ledger, opened, DOLLAR)


def test_refuses_without_allowance(ledger, opened, stranger):
    with reverts("ERC20InsufficientAllowance", ledger.channels, 0, DOLLAR):
        send(ledger, opened, DOLLAR, sender=stranger)
    assert ledger.state(opened)["deposited"] == 100 * DOLLAR


def test_refuses_fee_on_transfer(with_token, FeeToken):
    ledger = with_token(FeeToken)
    opened = ledger.open(amount=99)  # one percent of so little is nothing
    with reverts("ShortTransfer", 99, 100):
        send(ledger, opened, 100)
    assert ledger.state(opened)["deposited"] == ledger.token.balanceOf(ledger.channels) == 99
