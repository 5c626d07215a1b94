"""`waypost deploy`: the contracts onto a chain. Look, confirm, do; an interrupted deployment goes on."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from eth_typing import ChecksumAddress

from waypost.chain import deploy as deployment
from waypost.chain.connection import Connection, connect
from waypost.chain.deployer import Bid, Deployer, Funds
from waypost.chain.deployer import salt as parse_salt
from waypost.chain.presets import preset as preset_named
from waypost.chain.presets import read as read_network
from waypost.cli.nouns import examples
from waypost.cli.options import (
    DEFAULT_HOME,
    DEFAULT_RPC_URL,
    DevAccount,
    DryRun,
    Home,
    Json,
    Keystore,
    ManifestPath,
    NetworkFile,
    PasswordFile,
    RpcUrl,
    Yes,
)
from waypost.cli.output import Output
from waypost.cli.passwords import signing_key
from waypost.cli.places import Places
from waypost.client import keystore as key_files
from waypost.errors import InvalidConfig
from waypost.protocol.fields import parse_address
from waypost.protocol.signatures import address_of


@examples(
    "waypost deploy --dev-account 0 --yes",
    "waypost deploy --preset testnet --rpc-url https://… --keystore wallet.json --dry-run",
    "waypost deploy --preset testnet --keystore wallet.json --max-fee-gwei 20 --priority-fee-gwei 0.5",
    "waypost deploy --preset mainnet --token 0x… --rpc-url https://… --keystore wallet.json",
)
def deploy(
    preset: Annotated[
        str, typer.Option(help="local (seconds), testnet or mainnet (days; mainnet needs --token).")
    ] = "local",
    network_file: NetworkFile = None,
    token: Annotated[
        str | None, typer.Option(help="Token for stakes and payments.", show_default="a new Dev Dollar")
    ] = None,
    salt: Annotated[str, typer.Option(help="32 bytes of 0x-hex: another salt, other addresses.")] = "0x"
    + "00" * 32,
    keystore: Keystore = None,
    dev_account: DevAccount = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    max_fee_gwei: Annotated[
        str | None, typer.Option(help="Most to pay per gas, in gwei.", show_default="what the chain asks")
    ] = None,
    priority_fee_gwei: Annotated[
        str | None,
        typer.Option(help="Of that, for whoever makes the block.", show_default="what the chain asks"),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put the contracts on a chain and write the manifest that nodes and clients need.

    Equal parameters give equal addresses on every chain. What is there already is checked and kept, so an
    interrupted deployment goes on where it stopped.
    """
    out, places = Output(as_json), Places.under(home)
    chosen = preset_named(preset) if network_file is None else read_network(network_file)
    salted, bid = parse_salt(salt), Bid.parse(max_fee_gwei, priority_fee_gwei)

    async def run() -> None:
        async with await connect(rpc_url) as connection:
            address = None if token is None else parse_address(token)
            plan = await deployment.plan(connection, chosen, address, salt=salted, bid=bid)
            path = (manifest or places.manifest(plan.chain_id)).expanduser()
            if dry_run:
                payer = _payer(keystore, dev_account, password_file, plan.chain_id)
                await _look(out, plan, connection, payer)
                return
            key = signing_key(keystore, dev_account, password_file, plan.chain_id)
            if key is None:
                raise InvalidConfig(
                    "Give --keystore or --dev-account: deploying costs gas (or --dry-run to look)."
                )
            deployer = Deployer(connection, key, bid)
            funds = await Funds.of(connection, deployer.address, plan.cost)
            for line in [*plan.lines(), funds.line]:
                out.progress(line)
            funds.require()
            out.confirm(f"Deploy to chain {plan.chain_id}?", yes=yes)
            made = await deployment.carry_out(plan, deployer, path, out.progress)
            out.result({**made.to_json(), "manifest": str(path)}, [f"The manifest is {path}"])

    asyncio.run(run())


async def _look(
    out: Output, plan: deployment.Plan, connection: Connection, payer: ChecksumAddress | None
) -> None:
    """The plan, and whether the account that would pay for it can."""
    if payer is None:
        unknown = "  Give --keystore or --dev-account to see whether its money suffices"
        out.result({**plan.to_json(), "dryRun": True}, [*plan.lines(), unknown])
    else:
        funds = await Funds.of(connection, payer, plan.cost)
        out.result({**plan.to_json(), **funds.to_json(), "dryRun": True}, [*plan.lines(), funds.line])


def _payer(
    keystore: Path | None, dev_account: int | None, password_file: Path | None, chain_id: int
) -> ChecksumAddress | None:
    """Who would pay; None if nobody was named. Most key files name their address: no password is needed."""
    if keystore is not None and dev_account is None:
        if key_files.kind(keystore) == "account":
            return parse_address(key_files.payer_of(keystore))
        named = json.loads(keystore.read_text()).get("address")
        if isinstance(named, str):
            return parse_address("0x" + named.removeprefix("0x"))
    key = signing_key(keystore, dev_account, password_file, chain_id)
    return None if key is None else address_of(key)
