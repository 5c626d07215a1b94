"""`waypost verify`: whether the contracts on a chain are those of this package, as its presets say."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from waypost.chain.connection import connect
from waypost.chain.presets import read as read_network
from waypost.chain.verification import examine, write_bundle
from waypost.cli.nouns import examples
from waypost.cli.options import (
    DEFAULT_HOME,
    DEFAULT_RPC_URL,
    Home,
    Json,
    ManifestPath,
    NetworkFile,
    RpcUrl,
)
from waypost.cli.output import Output
from waypost.cli.places import Places, load_manifest


@examples("waypost verify --rpc-url https://…", "waypost verify --rpc-url https://… --bundle verification")
def verify(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder for what block explorers ask for, and a report.")
    ] = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    network_file: NetworkFile = None,
    json: Json = False,
) -> None:
    """Compare every contract of the manifest with this package: its code, arguments and address.

    The arguments and confirmations are compared with the bundled preset that the manifest names, or with
    --network-file, and shown with their units. Ends with 1 if anything differs, or if there is nothing to
    compare them with. The bundle holds, for each contract, the compiler's standard-JSON input with
    all sources, the encoded constructor arguments, and the compiler's version.
    """
    out, places = Output(json), Places.under(home)
    network = None if network_file is None else read_network(network_file)

    async def run() -> bool:
        async with await connect(rpc_url) as connection:
            there = load_manifest(places, manifest, connection.chain_id)
            found = await examine(connection, there, network)
        folder = None if bundle is None else bundle.expanduser().absolute()
        written = [] if folder is None else write_bundle(found, folder)
        out.result(
            {**found.to_json(), "files": [str(path) for path in written]},
            [
                *found.lines(),
                *([f"The bundle is {bundle}: {len(written)} files"] if bundle is not None else []),
            ],
        )
        return found.holds

    if not asyncio.run(run()):
        raise typer.Exit(1)
