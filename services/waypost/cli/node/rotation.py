"""`waypost node rotate-key`: another key signs for the node from now on."""

import asyncio

from waypost.chain.connection import connect
from waypost.chain.registry import Registry
from waypost.chain.transactions import Sender
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.errors import InvalidConfig
from waypost.node import keys, settings
from waypost.protocol.nodes import NodeKey
from waypost.protocol.signatures import address_of


@examples("waypost node rotate-key --dry-run", "waypost node rotate-key --yes")
def rotate(
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Give the node a new key: made and stored first, then registered, then put in the old one's place.

    Whatever interrupts it, run it again: it goes on where it stopped. The old key is kept, encrypted. What it
    signed stays valid, also what a thief of it dates back into its time; restart the node when this is done.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        async with await connect(config.rpc_url, config.chain_id) as connection:
            registry = Registry(connection, config.registry)
            registered = await registry.node(config.operator)
            if registered is None:
                raise InvalidConfig(f"{config.operator} is not registered yet: its key can just be replaced.")
            if dry_run:
                words = f"The key {registered.node_key} of {config.operator} would be followed by a new one."
                out.result({"nodeKey": registered.node_key, "dryRun": True}, [words])
                return
            out.confirm(f"Replace the key {registered.node_key} of {config.operator}?", yes=yes)
            secret = password(str(folder), password_file)
            operator = settings.read_key(folder, "operator", secret)
            if operator is None or address_of(operator) != config.operator:
                raise InvalidConfig(f"{folder} lacks the key of {config.operator}.", path=str(folder))
            present = settings.read_key(folder, "node", secret)
            following = keys.prepare_next(folder, secret)
            new = address_of(following)
            if registered.node_key == new:
                out.progress(f"{new} is registered already.")
            else:
                proof = NodeKey(config.operator, new).sign(registry.domain(), following)
                receipt = await Sender(connection, operator).send(registry.rotate_key(new, proof))
                out.progress(f"rotateKey: 0x{receipt.hash.hex()}")
            kept = keys.promote_next(folder, secret)
            out.result(
                {
                    "nodeKey": new,
                    "previous": None if present is None else address_of(present),
                    "kept": None if kept is None else str(kept),
                },
                [
                    f"{new} signs for the node."
                    + (f" The key before is kept in {kept.name}." if kept is not None else ""),
                    "Restart the node now: until then clients refuse what the old key signs.",
                ],
            )

    asyncio.run(run())
