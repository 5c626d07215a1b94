"""Getting the deposit back: at once with the node's consent, or without it after the close delay. Every step
can be submitted by anybody with ETH; what is done already is seen on chain, so closing can be resumed."""

from dataclasses import dataclass
from enum import Enum

from waypost.chain.channels import ChannelStatus
from waypost.chain.connection import Call
from waypost.chain.transactions import Sender
from waypost.client import answers
from waypost.client.account import Account
from waypost.client.answers import CloseAnswer
from waypost.client.channel import Channel, Context
from waypost.client.openings import Openings
from waypost.errors import ChannelMissing, InsufficientFunds, InvalidAnswer, NodeDisagrees, ProtocolError
from waypost.protocol.openings import Close, StartClose
from waypost.protocol.signatures import Signature

SIGNATURE_SECONDS = 3600
"""How long the payer's signature under a timed close can be submitted."""


class Step(Enum):
    """What closing a channel needs next."""

    CONSENT = "close"
    START = "startClose"
    WAIT = "wait"
    FINISH = "finishClose"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Closing:
    """The next step of a close. `final`: what the node gets in all, at most; `refund`: the rest, in base
    units. `closes_at` is 0 unless the close delay is running."""

    step: Step
    final: int
    refund: int
    closes_at: int = 0


class Closings:
    """Closes channels of one account."""

    def __init__(self, account: Account, context: Context, openings: Openings) -> None:
        self._account, self._context, self._openings = account, context, openings

    async def plan(self, channel: Channel, *, consent: bool = True) -> Closing:
        """The next step by the chain's state, without taking it; with `consent` the node is to agree to an
        immediate close. Raises ChannelMissing."""
        state = await self._openings.state(channel.record)
        books, held = channel.books, state.deposited
        match state.status:
            case ChannelStatus.NONE:
                raise ChannelMissing(f"The chain has no channel of {channel.signer}.", signer=channel.signer)
            case ChannelStatus.CLOSED:
                return Closing(Step.DONE, state.claimed, held - state.claimed, state.closes_at)
        if consent:
            owed = self._owed(channel, state.claimed)
            return Closing(Step.CONSENT, owed, held - owed, state.closes_at)
        # Without consent the node may still claim everything that was signed.
        signed = max(state.claimed, min(books.signed, held))
        if state.status is ChannelStatus.OPEN:
            return Closing(Step.START, signed, held - signed)
        # The next block carries about our time, the newest one may be old.
        now = max((await self._context.deployment.connection.head()).timestamp, int(self._context.clock()))
        if now < state.closes_at:
            return Closing(Step.WAIT, signed, held - signed, state.closes_at)
        return Closing(Step.FINISH, state.claimed, held - state.claimed, state.closes_at)

    async def advance(self, channel: Channel, sender: Sender, *, consent: bool = True) -> Closing:
        """Take the next step with `sender`'s gas, and say which one comes then.

        Raises ChannelMissing; NodeDisagrees when the node asks for more than it is owed, and why it cannot be
        asked: then go on without its consent.
        """
        ours, record = self._context.deployment, channel.record
        match (await self.plan(channel, consent=consent)).step:
            case Step.CONSENT:
                # A consent freezes the channel for a while: it is not asked for in vain.
                if await ours.connection.balance(sender.address) == 0:
                    sentence = f"{sender.address} has no ETH to close the channel with; anybody may send it."
                    raise InsufficientFunds(sentence, account=sender.address)
                claimed = (await self._openings.state(record)).claimed
                await sender.send(await self._consented(channel, claimed))
            case Step.START:
                await sender.send(self._start(channel))
            case Step.FINISH:
                await sender.send(ours.channels.finish_close(record.payee, record.token, record.signer))
        await self._openings.refresh(channel)
        return await self.plan(channel, consent=False)

    def _owed(self, channel: Channel, claimed: int) -> int:
        books = channel.books
        return max(claimed, min(books.signed, books.spent + books.interrupted + books.unanswered))

    def _start(self, channel: Channel) -> Call:
        deadline = int(self._context.clock()) + SIGNATURE_SECONDS
        start = StartClose(channel.payee, channel.token, channel.signer, deadline)
        signature = start.sign(self._context.deployment.channels_domain, self._account.payer_key)
        return self._context.deployment.channels.start_close_for(start, signature)

    async def _consented(self, channel: Channel, claimed: int) -> Call:
        response = await channel.call("POST", f"{channel.path}/close")
        answer = answers.parse(CloseAnswer, response.body)
        terms, owed = answer.close, self._owed(channel, claimed)
        if (terms.payee, terms.token, terms.signer) != (channel.payee, channel.token, channel.signer):
            raise InvalidAnswer("The node consents to closing another channel.", signer=terms.signer)
        if terms.final_cumulative > owed:
            raise NodeDisagrees(
                f"The node asks for {terms.final_cumulative} in all; by our books it is owed at most {owed}. "
                "Close without its consent.",
                given=str(terms.final_cumulative),
                highest=str(owed),
            )
        close = Close(terms.payee, terms.token, terms.signer, terms.final_cumulative, terms.deadline)
        signature = self._payee_signature(close, answer.signature)
        receipt = channel.receipt(terms.final_cumulative) if terms.final_cumulative > claimed else None
        return self._context.deployment.channels.close(close, signature, receipt)

    def _payee_signature(self, close: Close, text: str) -> Signature | bytes:
        raw = bytes.fromhex(text.removeprefix("0x"))
        if len(raw) not in (64, 65):
            return raw  # a contract wallet's (ERC-1271): the simulation before sending tells
        signature = Signature.from_bytes(raw) if len(raw) == 64 else _compact(raw)
        try:
            found = close.recover(self._context.deployment.channels_domain, signature)
        except ProtocolError:
            return raw
        return signature if found == close.payee else raw


def _compact(raw: bytes) -> Signature:
    """EIP-2098 form of 65 bytes r ‖ s ‖ v."""
    return Signature(raw[:32], bytes([raw[32] | (raw[64] & 1 ^ 1) << 7]) + raw[33:64])
