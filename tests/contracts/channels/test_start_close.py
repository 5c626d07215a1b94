"""Channels.startClose: the payer wants out, and the payee is given time."""

import pytest

from channel_ledger import CLOSED, CLOSING, DELAY, NONE, fresh_key
from errors import reverts


@pytest.fixture
def opened(ledger):
    return ledger.open()


def send(ledger, signer, sender):
    return ledger.channels.startClose(ledger.payee, ledger.token, signer.address, {"from": sender})


def test_starts_the_delay(ledger, opened):
    tx = send(ledger, opened, ledger.payer)
    state = ledger.state(opened)
    assert (state["status"], state["closesAt"]) == (CLOSING, tx.timestamp + DELAY)
    assert dict(tx.events["CloseStarted"]) == {
        "payee": ledger.payee,
        "token": ledger.token,
        "signer": opened.address,
        "closesAt": tx.timestamp + DELAY,
    }


def test_moves_no_money(ledger, opened):
    tx = send(ledger, opened, ledger.payer)
    assert "Transfer" not in tx.events


def test_refuses_payee_and_strangers(ledger, opened, payee, stranger):
    for other in (payee, stranger):
        with reverts("NotPayer", other, ledger.payer):
            send(ledger, opened, other)


def test_refuses_unknown_channel(ledger):
    with reverts("ChannelNotOpen", NONE):
        send(ledger, fresh_key(), ledger.payer)


def test_refuses_twice(ledger, opened):
    """A second start cannot move the time."""
    send(ledger, opened, ledger.payer)
    with reverts("ChannelNotOpen", CLOSING):
        send(ledger, opened, ledger.payer)


def test_refuses_when_closed(ledger, opened):
    send(ledger, opened, ledger.payer)
    ledger.finish_close(opened)
    with reverts("ChannelNotOpen", CLOSED):
        send(ledger, opened, ledger.payer)


def test_keeps_the_longest_delay(ledger):
    signer = ledger.open(closeDelay=90 * 86400)
    tx = send(ledger, signer, ledger.payer)
    assert ledger.state(signer)["closesAt"] == tx.timestamp + 90 * 86400
