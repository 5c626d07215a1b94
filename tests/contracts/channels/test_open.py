"""Channels.open: the caller pays, the signer agrees."""

import pytest
from brownie import ZERO_ADDRESS, chain

from anvil import next_block_at
from channel_ledger import CLOSED, CLOSING, DELAY, DOLLAR, FAR, OPEN, as_tuple, fresh_key
from errors import reverts
from signing import Domain


def send(ledger, opening, signature, sender=None):
    return ledger.channels.open(as_tuple(opening), signature.compact, {"from": sender or ledger.payer})


def attempt(ledger, signer, /, **changes):
    """Opens with changed terms, correctly signed."""
    opening = ledger.opening(signer, **changes)
    return send(ledger, opening, ledger.sign(signer, "Opening", opening))


def test_locks_the_deposit(ledger, signer):
    before = ledger.token.balanceOf(ledger.payer)
    tx = attempt(ledger, signer)

    assert ledger.state(signer) == {
        "payer": ledger.payer,
        "deposited": 100 * DOLLAR,
        "claimed": 0,
        "closesAt": 0,
        "closeDelay": DELAY,
        "status": OPEN,
    }
    assert ledger.token.balanceOf(ledger.payer) == before - 100 * DOLLAR
    assert ledger.token.balanceOf(ledger.channels) == 100 * DOLLAR
    assert dict(tx.events["Opened"]) == {
        "payee": ledger.payee,
        "token": ledger.token,
        "signer": signer.address,
        "payer": ledger.payer,
        "amount": 100 * DOLLAR,
        "closeDelay": DELAY,
    }


@pytest.mark.parametrize(
    "terms",
    [{"amount": 1}, {"amount": 2**96 - 1}, {"closeDelay": 60}, {"closeDelay": 90 * 86400}],
    ids=str,
)
def test_accepts_the_edges(ledger, signer, terms):
    attempt(ledger, signer, **terms)
    opening, state = ledger.opening(signer, **terms), ledger.state(signer)
    assert (state["deposited"], state["closeDelay"]) == (opening["amount"], opening["closeDelay"])


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"amount": 0}, ("ZeroAmount",)),
        ({"amount": 2**96}, ("AmountOutOfRange", 2**96, 2**96 - 1)),
        ({"amount": 2**128 - 1}, ("AmountOutOfRange", 2**128 - 1, 2**96 - 1)),
        ({"closeDelay": 59}, ("CloseDelayOutOfRange", 59, 60, 90 * 86400)),
        ({"closeDelay": 90 * 86400 + 1}, ("CloseDelayOutOfRange", 90 * 86400 + 1, 60, 90 * 86400)),
        ({"payee": ZERO_ADDRESS}, ("InvalidPayee", ZERO_ADDRESS)),
        ({"signer": ZERO_ADDRESS}, ("InvalidSigner", ZERO_ADDRESS)),
    ],
    ids=str,
)
def test_refuses_terms(ledger, signer, terms, error):
    with reverts(*error):
        attempt(ledger, signer, **terms)


def test_refuses_token_as_payee(ledger, signer):
    with reverts("InvalidPayee", ledger.token):
        attempt(ledger, signer, payee=ledger.token.address)


def test_refuses_contract_as_payee(ledger, signer):
    with reverts("InvalidPayee", ledger.channels):
        attempt(ledger, signer, payee=ledger.channels.address)


def test_refuses_token_without_code(ledger, signer, stranger):
    with reverts("InvalidToken", stranger):
        attempt(ledger, signer, token=str(stranger))


def test_deadline_is_inclusive(ledger, signer):
    deadline = chain.time() + 100
    next_block_at(deadline)
    attempt(ledger, signer, deadline=deadline)
    assert ledger.status(signer) == OPEN


def test_refuses_after_deadline(ledger, signer):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        attempt(ledger, signer, deadline=deadline)


def test_refuses_caller_who_is_not_payer(ledger, signer, stranger):
    opening = ledger.opening(signer)
    with reverts("NotPayer", stranger, ledger.payer):
        send(ledger, opening, ledger.sign(signer, "Opening", opening), sender=stranger)


def test_refuses_to_occupy_somebody_elses_key(ledger, signer):
    opening = ledger.opening(signer)
    with reverts("InvalidSignature", signer.address):
        send(ledger, opening, ledger.sign(fresh_key(), "Opening", opening))


@pytest.mark.parametrize(
    "change",
    [
        {"payee": "0x" + "11" * 20},
        {"closeDelay": DELAY + 1},
        {"amount": 100 * DOLLAR + 1},
        {"salt": b"\x08" * 32},
        {"deadline": FAR - 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_refuses_terms_that_signer_did_not_sign(ledger, signer, change):
    signature = ledger.sign(signer, "Opening", ledger.opening(signer))
    with reverts("InvalidSignature", signer.address):
        send(ledger, ledger.opening(signer, **change), signature)


def test_refuses_other_payer_with_copied_signature(ledger, signer, stranger):
    signature = ledger.sign(signer, "Opening", ledger.opening(signer))
    with reverts("InvalidSignature", signer.address):
        send(ledger, ledger.opening(signer, payer=str(stranger)), signature, sender=stranger)


@pytest.mark.parametrize(
    "other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}, {"name": "Waypost"}, {"version": "2"}], ids=str
)
def test_refuses_signature_of_another_domain(ledger, signer, other):
    opening = ledger.opening(signer)
    foreign: Domain = ledger.domain.with_(**other)
    with reverts("InvalidSignature", signer.address):
        send(ledger, opening, foreign.sign(signer, "Opening", opening))


def test_refuses_signature_of_another_action(ledger, signer):
    signature = ledger.sign(signer, "TopUp", ledger.top_up(signer, amount=100 * DOLLAR))
    with reverts("InvalidSignature", signer.address):
        send(ledger, ledger.opening(signer), signature)


def test_refuses_empty_signature(ledger, signer):
    with reverts("InvalidSignature", signer.address):
        ledger.channels.open(as_tuple(ledger.opening(signer)), (0, 0), {"from": ledger.payer})


@pytest.mark.parametrize("status", [OPEN, CLOSING, CLOSED])
def test_refuses_a_signer_twice(ledger, signer, status):  # C4
    ledger.open(signer)
    if status != OPEN:
        ledger.start_close(signer)
    if status == CLOSED:
        ledger.finish_close(signer)
    assert ledger.status(signer) == status
    with reverts("AlreadyOpened", ledger.payee, ledger.token, signer.address):
        attempt(ledger, signer, salt=b"\x09" * 32)


def test_signer_may_serve_other_payees_and_tokens(ledger, signer, stranger, with_token, DevDollar):
    other = with_token(DevDollar)
    ledger.open(signer)
    ledger.open(signer, payee=str(stranger))
    other.open(signer)
    assert ledger.status(signer) == other.status(signer) == OPEN
    assert ledger.channels.channel(stranger, ledger.token, signer.address)["status"] == OPEN


def test_refuses_without_allowance(ledger, signer):
    ledger.token.approve(ledger.channels, DOLLAR, {"from": ledger.payer})
    with reverts("ERC20InsufficientAllowance", ledger.channels, DOLLAR, 100 * DOLLAR):
        attempt(ledger, signer)
    assert ledger.status(signer) == 0


def test_refuses_beyond_balance(ledger, signer):
    poor = ledger.token.balanceOf(ledger.payer) - DOLLAR
    ledger.token.transfer(ledger.payee, poor, {"from": ledger.payer})
    with reverts("ERC20InsufficientBalance", ledger.payer, DOLLAR, 100 * DOLLAR):
        attempt(ledger, signer)


def test_refuses_fee_on_transfer(with_token, signer, FeeToken):
    ledger = with_token(FeeToken)
    with reverts("ShortTransfer", 99 * DOLLAR, 100 * DOLLAR):
        attempt(ledger, signer)


def test_refuses_token_that_returns_false(with_token, signer, RefusingToken):
    ledger = with_token(RefusingToken)
    ledger.token.refuse(ledger.channels, 2, {"from": ledger.payer})
    with reverts("SafeERC20FailedOperation", ledger.token):
        attempt(ledger, signer)


def test_accepts_token_that_returns_nothing(with_token, signer, SilentToken):
    ledger = with_token(SilentToken)
    attempt(ledger, signer)
    assert ledger.token.balanceOf(ledger.channels) == 100 * DOLLAR
