"""An RPC endpoint that says what a test tells it to, in front of a real one; and plain requests to any."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from waypost.chain.embedded.server import Server, bind

Answer = Callable[[list[Any]], Any]

PASS = object()
"""Returned by an answer: the request is passed on after all."""


class Fault(Exception):
    """Raised by an answer: the endpoint then answers with this error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": data}


class Endpoint:
    """`answers` by method: a function of the params that returns the result, a Response or `PASS`, or raises
    `Fault`. Methods without one are passed on to `behind`, if it is set."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.behind = ""
        self.url = ""

    async def __aenter__(self) -> Self:
        listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._client = httpx.AsyncClient(timeout=30)
        self._server = Server(Starlette(routes=[Route("/{path:path}", self._handle, methods=["POST"])]))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._client.aclose()

    async def stop(self) -> None:
        """Goes away for good."""
        self._server.should_exit = True
        await self._serving

    async def _handle(self, request: Request) -> Response:
        asked = await request.json()
        self.asked.append(asked["method"])
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            answer = self.answers.get(asked["method"])
            result = PASS if answer is None else answer(asked["params"])
        except Fault as fault:
            return JSONResponse(head | {"error": fault.error})
        if result is not PASS:
            return result if isinstance(result, Response) else JSONResponse(head | {"result": result})
        if not self.behind:
            return JSONResponse(head | {"error": {"code": -32601, "message": "no such method"}})
        passed = await self._client.post(self.behind, json=asked)
        return Response(passed.content, media_type="application/json")


async def post(url: str, body: Any) -> httpx.Response:
    """Sends a body as it is (bytes) or as JSON."""
    async with httpx.AsyncClient(timeout=30) as client:
        if isinstance(body, bytes):
            return await client.post(url, content=body, headers={"content-type": "application/json"})
        return await client.post(url, json=body)


async def ask(url: str, method: str, *params: Any) -> Any:
    """The result of a method; fails the test if the endpoint answers with an error."""
    answer = (await post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).json()
    assert "error" not in answer, answer
    return answer["result"]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Returns when the check holds; fails the test if that takes half a minute."""
    async with asyncio.timeout(30):
        while True:
            if await check():
                return


async def refusal(url: str, method: str, *params: Any) -> Any:
    """The error of a method; fails the test if the endpoint answers with a result."""
    answer = (await post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).json()
    assert "error" in answer, answer
    return answer["error"]
