"""JSON-RPC over HTTP on a socket that is already bound. The chain itself runs in one worker thread."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waypost.chain.embedded.jsonrpc import Method, answer

MAX_BODY = 5 * 1024 * 1024
_TOO_LARGE = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the request is too large"}}'


def application(methods: dict[str, Method], worker: Executor) -> Starlette:
    """The ASGI application: POST / with a JSON-RPC request or batch."""

    async def handle(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return Response(_TOO_LARGE, 413, {"connection": "close"}, "application/json")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(worker, answer, bytes(body), methods)
        return Response(status_code=204) if found is None else Response(found, media_type="application/json")

    anywhere = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"], allow_headers=["*"])
    return Starlette(routes=[Route("/", handle, methods=["POST"])], middleware=[anywhere])


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever embeds it decides when it stops."""

    def __init__(self, app: Starlette) -> None:
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=1, **quiet))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket, so that clients can connect at once. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
