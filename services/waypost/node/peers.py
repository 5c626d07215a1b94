"""The other nodes of the registry: which there are, which of them this node reads from, and how they show who
they are when they read from this one."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from eth_typing import ChecksumAddress

from waypost.chain.registry import RegisteredNode, Registry
from waypost.errors import InvalidEndpoint, SessionExpired, SessionInvalid
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Loop, Signal
from waypost.node.peer_link import PeerLink
from waypost.node.relay import Relay
from waypost.node.settings import NodeSettings, is_loopback
from waypost.protocol.eip712 import node_domain
from waypost.protocol.nodes import Services, parse_endpoint
from waypost.protocol.relay import MAX_GREETING_SECONDS, Greeting, greeting_for
from waypost.protocol.signatures import Signature, keccak

POLLS = 15
"""The registry is read once for so many looks at the chain's head: each minute, as nodes are set up."""

FAILING = 8
"""After so many failures in a row, some minutes, another node gets the place."""
REST_SECONDS = 3600.0
"""And keeps it for so long, or the two would take turns at each look at the registry."""
STRANGER_SECONDS = 5.0
"""A greeting by an unknown node has the registry read again, but not more often than this."""


class Peers:
    """Reads from at most `settings.relay.max_peers` registered nodes with stake that relay. `clock` gives
    Unix seconds."""

    def __init__(
        self,
        registry: Registry,
        db: Database,
        relay: Relay,
        settings: NodeSettings,
        clock: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._db = db
        self._relay = relay
        self._settings = settings
        self._clock = clock
        self._domain = node_domain(settings.chain_id, settings.registry)
        self._known: dict[ChecksumAddress, RegisteredNode] = {}
        self._links: dict[ChecksumAddress, tuple[PeerLink, asyncio.Task[None]]] = {}
        self._failed_at: dict[ChecksumAddress, float] = {}
        self._local = is_loopback(urlsplit(settings.endpoint).hostname or "")
        self._stranger, self._refreshed_at = Signal(), 0.0
        self._refreshing = Loop("peers", self._refresh, POLLS * settings.poll_seconds, self._stranger)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            await self._refreshing.run()
        finally:
            for _, task in self._links.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._links.values()), return_exceptions=True)

    @property
    def reading_from(self) -> list[ChecksumAddress]:
        """The operators of the nodes that this one reads from, or tries to."""
        return list(self._links)

    async def check_greeting(self, greeting: Greeting, signature: Signature) -> None:
        """That another node of the registry greets this one, now. Raises SessionInvalid, SessionExpired or
        InvalidSignature."""
        now, ours = self._clock(), self._settings.operator
        if greeting.peer != ours:
            raise SessionInvalid(f"The greeting is for {greeting.peer}; this is {ours}.", expected=ours)
        if greeting.expires <= now:
            raise SessionExpired(expires=greeting.expires, now=now)
        if greeting.expires > now + MAX_GREETING_SECONDS:
            raise SessionInvalid(f"A greeting lasts at most {MAX_GREETING_SECONDS} s.")
        known = self._known.get(greeting.operator)
        if known is None and time.monotonic() > self._refreshed_at + STRANGER_SECONDS:
            self._stranger.ring()  # it may be new; it will come again
        if known is None or greeting.recover(self._domain, signature) != known.node_key:
            raise SessionInvalid(
                f"As far as this node has read, the registry lists no relaying node of {greeting.operator}"
                " with this key.",
                operator=greeting.operator,
            )

    async def _refresh(self) -> None:
        ours = self._settings.operator
        listed = [node async for node in self._registry.nodes(Services.RELAY) if node.operator != ours]
        self._known = {node.operator: node for node in listed}
        self._refreshed_at = time.monotonic()
        # Which ones a node reads from differs from node to node, and stays as it is while the list does.
        secret = self._settings.node_key.get_secret_value()  # or strangers could choose which ones those are
        listed.sort(key=lambda node: keccak(secret + bytes.fromhex(node.operator[2:])))
        listed.sort(key=self._is_failing)
        reachable = [node for node in listed if _is_endpoint(node.endpoint)]
        wanted = {node.operator: node.endpoint for node in reachable[: self._settings.relay.max_peers]}
        for operator, (link, task) in list(self._links.items()):
            if wanted.get(operator) != link.endpoint:
                task.cancel()
                del self._links[operator]
        for operator, endpoint in wanted.items():
            if operator not in self._links:
                link = PeerLink(operator, endpoint, self._db, self._relay, self._greet, local=self._local)
                self._links[operator] = link, asyncio.create_task(link.run(), name=f"peer-{operator}")

    def _is_failing(self, node: RegisteredNode) -> bool:
        operator, now = node.operator, time.monotonic()
        if (link := self._links.get(operator)) is not None:
            self._failed_at.pop(operator, None)
            if link[0].faults.count >= FAILING:
                self._failed_at[operator] = now
        return now < self._failed_at.get(operator, -REST_SECONDS) + REST_SECONDS

    def _greet(self, peer: ChecksumAddress) -> tuple[Greeting, Signature]:
        greeting = greeting_for(self._settings.operator, peer, self._clock())
        return greeting, greeting.sign(self._domain, self._settings.node_key.get_secret_value())


def _is_endpoint(text: str) -> bool:
    try:
        parse_endpoint(text)
    except InvalidEndpoint:
        return False
    return True
