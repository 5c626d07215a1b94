"""Recovery from the seed alone: the chain says which channels exist, the node what was signed on them. A node
may show an old receipt: that costs nobody but itself, and is noticed as soon as it claims a later one."""

from dataclasses import dataclass, field

from eth_typing import ChecksumAddress

from waypost.chain.channels import ChannelState, ChannelStatus
from waypost.chain.registry import RegisteredNode
from waypost.client.account import Account
from waypost.client.books import Books
from waypost.client.channel import Channel, Context, agreed_prices
from waypost.client.openings import STATUS, Openings
from waypost.client.records import AgreedPrices, ChannelRecord
from waypost.errors import InvalidAnswer, NodeDisagrees, WaypostError
from waypost.protocol.signatures import address_of

GAP = 16
"""So many unused signers in a row end the search; openings that never reached the chain leave gaps."""


@dataclass(slots=True)
class Recovered:
    """Channels found again; `faults` says by signer why a node's word on one could not be had or believed."""

    channels: list[Channel] = field(default_factory=list)
    faults: dict[ChecksumAddress, WaypostError] = field(default_factory=dict)


class Recovery:
    """Rebuilds the state of one account's channels."""

    def __init__(self, account: Account, context: Context, openings: Openings) -> None:
        self._account, self._context, self._openings = account, context, openings

    async def run(self, nodes: list[RegisteredNode], known: set[ChecksumAddress]) -> Recovered:
        """Look for unfinished channels with these nodes, except the `known` signers. Raises ChainErrors.

        A channel whose node cannot be believed now is kept without leave to sign, for closing always works;
        leave it out of `known` to try again.
        """
        recovered = Recovered()
        for node in nodes:
            for index, state in await self._walk(node.payout):
                key = self._openings.key(node.payout, index)
                if address_of(key) not in known:
                    await self._adopt(node, index, key, state, recovered)
        return recovered

    async def _walk(self, payee: ChecksumAddress) -> list[tuple[int, ChannelState]]:
        ours, found, index, unused = self._context.deployment, [], 0, 0
        while unused < GAP:
            signers = [address_of(self._openings.key(payee, index + offset)) for offset in range(GAP)]
            for state in await ours.channels.channels_of(payee, ours.token.address, signers):
                unused = unused + 1 if state.status is ChannelStatus.NONE else 0
                if state.status in (ChannelStatus.OPEN, ChannelStatus.CLOSING):
                    found.append((index, state))
                index += 1
        return found

    async def _adopt(
        self, node: RegisteredNode, index: int, key: bytes, state: ChannelState, recovered: Recovered
    ) -> None:
        record = ChannelRecord(
            operator=node.operator,
            payee=node.payout,
            token=self._context.deployment.token.address,
            signer=address_of(key),
            index=index,
            payer=state.payer,
            close_delay=state.close_delay,
            status=STATUS[state.status],
            closes_at=state.closes_at,
            agreed=AgreedPrices(store_per_kib_hour=0, fetch_per_kib=0, min_receipt=0),
            # What the chain paid out was signed; until the node answers, all else may have been.
            books=Books(
                deposited=state.deposited, limit=state.deposited, signed=state.deposited, paid=state.claimed
            ),
        )
        channel = Channel(record, key, self._context)
        try:
            await self._ask(channel, state)
        except WaypostError as error:
            record.unverified = True
            record.books.stop(f"after recovery its accounts could not be established: {error}")
            recovered.faults[record.signer] = error
        await channel.save()
        recovered.channels.append(channel)

    async def _ask(self, channel: Channel, state: ChannelState) -> None:
        channel.record.agreed = agreed_prices(await channel.node(fresh=True))
        answer = await channel.ask()
        signed = channel.check_receipt(answer)
        if signed < state.claimed:
            raise NodeDisagrees(
                f"The node shows a receipt of {signed}, but claimed {state.claimed}: it withholds some.",
                given=str(signed),
                claimed=str(state.claimed),
            )
        if answer.paid != signed or answer.spent > signed:
            raise InvalidAnswer(
                f"The node says paid {answer.paid} and spent {answer.spent}; its receipt is over {signed}.",
                paid=str(answer.paid),
                spent=str(answer.spent),
                receipt=str(signed),
            )
        books = channel.record.books
        books.signed = books.paid = signed
        books.spent = answer.spent
