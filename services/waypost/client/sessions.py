"""Sessions: a channel's key signs once, and a bearer token speaks for the channel for up to an hour."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waypost.client import answers
from waypost.client.answers import SessionAnswer
from waypost.client.nodes import Node
from waypost.client.transport import MAX_ANSWER_BYTES, Response
from waypost.errors import JSON, NodeRefused
from waypost.protocol.sessions import MAX_SESSION_SECONDS, Session

if TYPE_CHECKING:
    from waypost.client.channel import Channel, Context

RENEW_SECONDS = 60
"""How long before its end a session is replaced."""
ENDED = frozenset({"session_invalid", "session_expired"})


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    expires: int


class Sessions:
    """The current session of one channel with its node."""

    def __init__(self, channel: "Channel", context: "Context") -> None:
        self._channel, self._context = channel, context
        self._current: _Token | None = None
        self._opening = asyncio.Lock()

    async def call(
        self,
        node: Node,
        method: str,
        path: str,
        body: Mapping[str, JSON] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """`NodeClient.call` in the channel's name; a session that ended is replaced once."""
        token = await self._token(node)
        try:
            return await self._send(node, token, method, path, body, headers, max_bytes)
        except NodeRefused as error:
            if error.details.get("reason") not in ENDED:
                raise
        if self._current is token:
            self._current = None
        return await self._send(node, await self._token(node), method, path, body, headers, max_bytes)

    async def token(self, node: Node) -> str:
        """The current token, or a new one."""
        return (await self._token(node)).text

    def forget(self, text: str) -> None:
        """The node refused this token."""
        if self._current is not None and self._current.text == text:
            self._current = None

    async def _send(
        self,
        node: Node,
        token: _Token,
        method: str,
        path: str,
        body: Mapping[str, JSON] | bytes | None,
        headers: Mapping[str, str] | None,
        max_bytes: int,
    ) -> Response:
        authorized = {**(headers or {}), "Authorization": f"Bearer {token.text}"}
        return await node.client.call(method, path, body, headers=authorized, max_bytes=max_bytes)

    async def _token(self, node: Node) -> _Token:
        async with self._opening:
            if self._current is None or self._current.expires - RENEW_SECONDS <= self._context.clock():
                self._current = await self._open(node)
            return self._current

    async def _open(self, node: Node) -> _Token:
        wanted = int(self._context.clock()) + MAX_SESSION_SECONDS
        session = Session(self._channel.record.operator, secrets.randbits(256), wanted)
        signature = session.sign(self._context.deployment.node_domain, self._channel.key)
        body: dict[str, JSON] = {
            "token": self._channel.token,
            "signer": self._channel.signer,
            "nonce": str(session.nonce),
            "expires": session.expires,
            "signature": signature.to_hex(),
        }
        response = await node.client.call("POST", "/v1/sessions", body)
        answer = answers.parse(SessionAnswer, response.body)
        return _Token(answer.session, min(answer.expires, wanted))
