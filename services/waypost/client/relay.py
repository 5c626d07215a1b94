"""One subscription at one node over `WS /v1/relay`: its frames, checked, and each batch paid for once.
Nothing is read ahead of who consumes it, so the node feels back-pressure."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from waypost import __version__
from waypost.client import answers
from waypost.client.answers import Amount, Answer, Cursor, PaidAnswer
from waypost.client.channel import Channel, Purchase
from waypost.client.nodes import Node
from waypost.client.transport import clean
from waypost.errors import (
    JSON,
    AnswerLost,
    InvalidAnswer,
    MessageForged,
    NodeRefused,
    NodeUnreachable,
    PriceTooHigh,
    ProtocolError,
    WaypostError,
)
from waypost.protocol.relay import Envelope

MAX_FRAME = 512 * 1024
"""A message of the largest size, in base64, with its proof and room to spare."""
MAX_BATCH = 256 * 1024
"""What one payment may be for, in bytes."""
OPEN_SECONDS = 10.0
BATCH_SECONDS = 60.0
"""From a payment to the node's account of it."""
REMEMBERED = 16_384
"""Ids of one node: what comes twice is not paid twice."""


class _Stricter(connect):
    """Follows no redirect: the registry says where a node is."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Account(PaidAnswer):
    cursor: Cursor | None = None


class _Demand(Answer):
    amount: Amount
    required: Annotated[str, Field(max_length=16_384)]


class _Marked(Answer):
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame for the consumer. Without an envelope it only moves the cursor; `is_live`: everything that the
    node kept was delivered; `pruned`: messages after the given cursor are forgotten."""

    cursor: str | None
    envelope: Envelope | None = None
    is_live: bool = False
    pruned: bool = False


class RelayStream:
    """Frames from one node. `channel` pays for them, if the node wants to be paid."""

    def __init__(
        self,
        node: Node,
        topics: Sequence[str],
        channel: Channel | None,
        seen: OrderedDict[bytes, None] | None = None,
    ) -> None:
        """`seen`: ids that this node delivered before, so that none is paid for again."""
        self._node, self._topics, self._channel = node, topics, channel
        self._seen = OrderedDict() if seen is None else seen

    @asynccontextmanager
    async def open(self, cursor: str | None) -> AsyncIterator[AsyncIterator[Delivery]]:
        """Subscribe from after `cursor`, or from what comes next. Raises NodeUnreachable, NodeRefused.

        The iterator raises AnswerLost when the connection breaks, NodeRefused with the node's code and close
        code, InvalidAnswer or MessageForged, and what paying raises; PriceTooHigh for a batch that costs more
        than its size can.
        """
        session = None
        if self._channel is not None:
            session = await self._channel.session(self._node)
        socket = await self._connect()
        try:
            first: dict[str, JSON] = {"topics": list(self._topics)}
            if cursor is not None:
                first["cursor"] = cursor
            if session is not None:
                first["session"] = session
            await self._send(socket, first)
            yield self._deliveries(socket, session)
        finally:
            await socket.close()

    async def _connect(self) -> ClientConnection:
        endpoint = self._node.client.endpoint
        url = "ws" + endpoint.removeprefix("http") + "/v1/relay"
        try:
            return await _Stricter(
                url,
                compression=None,  # a small frame must not grow
                max_size=MAX_FRAME,
                max_queue=4,
                open_timeout=OPEN_SECONDS,
                close_timeout=2.0,
                proxy=None if _is_loopback(endpoint) else True,
                user_agent_header=f"waypost/{__version__}",
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise self._refused(f"http_{status}", f"it answered {status} to a subscription", status) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise NodeUnreachable(f"{endpoint} cannot be reached.", endpoint=endpoint) from error

    # ---- Frames ----

    async def _deliveries(self, socket: ClientConnection, session: str | None) -> AsyncIterator[Delivery]:
        while True:
            kind, frame = await self._receive(socket, session)
            match kind:
                case "message":
                    yield self._message(frame)[0]
                case "live" | "pruned":
                    cursor = answers.parse(_Marked, frame).cursor
                    yield Delivery(cursor, is_live=kind == "live", pruned=kind == "pruned")
                case "payment_required":
                    async for delivery in self._batch(socket, session, answers.parse(_Demand, frame)):
                        yield delivery

    async def _batch(
        self, socket: ClientConnection, session: str | None, demand: _Demand
    ) -> AsyncIterator[Delivery]:
        """Pay for one batch and collect it: nobody who reads slowly may keep the account open."""
        node, channel = self._node, self._channel
        most = node.descriptor.prices.relay_cost(MAX_BATCH)
        if channel is None:
            raise self._invalid("asks for money, but there is no channel with this node")
        if demand.amount > most:
            raise PriceTooHigh(
                f"{node.client.endpoint} asks {demand.amount} for a batch that costs at most {most}.",
                operator=node.operator,
                given=str(demand.amount),
                maximum=str(most),
            )
        delivered: list[Delivery] = []
        fault: WaypostError | None = None
        try:
            async with channel.purchase(node, demand.amount) as purchase:
                await self._grant(socket, purchase, demand.amount)
                size = await self._collect(socket, session, demand.amount, purchase, delivered)
        except WaypostError as error:
            fault = error  # what did arrive may have been charged, and is not asked for again
        else:
            assert purchase.account is not None
            charged, owed = purchase.account.charged, node.descriptor.prices.relay_cost(size)
            if charged > owed:
                await channel.distrust(f"it charged {charged} for messages that cost {owed}.")
            delivered.append(Delivery(getattr(purchase.account, "cursor", None)))
        for delivery in delivered:
            yield delivery
        if fault is not None:
            raise fault
        channel.books.require_trust()

    async def _collect(
        self,
        socket: ClientConnection,
        session: str | None,
        amount: int,
        purchase: Purchase,
        delivered: list[Delivery],
    ) -> int:
        """The messages of a batch up to its account; their size in bytes, without what came before."""
        size, prices = 0, self._node.descriptor.prices
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                while purchase.account is None:
                    kind, frame = await self._receive(socket, session)
                    if kind == "account":
                        purchase.account = answers.parse(_Account, frame)
                    elif kind == "message":
                        delivery, fresh = self._message(frame)
                        size += fresh
                        if size > MAX_BATCH:
                            raise self._invalid("makes a batch larger than one may be")
                        delivered.append(delivery)
                        purchase.received = 2 * prices.relay_cost(size) >= amount
                    else:
                        raise self._invalid(f"is {kind!r} inside of a batch")
        except TimeoutError:
            raise self._lost("did not finish a batch in time") from None
        return size

    async def _grant(self, socket: ClientConnection, purchase: Purchase, amount: int) -> None:
        answer: dict[str, JSON] = {"accept": str(amount)}
        if purchase.payment is not None:
            answer["payment"] = purchase.payment.to_header()
        purchase.sent = True
        await self._send(socket, answer)

    def _message(self, frame: dict[str, object]) -> tuple[Delivery, int]:
        """The delivery, and its size if this connection has not had it before."""
        try:
            envelope = Envelope.from_json(frame.get("message"))
        except ProtocolError as error:
            raise MessageForged(
                f"{self._node.client.endpoint} delivered a malformed message: {error}",
                operator=self._node.operator,
            ) from None
        message = envelope.message
        if message.topic not in self._topics:
            raise MessageForged(
                f"{self._node.client.endpoint} delivered a message of another topic.",
                operator=self._node.operator,
                id="0x" + message.id.hex(),
            )
        fresh = message.id not in self._seen
        self._seen[message.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        cursor = answers.parse(_Marked, frame).cursor
        return Delivery(cursor, envelope), message.size if fresh else 0

    async def _receive(self, socket: ClientConnection, session: str | None) -> tuple[str, dict[str, object]]:
        try:
            raw = await socket.recv()
            frame = json.loads(raw) if isinstance(raw, str) else None
        except ConnectionClosed as error:
            raise self._closed(error, session) from None
        except (ValueError, RecursionError):
            frame = None
        kind = frame.get("type") if isinstance(frame, dict) else None
        if not isinstance(frame, dict) or not isinstance(kind, str):
            raise self._invalid("is no JSON object with a type")
        if kind == "error":
            problem = frame.get("problem")
            known = problem if isinstance(problem, dict) else {}
            status = known.get("status")
            raise self._problem(known, status if isinstance(status, int) else 0, session)
        return kind, frame

    async def _send(self, socket: ClientConnection, frame: dict[str, JSON]) -> None:
        try:
            await socket.send(json.dumps(frame, separators=(",", ":")))
        except ConnectionClosed as error:
            raise self._closed(error, None) from None

    # ---- Faults ----

    def _problem(self, frame: dict[str, object], status: int, session: str | None) -> NodeRefused:
        code = clean(frame.get("code")) or f"http_{status}"
        sentence = clean(frame.get("detail")) or clean(frame.get("title")) or "no reason given"
        if self._channel is not None and session is not None and status == 401:
            self._channel.end_session(session)
        return self._refused(code, sentence, status)

    def _closed(self, error: ConnectionClosed, session: str | None) -> NodeRefused | AnswerLost:
        code = error.rcvd.code if error.rcvd is not None else 0
        if 4400 <= code < 4600:
            return self._problem({"detail": error.rcvd.reason if error.rcvd else ""}, code - 4000, session)
        return self._lost("closed the subscription")

    def _refused(self, code: str, sentence: str, status: int) -> NodeRefused:
        endpoint = self._node.client.endpoint
        return NodeRefused(
            f"{endpoint} refused: {sentence} [{code}]",
            endpoint=endpoint,
            operator=self._node.operator,
            reason=code,
            status=status,
        )

    def _lost(self, what: str) -> AnswerLost:
        endpoint = self._node.client.endpoint
        return AnswerLost(f"{endpoint} {what}.", endpoint=endpoint, operator=self._node.operator)

    def _invalid(self, what: str) -> InvalidAnswer:
        endpoint = self._node.client.endpoint
        return InvalidAnswer(
            f"A frame of {endpoint} {what}.", endpoint=endpoint, operator=self._node.operator
        )


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
