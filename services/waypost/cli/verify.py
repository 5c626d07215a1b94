"""`waypost verify`: whether the contracts on a chain are those of this package."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from waypost.chain.connection import connect
from waypost.chain.verification import Verified, examine, write_bundle
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DEFAULT_RPC_URL, Home, Json, ManifestPath, RpcUrl
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
    json: Json = False,
) -> None:
    """Compare every contract of the manifest with this package: its code, arguments and address.

    Ends with 1 if one differs. The bundle holds, for each contract, the compiler's standard-JSON input with
    all sources, the encoded constructor arguments, and the compiler's version.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> bool:
        async with await connect(rpc_url) as connection:
            there = load_manifest(places, manifest, connection.chain_id)
            found = await examine(connection, there)
        folder = None if bundle is None else bundle.expanduser().absolute()
        written = [] if folder is None else write_bundle(found, there.chain_id, folder)
        out.result(
            {
                "holds": all(each.holds for each in found),
                "contracts": [each.to_json() for each in found],
                "files": [str(path) for path in written],
            },
            [
                *map(_as_text, found),
                *([f"The bundle is {bundle}: {len(written)} files"] if bundle is not None else []),
            ],
        )
        return all(each.holds for each in found)

    if not asyncio.run(run()):
        raise typer.Exit(1)


def _as_text(found: Verified) -> str:
    return f"{'✓' if found.holds else '✗'} {found.name:<13} {found.address}  {found.sentence}"
