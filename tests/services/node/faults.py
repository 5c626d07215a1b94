"""A power cut at a chosen moment: counts what a node writes to its disk and sends to its chain, and after
the n-th effect nothing works. What happens between two effects leaves no trace: these moments are all."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from waypost.chain.connection import Connection
from waypost.node.backends.sqlite import Database
from waypost.node.backends.writer import Work

T = TypeVar("T")


class PowerCut(BaseException):
    """The process is gone: nothing may catch this."""


class Fuse:
    """Blows after effect number `at`, before anybody hears of it; 0: before the first."""

    def __init__(self, at: int) -> None:
        self._left = at
        self.effects = 0

    @property
    def blown(self) -> bool:
        """Whether the power is off."""
        return self.effects >= self._left

    def blow_after(self, more: int) -> None:
        """Instead, after so many effects more."""
        self._left = self.effects + more

    def check(self) -> None:
        """Nothing happens in a process without power."""
        if self.blown:
            raise PowerCut

    def effect(self) -> None:
        """The world has changed."""
        self.effects += 1
        self.check()

    def connection(self, real: Connection) -> Connection:
        """A connection that goes through this fuse."""
        return _FusedConnection(real, self)

    def database(self, *arguments: Any) -> Database:
        """A database that goes through this fuse."""
        return _FusedDatabase(self, *arguments)


class _FusedConnection(Connection):
    def __init__(self, real: Connection, fuse: Fuse) -> None:
        super().__init__(real.web3, real.host, real.chain_id)
        self._fuse = fuse

    async def _ask(self, read: Callable[[Any], T], method: str, params: Sequence[Any]) -> T:
        self._fuse.check()
        found = await super()._ask(read, method, params)
        if method == "eth_sendRawTransaction":
            self._fuse.effect()
        return found


class _FusedDatabase(Database):
    def __init__(self, fuse: Fuse, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fuse = fuse

    async def write(self, work: Work[T]) -> T:
        self._fuse.check()
        result = await super().write(work)
        self._fuse.effect()
        return result

    async def read(self, work: Work[T]) -> T:
        self._fuse.check()
        return await super().read(work)
