"""The operator's side of a node: its admin listener while it runs, the same routes in this process while it
doesn't. The lock on the data folder makes sure that never two processes do the books."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from waypost.cli.passwords import password
from waypost.errors import NodeNotReady, NodeRefused
from waypost.node import locks, settings
from waypost.node.app import create_admin_app, open_node, unix_time
from waypost.node.metrics import Metrics
from waypost.node.node import Node
from waypost.node.settings import NodeConfig

TIMEOUT_SECONDS = 120.0
"""A claim waits until it counts."""
CATCH_UP_SECONDS = 60.0
POLL_SECONDS = 0.1


class OperatorSide:
    """Asks the operator's routes."""

    def __init__(self, http: httpx.AsyncClient, *, running: bool) -> None:
        self._http, self.running = http, running

    async def ask(self, method: str, path: str) -> dict[str, Any]:
        """The JSON answer. Raises NodeRefused with the node's own code."""
        try:
            response = await self._http.request(method, path)
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NodeRefused(f"The node's operator port does not answer as a node would: {error}") from error
        if not isinstance(body, dict):
            raise NodeRefused("The node's operator port does not answer as a node would.")
        if response.is_error:
            code = str(body.get("code"))
            raise NodeRefused(f"{body.get('detail')} [{code}]", reason=code, status=response.status_code)
        return body


@asynccontextmanager
async def operator_side(
    folder: Path, password_file: Path | None, progress: Callable[[str], None]
) -> AsyncIterator[OperatorSide]:
    """The node's operator routes, whether it runs or not. Raises what opening the node raises."""
    config = settings.read_config(folder)
    headers = {"Authorization": f"Bearer {settings.read_admin_token(folder).get_secret_value()}"}
    if locks.is_held(folder, locks.LISTENER):  # that somebody listens says nothing: it may be another program
        async with httpx.AsyncClient(
            base_url=_url(config),
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            verify=_trust(config),
            trust_env=False,
        ) as http:
            yield OperatorSide(http, running=True)
        return
    progress("The node does not run: opening its books directly.")
    loaded = settings.load(folder, password(str(folder), password_file))
    async with open_node(loaded, Metrics(), unix_time) as node:
        await _catch_up(node)
        transport = httpx.ASGITransport(create_admin_app(node))
        async with httpx.AsyncClient(
            base_url="http://node", headers=headers, transport=transport, timeout=TIMEOUT_SECONDS
        ) as http:
            yield OperatorSide(http, running=False)


async def _catch_up(node: Node) -> None:
    give_up = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
    while not node.sync.ready:
        if node.tasks.failure.done():
            node.tasks.failure.result()  # raises
        if asyncio.get_running_loop().time() > give_up:
            raise NodeNotReady(
                f"The books are not level with the chain after {CATCH_UP_SECONDS:g} s; try again."
            )
        await asyncio.sleep(POLL_SECONDS)


def _url(config: NodeConfig) -> str:
    host = f"[{config.admin_host}]" if ":" in config.admin_host else config.admin_host
    return f"{'https' if config.tls_cert else 'http'}://{host}:{config.admin_port}"


def _trust(config: NodeConfig) -> ssl.SSLContext | bool:
    if config.tls_cert is None:
        return True
    # The certificate is the node's own, and made out to its public name.
    context = ssl.create_default_context(cafile=config.tls_cert)
    context.check_hostname = False
    return context
