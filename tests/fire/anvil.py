"""anvil as a process of its own, set up like a public chain: a base fee, blocks that a test can undo."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.services.chain.endpoint import ask

from waypost.cli.demo.processes import free_ports

MODULES = Path(__file__).resolve().parents[2] / "node_modules" / ".bin"
START_SECONDS = 60


def binary() -> str:
    """The pinned anvil, or one on PATH."""
    found = shutil.which("anvil", path=f"{MODULES}:{os.environ.get('PATH', '')}")
    assert found is not None, "anvil is missing: run make install-node, or install Foundry"
    return found


@contextmanager
def anvil(*options: str) -> Iterator[str]:
    """Runs anvil with Prague rules and more `options`; its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [binary(), "--silent", "--hardfork", "prague", "--port", str(port), *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            give_up = time.monotonic() + START_SECONDS
            while not _answers(url):
                assert process.poll() is None, "anvil ended"
                assert time.monotonic() < give_up, "anvil does not answer"
                time.sleep(0.05)
            yield url
        finally:
            process.kill()


async def reorg(url: str, depth: int, *kept: tuple[bytes, int]) -> None:
    """Replaces the newest `depth` blocks by empty ones, but for raw transactions that are `kept`, each in the
    replacement of that index."""
    await ask(url, "anvil_reorg", depth, [["0x" + raw.hex(), index] for raw, index in kept])


async def set_base_fee(url: str, wei: int) -> None:
    """Of the next block; later ones fall by an eighth each while blocks are empty."""
    await ask(url, "anvil_setNextBlockBaseFeePerGas", hex(wei))


def _answers(url: str) -> bool:
    try:
        return httpx.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}).is_success
    except httpx.TransportError:
        return False
