"""What an opening must fulfil before the node spends gas on it. Pure: no chain, no database, no clock."""

from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.errors import (
    CloseDelayTooShort,
    InvalidAuthorization,
    OpeningRateLimited,
    OpeningRefused,
    ReceiptExceedsDeposit,
    ReceiptForAnotherNode,
    ReceiptTooSmall,
)
from waypost.node.submissions import Kind, check_validity
from waypost.protocol.openings import Authorization, Opening, SignedOpening
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import ReceiptVerifier, SignedReceipt
from waypost.protocol.signatures import keccak

KIND = Kind("opening", OpeningRefused, OpeningRateLimited)


@dataclass(frozen=True, slots=True)
class Request:
    """A client's opening, the payer's ERC-3009 authorization of the deposit, and the receipt that pays
    the node for sending both."""

    signed: SignedOpening
    authorization: Authorization
    receipt: SignedReceipt

    @property
    def opening(self) -> Opening:
        """The terms."""
        return self.signed.opening

    @property
    def digest(self) -> bytes:
        """Equal for repetitions of one request. Only its sender knows the receipt: the rest is public
        once it was sent."""
        return keccak(self.opening.struct_hash() + self.receipt.signature.to_bytes())


class OpeningRules:
    """For channels to the verifier's payee in its token. Delays are seconds."""

    def __init__(self, verifier: ReceiptVerifier, channels: ChecksumAddress, *, min_close_delay: int) -> None:
        self._verifier = verifier
        self._channels = channels
        self._min_close_delay = min_close_delay

    def check_signatures(self, request: Request) -> None:
        """That the parts belong together, to this node, and to one signer.

        Raises OpeningRefused, InvalidSignature, InvalidAuthorization, InvalidReceipt or
        ReceiptForAnotherNode.
        """
        opening, transfer, receipt = request.opening, request.authorization.transfer, request.receipt.receipt
        ours = (self._verifier.payee, self._verifier.token)
        if (opening.payee, opening.token) != ours:
            raise OpeningRefused(
                f"The opening pays {opening.payee} in {opening.token};"
                f" this node is paid at {ours[0]} in {ours[1]}.",
                payee=ours[0],
                token=ours[1],
            )
        if (receipt.payee, receipt.token) != ours:
            raise ReceiptForAnotherNode(payee=receipt.payee, token=receipt.token)
        bound = (transfer.from_, transfer.to, transfer.value, transfer.nonce)
        if bound != (opening.payer, self._channels, opening.amount, opening.struct_hash()):
            raise InvalidAuthorization("The authorization is not for this opening.")
        request.signed.verify(self._verifier.domain)
        self._verifier.verify(receipt.cumulative, request.receipt.signature, opening.signer)

    def check_terms(self, request: Request, prices: PriceList, now: int) -> None:
        """That the channel is worth opening, and the signatures last long enough.

        Raises CloseDelayTooShort, OpeningRefused, ReceiptTooSmall or ReceiptExceedsDeposit.
        """
        opening, paid = request.opening, request.receipt.cumulative
        if opening.close_delay < self._min_close_delay:
            raise CloseDelayTooShort(
                f"The channel could close within {opening.close_delay} s;"
                f" the node needs {self._min_close_delay} s to claim.",
                given=opening.close_delay,
                minimum=self._min_close_delay,
            )
        if opening.amount < prices.min_deposit:
            raise OpeningRefused(
                f"The deposit is {opening.amount}; the node asks for at least {prices.min_deposit}.",
                given=str(opening.amount),
                minimum=str(prices.min_deposit),
            )
        if paid < prices.opening:
            raise ReceiptTooSmall(
                f"The receipt pays {paid}; opening the channel costs {prices.opening}.",
                given=str(paid),
                minimum=str(prices.opening),
            )
        if paid > opening.amount:
            raise ReceiptExceedsDeposit(
                f"The receipt's total is {paid}, the deposit {opening.amount}.",
                given=str(paid),
                maximum=str(opening.amount),
            )
        check_validity(KIND, opening.deadline, now, request.authorization.transfer)
