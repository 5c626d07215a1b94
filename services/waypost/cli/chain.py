"""`waypost chain`: a chain of one's own, in the foreground."""

import asyncio
import signal
from typing import Annotated

import typer

from waypost.chain.embedded import CHAIN_ID, FUNDED_KEYS, MNEMONIC, EmbeddedChain
from waypost.cli.nouns import examples
from waypost.cli.options import Json
from waypost.cli.output import Output
from waypost.protocol.signatures import address_of


@examples("waypost chain", "waypost chain --port 8546 --block-time 2")
def chain(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 8545,
    block_time: Annotated[
        float | None, typer.Option(min=0.1, help="Mine a block every so many seconds, even if it is empty.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a development chain until Ctrl-C.

    It lives in memory, answers JSON-RPC on this machine only, and mines each transaction at once. Ten
    accounts are funded; their keys are public, so never send them anything real.
    """
    asyncio.run(_run(Output(json), port, block_time))


async def _run(out: Output, port: int, block_time: float | None) -> None:
    accounts = [address_of(key) for key in FUNDED_KEYS]
    async with EmbeddedChain(port, block_time=block_time) as running:
        out.result(
            {"rpcUrl": running.url, "chainId": CHAIN_ID, "accounts": accounts},
            [
                f"Chain {CHAIN_ID} at {running.url}",
                f"Funded accounts of the well-known mnemonic ({MNEMONIC}):",
                *(f"  --dev-account {index}  {address}" for index, address in enumerate(accounts)),
                "Ctrl-C ends it, and everything on it.",
            ],
        )
        await until_stopped()


async def until_stopped() -> None:
    """Wait for SIGINT or SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
