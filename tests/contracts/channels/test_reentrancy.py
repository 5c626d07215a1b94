"""Any contract may be named as a token, so none may call back: every function of Channels is guarded."""

import pytest

from channel_ledger import DOLLAR, FAR, NO_RECEIPT, as_tuple
from errors import REENTRANT_CALL

FUNCTIONS = [
    "open",
    "openMany",
    "openFor",
    "openWithAuthorization",
    "topUp",
    "topUpFor",
    "topUpWithAuthorization",
    "claim",
    "startClose",
    "startCloseFor",
    "finishClose",
    "close",
    "withdrawCredit",
    "withdrawCreditFor",
]


@pytest.fixture
def ledger(with_token, ReentrantToken):
    return with_token(ReentrantToken)


def arm(ledger, function):
    """The token's next transfer calls `function`, with arguments that are all zero."""
    ledger.token.arm(ledger.channels, function.signature + "00" * 32 * 32, {"from": ledger.payer})


def refused(ledger):
    """The token called, and was refused by the guard rather than by chance."""
    return ledger.token.called() and ledger.token.answer() == REENTRANT_CALL


def test_these_are_all_functions_that_change_state(channels):
    functions = [entry for entry in channels.abi if entry["type"] == "function"]
    changing = {f["name"] for f in functions if f["stateMutability"] not in ("view", "pure")}
    assert changing == set(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_deposit_cannot_be_interrupted_by(ledger, function):
    arm(ledger, getattr(ledger.channels, function))
    signer = ledger.open()
    assert refused(ledger)
    assert ledger.state(signer)["deposited"] == ledger.token.balanceOf(ledger.channels) == 100 * DOLLAR


def test_an_opening_by_signature_cannot_be_interrupted(ledger, client, signer, stranger):
    ledger.token.mint(client.address, 100 * DOLLAR, {"from": stranger})
    opening = ledger.opening(signer, payer=client.address)
    signer_sig = ledger.sign(signer, "Opening", opening).compact
    authorization = ledger.authorization(client, "Opening", opening)
    arm(ledger, ledger.channels.claim)
    arguments = as_tuple(opening), signer_sig, authorization
    ledger.channels.openWithAuthorization(*arguments, {"from": stranger})
    assert refused(ledger)


def test_a_claim_cannot_be_interrupted(ledger):
    """Not even by the same claim for more."""
    opened = ledger.open()
    again = ledger.channels.claim.encode_input(
        ledger.payee, ledger.token, [ledger.receipt(opened, 60 * DOLLAR)]
    )
    ledger.token.arm(ledger.channels, again, {"from": ledger.payer})
    ledger.claim(ledger.receipt(opened, 30 * DOLLAR))
    assert refused(ledger)
    assert ledger.token.balanceOf(ledger.payee) == ledger.state(opened)["claimed"] == 30 * DOLLAR


def test_a_close_cannot_be_interrupted(ledger, payee):
    opened = ledger.open()
    arm(ledger, ledger.channels.claim)
    action = (ledger.payee, ledger.token, opened.address, 0, FAR)
    ledger.channels.close(action, b"", NO_RECEIPT, {"from": payee})
    assert refused(ledger)
    assert ledger.token.balanceOf(ledger.channels) == 0


def test_a_refund_cannot_be_interrupted(ledger):
    opened = ledger.open()
    ledger.start_close(opened)
    arm(ledger, ledger.channels.finishClose)
    ledger.finish_close(opened)
    assert refused(ledger)
    assert ledger.token.balanceOf(ledger.channels) == 0
