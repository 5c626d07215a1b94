"""Channels: opening one without ETH, its books, and the node's consent to close it."""

from typing import Annotated, Literal

from eth_typing import ChecksumAddress
from fastapi import APIRouter, Request, Response
from pydantic import Field

from waypost.errors import ChannelNotFinal, ChannelUnknown
from waypost.node.accounts import ChannelAccount
from waypost.node.api import models
from waypost.node.api.access import AgreedPrices, NodeHere, SessionSigner
from waypost.node.api.errors import problems
from waypost.node.api.fields import Address, Amount, Bytes32, CompactSignature, GivenAmount, Model
from waypost.node.api.models import Accounts, Seconds, Time
from waypost.node.limits import mark_paid
from waypost.node.node import Node
from waypost.protocol import openings, receipts

router = APIRouter(prefix="/v1/channels", tags=["channels"])


class Opening(Model):
    """EIP-712 `Opening` of the Channels contract."""

    payer: Address
    payee: Address
    token: Address
    signer: Address
    close_delay: Seconds
    amount: GivenAmount
    salt: Bytes32
    deadline: Time


class Authorization(Model):
    """The payer's ERC-3009 authorization; its nonce is the struct hash of what it pays for."""

    valid_after: Time
    valid_before: Time
    v: Annotated[int, Field(strict=True, ge=0, le=255)]
    r: Bytes32
    s: Bytes32


class OpenChannel(Model):
    """All that is needed to open a channel for a payer without ETH."""

    opening: Opening
    signer_signature: CompactSignature
    authorization: Authorization
    receipt: models.GivenReceipt


class Channel(Model):
    """A channel as this node sees it."""

    payee: Address
    token: Address
    signer: Address
    payer: Address
    deposited: Amount
    claimed: Amount
    paid: Amount
    spent: Amount
    balance: Amount
    status: Literal["opening", "open", "closing", "closed"]
    closes_at: Time
    close_delay: Seconds
    receipt: models.Receipt | None


class OpenedChannel(Accounts):
    """The channel is open, and its first receipt paid for opening it."""

    transaction: Bytes32
    channel: Channel


class PendingChannel(Model):
    """The transaction was sent and is not mined yet: ask for the channel, or repeat the request."""

    transaction: Bytes32
    status: Literal["pending"] = "pending"


class Close(Model):
    """EIP-712 `Close` of the Channels contract."""

    payee: Address
    token: Address
    signer: Address
    final_cumulative: Amount
    deadline: Time


class ConsentedClose(Model):
    """All that `Channels.close` takes."""

    close: Close
    signature: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$")]
    receipt: models.Receipt | None


@router.post(
    "",
    status_code=201,
    response_model=OpenedChannel,
    responses={202: {"model": PendingChannel}, **problems(402, 409, 422, 503, 507)},
)
async def open_channel(
    request: Request, node: NodeHere, prices: AgreedPrices, body: OpenChannel
) -> OpenedChannel | Response:
    """Submits the payer's signed opening, paid by the first receipt. It is sent once, however often asked."""
    node.need_chain()
    opening = openings.Opening(**dict(body.opening))
    authorization = body.authorization.model_dump(by_alias=True)
    receipt = receipts.Receipt(opening.payee, opening.token, body.receipt.cumulative)
    opened = await node.openings.submit(
        openings.SignedOpening(opening, body.signer_signature),
        openings.Authorization.from_json(authorization, opening, node.settings.channels),
        receipts.SignedReceipt(receipt, body.receipt.signature),
        prices,
    )
    mark_paid(request.scope)
    account = opened.account
    if account is None:
        pending = PendingChannel(transaction=opened.transaction)
        return Response(pending.model_dump_json(by_alias=True), 202, media_type="application/json")
    return OpenedChannel(
        transaction=opened.transaction,
        channel=_channel(account),
        charged=opened.charged,
        paid=account.paid,
        spent=account.spent,
    )


@router.get("/{payee}/{token}/{signer}", responses=problems(401, 404, 409))
async def show_channel(
    node: NodeHere, session: SessionSigner, payee: Address, token: Address, signer: Address
) -> Channel:
    """The channel's books, to whoever holds a session of it."""
    _check_own(node, session, payee, token, signer)
    account = await node.ledger.account(signer)
    if account is None:
        raise ChannelUnknown(f"The node knows no channel of {signer}.", signer=signer)
    return _channel(account)


@router.post("/{payee}/{token}/{signer}/close", responses=problems(401, 404, 409, 503, 507))
async def consent_to_close(
    node: NodeHere, session: SessionSigner, payee: Address, token: Address, signer: Address
) -> ConsentedClose:
    """The node's signature under what it keeps. From here on the channel pays for nothing for a while."""
    _check_own(node, session, payee, token, signer)
    node.need_chain()
    consent = await node.closing.consent(signer)
    return ConsentedClose(
        close=Close(
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


def _channel(account: ChannelAccount) -> Channel:
    if account.payer is None:
        raise ChannelNotFinal(signer=account.signer)
    return Channel(
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


def _receipt(receipt: receipts.SignedReceipt | None) -> models.Receipt | None:
    if receipt is None:
        return None
    return models.Receipt(cumulative=receipt.cumulative, signature=receipt.signature)
