"""Channels.finishClose: after the delay, what was not claimed goes back."""

import pytest
from brownie.exceptions import VirtualMachineError

from anvil import next_block_at
from channel_ledger import CLOSED, DOLLAR, NONE, OPEN, fresh_key
from errors import reverts

REVERT, BURN_GAS, FALSE_IF_STARVED = 1, 4, 5


@pytest.fixture
def closing(ledger):
    signer = ledger.open()
    ledger.start_close(signer)
    return signer


def send(ledger, signer, sender, **transaction):
    return ledger.channels.finishClose(
        ledger.payee, ledger.token, signer.address, {"from": sender, **transaction}
    )


def test_refunds_what_was_not_claimed(ledger, closing, stranger):
    ledger.claim(ledger.receipt(closing, 30 * DOLLAR))
    before = ledger.token.balanceOf(ledger.payer)
    next_block_at(ledger.state(closing)["closesAt"])
    tx = send(ledger, closing, stranger)
    assert ledger.token.balanceOf(ledger.payer) == before + 70 * DOLLAR
    assert ledger.token.balanceOf(ledger.channels) == 0
    state = ledger.state(closing)
    assert (state["status"], state["deposited"], state["claimed"]) == (CLOSED, 100 * DOLLAR, 30 * DOLLAR)
    assert dict(tx.events["Closed"]) == {
        "payee": ledger.payee,
        "token": ledger.token,
        "signer": closing.address,
        "claimed": 30 * DOLLAR,
        "refund": 70 * DOLLAR,
    }


def test_refuses_a_second_too_early(ledger, closing, stranger):  # C5
    closes_at = ledger.state(closing)["closesAt"]
    for now, sender in ((closes_at - 2, ledger.payer), (closes_at - 1, stranger)):
        next_block_at(now)
        with reverts("TooEarly", now, closes_at):
            send(ledger, closing, sender)


def test_sends_nothing_if_all_was_claimed(ledger, closing):
    ledger.claim(ledger.receipt(closing, 100 * DOLLAR))
    tx = ledger.finish_close(closing)
    assert tx.events["Closed"]["refund"] == 0
    assert "Transfer" not in tx.events


def test_refuses_open_channel(ledger):
    with reverts("NotClosing", OPEN):
        ledger.finish_close(ledger.open())


def test_refuses_unknown_channel(ledger):
    with reverts("NotClosing", NONE):
        ledger.finish_close(fresh_key())


def test_refuses_twice(ledger, closing):
    ledger.finish_close(closing)
    with reverts("NotClosing", CLOSED):
        ledger.finish_close(closing)


def test_nothing_can_be_claimed_after(ledger, closing):
    ledger.finish_close(closing)
    assert ledger.claim(ledger.receipt(closing, DOLLAR)).return_value == 0


@pytest.mark.parametrize("refusal", [REVERT, BURN_GAS])
def test_a_refused_refund_becomes_a_credit(with_token, RefusingToken, refusal):
    ledger = with_token(RefusingToken)
    signer = ledger.open()
    ledger.start_close(signer)
    ledger.token.refuse(ledger.payer, refusal, {"from": ledger.payer})
    ledger.finish_close(signer)
    assert ledger.status(signer) == CLOSED
    assert ledger.channels.credit(ledger.payer, ledger.token) == 100 * DOLLAR


def test_a_starved_refund_is_undone(with_token, RefusingToken, stranger):
    ledger = with_token(RefusingToken)
    signer = ledger.open()
    ledger.start_close(signer)
    ledger.token.refuse(ledger.payer, FALSE_IF_STARVED, {"from": ledger.payer})
    next_block_at(ledger.state(signer)["closesAt"])
    with pytest.raises(VirtualMachineError, match=r"InsufficientGas: \d+, 500000"):
        send(ledger, signer, stranger, gas_limit=400_000)
    send(ledger, signer, stranger, gas_limit=700_000)
    assert ledger.channels.credit(ledger.payer, ledger.token) == 0
    assert ledger.token.balanceOf(ledger.payer) == 10_000 * DOLLAR
