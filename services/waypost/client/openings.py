"""Opening channels: by default the node submits the payer's signed opening, so that the payer needs no ETH.
The signed opening is on disk before it leaves, and is repeated word for word, so a channel is opened once."""

import secrets
from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.chain.channels import ChannelState, ChannelStatus
from waypost.chain.transactions import Sender
from waypost.client.account import Account
from waypost.client.books import Books
from waypost.client.channel import Channel, Context, agreed_prices
from waypost.client.nodes import Node
from waypost.client.records import ChannelRecord, OpeningRecord, Status
from waypost.errors import (
    JSON,
    AnswerLost,
    InsufficientFunds,
    InvalidOpening,
    NodeDisagrees,
    NodeRefused,
    NodeUnreachable,
    OpeningNeedsGas,
    OpeningPending,
    PriceTooHigh,
    SpendingLimitExceeded,
)
from waypost.protocol.openings import Authorization, Opening, SignedOpening, authorize
from waypost.protocol.receipts import Receipt
from waypost.protocol.signatures import address_of

VALID_SECONDS = 1800
"""How long a signed opening can be submitted."""
MIN_RAISES = 20
"""A deposit must last for so many of the node's smallest receipts, since a cheat makes off with one."""
SCAN = 8
"""Signers looked up on chain at a time, to find an unused one."""
POLL_SECONDS = 1.0
STATUS: dict[ChannelStatus, Status] = {
    ChannelStatus.OPEN: "open",
    ChannelStatus.CLOSING: "closing",
    ChannelStatus.CLOSED: "closed",
}
NOT_YET = frozenset({"channel_unknown", "channel_not_final", "node_not_ready"})


@dataclass(frozen=True, slots=True)
class Terms:
    """What a new channel holds, and how much of it may be spent, in base units; the delay in seconds."""

    amount: int
    limit: int
    close_delay: int


class Openings:
    """Makes channels of one account."""

    def __init__(self, account: Account, context: Context) -> None:
        self._account, self._context = account, context

    def key(self, payee: ChecksumAddress, index: int) -> bytes:
        """The key of the `index`-th channel with a payee."""
        ours = self._context.deployment
        return self._account.channel_key(
            chain_id=ours.chain_id,
            channels=ours.channels.address,
            payee=payee,
            token=ours.token.address,
            index=index,
        )

    async def terms(self, node: Node, amount: int, limit: int | None, close_delay: int | None) -> Terms:
        """Complete and check what the user asked for, before anything is signed.

        Raises InvalidOpening, PriceTooHigh, SpendingLimitExceeded, InsufficientFunds.
        """
        prices, ours = node.descriptor.prices, self._context.deployment
        shortest, longest = await ours.channels.close_delays()
        shortest = max(shortest, node.descriptor.limits.min_close_delay)
        delay = shortest if close_delay is None else close_delay
        if not shortest <= delay <= longest:
            raise InvalidOpening(
                f"The close delay is {delay} s; {shortest} to {longest} s are possible with this node.",
                given=delay,
                minimum=shortest,
                maximum=longest,
            )
        if not prices.min_deposit <= amount < 2**96 or amount <= 0:
            raise InvalidOpening(
                f"The deposit is {amount} base units; this node asks for at least {prices.min_deposit}.",
                given=str(amount),
                minimum=str(prices.min_deposit),
            )
        if prices.min_receipt > amount // MIN_RAISES:
            raise PriceTooHigh(
                f"The node takes no receipt below {prices.min_receipt}: too much of the deposit of {amount} "
                "would be signed ahead of what is used.",
                price="min_receipt",
                given=str(prices.min_receipt),
                maximum=str(amount // MIN_RAISES),
            )
        limit = amount if limit is None else limit
        if limit < prices.opening:
            raise SpendingLimitExceeded(
                f"Opening costs {prices.opening}, which is above the spending limit of {limit}.",
                needed=str(prices.opening),
                limit=str(limit),
            )
        balance = await ours.token.balance_of(self._account.payer)
        if balance < amount:
            raise InsufficientFunds(
                f"{self._account.payer} has {balance} base units of the token; the deposit is {amount}.",
                balance=str(balance),
                needed=str(amount),
            )
        return Terms(amount, limit, delay)

    async def prepare(self, node: Node, terms: Terms, *, fee: int) -> Channel:
        """Sign an opening under an unused key and put it on disk. `fee`: what the node's help costs."""
        ours, payee = self._context.deployment, node.descriptor.payee
        index = await self._unused(payee)
        key = self.key(payee, index)
        opening = Opening(
            payer=self._account.payer,
            payee=payee,
            token=ours.token.address,
            signer=address_of(key),
            close_delay=terms.close_delay,
            amount=terms.amount,
            salt=secrets.token_bytes(32),
            deadline=int(self._context.clock()) + VALID_SECONDS,
        )
        signed = SignedOpening(opening, opening.sign(ours.channels_domain, key))
        receipt = Receipt(payee, ours.token.address, fee).sign(ours.channels_domain, key)
        request: dict[str, JSON] = {
            **signed.to_json(),
            "receipt": {"cumulative": str(fee), "signature": receipt.to_hex()},
        }
        if await ours.token.supports_authorization():
            token = await ours.token.domain()
            authorization = authorize(
                opening, ours.channels.address, token, self._account.payer_key, opening.deadline
            )
            request["authorization"] = authorization.to_json()
        record = ChannelRecord(
            operator=node.operator,
            payee=payee,
            token=ours.token.address,
            signer=opening.signer,
            index=index,
            payer=opening.payer,
            close_delay=terms.close_delay,
            status="opening",
            agreed=agreed_prices(node),
            opening=OpeningRecord(request=request, fee=fee, deadline=opening.deadline),
            # The fee counts as possibly spent until the node's accounts say.
            books=Books(deposited=terms.amount, limit=terms.limit, signed=fee, interrupted=fee),
        )
        channel = Channel(record, key, self._context)
        await channel.save()
        return channel

    async def submit(self, channel: Channel, wait: float) -> None:
        """Have the node submit the opening, and wait up to `wait` seconds until it counts.

        Raises OpeningPending when that is not long enough (call again), OpeningNeedsGas, NodeRefused,
        NodeUnreachable, NodeDisagrees.
        """
        opening = _opening_of(channel)
        if "authorization" not in opening.request:
            raise OpeningNeedsGas(
                f"The token {channel.token} knows no signed transfers.", token=channel.token
            )
        give_up = self._context.clock() + wait
        while True:
            node = await channel.node()
            try:
                response = await node.client.call("POST", "/v1/channels", opening.request)
                if response.status == 201:
                    break
            except (AnswerLost, NodeUnreachable):
                if self._context.clock() >= give_up:
                    raise
            except NodeRefused as error:
                if error.details.get("reason") not in NOT_YET:
                    raise
            await self._pause(channel, give_up)
        await self.adopt(channel, give_up)

    async def send(self, channel: Channel, sender: Sender, wait: float) -> None:
        """Submit the opening with `sender`'s gas, then wait until the node counts it. Raises as `submit`."""
        request, ours = _opening_of(channel).request, self._context.deployment
        signed = SignedOpening.from_json(request)
        state = await self.state(channel.record)
        if state.status is ChannelStatus.NONE:
            if "authorization" in request:
                authorization = Authorization.from_json(
                    request["authorization"], signed.opening, ours.channels.address
                )
                await sender.send(ours.channels.open_with_authorization(signed, authorization))
            else:
                await sender.send(ours.token.approve(ours.channels.address, signed.opening.amount))
                await sender.send(ours.channels.open(signed))
        await self.adopt(channel, self._context.clock() + wait)

    async def adopt(self, channel: Channel, give_up: float) -> None:
        """Take the channel into use once chain and node have it. `give_up` is in Unix seconds."""
        record = channel.record
        while not await self.refresh(channel):
            await self._pause(channel, give_up)
        if record.status != "open":
            return
        while True:
            try:
                await channel.reconcile()
                return
            except NodeRefused as error:
                if error.details.get("reason") not in NOT_YET:
                    raise
            await self._pause(channel, give_up)

    async def refresh(self, channel: Channel) -> bool:
        """Compare the record with the chain and save it; False while the chain does not have the channel."""
        record, state = channel.record, await self.state(channel.record)
        if state.status is ChannelStatus.NONE:
            return False
        if state.payer != record.payer:
            raise NodeDisagrees(
                f"The channel of {record.signer} was opened by {state.payer}.",
                given=state.payer,
                expected=record.payer,
            )
        record.status = STATUS[state.status]
        record.books.deposited = state.deposited
        record.close_delay, record.closes_at = state.close_delay, state.closes_at
        record.opening = None
        try:
            record.books.observe_claim(state.claimed)
        finally:
            await channel.save()
        return True

    async def state(self, record: ChannelRecord) -> ChannelState:
        """The channel on chain."""
        return await self._context.deployment.channels.channel(record.payee, record.token, record.signer)

    async def expired(self, channel: Channel) -> bool:
        """Whether the opening can no longer reach the chain, by the chain's own clock."""
        opening = channel.record.opening
        if opening is None:
            return False
        return (await self._context.deployment.connection.head()).timestamp > opening.deadline

    async def _unused(self, payee: ChecksumAddress) -> int:
        """The first index above all that this device or, by the chain, another one used."""
        ours = self._context.deployment
        mine = [record.index for record in self._context.store.channels() if record.payee == payee]
        index = max(mine, default=-1) + 1
        while True:
            signers = [address_of(self.key(payee, index + offset)) for offset in range(SCAN)]
            states = await ours.channels.channels_of(payee, ours.token.address, signers)
            used = [offset for offset, state in enumerate(states) if state.status is not ChannelStatus.NONE]
            if not used:
                return index
            index += used[-1] + 1

    async def _pause(self, channel: Channel, give_up: float) -> None:
        if self._context.clock() >= give_up:
            raise OpeningPending(
                f"The opening of {channel.signer} has not gone through yet; ask again later.",
                signer=channel.signer,
            )
        await self._context.sleep(POLL_SECONDS)


def _opening_of(channel: Channel) -> OpeningRecord:
    if channel.record.opening is None:
        raise InvalidOpening(f"The channel {channel.signer} was opened already.", signer=channel.signer)
    return channel.record.opening
