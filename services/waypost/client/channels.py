"""A client's channels: opening, finding, topping up, closing, and recovering them from the seed."""

import secrets
from collections.abc import Collection

from eth_typing import ChecksumAddress

from waypost.chain.transactions import Sender
from waypost.client.account import Account
from waypost.client.channel import Channel, Context
from waypost.client.closing import Closing, Closings
from waypost.client.nodes import Node
from waypost.client.openings import VALID_SECONDS, Openings, Terms
from waypost.client.recovery import Recovered, Recovery
from waypost.errors import ChannelMissing, OpeningNeedsGas
from waypost.protocol.openings import TopUp, authorize

OPENING_WAIT_SECONDS = 180.0


class PaymentChannels:
    """All channels of one account on one deployment."""

    def __init__(self, account: Account, context: Context) -> None:
        self._account, self._context = account, context
        self._openings = Openings(account, context)
        self._closings = Closings(account, context, self._openings)
        self._channels: dict[ChecksumAddress, Channel] = {}
        for record in context.store.channels():
            record.books.restart()
            key = self._openings.key(record.payee, record.index)
            self._channels[record.signer] = Channel(record, key, context)

    def all(self) -> list[Channel]:
        """Every channel that is remembered, closed ones too, by payee and index."""
        return sorted(self._channels.values(), key=lambda channel: (channel.payee, channel.record.index))

    def open_channels(self) -> list[Channel]:
        """Channels that can pay."""
        return [
            channel for channel in self.all() if channel.record.status == "open" and not channel.books.stopped
        ]

    def at(self, operator: ChecksumAddress) -> Channel:
        """The channel that pays this node: of several, the one with most left.

        Raises ChannelMissing, or NodeDisagrees when nothing more is signed for the node.
        """
        found = [channel for channel in self.open_channels() if channel.record.operator == operator]
        if not found:
            self.explain(operator)
            raise ChannelMissing(f"There is no open channel with {operator}.", operator=operator)
        return max(found, key=lambda channel: channel.books.available)

    def explain(self, operator: ChecksumAddress | None = None) -> None:
        """Raises NodeDisagrees if a channel (with this node) is open and was stopped."""
        for channel in self.all():
            if channel.record.status == "open" and operator in (None, channel.record.operator):
                channel.books.require_trust()

    def by_signer(self, signer: ChecksumAddress) -> Channel:
        """The channel that this address names. Raises ChannelMissing."""
        if signer not in self._channels:
            raise ChannelMissing(f"There is no channel {signer}.", signer=signer)
        return self._channels[signer]

    async def save(self) -> None:
        """Put what is known of each channel on disk, so that the next run need not ask the nodes."""
        for channel in self.all():
            if channel.record.status != "closed":
                await channel.save()

    # ---- Opening ----

    async def terms(
        self, node: Node, amount: int, *, limit: int | None = None, close_delay: int | None = None
    ) -> Terms:
        """What `open` would sign; the limit is the whole deposit unless given. Nothing is signed yet.

        Raises InvalidOpening, PriceTooHigh, SpendingLimitExceeded, InsufficientFunds.
        """
        return await self._openings.terms(node, amount, limit, close_delay)

    async def open(
        self, node: Node, terms: Terms, *, sender: Sender | None = None, wait: float = OPENING_WAIT_SECONDS
    ) -> Channel:
        """Open a channel. Without `sender` the node submits it for its `opening` price and the payer needs no
        ETH.

        An opening on the same terms that is still on its way is continued instead of begun anew. Raises as
        `Openings.submit`; after OpeningPending or a lost answer, call again.
        """
        channel = self._pending(node, terms)
        if channel is None:
            fee = 0 if sender else node.descriptor.prices.opening
            channel = await self._openings.prepare(node, terms, fee=fee)
            self._channels[channel.signer] = channel
        if sender is None:
            await self._openings.submit(channel, wait)
        else:
            await self._openings.send(channel, sender, wait)
        return channel

    async def refresh(self) -> list[Channel]:
        """Compare all unfinished channels with the chain, and forget openings that can no longer happen."""
        for channel in self.all():
            if channel.record.status == "closed" or await self._openings.refresh(channel):
                continue
            if channel.record.opening is None:
                raise ChannelMissing(f"The chain has no channel of {channel.signer}.", signer=channel.signer)
            if await self._openings.expired(channel):
                self._context.store.drop_channel(channel.record)
                del self._channels[channel.signer]
        return self.all()

    async def top_up(self, channel: Channel, amount: int, sender: Sender) -> int:
        """Add to the deposit and to the spending limit, with `sender`'s gas; returns the new deposit.

        Raises OpeningNeedsGas when the token cannot be moved by signature and `sender` is not the payer.
        """
        ours, payer = self._context.deployment, self._account.payer
        if await ours.token.supports_authorization():
            top_up = TopUp(
                payer=payer,
                payee=channel.payee,
                token=channel.token,
                signer=channel.signer,
                amount=amount,
                salt=secrets.token_bytes(32),
                deadline=int(self._context.clock()) + VALID_SECONDS,
            )
            authorization = authorize(
                top_up,
                ours.channels.address,
                await ours.token.domain(),
                self._account.payer_key,
                top_up.deadline,
            )
            await sender.send(ours.channels.top_up_with_authorization(top_up, authorization))
        elif sender.address == payer:
            await sender.send(ours.token.approve(ours.channels.address, amount))
            await sender.send(ours.channels.top_up(channel.payee, channel.token, channel.signer, amount))
        else:
            raise OpeningNeedsGas(f"Only {payer} itself can top up in this token.", payer=payer)
        await self._openings.refresh(channel)
        await self.limit(channel, channel.books.limit + amount)
        return channel.books.deposited

    async def limit(self, channel: Channel, limit: int) -> None:
        """Set how much may ever be signed on a channel, in base units."""
        channel.books.limit = limit
        await channel.save()

    # ---- Closing and recovery ----

    async def plan_close(self, channel: Channel, *, consent: bool = True) -> Closing:
        """What closing needs next, without doing it. See `Closings.plan`."""
        return await self._closings.plan(channel, consent=consent)

    async def close(self, channel: Channel, sender: Sender, *, consent: bool = True) -> Closing:
        """Carry out the next step of closing. See `Closings.advance`."""
        return await self._closings.advance(channel, sender, consent=consent)

    async def recover(self, operators: Collection[ChecksumAddress] = ()) -> Recovered:
        """Find channels of this seed that this device does not know, with these nodes or with all."""
        registry = self._context.deployment.registry
        if operators:
            nodes = [node for node in [await registry.node(operator) for operator in operators] if node]
        else:
            nodes = [node async for node in registry.nodes(0)]
        known = {signer for signer, channel in self._channels.items() if not channel.record.unverified}
        recovered = await Recovery(self._account, self._context, self._openings).run(nodes, known)
        for channel in recovered.channels:
            self._channels[channel.signer] = channel
        return recovered

    def _pending(self, node: Node, terms: Terms) -> Channel | None:
        for channel in self.all():
            record = channel.record
            if (
                record.opening is None
                or record.operator != node.operator
                or record.payee != node.descriptor.payee
            ):
                continue
            asked = Terms(record.books.deposited, record.books.limit, record.close_delay)
            if asked == terms and record.opening.deadline > self._context.clock():
                return channel
        return None
