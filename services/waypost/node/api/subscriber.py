"""One subscriber of `WS /v1/relay`, from its first frame to its last. Nothing is buffered for it: it is given
the log at its own pace, and is cut off when it does not read what was sent."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Annotated, TypeVar

import structlog
from eth_typing import ChecksumAddress
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from waypost.errors import (
    JSON,
    InvalidRequest,
    PaymentRequired,
    SessionInvalid,
    SubscriberTooSlow,
    WaypostError,
)
from waypost.node.api.errors import document, public, status_of
from waypost.node.api.fields import Address, CompactSignature, GivenAmount, Model
from waypost.node.api.models import Time, Topic
from waypost.node.ledger import Charged
from waypost.node.limits import MAX_TOPICS, remote_address
from waypost.node.loops import ring_or_pause, until_one_ends
from waypost.node.node import Node
from waypost.node.payment import Purchase
from waypost.node.relay_log import FROM_THE_START, Batch
from waypost.node.subscriptions import PROVED
from waypost.protocol import payments
from waypost.protocol.messages import parse_topic
from waypost.protocol.payments import PaymentPayload
from waypost.protocol.relay import Greeting

FRAME_SECONDS = 10.0
"""How long the first frame may take, or the answer to `payment_required`."""
SEND_SECONDS = 20.0
"""How long one frame may wait for the subscriber to read those before it."""
IDLE_SECONDS = 15.0
"""How often a quiet subscription looks whether it may go on."""
CLOSE_CODES = 4000
"""Close codes are this and the HTTP status of the error."""

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Model)


class GivenGreeting(Model):
    """A node's `Greeting`, signed with its key."""

    operator: Address
    peer: Address
    expires: Time
    signature: CompactSignature


class Subscribe(Model):
    """The first frame: topics, or another node's greeting."""

    topics: Annotated[list[Topic], Field(min_length=1, max_length=MAX_TOPICS)] | None = None
    greeting: GivenGreeting | None = None
    cursor: Annotated[str, Field(max_length=64)] | None = None
    session: Annotated[str, Field(max_length=256)] | None = None


class Accept(Model):
    """The answer to `payment_required`."""

    accept: GivenAmount
    payment: Annotated[str, Field(max_length=8192)] | None = None


class Subscriber:
    """Serves one socket."""

    def __init__(self, node: Node, socket: WebSocket) -> None:
        self._node = node
        self._socket = socket
        self._source = remote_address(socket.scope, trusted_proxy=node.settings.trusted_proxy)
        self._frames: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._session: str | None = None

    async def serve(self) -> None:
        """Until the subscriber leaves or is refused, which a last frame explains."""
        await self._socket.accept()
        try:
            await until_one_ends(self._receive(), self._subscription())
        except WebSocketDisconnect:
            pass
        except WaypostError as error:
            await self._refuse(error)

    async def _receive(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
            except KeyError:
                raise InvalidRequest("Frames are text.") from None
            try:
                self._frames.put_nowait(text)
            except asyncio.QueueFull:
                raise InvalidRequest("No frame was expected.") from None

    async def _subscription(self) -> None:
        places = self._node.relay.subscriptions
        async with places.patience(FRAME_SECONDS):
            asked = _parsed(Subscribe, await self._frames.get())
        if asked.greeting is not None:
            given = asked.greeting
            greeting = Greeting(given.operator, given.peer, given.expires)
            await self._node.peers.check_greeting(greeting, given.signature)
            with places.seat_of_node(given.operator):
                # One that comes for the first time is given everything: what is old tells it so.
                await self._deliver(None, asked.cursor or FROM_THE_START)
            return
        topics = tuple(dict.fromkeys(asked.topics or ()))
        if not topics:
            raise InvalidRequest("A subscription names its topics.", field="topics")
        for topic in topics:
            parse_topic(topic)
        self._session = asked.session
        with places.seat(self._source, await self._payer(topics)):
            await self._deliver(topics, asked.cursor)

    async def _deliver(self, topics: tuple[str, ...] | None, cursor: str | None) -> None:
        relay, live = self._node.relay, False
        place = await relay.place(cursor)
        with relay.subscriptions.listen(topics or (PROVED,)) as news:
            while True:
                news.clear()
                batch = await relay.read(place, topics)
                if batch.pruned:
                    await self._send({"type": "pruned", "cursor": batch.cursor})
                payer = await self._payer(topics)
                if batch.entries:
                    await self._hand_over(batch, payer)
                else:
                    if not live:
                        live = True
                        await self._send({"type": "live", "cursor": batch.cursor})
                    await ring_or_pause(news, IDLE_SECONDS)
                place = batch.next

    async def _payer(self, topics: tuple[str, ...] | None) -> ChecksumAddress | None:
        """Who pays for delivery; None if nobody has to. Raises SessionInvalid or SessionExpired."""
        if topics is None or not self._node.settings.prices.relay_per_kib:
            return None
        if self._session is None:
            raise SessionInvalid("Delivery has a price here: open a session with POST /v1/sessions.")
        return await self._node.sessions.signer_of(self._session, self._node.clock())

    async def _hand_over(self, batch: Batch, payer: ChecksumAddress | None) -> None:
        charged = None if payer is None else await self._charge(batch, payer)
        for entry in batch.entries:
            await self._send_text(f'{{"type":"message","cursor":"{entry.cursor}","message":{entry.text}}}')
        if charged is not None:
            amounts = {name: str(getattr(charged, name)) for name in ("charged", "paid", "spent")}
            await self._send({"type": "account", **amounts, "cursor": batch.cursor})

    async def _charge(self, batch: Batch, payer: ChecksumAddress) -> Charged[None]:
        """Asks for the batch's price, and takes it. Raises what a paid request would."""
        node = self._node
        prices = node.prices.honoured(None)
        cost = prices.relay_cost(batch.size)
        asking = Purchase(node, self._socket.scope, prices, payer, None, None)
        why = PaymentRequired(
            f"The next {len(batch.entries)} messages cost {cost} base units.", amount=str(cost)
        )
        header = (await asking.refusal(why))[payments.PaymentRequired.header]
        await self._send({"type": "payment_required", "amount": str(cost), "required": header})
        answer = await self._answer()
        if answer is None or answer.accept < cost:
            raise why
        payment = None if answer.payment is None else PaymentPayload.from_header(answer.payment)
        purchase = Purchase(node, self._socket.scope, prices, payer, payment, None)
        purchase.check()
        return await purchase.charge(cost, lambda connection: (cost, None))

    # ---- Frames ----

    async def _answer(self) -> Accept | None:
        """What the subscriber says to a price; None if it says nothing."""
        try:
            async with asyncio.timeout(FRAME_SECONDS):
                return _parsed(Accept, await self._frames.get())
        except TimeoutError:
            return None

    async def _send(self, frame: Mapping[str, JSON]) -> None:
        await self._send_text(json.dumps(frame, separators=(",", ":")))

    async def _send_text(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_text(text)
        except TimeoutError:
            self._node.metrics.cut_off()
            log.info("subscriber_cut_off")
            raise SubscriberTooSlow(
                f"A frame waited {SEND_SECONDS:g} s for those before it to be read.", seconds=SEND_SECONDS
            ) from None

    async def _refuse(self, error: WaypostError) -> None:
        with contextlib.suppress(WebSocketDisconnect, SubscriberTooSlow):
            if not isinstance(error, SubscriberTooSlow):
                await self._send({"type": "error", "problem": document(public(error))})
            await self._socket.close(CLOSE_CODES + int(status_of(error)), error.code)


def _parsed(model: type[M], text: str) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "frame"
        why = fault["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"The {where} is not acceptable: {why}.", field=where) from None
