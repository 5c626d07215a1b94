"""`waypost deploy`: the contracts onto a chain. Look, confirm, do; an interrupted deployment goes on."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from waypost.chain import deploy as deployment
from waypost.chain.connection import connect
from waypost.chain.manifest import Manifest
from waypost.chain.presets import preset as preset_named
from waypost.chain.presets import read as read_network
from waypost.chain.transactions import Sender
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
    PasswordFile,
    RpcUrl,
    Yes,
)
from waypost.cli.output import Output
from waypost.cli.passwords import signing_key
from waypost.cli.places import Places
from waypost.errors import InvalidConfig
from waypost.protocol.fields import parse_address


@examples(
    "waypost deploy --dev-account 0 --yes",
    "waypost deploy --preset testnet --rpc-url https://… --keystore wallet.json --dry-run",
    "waypost deploy --preset mainnet --token 0x… --rpc-url https://… --keystore wallet.json",
)
def deploy(
    preset: Annotated[
        str, typer.Option(help="local (seconds), testnet or mainnet (days; mainnet needs --token).")
    ] = "local",
    network_file: Annotated[
        Path | None, typer.Option(help="A TOML file of your own instead; see docs/deploying.md.")
    ] = None,
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
        float | None,
        typer.Option(min=0, help="Most to pay per gas, in gwei.", show_default="what the chain asks"),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put the contracts on a chain and write the manifest that nodes and clients need.

    Equal parameters give equal addresses on every chain. What is there already is checked and kept, so an
    interrupted deployment goes on where it stopped.
    """
    out, places = Output(json), Places.under(home)
    chosen = preset_named(preset) if network_file is None else read_network(network_file)
    salted = _salt(salt)

    async def run() -> None:
        async with await connect(rpc_url) as connection:
            address = None if token is None else parse_address(token)
            plan = await deployment.plan(connection, chosen, address, salt=salted, max_fee=_wei(max_fee_gwei))
            path = (manifest or places.manifest(plan.chain_id)).expanduser()
            if dry_run:
                out.result({**plan.to_json(), "dryRun": True}, plan.lines())
                return
            key = signing_key(keystore, dev_account, password_file, plan.chain_id)
            if key is None:
                raise InvalidConfig(
                    "Give --keystore or --dev-account: deploying costs gas (or --dry-run to look)."
                )
            sender = Sender(connection, key, max_fee_per_gas=_wei(max_fee_gwei))
            for line in [*plan.lines(), await deployment.require_funds(plan, sender)]:
                out.progress(line)
            out.confirm(f"Deploy to chain {plan.chain_id}?", yes=yes)
            previous = Manifest.load(path) if path.exists() else None
            made = await deployment.execute(plan, sender, out.progress, previous)
            made.save(path)
            out.result({**made.to_json(), "manifest": str(path)}, [f"The manifest is {path}"])

    asyncio.run(run())


def _wei(gwei: float | None) -> int | None:
    return None if gwei is None else int(gwei * 10**9)


def _salt(text: str) -> bytes:
    try:
        salt = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        salt = b""
    if len(salt) != 32:
        raise InvalidConfig("The salt is 0x and 64 hexadecimal digits.", given=text[:80])
    return salt
