"""Channels: opening one without ETH, its books, and the node's consent to close it."""

from eth_typing import ChecksumAddress
from fastapi import APIRouter, Request, Response

from waypost.errors import ChannelNotFinal, ChannelUnknown
from waypost.node.accounts import ChannelAccount
from waypost.node.api import models
from waypost.node.api.access import AgreedPrices, NodeHere, SessionSigner
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address
from waypost.node.limits import mark_paid
from waypost.node.node import Node
from waypost.protocol.openings import Authorization, Opening, SignedOpening
from waypost.protocol.receipts import Receipt, SignedReceipt

router = APIRouter(prefix="/v1/channels", tags=["channels"])


@router.post(
    "",
    status_code=201,
    response_model=models.OpenedChannel,
    responses={202: {"model": models.PendingChannel}, **problems(402, 409, 422, 503, 507)},
)
async def open_channel(
    request: Request, response: Response, node: NodeHere, prices: AgreedPrices, body: models.OpenChannel
) -> models.OpenedChannel | Response:
    """Submits the payer's signed opening, paid by the first receipt. It is sent once, however often asked."""
    node.need_chain()
    opening = Opening(**dict(body.opening))
    opened = await node.openings.submit(
        SignedOpening(opening, body.signer_signature),
        Authorization.from_json(
            body.authorization.model_dump(by_alias=True), opening, node.settings.channels
        ),
        SignedReceipt(Receipt(opening.payee, opening.token, body.receipt.cumulative), body.receipt.signature),
        prices,
    )
    mark_paid(request.scope)
    account = opened.account
    if account is None:
        pending = models.PendingChannel(transaction=opened.transaction)
        return Response(pending.model_dump_json(by_alias=True), 202, media_type="application/json")
    return models.OpenedChannel(
        transaction=opened.transaction,
        channel=_channel(account),
        charged=opened.charged,
        paid=account.paid,
        spent=account.spent,
    )


@router.get("/{payee}/{token}/{signer}", responses=problems(401, 404, 409))
async def show_channel(
    node: NodeHere, session: SessionSigner, payee: Address, token: Address, signer: Address
) -> models.Channel:
    """The channel's books, to whoever holds a session of it."""
    _check_own(node, session, payee, token, signer)
    account = await node.ledger.account(signer)
    if account is None:
        raise ChannelUnknown(f"The node knows no channel of {signer}.", signer=signer)
    return _channel(account)


@router.post("/{payee}/{token}/{signer}/close", responses=problems(401, 404, 409, 503, 507))
async def consent_to_close(
    node: NodeHere, session: SessionSigner, payee: Address, token: Address, signer: Address
) -> models.ConsentedClose:
    """The node's signature under what it keeps. From here on the channel pays for nothing for a while."""
    _check_own(node, session, payee, token, signer)
    node.need_chain()
    consent = await node.closing.consent(signer)
    return models.ConsentedClose(
        close=models.Close(
            payee=consent.close.payee,
            token=consent.close.token,
            signer=consent.close.signer,
            final_cumulative=consent.close.final_cumulative,
            deadline=consent.close.deadline,
        ),
        signature=consent.signature.to_hex(),
        receipt=_receipt(consent.receipt),
    )


def _check_own(
    node: Node,
    session: ChecksumAddress,
    payee: ChecksumAddress,
    token: ChecksumAddress,
    signer: ChecksumAddress,
) -> None:
    """Others' channels are as unknown as those that do not exist."""
    if (payee, token, signer) != (node.settings.payee, node.settings.token, session):
        raise ChannelUnknown("The session is not of this channel.", signer=signer)


def _channel(account: ChannelAccount) -> models.Channel:
    if account.payer is None:
        raise ChannelNotFinal(signer=account.signer)
    return models.Channel(
        payee=account.payee,
        token=account.token,
        signer=account.signer,
        payer=account.payer,
        deposited=account.deposited,
        claimed=account.claimed,
        paid=account.paid,
        spent=account.spent,
        balance=max(0, account.balance),
        status=account.status.value,
        closes_at=account.closes_at,
        close_delay=account.close_delay,
        receipt=_receipt(account.receipt),
    )


def _receipt(receipt: SignedReceipt | None) -> models.Receipt | None:
    if receipt is None:
        return None
    return models.Receipt(cumulative=receipt.cumulative, signature=receipt.signature)
