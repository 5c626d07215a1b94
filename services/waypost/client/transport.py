"""One node over HTTP. Answers are bounded in size and time, redirects are not followed, and whatever the node
says is data: a refusal keeps the node's code, and its text is stripped of control characters."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import httpx

from waypost import __version__
from waypost.errors import JSON, AnswerLost, InvalidAnswer, NodeRefused, NodeUnreachable

TIMEOUT_SECONDS = 30.0
"""For one request from first to last byte, so that a dripping answer gains nothing."""
MAX_ANSWER_BYTES = 1024 * 1024
MAX_PROBLEM_TEXT = 300
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
GATEWAY_FAILURES = frozenset({500, 502, 503, 504})

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def http_client() -> httpx.AsyncClient:
    """The HTTP client that nodes are talked to with. Proxies from the environment are honoured, except on the
    way to this machine itself."""
    return httpx.AsyncClient(
        follow_redirects=False,
        mounts={f"all://{host}": None for host in LOOPBACK},
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=10.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        headers={
            "User-Agent": f"waypost/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
    )


@dataclass(frozen=True, slots=True)
class Response:
    """A 2xx answer: its JSON object and its headers."""

    status: int
    body: dict[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)


class NodeClient:
    """Sends requests to one endpoint, a base URL without trailing slash."""

    def __init__(self, endpoint: str, http: httpx.AsyncClient, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.endpoint = endpoint
        self._http = http
        self._timeout = timeout

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, JSON] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """One request, one answer; bytes are sent as they are.

        Raises NodeRefused (the node's own code in `details["reason"]`), NodeUnreachable when the request was
        never sent, AnswerLost when it may have been served, InvalidAnswer when the answer breaks the
        protocol.
        """
        content = json.dumps(body, separators=(",", ":")).encode() if isinstance(body, Mapping) else body
        sent = {"Content-Type": "application/json"} if content is not None else {}
        request = self._http.build_request(
            method, self.endpoint + path, content=content, headers={**sent, **(headers or {})}
        )
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                try:
                    raw = await self._read(response, max_bytes)
                finally:
                    await response.aclose()
        except _NEVER_SENT as error:
            raise NodeUnreachable(f"{self.endpoint} cannot be reached.", endpoint=self.endpoint) from error
        except (TimeoutError, httpx.TransportError) as error:
            raise self._lost(
                "did not answer in time" if _timed_out(error) else "broke the connection"
            ) from error
        return self._judge(response, raw)

    async def _read(self, response: httpx.Response, max_bytes: int) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self._invalid("is compressed, which was not asked for")
        chunks = bytearray()
        async for chunk in response.aiter_bytes():
            chunks += chunk
            if len(chunks) > max_bytes:
                raise self._invalid(f"is longer than {max_bytes} bytes")
        return bytes(chunks)

    def _judge(self, response: httpx.Response, raw: bytes) -> Response:
        if 300 <= response.status_code < 400:
            raise self._invalid("is a redirect, which is never followed")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            if response.status_code in GATEWAY_FAILURES:
                raise self._lost(f"answered {response.status_code}")
            raise self._invalid(f"({response.status_code}) is not a JSON object")
        if response.is_success:
            return Response(response.status_code, body, response.headers)
        raise self._refusal(response, body)

    def _refusal(self, response: httpx.Response, body: Mapping[str, object]) -> NodeRefused:
        code = clean(body.get("code")) or f"http_{response.status_code}"
        sentence = clean(body.get("detail")) or clean(body.get("title")) or "no reason given"
        details: dict[str, JSON] = {
            name: cast(JSON, value)
            for name, value in body.items()
            if isinstance(value, str | int) and len(str(value)) <= MAX_PROBLEM_TEXT
        }
        retry_after = response.headers.get("retry-after", "")
        if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
            details["retryAfter"] = int(retry_after)
        return NodeRefused(
            f"{self.endpoint} refused: {sentence} [{code}]",
            endpoint=self.endpoint,
            reason=code,
            status=response.status_code,
            problem=details,
        )

    def _lost(self, what: str) -> AnswerLost:
        return AnswerLost(f"{self.endpoint} {what}.", endpoint=self.endpoint)

    def _invalid(self, what: str) -> InvalidAnswer:
        return InvalidAnswer(f"The answer of {self.endpoint} {what}.", endpoint=self.endpoint)


def _timed_out(error: Exception) -> bool:
    return isinstance(error, TimeoutError | httpx.TimeoutException)


def clean(value: object) -> str:
    """Text of a stranger, fit for a terminal and a log; nothing else is text."""
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value[:MAX_PROBLEM_TEXT]).strip()
