"""Reading what another node relays, from where this one left off, through its restarts and ours."""

import asyncio
import contextlib
import ipaddress
import json
import socket as socket_module
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from eth_typing import ChecksumAddress
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, WebSocketException

from waypost.errors import (
    DataCorrupt,
    InternalError,
    InvalidCursor,
    InvalidFrame,
    NodeNotReady,
    PeerRefused,
    RateLimited,
    RootUnknown,
    StorageFull,
    WaypostError,
)
from waypost.node.backends.sqlite import Database
from waypost.node.limits import TokenBuckets
from waypost.node.loops import Faults, backoff, until_one_ends
from waypost.node.relay import Relay
from waypost.protocol.fields import Fields
from waypost.protocol.messages import MAX_PAYLOAD
from waypost.protocol.relay import Envelope, Greeting
from waypost.protocol.signatures import Signature

MAX_FRAME = 2 * MAX_PAYLOAD
"""Bytes: the largest message in base64, and its envelope."""
WINDOW = 64
"""Messages of one node that are judged at the same time; more stay in the connection."""
FIRST_PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
"""How long messages are tried again whose root this node has not read yet, all of a window together."""
SAVE_SECONDS = 1.0
"""How often a place is kept at which there was no message."""
RESOLVE_SECONDS = 10.0
"""How long it may take to find out where a name leads: its owner may have it answered slowly, or never."""
TOKENS_PER_SECOND, TOKENS_AT_ONCE = 1000, 5000
TOKEN_BYTES = 8 * 1024
"""A frame costs a token for each started so many bytes. A node verifies about a thousand messages a second
at best, and relays some hundreds: no honest one needs more, but duplicates could come without end."""

TRANSLATED = tuple(
    map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10"))
)
"""Where an IPv4 address is inside, or a site's own: RFC 6052, 3056, 3879."""

Greet = Callable[[ChecksumAddress], tuple[Greeting, Signature]]


class PeerLink:
    """Reads from one node. `greet` signs who we are; `local`: it may be on this machine or network."""

    def __init__(
        self,
        operator: ChecksumAddress,
        endpoint: str,
        db: Database,
        relay: Relay,
        greet: Greet,
        *,
        local: bool,
    ) -> None:
        self._operator = operator
        self.endpoint = endpoint
        self._url = "ws" + endpoint.removeprefix("http") + "/v1/relay"
        self._db = db
        self._relay = relay
        self._greet = greet
        self._local = local
        self._budget = TokenBuckets(TOKENS_PER_SECOND, TOKENS_AT_ONCE, 1, time.monotonic)
        self.faults = Faults(f"peer {operator}")

    async def run(self) -> None:
        """Until it is cancelled. What fails is tried again, ever more slowly."""
        while True:
            try:
                await self._read()
            except (OSError, WebSocketException, WaypostError, TimeoutError) as error:
                self.faults.failed(error if isinstance(error, WaypostError) else NodeNotReady(_reason(error)))
            except Exception as error:
                self.faults.failed(error)
            await asyncio.sleep(backoff(FIRST_PAUSE_SECONDS, max(1, self.faults.count)))

    async def _read(self) -> None:
        async with _Connect(
            self._url,
            host=await self._address(),
            proxy=None,
            max_size=MAX_FRAME,
            max_queue=WINDOW,
            compression=None,
            open_timeout=10,
            close_timeout=2,
        ) as socket:
            await socket.send(json.dumps(await self._first_frame()))
            waiting: asyncio.Queue[Fields] = asyncio.Queue(WINDOW)
            await until_one_ends(self._receive(socket, waiting), self._judge(waiting))

    async def _receive(self, socket: ClientConnection, waiting: "asyncio.Queue[Fields]") -> None:
        async for frame in _frames(socket, self._budget):
            if frame.text("type") == "error":
                code = frame.fields("problem").text("code")[:64]
                if code == InvalidCursor.code:  # it lost its log
                    await self._db.write(self._drop_cursor)
                raise PeerRefused(f"It refused: {code}.")
            await waiting.put(frame)
        raise PeerRefused("It ended the connection.")

    async def _address(self) -> str:
        """Where its name leads now. Raises PeerRefused if that is not where strangers may send us."""
        url = urlsplit(self._url)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(url.hostname, url.port or 443, type=socket_module.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if not self._local and not all(map(_is_public, addresses)):
            raise PeerRefused("Its name leads into a private network.")
        return addresses[0]

    async def _first_frame(self) -> dict[str, Any]:
        greeting, signature = self._greet(self._operator)
        frame: dict[str, Any] = {"greeting": {**greeting.to_json(), "signature": signature.to_hex()}}
        cursor = await self._db.read(self._find_cursor)
        return frame if cursor is None else {**frame, "cursor": cursor}

    async def _judge(self, waiting: "asyncio.Queue[Fields]") -> None:
        saved = 0.0
        while True:
            frames = [await waiting.get()]
            with contextlib.suppress(asyncio.QueueEmpty):
                while len(frames) < WINDOW:
                    frames.append(waiting.get_nowait())
            groups, give_up = _groups(frames), time.monotonic() + PATIENCE_SECONDS
            await asyncio.gather(*(self._take(group, give_up) for group in groups))
            if groups or time.monotonic() > saved + SAVE_SECONDS:
                # The cursor moves when all before it was relayed, or refused for good.
                await self._db.write(partial(self._save_cursor, cursor=frames[-1].text("cursor")))
                saved = time.monotonic()
            self.faults.passed()

    async def _take(self, envelopes: Sequence[Envelope], give_up: float) -> None:
        """In order: evidence against a member comes after what it is held against."""
        for envelope in envelopes:
            attempts = 0
            while not await self._relayed(envelope, patient=time.monotonic() < give_up):
                # Our chain is behind, or we are busy: meanwhile nothing more is read from it.
                attempts += 1
                await asyncio.sleep(backoff(FIRST_PAUSE_SECONDS, attempts) / 10)

    async def _relayed(self, envelope: Envelope, *, patient: bool) -> bool:
        """Whether the message is done with; what is refused for good is. Raises StorageFull and the like."""
        try:
            await self._relay.publish(envelope, f"peer:{self._operator}", late=True)
        except RootUnknown:
            return not patient
        except (NodeNotReady, RateLimited):
            return False
        except (StorageFull, DataCorrupt, InternalError):
            raise
        except WaypostError:
            pass  # too late, of a member that is out, or no proof that we can check: the gate counts those
        return True

    def _find_cursor(self, connection: sqlite3.Connection) -> str | None:
        row = connection.execute("SELECT cursor FROM peers WHERE operator = ?", (self._operator,)).fetchone()
        return None if row is None else str(row["cursor"])

    def _save_cursor(self, connection: sqlite3.Connection, cursor: str) -> None:
        connection.execute("INSERT OR REPLACE INTO peers VALUES (?, ?)", (self._operator, cursor))

    def _drop_cursor(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM peers WHERE operator = ?", (self._operator,))


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _groups(frames: Sequence[Fields]) -> list[list[Envelope]]:
    """The messages, those that one nullifier ties together in order."""
    groups: dict[int, list[Envelope]] = {}
    for frame in frames:
        if "message" in frame:
            envelope = Envelope.from_json(frame.raw("message"))
            if envelope.proof is None:
                raise InvalidFrame("The message has no proof.")
            groups.setdefault(envelope.proof.nullifier, []).append(envelope)
    return list(groups.values())


async def _frames(socket: ClientConnection, budget: TokenBuckets) -> AsyncIterator[Fields]:
    """What it sends, at a bounded pace: the rest waits in the connection, and nothing is lost."""
    async for text in socket:
        while seconds := budget.wait(""):  # noqa: ASYNC110  # for time alone
            await asyncio.sleep(seconds)
        for _ in range(1 + len(text) // TOKEN_BYTES):
            budget.take("")
        try:
            frame = Fields(json.loads(text), InvalidFrame)
        except (ValueError, RecursionError):
            raise InvalidFrame("The frame is no JSON.") from None
        kind = frame.text("type")
        if kind in ("message", "live", "pruned") and not 0 < len(frame.text("cursor")) <= 64:
            raise InvalidFrame("The frame has no cursor.")
        if kind in ("message", "live", "pruned", "error"):  # others are of a later version
            yield frame


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in TRANSLATED):
            return False
        address = address.ipv4_mapped or address
    return address.is_global and not address.is_multicast


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidHandshake | InvalidMessage):
        return "It does not answer as a relay."
    return "It cannot be reached, or broke the connection."
