"""Channels.openFor: the payer signs, anybody submits; a permit may set the allowance."""

import pytest
from brownie import chain, web3

from anvil import next_block_at
from channel_ledger import DOLLAR, NO_PERMIT, NONE, OPEN, as_tuple, fresh_key
from errors import reverts


@pytest.fixture
def send(gasless, client, stranger):
    def send(signer, /, payer_key=client, permit=NO_PERMIT, payer_sig=None, signer_sig=None, **changes):
        opening = gasless.opening(signer, **changes)
        return gasless.channels.openFor(
            as_tuple(opening),
            (signer_sig or gasless.sign(signer, "Opening", opening)).compact,
            (payer_sig or gasless.sign(payer_key, "Opening", opening)).packed,
            permit,
            {"from": stranger},
        )

    return send


def test_opens_with_a_permit(gasless, send, client, signer):
    tx = send(signer, permit=gasless.permit(client, 100 * DOLLAR))
    assert gasless.state(signer)["payer"] == tx.events["Opened"]["payer"] == client.address
    assert gasless.state(signer)["deposited"] == 100 * DOLLAR
    assert gasless.token.balanceOf(client.address) == 900 * DOLLAR
    assert gasless.token.allowance(client.address, gasless.channels) == 0


def test_opens_for_an_account_that_delegates(gasless, send, client, signer):
    """EIP-7702: the account has code now, which knows no ERC-1271, and still has its key."""
    delegation = "0xef0100" + gasless.token.address[2:]
    assert "error" not in web3.provider.make_request("anvil_setCode", [client.address, delegation])
    send(signer, permit=gasless.permit(client, 100 * DOLLAR))
    assert gasless.state(signer)["payer"] == client.address


def test_opens_with_an_allowance(gasless, send, client, signer, stranger):
    gasless.token.permit(
        client.address, gasless.channels, *gasless.permit(client, 100 * DOLLAR), {"from": stranger}
    )
    send(signer)
    assert gasless.status(signer) == OPEN


def test_survives_a_permit_that_somebody_used_first(gasless, send, client, signer, stranger):
    permit = gasless.permit(client, 100 * DOLLAR)
    gasless.token.permit(client.address, gasless.channels, *permit, {"from": stranger})
    send(signer, permit=permit)
    assert gasless.status(signer) == OPEN


def test_a_permit_alone_moves_nothing(gasless, send, client, signer):
    thief = fresh_key()
    with reverts("InvalidSignature", client.address):
        send(signer, payer_key=thief, permit=gasless.permit(client, 100 * DOLLAR))
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR


def test_refuses_bad_permit_without_allowance(gasless, send, client, signer):
    with reverts("ERC20InsufficientAllowance", gasless.channels, 0, 100 * DOLLAR):
        send(signer, permit=gasless.permit(fresh_key(), 100 * DOLLAR))


def test_refuses_permit_of_too_little(gasless, send, client, signer):
    with reverts("ERC20InsufficientAllowance", gasless.channels, 99 * DOLLAR, 100 * DOLLAR):
        send(signer, permit=gasless.permit(client, 99 * DOLLAR))


@pytest.mark.parametrize(
    "change", [{"amount": DOLLAR}, {"payee": "0x" + "11" * 20}, {"closeDelay": 60}], ids=str
)
def test_refuses_terms_that_payer_did_not_sign(gasless, send, client, signer, change):
    signature = gasless.sign(client, "Opening", gasless.opening(signer))
    with reverts("InvalidSignature", client.address):
        send(signer, payer_sig=signature, **change)


def test_refuses_without_the_signer(gasless, send, client, signer):
    opening = gasless.opening(signer)
    with reverts("InvalidSignature", signer.address):
        send(signer, signer_sig=gasless.sign(client, "Opening", opening))


def test_refuses_payers_signature_of_another_chain(gasless, send, client, signer):
    foreign = gasless.domain.with_(chain_id=1).sign(client, "Opening", gasless.opening(signer))
    with reverts("InvalidSignature", client.address):
        send(signer, payer_sig=foreign)


def test_refuses_after_deadline(send, signer):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        send(signer, deadline=deadline)


def test_opens_once(gasless, send, client, signer):
    send(signer, permit=gasless.permit(client, 1_000 * DOLLAR))
    with reverts("AlreadyOpened", gasless.payee, gasless.token, signer.address):
        send(signer)


def test_a_wallet_pays(gasless, send, wallet, signer):
    send(signer, payer=wallet.address)
    assert gasless.state(signer)["payer"] == wallet
    assert gasless.token.balanceOf(wallet) == 900 * DOLLAR


def test_refuses_strangers_signature_for_a_wallet(send, wallet, signer):
    with reverts("InvalidSignature", wallet):
        send(signer, payer=wallet.address, payer_key=fresh_key())


def test_refuses_token_without_code(gasless, send, client, signer, stranger):
    with reverts("InvalidToken", stranger):
        send(signer, token=str(stranger), permit=gasless.permit(client, 100 * DOLLAR))
    assert gasless.status(signer) == NONE
