"""How one request is paid for: by a session, by a receipt of its own in x402 v2 form, or not at all.
The money rules are the ledger's; here are the headers, and no charge above what was accepted."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from eth_typing import ChecksumAddress
from starlette.types import Scope

from waypost.errors import InvalidPayment, PaymentRequired, ReceiptForAnotherNode, WaypostError
from waypost.node.answers import Idempotency
from waypost.node.ledger import Charge, Charged
from waypost.node.limits import mark_paid, remote_address
from waypost.node.node import Node
from waypost.node.prices import HONOURED_SECONDS
from waypost.protocol import payments
from waypost.protocol.payments import PaymentPayload, PaymentRequirements, PaymentResponse
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import Receipt, SignedReceipt

T = TypeVar("T")
Effect = Callable[[sqlite3.Connection], tuple[int, T]]
"""Work inside the transaction that pays for it; returns its cost in base units, and its result."""


@dataclass(slots=True)
class Purchase:
    """What one request may spend, and at which prices. `scope` is the request's own.

    `session` is the channel that a bearer token stands for, `payment` the receipt in the request itself.
    """

    node: Node
    scope: Scope
    prices: PriceList
    session: ChecksumAddress | None
    payment: PaymentPayload | None
    idempotency: Idempotency | None
    _quote: int = 0

    @property
    def signer(self) -> ChecksumAddress | None:
        """The channel that pays, or None when the request names none."""
        return self.payment.signer if self.payment else self.session

    @property
    def source(self) -> str:
        """The address that the request came from."""
        return remote_address(self.scope, trusted_proxy=self.node.settings.trusted_proxy)

    def check(self) -> None:
        """Raises InvalidPayment, ReceiptForAnotherNode or NodeNotReady if the payment cannot count here."""
        payment, settings = self.payment, self.node.settings
        if payment is None:
            return
        if self.session not in (None, payment.signer):
            raise InvalidPayment("The session and the payment are of different channels.")
        accepted = payment.accepted
        if (accepted.chain_id, accepted.pay_to, accepted.asset) != (
            settings.chain_id,
            settings.payee,
            settings.token,
        ):
            raise ReceiptForAnotherNode(
                f"The payment is for {accepted.pay_to} in {accepted.asset} on chain {accepted.chain_id}.",
                payee=accepted.pay_to,
                token=accepted.asset,
            )
        self.node.need_chain()

    async def charge(self, quote: int, effect: Effect[T]) -> Charged[T]:
        """Does `effect` and charges what it costs, in one durable commit; if it raises, nothing happened.

        `quote` is the most that it may cost, in base units. At zero nobody needs to pay, and a request that
        names no channel is served as it is. Raises what the ledger and the effect raise.
        """
        self._quote = quote
        signer = self.signer
        if signer is None:
            if quote:
                raise PaymentRequired(f"This costs {quote} base units.", amount=str(quote))
            _, result = await self.node.db.write(effect)
            return Charged(result, charged=0, paid=0, spent=0)
        charge = Charge(
            signer=signer,
            effect=self._within_accepted(effect),
            receipt=self._receipt(),
            session=self.session is not None,
            idempotency=self.idempotency,
        )
        done = await self.node.ledger.charge(charge)
        mark_paid(self.scope)
        if not done.replayed:
            self.node.metrics.charged(self.scope["route"].path, done.charged)
        return done

    def success(self) -> dict[str, str]:
        """Headers of the answer to a request that was paid inline."""
        if self.payment is None:
            return {}
        return {PaymentResponse.header: _success(self.node.settings.chain_id, self.payment.signer)}

    async def refusal(self, error: WaypostError) -> dict[str, str]:
        """Headers of a 402: what to pay, and why a payment that came along did not count."""
        settings, amount = self.node.settings, int(str(error.details.get("amount", self._quote)))
        resource = settings.endpoint + self.scope["path"]
        required = payments.PaymentRequired(str(error), resource, (await self._requirements(amount),))
        headers = {required.header: required.to_header()}
        if self.payment is not None:
            failure = PaymentResponse(
                success=False, chain_id=settings.chain_id, payer=self.payment.signer, error_reason=error.code
            )
            headers[failure.header] = failure.to_header()
        return headers

    def _receipt(self) -> SignedReceipt | None:
        if self.payment is None:
            return None
        accepted = self.payment.accepted
        receipt = Receipt(accepted.pay_to, accepted.asset, self.payment.cumulative)
        return SignedReceipt(receipt, self.payment.signature)

    def _within_accepted(self, effect: Effect[T]) -> Effect[T]:
        if self.payment is None:
            return effect
        limit = self.payment.accepted.amount

        def checked(connection: sqlite3.Connection) -> tuple[int, T]:
            cost, result = effect(connection)
            if cost > limit:
                raise PaymentRequired(f"This costs {cost}, but only {limit} was accepted.", amount=str(cost))
            return cost, result

        return checked

    async def _requirements(self, amount: int) -> PaymentRequirements:
        settings, prices = self.node.settings, self.prices
        account = await self.node.ledger.account(self.signer) if self.signer else None
        return PaymentRequirements(
            chain_id=settings.chain_id,
            amount=amount,
            asset=settings.token,
            pay_to=settings.payee,
            max_timeout_seconds=HONOURED_SECONDS,
            extra={
                "channels": settings.channels,
                "closeDelay": settings.min_close_delay,
                "minDeposit": str(prices.min_deposit),
                "minReceipt": str(prices.min_receipt),
                "balance": str(account.balance if account else 0),
                "priceId": prices.price_id,
            },
        )


@lru_cache(maxsize=8192)  # nothing in it changes from one payment of a channel to the next
def _success(chain_id: int, signer: ChecksumAddress) -> str:
    return PaymentResponse(success=True, chain_id=chain_id, payer=signer).to_header()
