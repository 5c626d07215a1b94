"""One open channel: requests that are paid by its receipts, any number at a time, each paid for once.
Nothing is signed before it is on disk, nor for a node whose accounts differ from ours."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from eth_typing import ChecksumAddress

from waypost.client import answers
from waypost.client.answers import ChannelAnswer, PaidAnswer
from waypost.client.books import Books, Reservation
from waypost.client.deployment import Deployment
from waypost.client.nodes import Node, Nodes, PriceCeiling
from waypost.client.records import AgreedPrices, ChannelRecord
from waypost.client.sessions import Sessions
from waypost.client.store import Store
from waypost.client.transport import MAX_ANSWER_BYTES, Response
from waypost.errors import (
    JSON,
    AnswerLost,
    ChannelMissing,
    ClientError,
    InvalidAnswer,
    NodeDisagrees,
    NodeRefused,
    NodeUnreachable,
    ProtocolError,
    WaypostError,
)
from waypost.protocol.payments import PaymentPayload, PaymentRequirements
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import Signature

ATTEMPTS = 4
"""How often one request is sent before its answer counts as lost."""
FIRST_PAUSE_SECONDS = 0.25
PAYMENT_TIMEOUT_SECONDS = 60
PRICE_CHANGES = 2
"""How often one request follows new prices, which still have to be below the ceiling."""

PaidType = TypeVar("PaidType", bound=PaidAnswer)
Quote = Callable[[PriceList], int]
Sleep = Callable[[float], Awaitable[None]]


def agreed_prices(node: Node) -> AgreedPrices:
    """The node's prices of now, as what a channel agrees to."""
    prices = node.descriptor.prices
    return AgreedPrices(
        store_per_kib_hour=prices.store_per_kib_hour,
        fetch_per_kib=prices.fetch_per_kib,
        relay_per_kib=prices.relay_per_kib,
        min_receipt=prices.min_receipt,
    )


@dataclass(frozen=True)
class Context:
    """What all channels of a client share. `clock` gives Unix seconds."""

    deployment: Deployment
    nodes: Nodes
    store: Store
    clock: Callable[[], float]
    sleep: Sleep = asyncio.sleep


@dataclass(slots=True)
class Purchase:
    """A delivery that is being paid for. `payment` is due when there is one; `sent`: whether the node may
    have taken leave to charge; `received`: whether most of it arrived, so that what is charged without an
    account is no fraud; `account`: what it charged."""

    payment: PaymentPayload | None = None
    sent: bool = False
    received: bool = False
    account: PaidAnswer | None = None


class Channel:
    """A channel with one node, and the key that signs its receipts."""

    def __init__(self, record: ChannelRecord, key: bytes, context: Context) -> None:
        self.record = record
        self.key = key
        self._context = context
        self._sessions = Sessions(self, context)
        self._quiet = asyncio.Condition()
        self._busy = 0
        self._saving = asyncio.Lock()
        self._version = self._saved = 0

    @property
    def books(self) -> Books:
        """Our accounts of the channel."""
        return self.record.books

    @property
    def payee(self) -> ChecksumAddress:
        """Whom receipts are made out to."""
        return self.record.payee

    @property
    def token(self) -> ChecksumAddress:
        """What they are counted in."""
        return self.record.token

    @property
    def signer(self) -> ChecksumAddress:
        """The address that names the channel."""
        return self.record.signer

    @property
    def path(self) -> str:
        """The channel's place in the node's interface."""
        return f"/v1/channels/{self.payee}/{self.token}/{self.signer}"

    def receipt(self, cumulative: int) -> SignedReceipt:
        """Sign a total that the books already allow."""
        if cumulative > self.books.signed:
            raise AssertionError("a receipt is booked before it is signed")
        receipt = Receipt(self.payee, self.token, cumulative)
        return SignedReceipt(receipt, receipt.sign(self._context.deployment.channels_domain, self.key))

    async def request(
        self,
        model: type[PaidType],
        path: str,
        body: Mapping[str, JSON],
        quote: Quote,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> PaidType:
        """POST a request that costs at most `quote(prices)`, and pay for it, once, however often it is sent.

        Raises SpendingLimitExceeded, DepositExhausted, PriceTooHigh (nothing was sent); NodeRefused,
        NodeUnreachable (nothing was charged); AnswerLost, InvalidAnswer (it may have been charged);
        NodeDisagrees (nothing more is signed on this channel).
        """
        await self._enter()
        try:
            for change in range(PRICE_CHANGES + 1):
                node = await self.node(fresh=change > 0)
                self.check_prices(node)
                try:
                    return await self._attempt(
                        node, model, path, body, quote(node.descriptor.prices), max_bytes
                    )
                except NodeRefused as error:
                    if error.details.get("reason") != "price_expired" or change == PRICE_CHANGES:
                        raise
            raise AssertionError("unreachable")
        finally:
            await self._leave()

    @asynccontextmanager
    async def purchase(self, node: Node, cost: int) -> AsyncIterator[Purchase]:
        """Set the price of a delivery aside that is no answer to a request: within the block the payment is
        handed over, and the node's account of it put into the purchase.

        Raises SpendingLimitExceeded, DepositExhausted, PriceTooHigh; NodeDisagrees. A block that raises
        leaves the price in doubt, unless it says that nothing was `sent`.
        """
        await self._enter()
        try:
            self.check_prices(node)
            reservation = self.books.reserve(cost, node.descriptor.prices.min_receipt)
            purchase = Purchase()
            try:
                await self.save()
                if reservation.attach is not None:
                    purchase.payment = self._payment(node, cost, reservation.attach)
                yield purchase
                if purchase.account is None:
                    raise AssertionError("a purchase ends with an account")
            except WaypostError:
                if not purchase.sent:
                    self.books.release(reservation)
                else:
                    (self.books.interrupt if purchase.received else self.books.doubt)(reservation)
                raise
            except BaseException:
                self.books.interrupt(reservation)
                raise
            await self._settle(reservation, purchase.account)
        finally:
            await self._leave()

    async def session(self, node: Node) -> str:
        """A token that speaks for the channel."""
        return await self._sessions.token(node)

    def end_session(self, token: str) -> None:
        """The node does not know the token any more."""
        self._sessions.forget(token)

    async def node(self, *, fresh: bool = False) -> Node:
        """The channel's node, verified. Raises NodeDisagrees when it now has its money paid elsewhere."""
        node = await self._context.nodes.get(self.record.operator, fresh=fresh)
        if node.descriptor.payee != self.payee:
            raise NodeDisagrees(
                f"{self.record.operator} is paid at {node.descriptor.payee} now, but here at {self.payee}: "
                "close it and open another.",
                field="payee",
                given=node.descriptor.payee,
                expected=self.payee,
            )
        return node

    def check_prices(self, node: Node) -> None:
        """Raises PriceTooHigh above what was agreed to, or above the client's ceiling if it has one."""
        agreed, ceiling = self.record.agreed, self._context.nodes.ceiling
        # The ceiling was held against the descriptor when that was verified.
        unlimited = {name for name in AgreedPrices.model_fields if getattr(ceiling, name) is None}
        PriceCeiling(**agreed.model_dump(include=unlimited)).check(node.descriptor)

    async def agree(self) -> None:
        """Agree to what the node asks now, from here on."""
        self.record.agreed = agreed_prices(await self.node(fresh=True))
        await self.save()

    async def ask(self) -> ChannelAnswer:
        """The channel as its node sees it, checked to be this one."""
        node = await self.node()
        response = await self._sessions.call(node, "GET", self.path)
        answer = answers.parse(ChannelAnswer, response.body)
        for name in ("payee", "token", "signer", "payer"):
            given, expected = getattr(answer, name), getattr(self.record, name)
            if given != expected:
                sentence = f"{node.client.endpoint} describes another channel: its {name} is {given}."
                raise InvalidAnswer(sentence, field=name, given=given, expected=expected)
        return answer

    async def call(self, method: str, path: str, body: Mapping[str, JSON] | None = None) -> Response:
        """A free request in the channel's name."""
        return await self._sessions.call(await self.node(), method, path, body)

    async def reconcile(self) -> None:
        """Take over the node's accounts if they can be true. Raises NodeDisagrees, or as `request`."""
        async with self._quiet:
            await self._quiet.wait_for(lambda: self._busy == 0)
            await self._take_over()

    def require_open(self) -> None:
        """Raises ChannelMissing unless the channel is open."""
        if self.record.status != "open":
            sentence = f"The channel with {self.record.operator} is {self.record.status}, not open."
            raise ChannelMissing(sentence, operator=self.record.operator, status=self.record.status)

    async def distrust(self, reason: str) -> None:
        """Sign nothing more for this node, and remember why."""
        self.books.stop(reason)
        await self.save()

    async def save(self) -> None:
        """Put the record on disk; tasks that wait for the same write share it."""
        self._version += 1
        wanted = self._version
        async with self._saving:
            if self._saved < wanted:
                version, copy = self._version, self.record.model_copy(deep=True)
                await asyncio.to_thread(self._context.store.save_channel, copy)
                self._saved = version

    # ---- One request ----

    async def _attempt(
        self,
        node: Node,
        model: type[PaidType],
        path: str,
        body: Mapping[str, JSON],
        cost: int,
        max_bytes: int,
    ) -> PaidType:
        prices = node.descriptor.prices
        reservation = self.books.reserve(cost, prices.min_receipt)
        possibly_served = False
        try:
            await self.save()
            headers = {"Idempotency-Key": secrets.token_urlsafe(24), "Waypost-Price-Id": prices.price_id}
            if reservation.attach is not None:
                payment = self._payment(node, cost, reservation.attach)
                headers[payment.header] = payment.to_header()
            content = json.dumps(body, separators=(",", ":")).encode()
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    response = await self._sessions.call(
                        node, "POST", path, content, headers=headers, max_bytes=max_bytes
                    )
                    answer = answers.parse(model, response.body)
                    break
                except (AnswerLost, NodeUnreachable) as error:
                    possibly_served |= isinstance(error, AnswerLost)
                    if attempt == ATTEMPTS:
                        raise
                    await self._context.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
                except InvalidAnswer:
                    possibly_served = True
                    raise
        except ClientError:
            (self.books.doubt if possibly_served else self.books.release)(reservation)
            raise
        except BaseException:
            self.books.interrupt(reservation)  # cancelled, or our own fault: not the node's
            raise
        await self._settle(reservation, answer)
        return answer

    async def _settle(self, reservation: Reservation, answer: PaidAnswer) -> None:
        try:
            self.books.settle(reservation, charged=answer.charged, paid=answer.paid, spent=answer.spent)
        except NodeDisagrees:
            await self.save()
            raise

    def _payment(self, node: Node, cost: int, total: int) -> PaymentPayload:
        ours, prices = self._context.deployment, node.descriptor.prices
        accepted = PaymentRequirements(
            chain_id=ours.chain_id,
            amount=cost,
            asset=self.token,
            pay_to=self.payee,
            max_timeout_seconds=PAYMENT_TIMEOUT_SECONDS,
            extra={"channels": ours.channels.address, "priceId": prices.price_id},
        )
        return PaymentPayload(accepted, self.signer, total, self.receipt(total).signature)

    # ---- Doubts ----

    async def _enter(self) -> None:
        async with self._quiet:
            self.require_open()
            if self.books.doubtful:
                # What became of requests without an answer is settled before anything more is signed.
                await self._quiet.wait_for(lambda: self._busy == 0)
                if self.books.doubtful:  # unless another task was first
                    await self._take_over()
            self._busy += 1

    async def _leave(self) -> None:
        async with self._quiet:
            self._busy -= 1
            self._quiet.notify_all()

    async def _take_over(self) -> None:
        """Needs `_quiet` and nothing under way."""
        answer = await self.ask()
        try:
            self.books.observe_claim(answer.claimed)
            self.books.reconcile(paid=answer.paid, spent=answer.spent)
        finally:
            await self.save()

    def check_receipt(self, answer: ChannelAnswer) -> int:
        """The total of the last receipt that the node shows. Raises InvalidAnswer if we did not sign it."""
        if answer.receipt is None:
            return 0
        verifier = self._context.deployment.verifier(self.payee)
        try:
            signature = Signature.from_hex(answer.receipt.signature)
            verifier.verify(answer.receipt.cumulative, signature, self.signer)
        except ProtocolError as error:
            raise InvalidAnswer(f"The node shows a receipt that we did not sign: {error}") from None
        return answer.receipt.cumulative
