"""Closing by consent: the node signs how much it keeps, and whoever submits that closes the channel at once.
The unspent rest goes back to the payer, without the wait of a close that nobody agreed to."""

from collections.abc import Callable
from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.errors import ChannelClosed, ChannelNotFinal, ConsentUnavailable
from waypost.node.accounts import ChannelAccount, Status
from waypost.node.ledger import Ledger
from waypost.protocol.eip712 import Domain
from waypost.protocol.openings import Close
from waypost.protocol.receipts import SignedReceipt
from waypost.protocol.signatures import Signature, address_of

CONSENT_SECONDS = 600
"""How long a consent may be submitted."""
FREEZE_SECONDS = 2 * CONSENT_SECONDS
"""How long the channel stays frozen: longer, because a close that just made it may reach the books late."""


@dataclass(frozen=True, slots=True)
class Consent:
    """All that `Channels.close` takes. `receipt` proves the signer's part; None if none was given."""

    close: Close
    signature: Signature
    receipt: SignedReceipt | None


class Closing:
    """`payee_key` is the key of the ledger's payee, or None where that is a contract or kept elsewhere."""

    def __init__(
        self, ledger: Ledger, domain: Domain, payee_key: bytes | None, clock: Callable[[], int]
    ) -> None:
        payee = ledger.accounts.payee
        self._ledger = ledger
        self._domain = domain
        self._key = payee_key if payee_key is not None and address_of(payee_key) == payee else None
        self._clock = clock

    async def consent(self, signer: ChecksumAddress) -> Consent:
        """Freezes the channel, durably, and only then signs: what was spent can no longer grow.

        Asking again gives a new deadline. Raises ChannelUnknown, ChannelNotFinal, ChannelClosed or
        ConsentUnavailable.
        """
        if self._key is None:
            raise ConsentUnavailable(
                "The node cannot consent to closing: its payee's key is kept elsewhere."
                " Start a timed close instead.",
                payee=self._ledger.accounts.payee,
            )
        account = await self._ledger.account(signer)
        if account is not None:
            _check(account)
        now = self._clock()
        account = await self._ledger.freeze(signer, now + FREEZE_SECONDS)
        final = max(account.claimed, min(account.spent, account.covered))
        close = Close(account.payee, account.token, signer, final, now + CONSENT_SECONDS)
        return Consent(close, close.sign(self._domain, self._key), account.receipt)


def _check(account: ChannelAccount) -> None:
    if account.status is Status.OPENING:
        raise ChannelNotFinal(signer=account.signer)
    if account.status is Status.CLOSED:
        raise ChannelClosed(signer=account.signer)
