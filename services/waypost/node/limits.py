"""What one address may ask for unpaid, and how much body one request may carry.
Pure ASGI in front of every route; memory is bounded whatever strangers send."""

import asyncio
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waypost.errors import (
    BodyTooLarge,
    InvalidRequest,
    RateLimited,
    RequestTimeout,
    UnsupportedMediaType,
    WaypostError,
)
from waypost.node.settings import RateSettings

MAX_BODY = 256 * 1024
"""Bytes: the largest message in base64, and its envelope."""
MAX_TOPICS = 64
"""In one request."""
MAX_PAGE = 64
"""Messages in one answer."""
BODY_SECONDS = 30.0
"""How long a client may take to send one body."""

Respond = Callable[[WaypostError, Scope, Receive, Send], Awaitable[None]]
"""Answers a request with an error, as api.errors does it."""


class TokenBuckets:
    """A bucket of `burst` tokens per key, refilled at `rate` a second; `clock` gives seconds.

    At most `capacity` keys are kept. The least recently used is forgotten first, which can only favour it.
    """

    def __init__(self, rate: float, burst: int, capacity: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._capacity, self._clock = rate, float(burst), capacity, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, at)

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: str) -> float:
        """Seconds until `key` has a token, 0 when it has one. Takes nothing."""
        return max(0.0, (1.0 - self._tokens(key)) / self._rate)

    def is_full(self, key: str) -> bool:
        """Whether `key` has all its tokens: none was taken lately."""
        return self._tokens(key) >= self._burst

    def take(self, key: str) -> None:
        """Take one token. Requests in flight together may leave a debt, of one burst at most."""
        self._buckets[key] = (max(-self._burst, self._tokens(key) - 1.0), self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)

    def _tokens(self, key: str) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            return self._burst
        tokens, at = bucket
        return min(self._burst, tokens + (self._clock() - at) * self._rate)


class RateLimit:
    """One token for every request that turns out unpaid; without tokens an address gets 429 and Retry-After.

    A route that charges calls `mark_paid`, and the request costs no token: who pays is not limited.
    """

    def __init__(self, app: ASGIApp, buckets: TokenBuckets, respond: Respond, *, trusted_proxy: bool) -> None:
        self._app, self._buckets, self._respond, self._trusted_proxy = app, buckets, respond, trusted_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        address = remote_address(scope, trusted_proxy=self._trusted_proxy)
        if seconds := self._buckets.wait(address):
            error = RateLimited(
                "Too many unpaid requests came from this address.", retryAfter=math.ceil(seconds)
            )
            await self._respond(error, scope, receive, send)
            return
        if scope["type"] == "websocket":  # it lasts, so its handshake is counted when it begins
            self._buckets.take(address)
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            if not scope.get(_PAID):
                self._buckets.take(address)


_PAID = "waypost.paid"


def buckets(rate: RateSettings, clock: Callable[[], float]) -> TokenBuckets:
    """The buckets that the settings ask for."""
    return TokenBuckets(rate.requests_per_second, rate.burst, rate.max_addresses, clock)


def mark_paid(scope: Scope) -> None:
    """This request was charged for, so the rate limit does not count it."""
    scope[_PAID] = True


def remote_address(scope: Scope, *, trusted_proxy: bool) -> str:
    """Who is asking: the peer, or the last X-Forwarded-For entry, which our own proxy wrote."""
    client = scope.get("client")
    if trusted_proxy and (forwarded := Headers(scope=scope).getlist("x-forwarded-for")):
        client = forwarded[-1].rpartition(",")[2].strip(), 0
    return address_of(client)


def address_of(client: tuple[str, int] | None) -> str:
    """What counts as one address of a client: of IPv6 a /64, since whoever has one of it has all of them."""
    text = client[0] if client else "unknown"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


class RequestBody:
    """Reads the whole body before the application runs, and refuses one that is too large while it streams,
    too slow, or not JSON. A client that goes away half-way never reaches the application."""

    def __init__(
        self, app: ASGIApp, respond: Respond, limit: int = MAX_BODY, seconds: float = BODY_SECONDS
    ) -> None:
        self._app, self._limit, self._respond, self._seconds = app, limit, respond, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(Headers(scope=scope), receive)
        except TimeoutError:
            await self._respond(
                RequestTimeout(f"The body did not arrive within {self._seconds:g} s."), scope, receive, send
            )
            return
        except WaypostError as error:
            await self._respond(error, scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body, or None when the client went away."""
        announced = headers.get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()):
            raise InvalidRequest("Content-Length is not a number.")
        if len(announced) > 18 or int(announced) > self._limit:
            raise self._too_large()
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                raise self._too_large()
            chunks.append(chunk)
            more = message.get("more_body", False)
        if size and not _is_plain_json(headers):
            raise UnsupportedMediaType("The body must be application/json, without a content coding.")
        return b"".join(chunks)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body may have at most {self._limit} bytes.", maximum=self._limit)


def _is_plain_json(headers: Headers) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" and headers.get("content-encoding", "identity") == "identity"


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed
