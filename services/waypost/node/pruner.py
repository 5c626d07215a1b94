"""Clears away, again and again, what the node no longer needs to keep."""

from collections.abc import Callable

import structlog

from waypost.node.ledger import Ledger
from waypost.node.loops import Loop, Signal
from waypost.node.messages import MessageStore
from waypost.node.rate_gate import RateGate
from waypost.node.relay import Relay
from waypost.node.sessions import Sessions

log = structlog.get_logger()


class Pruner:
    """Prunes messages, the relay's and the nullifier log, sessions and kept answers every `interval` seconds.
    `clock` gives Unix seconds."""

    def __init__(
        self,
        messages: MessageStore,
        relay: Relay,
        sessions: Sessions,
        ledger: Ledger,
        clock: Callable[[], int],
        *,
        gate: RateGate | None = None,
        interval: float = 60,
    ) -> None:
        self._messages = messages
        self._relay = relay
        self._sessions = sessions
        self._ledger = ledger
        self._clock = clock
        self._gate = gate
        self._loop = Loop("pruner", self.prune, interval, Signal())

    async def run(self) -> None:
        """Until it is cancelled. A round that fails, as on a full disk, is tried again."""
        await self._loop.run()

    async def prune(self) -> None:
        """One round."""
        now = self._clock()
        freed = await self._messages.prune(now)
        await self._relay.prune(now)
        await self._sessions.prune(now)
        await self._ledger.prune()
        if self._gate is not None:
            await self._gate.prune(now)
        if freed:
            log.info("messages_pruned", messages=freed)
