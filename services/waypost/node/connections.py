"""HTTP connections that no endless request head can hold open or fill up.
uvicorn's httptools protocol, with a bound on the head's size and on the time it takes."""

import asyncio
import json
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.errors import HeadersTooLarge, InvalidRequest, WaypostError
from waypost.node.api.errors import document, status_of

MAX_HEAD = 32 * 1024
"""Bytes of request line and headers."""
HEAD_SECONDS = 10.0
"""How long a head may take to arrive, from the connection's start or from its own first byte."""


class BoundedHttp(HttpToolsProtocol):
    """Between requests uvicorn's keep-alive timeout holds; during a body, `limits.RequestBody` does."""

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._refuse(
                HeadersTooLarge(f"A request's head may have at most {MAX_HEAD} bytes.", maximum=MAX_HEAD)
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest("This is not HTTP/1.1."))

    def _expect_head(self) -> None:
        self._head_bytes, self._in_head = 0, True
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_arrived(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, error: WaypostError) -> None:
        status, body = HTTPStatus(status_of(error)), json.dumps(document(error)).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
