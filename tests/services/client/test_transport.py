"""A node may answer anything, at any pace: the client gets one clear error and nothing else."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from waypost.client.transport import NodeClient, Response, http_client
from waypost.errors import AnswerLost, InvalidAnswer, NodeRefused, NodeUnreachable

ENDPOINT = "https://node.example"


def client(handler: Callable[[httpx.Request], httpx.Response], timeout: float = 5.0) -> NodeClient:
    return NodeClient(ENDPOINT, httpx.AsyncClient(transport=httpx.MockTransport(handler)), timeout=timeout)


async def call(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> Response:
    return await client(handler).call("POST", "/v1/mailbox", {"topics": []}, **options)


async def test_a_good_answer_is_its_json_object() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.content) == {"topics": []}
        return httpx.Response(200, json={"messages": []})

    assert (await call(handler)).body == {"messages": []}


async def test_a_refusal_keeps_the_nodes_code() -> None:
    problem = {"code": "storage_full", "detail": "The disk is full.", "status": 507, "balance": "7"}
    with pytest.raises(NodeRefused, match=r"refused: The disk is full\. \[storage_full\]") as raised:
        await call(lambda _: httpx.Response(507, json=problem, headers={"Retry-After": "30"}))
    details = raised.value.details
    assert (details["reason"], details["status"]) == ("storage_full", 507)
    assert details["problem"] == problem | {"retryAfter": 30}


async def test_a_refusal_cannot_paint_the_terminal() -> None:
    problem = {"code": "\x1b[2Jx", "detail": "\x1b]0;owned\x07\nfake line " + "x" * 9000}
    with pytest.raises(NodeRefused) as raised:
        await call(lambda _: httpx.Response(400, json=problem))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (httpx.Response(200, content=b"not json"), "not a JSON object"),
        (httpx.Response(200, content=b"[1]"), "not a JSON object"),
        (httpx.Response(200, content=b"[" * 100_000), "not a JSON object"),
        (httpx.Response(200, content=b'{"n": ' + b"9" * 10_000 + b"}"), "not a JSON object"),
        (httpx.Response(200, content=b"\xff\xfe"), "not a JSON object"),
        (httpx.Response(404, content=b"<html>"), "404"),
        (httpx.Response(200, json={"x": "y" * 200_000}), "longer than 150000 bytes"),
        (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), "redirect"),
        (
            httpx.Response(
                200, headers={"Content-Encoding": "gzip"}, content=gzip.compress(b"{}" + bytes(10**6))
            ),
            "compressed",
        ),
    ],
)
async def test_an_answer_that_breaks_the_protocol_is_named(response: httpx.Response, says: str) -> None:
    with pytest.raises(InvalidAnswer, match=says):
        await call(lambda _: response, max_bytes=150_000)


async def test_redirects_are_not_followed() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"Location": "http://127.0.0.1:8401/claim"})

    with pytest.raises(InvalidAnswer):
        await call(handler)
    assert asked == [f"{ENDPOINT}/v1/mailbox"]


async def test_a_body_without_end_is_cut_off() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(1000)

    with pytest.raises(InvalidAnswer, match="longer"):
        await call(lambda _: httpx.Response(200, content=endless()), max_bytes=10_000)
    assert sent == 11


async def test_a_dripping_body_runs_into_the_timeout() -> None:
    closed = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        try:
            yield b"{"
            await asyncio.Event().wait()  # the next byte never comes
        finally:
            closed.set()

    with pytest.raises(AnswerLost, match="in time"):
        await client(lambda _: httpx.Response(200, content=dripping()), timeout=0.05).call("GET", "/v1/node")
    await closed.wait()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (httpx.ConnectError("refused"), NodeUnreachable),
        (httpx.ConnectTimeout("slow"), NodeUnreachable),
        (httpx.ReadError("reset"), AnswerLost),
        (httpx.WriteError("reset"), AnswerLost),
        (httpx.ReadTimeout("slow"), AnswerLost),
        (httpx.RemoteProtocolError("garbage"), AnswerLost),
    ],
)
async def test_it_matters_whether_the_request_may_have_arrived(
    fault: httpx.TransportError, error: type[Exception]
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise fault

    with pytest.raises(error):
        await call(handler)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_proxies_are_not_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, http_client() as http:
        port = server.sockets[0].getsockname()[1]
        assert (await NodeClient(f"http://{host}:{port}", http).call("GET", "/v1/node")).body == {}
        with pytest.raises(NodeUnreachable):  # by way of the proxy, which is not there
            await NodeClient("http://node.example", http).call("GET", "/v1/node")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_gateways_failure_is_no_answer_of_the_node(status: int) -> None:
    with pytest.raises(AnswerLost):
        await call(lambda _: httpx.Response(status, content=b"<html>Bad gateway</html>"))
