"""The Channels contract: reads, calls as values for `Sender.send`, events.
Amounts are token base units; times are Unix seconds, delays seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import Event, Log
from waypost.chain.connection import BlockId, Call
from waypost.chain.credits import Credits, signature_bytes
from waypost.chain.token import NO_PERMIT, Permit
from waypost.protocol.eip712 import Domain, channels_domain
from waypost.protocol.openings import (
    Authorization,
    Close,
    SignedOpening,
    StartClose,
    TopUp,
)
from waypost.protocol.receipts import SignedReceipt
from waypost.protocol.signatures import Signature, checksum

MAX_CLAIMS = 1_000
"""Receipts that one claim takes."""

_NO_RECEIPT = (0, bytes(32), bytes(32))


class ChannelStatus(IntEnum):
    """Where a channel is in its life; it never goes back."""

    NONE = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as the chain has it; `closes_at` is 0 unless closing was started."""

    payer: ChecksumAddress
    deposited: int
    claimed: int
    closes_at: int
    close_delay: int
    status: ChannelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """A channel opened."""

    payee: ChecksumAddress
    token: ChecksumAddress
    signer: ChecksumAddress
    payer: ChecksumAddress
    amount: int
    close_delay: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToppedUp(Event):
    """`from_` added `amount`, which makes `deposited` in all."""

    payee: ChecksumAddress
    token: ChecksumAddress
    signer: ChecksumAddress
    from_: ChecksumAddress
    amount: int
    deposited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """A batch was claimed; `entries` are (signer, amount) of each channel that paid."""

    payee: ChecksumAddress
    token: ChecksumAddress
    total: int
    entries: tuple[tuple[ChecksumAddress, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseStarted(Event):
    """The payer wants out; claims stay possible until somebody finishes, not before `closes_at`."""

    payee: ChecksumAddress
    token: ChecksumAddress
    signer: ChecksumAddress
    closes_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Event):
    """A channel ended: `claimed` went to the payee over its life, `refund` back to the payer."""

    payee: ChecksumAddress
    token: ChecksumAddress
    signer: ChecksumAddress
    claimed: int
    refund: int


class Channels(Credits):
    """Reads raise RpcUnreachable, RpcFailed or WrongContract; calls send nothing."""

    artifact = "Channels"
    events = (Opened, ToppedUp, Claimed, CloseStarted, Closed, *Credits.events)

    def domain(self) -> Domain:
        """The EIP-712 domain of receipts, openings and closes."""
        return channels_domain(self.connection.chain_id, self.address)

    # ---- Reads ----

    async def channel(
        self,
        payee: ChecksumAddress,
        token: ChecksumAddress,
        signer: ChecksumAddress,
        block: BlockId | None = None,
    ) -> ChannelState:
        """One channel; status NONE if it was never opened."""
        return _state(await self._read("channel", payee, token, signer, block=block))

    async def channels_of(
        self,
        payee: ChecksumAddress,
        token: ChecksumAddress,
        signers: Sequence[ChecksumAddress],
        block: BlockId | None = None,
    ) -> list[ChannelState]:
        """Many channels of one payee in one request, in the order of `signers`."""
        found = await self._read("channelsOf", payee, token, list(signers), block=block)
        return [_state(fields) for fields in found]

    async def close_delays(self) -> tuple[int, int]:
        """The shortest and the longest close delay that an opening may have."""
        return int(await self._read("minCloseDelay")), int(await self._read("maxCloseDelay"))

    # ---- Open and top up ----

    def open(self, opening: SignedOpening) -> Call:
        """By the payer, who has approved the amount."""
        return self._call("open", *_opening(opening))

    def open_many(self, openings: Sequence[SignedOpening]) -> Call:
        """By the payer: one token, one transfer, all or nothing."""
        terms = [opening.opening.to_abi() for opening in openings]
        signatures = [opening.signer_signature.to_abi() for opening in openings]
        return self._call("openMany", terms, signatures)

    def open_for(
        self,
        opening: SignedOpening,
        payer_signature: Signature | bytes,
        permit: Permit = NO_PERMIT,
    ) -> Call:
        """By anybody, with the payer's signature of the opening; `bytes` for contract wallets."""
        signature = signature_bytes(payer_signature)
        return self._call("openFor", *_opening(opening), signature, permit.to_abi())

    def open_with_authorization(self, opening: SignedOpening, authorization: Authorization) -> Call:
        """By anybody: the payer needs neither ETH nor an allowance."""
        return self._call("openWithAuthorization", *_opening(opening), authorization.to_abi())

    def top_up(
        self,
        payee: ChecksumAddress,
        token: ChecksumAddress,
        signer: ChecksumAddress,
        amount: int,
    ) -> Call:
        """By anybody who has approved the amount."""
        return self._call("topUp", payee, token, signer, amount)

    def top_up_for(
        self, top_up: TopUp, payer_signature: Signature | bytes, permit: Permit = NO_PERMIT
    ) -> Call:
        """By anybody, with the signature of whoever pays."""
        signature = signature_bytes(payer_signature)
        return self._call("topUpFor", top_up.to_abi(), signature, permit.to_abi())

    def top_up_with_authorization(self, top_up: TopUp, authorization: Authorization) -> Call:
        """By anybody, paid by an ERC-3009 authorization."""
        return self._call("topUpWithAuthorization", top_up.to_abi(), authorization.to_abi())

    # ---- Claim and close ----

    def claim(
        self, payee: ChecksumAddress, token: ChecksumAddress, receipts: Sequence[SignedReceipt]
    ) -> Call:
        """By anybody, for the payee; at most MAX_CLAIMS. Worthless receipts are skipped."""
        return self._call("claim", payee, token, [receipt.to_abi() for receipt in receipts])

    def start_close(self, payee: ChecksumAddress, token: ChecksumAddress, signer: ChecksumAddress) -> Call:
        """By the payer."""
        return self._call("startClose", payee, token, signer)

    def start_close_for(self, start: StartClose, payer_signature: Signature | bytes) -> Call:
        """By anybody, with the payer's signature."""
        return self._call("startCloseFor", *start.to_abi(), signature_bytes(payer_signature))

    def finish_close(self, payee: ChecksumAddress, token: ChecksumAddress, signer: ChecksumAddress) -> Call:
        """By anybody, once the close delay is over."""
        return self._call("finishClose", payee, token, signer)

    def close(
        self,
        close: Close,
        payee_signature: Signature | bytes = b"",
        receipt: SignedReceipt | None = None,
    ) -> Call:
        """By the payee, or by anybody with its signature. A final total above what was claimed
        needs the channel signer's `receipt` for at least as much."""
        proof = receipt.to_abi() if receipt else _NO_RECEIPT
        return self._call("close", close.to_abi(), signature_bytes(payee_signature), proof)

    def _build(self, event: type[Event], log: Log, values: dict[str, Any]) -> Event:
        if event is Claimed:
            values["entries"] = tuple(_entry(word) for word in values["entries"])
        return super()._build(event, log, values)


def _opening(signed: SignedOpening) -> tuple[Any, Any]:
    return signed.opening.to_abi(), signed.signer_signature.to_abi()


def _state(fields: tuple[Any, ...]) -> ChannelState:
    payer, deposited, claimed, closes_at, close_delay, status = fields
    return ChannelState(payer, deposited, claimed, closes_at, close_delay, ChannelStatus(status))


def _entry(word: bytes) -> tuple[ChecksumAddress, int]:
    return checksum(word[:20]), int.from_bytes(word[20:])
