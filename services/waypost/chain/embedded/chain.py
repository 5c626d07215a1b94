"""The embedded chain's life: starts and stops the server, the worker thread and the block clock."""

from typing import Self


class EmbeddedChain:
    """`async with EmbeddedChain() as chain: ... chain.url`. Port 0 takes a free one.

    `block_time`: seconds between empty blocks; None mines only when something is sent."""

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", block_time: float | None = None) -> None:
        self.url = ""

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    async def serve(self) -> None:
        """Runs until cancelled."""
        raise NotImplementedError
