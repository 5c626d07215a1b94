"""What Channels and NodeRegistry share: payments that a token refuses become credits of their receivers."""

from dataclasses import dataclass
from typing import ClassVar

from eth_typing import ChecksumAddress

from waypost.chain.blocks import Event
from waypost.chain.connection import Call
from waypost.chain.contract import Contract
from waypost.protocol.openings import WithdrawCredit
from waypost.protocol.signatures import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited(Event):
    """The token refused a transfer to `owner`, who can withdraw the amount."""

    owner: ChecksumAddress
    token: ChecksumAddress
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditWithdrawn(Event):
    """`owner` withdrew its whole credit to `to`."""

    owner: ChecksumAddress
    token: ChecksumAddress
    to: ChecksumAddress
    amount: int


class Credits(Contract):
    """A contract that pays."""

    events: ClassVar[tuple[type[Event], ...]] = (Credited, CreditWithdrawn)

    async def credit(self, owner: ChecksumAddress, token: ChecksumAddress) -> int:
        """What `owner` can withdraw after refused transfers."""
        return int(await self._read("credit", owner, token))

    def withdraw_credit(self, token: ChecksumAddress, to: ChecksumAddress) -> Call:
        """By the credit's owner."""
        return self._call("withdrawCredit", token, to)

    def withdraw_credit_for(self, withdrawal: WithdrawCredit, owner_signature: Signature | bytes) -> Call:
        """By anybody, with the owner's signature."""
        return self._call("withdrawCreditFor", *withdrawal.to_abi(), signature_bytes(owner_signature))


def signature_bytes(signature: Signature | bytes) -> bytes:
    """As contracts take it: accounts sign 65 bytes r ‖ s ‖ v, contract wallets (ERC-1271) what they like."""
    return signature if isinstance(signature, bytes) else signature.to_rsv()
