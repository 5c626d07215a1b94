"""Channels.openMany: several channels for one transfer."""

import pytest

from channel_ledger import DOLLAR, NONE, OPEN, as_tuple, fresh_key
from errors import reverts

BLOCK_SHARE = 2**24  # what one transaction may use (EIP-7825)


def send(ledger, openings, signers, **transaction):
    signatures = [
        ledger.sign(key, "Opening", one).compact for key, one in zip(signers, openings, strict=True)
    ]
    return ledger.channels.openMany(
        [as_tuple(one) for one in openings], signatures, {"from": ledger.payer, **transaction}
    )


@pytest.fixture
def signers():
    return [fresh_key() for _ in range(3)]


@pytest.fixture
def openings(ledger, signers, stranger):
    """Three channels: two with the payee, one with somebody else."""
    payees = [ledger.payee, ledger.payee, str(stranger)]
    return [
        ledger.opening(key, payee=payee, amount=(i + 1) * DOLLAR)
        for i, (key, payee) in enumerate(zip(signers, payees, strict=True))
    ]


def test_opens_all_for_one_transfer(ledger, openings, signers):
    tx = send(ledger, openings, signers)
    for opening, signer in zip(openings, signers, strict=True):
        state = ledger.channels.channel(opening["payee"], ledger.token, signer.address)
        assert (state["deposited"], state["status"]) == (opening["amount"], OPEN)
    assert [event["amount"] for event in tx.events["Opened"]] == [DOLLAR, 2 * DOLLAR, 3 * DOLLAR]
    assert [event["value"] for event in tx.events["Transfer"]] == [6 * DOLLAR]


def test_one_bad_opening_undoes_all(ledger, openings, signers):
    openings[2]["amount"] = 0
    with reverts("ZeroAmount"):
        send(ledger, openings, signers)
    assert [ledger.status(signer) for signer in signers] == [NONE] * 3
    assert ledger.token.balanceOf(ledger.channels) == 0


def test_refuses_other_payer(ledger, openings, signers, stranger):
    openings[1]["payer"] = str(stranger)
    with reverts("NotPayer", ledger.payer, stranger):
        send(ledger, openings, signers)


def test_refuses_other_token(ledger, openings, signers, stranger):
    openings[1]["token"] = str(stranger)
    with reverts("MixedBatch", stranger, ledger.token):
        send(ledger, openings, signers)


def test_refuses_same_signer_twice(ledger, openings, signers):  # C4
    openings[1] = openings[0] | {"salt": b"\x01" * 32}
    with reverts("AlreadyOpened", ledger.payee, ledger.token, signers[0].address):
        send(ledger, openings, [signers[0], signers[0], signers[2]])


def test_refuses_somebody_elses_key(ledger, openings, signers):
    with reverts("InvalidSignature", signers[1].address):
        send(ledger, openings, [signers[0], fresh_key(), signers[2]])


def test_refuses_missing_signature(ledger, openings):
    with reverts("LengthMismatch", 3, 0):
        ledger.channels.openMany([as_tuple(one) for one in openings], [], {"from": ledger.payer})


def test_refuses_nothing(ledger):
    with reverts("ZeroAmount"):
        send(ledger, [], [])


def test_refuses_fee_on_transfer(with_token, signers, FeeToken):
    ledger = with_token(FeeToken)
    with reverts("ShortTransfer", 297 * DOLLAR, 300 * DOLLAR):
        send(ledger, [ledger.opening(signer) for signer in signers], signers)


def test_largest_batch_fits_a_transaction(ledger):
    signers = [fresh_key() for _ in range(ledger.channels.MAX_OPENINGS())]
    send(
        ledger, [ledger.opening(signer, amount=DOLLAR) for signer in signers], signers, gas_limit=BLOCK_SHARE
    )
    states = ledger.channels.channelsOf(ledger.payee, ledger.token, [signer.address for signer in signers])
    assert [(state[1], state[5]) for state in states] == [(DOLLAR, OPEN)] * len(signers)


def test_refuses_larger_batch(ledger, signer):
    opening = ledger.opening(signer)
    with reverts("BatchTooLarge", 201, 200):
        send(ledger, [opening] * 201, [signer] * 201)
