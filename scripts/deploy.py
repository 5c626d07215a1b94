"""`brownie run deploy --network NAME`: what `waypost deploy` does, with Brownie's networks and accounts.

From the environment:
WAYPOST_ACCOUNT            a name of `brownie accounts list`, or a keystore file
WAYPOST_PASSWORD           opens it
WAYPOST_PRESET             local, testnet or mainnet; or
WAYPOST_NETWORK_FILE       a TOML file of your own
WAYPOST_TOKEN              token for stakes and payments; a new Dev Dollar where the preset brings it
WAYPOST_SALT               32 bytes of 0x-hex: another salt, other addresses
WAYPOST_MAX_FEE_GWEI       most to pay per gas; what the chain asks
WAYPOST_PRIORITY_FEE_GWEI  of that, for whoever makes the block; what the chain asks
WAYPOST_MANIFEST           where to write the manifest; build/deployments/CHAIN-ID.json
WAYPOST_YES                1: ask nothing
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from brownie import accounts, network, web3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "services"))

from waypost.chain import deploy, deployer, presets
from waypost.chain.connection import connect
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
    preset, token = chosen_preset(), setting("TOKEN")
    salt = deployer.salt(setting("SALT") or bytes(32).hex())
    bid = deployer.Bid.parse(setting("MAX_FEE_GWEI"), setting("PRIORITY_FEE_GWEI"))
    async with await connect(web3.provider.endpoint_uri) as connection:
        address = None if token is None else parse_address(token)
        plan = await deploy.plan(connection, preset, address, salt=salt, bid=bid)
        key = bytes.fromhex(account().private_key.removeprefix("0x"))
        sender = deployer.Deployer(connection, key, bid)
        funds = await deployer.Funds.of(connection, sender.address, plan.cost)
        print(*plan.lines(), funds.line, sep="\n")
        funds.require()
        confirm(plan.chain_id)
        path = Path(setting("MANIFEST") or f"build/deployments/{plan.chain_id}.json")
        await deploy.carry_out(plan, sender, path, print)
        print(f"The manifest is {path}")


def setting(name: str) -> str | None:
    """WAYPOST_`name` of the environment; None if it is not set, or empty."""
    return os.environ.get(f"WAYPOST_{name}") or None


def confirm(chain_id: int) -> None:
    """Asks, unless WAYPOST_YES says that nobody has to."""
    if setting("YES") != "1" and input(f"Deploy to chain {chain_id}? [y/N] ") != "y":
        sys.exit("Nothing was done.")


def chosen_preset() -> presets.Preset:
    """By file or name; local on a development network, if neither is given."""
    if file := setting("NETWORK_FILE"):
        return presets.read(Path(file))
    if name := setting("PRESET"):
        return presets.preset(name)
    if network.show_active() == DEVELOPMENT:
        return presets.LOCAL
    sys.exit("Name the network's parameters in WAYPOST_PRESET or WAYPOST_NETWORK_FILE.")


def account() -> Any:
    """The deployer, with its key."""
    if name := setting("ACCOUNT"):
        return accounts.load(name, password=setting("PASSWORD"))
    if network.show_active() == DEVELOPMENT:
        return accounts.from_mnemonic(DEV_MNEMONIC)
    sys.exit("Name an account of `brownie accounts list` in WAYPOST_ACCOUNT.")
