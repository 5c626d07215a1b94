"""A node as a process: two listeners, the public one and the operator's, and an orderly end."""

import asyncio
import contextlib
import errno
import gc
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from waypost.errors import InvalidConfig, PortInUse
from waypost.node import locks
from waypost.node.app import create_admin_app, create_app
from waypost.node.connections import HEAD_SECONDS, BoundedHttp, BoundedWebSocket, DirectHttp
from waypost.node.node import Node
from waypost.node.settings import NodeSettings

MAX_CONNECTIONS = 1024
"""Besides those of subscribers."""
BACKLOG = 1024
MAX_FRAME = 64 * 1024
"""Bytes of one WebSocket message to the node: all topics of a subscription, or a payment."""
PING_SECONDS = 20.0
"""How often a WebSocket is pinged, and how long it may take to answer: half-open ones end."""
KEEP_ALIVE_SECONDS = 30
"""Longer than clients keep idle connections: if they let go first, no request meets a closed one."""
GRACE_SECONDS = 10
"""How long requests in flight may take to finish when the node stops."""
FILES = 8_192
"""How many may be open, as far as the system lets us."""
NEW_OBJECTS = 20_000
"""So many more, and Python looks for cycles among them: its own 700 are soon made by a few requests."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """A node that answers; the ports are the real ones when the settings said 0."""

    node: Node
    port: int
    admin_port: int


def run(settings: NodeSettings, started: Callable[[Listening], None] = lambda _: None) -> None:
    """`serve` in a process of its own, with uvloop's event loop, where there is one."""

    def answers(listening: Listening) -> None:
        _keep_for_good()
        started(listening)

    _take_files()
    loop = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(serve(settings, answers))


async def serve(settings: NodeSettings, started: Callable[[Listening], None] = lambda _: None) -> None:
    """Runs a node until SIGINT or SIGTERM; `started` is called once it answers.

    The ports are taken first, before anything is written. Raises PortInUse, InvalidConfig, what opening
    the node raises (`app.open_node`), and the error of a background task that could not go on.
    """
    _check_tls(settings)
    with (
        listen(settings.host, settings.port) as public,
        listen(settings.admin_host, settings.admin_port) as admin,
        contextlib.ExitStack() as port_lock,
    ):
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            port_lock.enter_context(locks.held(settings.data_dir, locks.LISTENER))
            node: Node = app.state.node
            servers = [
                _Server(_configuration(settings, app)),
                _Server(_configuration(settings, create_admin_app(node))),
            ]
            serving = [
                asyncio.create_task(server.serve(sockets=[listener]))
                for server, listener in zip(servers, (public, admin), strict=True)
            ]
            listening = Listening(node, public.getsockname()[1], admin.getsockname()[1])
            log.info("node_started", port=listening.port, admin_port=listening.admin_port)
            started(listening)
            with _signals() as stop:
                await asyncio.wait((*serving, stop, node.tasks.failure), return_when=asyncio.FIRST_COMPLETED)
                port_lock.close()  # first: the port may be another program's as soon as we let it go
                for server in servers:
                    server.should_exit = True
                await asyncio.gather(*serving)
        log.info("node_stopped")
        if node.tasks.failure.done():
            node.tasks.failure.result()  # raises


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening TCP socket. Raises PortInUse or InvalidConfig."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise InvalidConfig(f"The host {host} cannot be resolved.", host=host) from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"Another program listens on {host}:{port}.", host=host, port=port) from error
            raise InvalidConfig(
                f"The node cannot listen on {host}:{port}: {error.strerror}.", port=port
            ) from error
        listener.setblocking(False)
        yield listener


def _take_files() -> None:
    """Connections are files, and the usual limit of 1,024 is below what a node has places for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _keep_for_good() -> None:
    """What is there after starting stays: to look through it for cycles took a quarter of a node's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which stops both listeners together, and gives up who says nothing before
    there is TLS: until then nobody counts the connection."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop, tls = asyncio.get_running_loop(), dict[str, Any]()
        if self.config.ssl is not None:
            tls = {"ssl": self.config.ssl, "ssl_handshake_timeout": HEAD_SECONDS}
        self.servers = [
            await loop.create_server(self._protocol, sock=each, backlog=BACKLOG, **tls)
            for each in sockets or ()
        ]
        self.started = True

    def _protocol(self) -> asyncio.Protocol:
        make = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _configuration(settings: NodeSettings, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedHttp if settings.trusted_proxy else DirectHttp,
        ws=BoundedWebSocket,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # limits.remote_address reads them, and trusts one proxy only
        limit_concurrency=MAX_CONNECTIONS + settings.relay.max_subscribers,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _check_tls(settings: NodeSettings) -> None:
    if settings.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or str(error)
        raise InvalidConfig(f"The TLS certificate or key cannot be used: {reason}.") from error


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Future[None]]:
    """A future that the first SIGINT or SIGTERM resolves; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()
    signals = (signal.SIGINT, signal.SIGTERM)

    def received() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        if not stop.done():
            stop.set_result(None)

    for number in signals:
        loop.add_signal_handler(number, received)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
