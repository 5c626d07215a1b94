"""`brownie run deploy --network NAME`: what `waypost deploy` does, with Brownie's networks and accounts.

From the environment: WAYPOST_ACCOUNT (a name of `brownie accounts list`, or a keystore file) and
WAYPOST_PASSWORD; WAYPOST_PRESET or WAYPOST_NETWORK_FILE; WAYPOST_TOKEN; WAYPOST_MANIFEST; and WAYPOST_YES=1,
to be asked nothing.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from brownie import accounts, network, web3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "services"))

from waypost.chain import deploy, presets
from waypost.chain.connection import connect
from waypost.chain.manifest import Manifest
from waypost.chain.transactions import Sender
from waypost.errors import WaypostError
from waypost.protocol.fields import parse_address

DEV_MNEMONIC = "test test test test test test test test test test test junk"
DEVELOPMENT = "development"


def main() -> None:
    """Plan, confirm, do, write the manifest. Ends with one line and 1 if that is refused."""
    try:
        asyncio.run(run())
    except WaypostError as error:
        sys.exit(f"error[{error.code}]: {error}")


async def run() -> None:
    preset, token = chosen_preset(), os.environ.get("WAYPOST_TOKEN")
    async with await connect(web3.provider.endpoint_uri) as connection:
        plan = await deploy.plan(connection, preset, None if token is None else parse_address(token))
        sender = Sender(connection, bytes.fromhex(account().private_key.removeprefix("0x")))
        print(*plan.lines(), await deploy.require_funds(plan, sender), sep="\n")
        confirm(plan.chain_id)
        path = Path(os.environ.get("WAYPOST_MANIFEST") or f"build/deployments/{plan.chain_id}.json")
        (await deploy.execute(plan, sender, print, known(path))).save(path)
        print(f"The manifest is {path}")


def confirm(chain_id: int) -> None:
    """Asks, unless WAYPOST_YES says that nobody has to."""
    if os.environ.get("WAYPOST_YES") != "1" and input(f"Deploy to chain {chain_id}? [y/N] ") != "y":
        sys.exit("Nothing was done.")


def known(path: Path) -> Manifest | None:
    """The manifest of an earlier run."""
    return Manifest.load(path) if path.exists() else None


def chosen_preset() -> presets.Preset:
    """By file or name; local on a development network, if neither is given."""
    if file := os.environ.get("WAYPOST_NETWORK_FILE"):
        return presets.read(Path(file))
    if name := os.environ.get("WAYPOST_PRESET"):
        return presets.preset(name)
    if network.show_active() == DEVELOPMENT:
        return presets.LOCAL
    sys.exit("Name the network's parameters in WAYPOST_PRESET or WAYPOST_NETWORK_FILE.")


def account() -> Any:
    """The deployer, with its key."""
    if name := os.environ.get("WAYPOST_ACCOUNT"):
        return accounts.load(name, password=os.environ.get("WAYPOST_PASSWORD"))
    if network.show_active() == DEVELOPMENT:
        return accounts.from_mnemonic(DEV_MNEMONIC)
    sys.exit("Name an account of `brownie accounts list` in WAYPOST_ACCOUNT.")
