"""Node processes for benchmarks, on a core of their own, and their customers.
`python -m tests.benchmarks.nodes FOLDER` is such a process: what `waypost node run` runs."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.services.node.api.served import GAS, Customer
from tests.services.node.world import Deployed, new_key

from waypost.node import logs
from waypost.node.server import Listening, run
from waypost.node.settings import NodeConfig, PriceSettings, RateSettings, initialise, load, read_admin_token
from waypost.protocol.prices import PriceList
from waypost.protocol.signatures import address_of

PASSWORD = "benchmark"
NODE_CORE, LOAD_CORE = 0, 1


def pin(core: int) -> None:
    """Keeps this process on one core, where the system knows how."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class BenchNode:
    """A running node and its customers."""

    folder: Path
    config: NodeConfig
    port: int
    admin_port: int
    customers: Sequence[Customer]

    @property
    def url(self) -> str:
        """Of the public listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def prices(self) -> PriceList:
        """What it charges."""
        return PriceList(token=self.config.token, valid_until=0, **self.config.prices.model_dump())

    def metric(self, name: str) -> float:
        """One figure that the node gives to Prometheus."""
        token = read_admin_token(self.folder).get_secret_value()
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        text = httpx.get(url, headers={"Authorization": f"Bearer {token}"}).raise_for_status().text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


@contextlib.contextmanager
def bench_node(
    deployed: Deployed, folder: Path, prices: PriceSettings, customers: int = 0, **changes: Any
) -> Iterator[BenchNode]:
    """Makes a node and runs it; its customers' channels are still to be opened. `changes` are to its
    NodeConfig."""
    operator, manifest = new_key("operator"), deployed.manifest
    defaults: dict[str, Any] = {
        "rpc_url": deployed.url,
        "chain_id": manifest.chain_id,
        "channels": manifest.channels,
        "registry": manifest.registry,
        "token": manifest.token,
        "start_block": manifest.start_block,
        "operator": address_of(operator),
        "payee": address_of(operator),
        "endpoint": "http://127.0.0.1:8400",
        "port": 0,
        "admin_port": 0,
        "prices": prices,
        "rate": RateSettings(requests_per_second=10**6, burst=10**6),
        "confirmations": 0,
        "min_close_delay": 2,
        "poll_seconds": 1,
    }
    config = NodeConfig.model_validate({**defaults, **changes})
    keys = {"operator": operator, "node": new_key("node"), "gas": GAS}
    initialise(folder, config, keys, PASSWORD, scrypt_n=2)
    command = [sys.executable, "-m", "tests.benchmarks.nodes", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port, admin_port = map(int, process.stdout.readline().split())
            yield BenchNode(folder, config, port, admin_port, [Customer(config) for _ in range(customers)])
        finally:
            process.terminate()


def main() -> None:
    """The node's process."""

    def started(listening: Listening) -> None:
        print(listening.port, listening.admin_port, flush=True)

    pin(NODE_CORE)
    logs.configure("error")  # peers fail while the others are still being set up
    run(load(Path(sys.argv[1]), PASSWORD), started)


if __name__ == "__main__":
    main()
