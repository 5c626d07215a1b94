"""Connections that nobody can hold open or fill up: uvicorn's httptools protocol, with bounds on a request's
head and on what follows an early answer, and its WebSockets, which end even if nobody reads.
`limits.RequestBody` bounds the rest."""

import asyncio
import json
from http import HTTPStatus
from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from waypost.errors import HeadersTooLarge, InvalidRequest, RateLimited, WaypostError
from waypost.node.api.errors import PROBLEM, document, status_of
from waypost.node.limits import address_of

MAX_HEAD = 32 * 1024
"""Bytes of request line and headers."""
HEAD_SECONDS = 10.0
"""How long a head may take to arrive, from the connection's start or from its own first byte."""
CONNECTIONS_OF_AN_ADDRESS = 256
"""At once. Many people may share one, but a node has places for some two thousand connections in all."""
LINGER_SECONDS = 2.0
"""For how long a client that was refused may go on sending: hanging up at once would lose the answer."""


class BoundedHttp(HttpToolsProtocol):
    """Between requests uvicorn's keep-alive timeout holds."""

    _head_bytes = 0
    _in_head = _in_body = _refused = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = address_of(self.client)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self._refused:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._refuse(_too_large())  # it came all at once, so that nobody has counted
            raise ValueError("headers too large")  # ends the parser
        self._in_head, self._in_body = False, True
        if not self._upgrades():
            self._give_up_in(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self._upgrades():
            self._give_up_in(None)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._give_up_in(None)
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:
            self._give_up_in(LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refuse(InvalidRequest("This is not HTTP/1.1."))

    def _upgrades(self) -> bool:
        """Whether a WebSocket is asked for. The head's deadline then goes on until there is one: where a body
        was announced, there never is."""
        return self.parser.should_upgrade() and self._should_upgrade()

    def _expect_head(self) -> None:
        self._head_bytes, self._in_head = 0, True
        self._give_up_in(HEAD_SECONDS)

    def _give_up_in(self, seconds: float | None) -> None:
        """Sets the connection's one deadline, or takes it away."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """Where there is TLS, closing alone would wait half a minute for the client to end it, too."""
        if not self.transport.is_closing():  # once closed twice, asyncio's TLS cannot be aborted
            self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _refuse(self, error: WaypostError) -> None:
        status, body = HTTPStatus(status_of(error)), json.dumps(document(error)).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._refused = True
        cycle = cast(RequestResponseCycle | None, self.cycle)
        answering = cycle is not None and not cycle.response_complete
        if cycle is not None:
            cycle.disconnected = True  # its answer would come too late
            cycle.message_event.set()
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof() and not answering:  # a crash, if one before it writes once more
            self.transport.write_eof()
        self._give_up_in(LINGER_SECONDS)


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"A request's head may have at most {MAX_HEAD} bytes.", maximum=MAX_HEAD)


class DirectHttp(BoundedHttp):
    """For clients that no proxy stands before: an address has so many connections, WebSockets among them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most = CONNECTIONS_OF_AN_ADDRESS
        if sum(getattr(each, "address", "") == self.address for each in self.connections) > most:
            self._refuse(RateLimited(f"An address may have {most} connections.", maximum=most, retryAfter=10))
            self._give_up()  # at once: those that linger take places, too


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Uvicorn closes when all that was written has been read: who reads nothing would keep the connection."""

    _is_full = False
    _pong = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.address = address_of(self.client)
        self.loop.call_later(HEAD_SECONDS, self._give_up)

    def handle_connect(self, event: Request) -> None:
        try:
            super().handle_connect(event)
        except UnicodeError:  # a header that its refusal cannot quote; raised, it would be counted for ever
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """A message bounds its parts by their size, but for empty ones, which uvicorn would keep, too."""
        if event.data or event.fin:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Who pings and does not read is answered once it does, and the newest is enough: uvicorn would keep
        all answers."""
        if self._is_full:
            self._pong = b"".join(self.conn.data_to_send()) or self._pong  # of all that came together
        else:
            super().handle_ping()

    def pause_writing(self) -> None:
        self._is_full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._is_full = False
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    def send_receive_event_to_app(self) -> None:
        """What is no UTF-8 is passed on as bytes, and refused as they are: uvicorn would log a traceback."""
        try:
            b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.curr_msg_data_type = "bytes"
        super().send_receive_event_to_app()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end()

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()  # waiting for a reader that is cut off would take for ever
        await super().send(message)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end()

    def _give_up(self) -> None:
        """Uvicorn never answers a handshake that it cannot read, such as a POST."""
        if not self.handshake_complete:
            self.transport.abort()

    def _end(self) -> None:
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)
