"""`waypost node fund`: ETH for the account that pays the node's gas."""

import asyncio
from typing import Annotated

import typer

from waypost.chain.connection import Call, connect
from waypost.chain.transactions import Sender
from waypost.cli.amounts import Unit, ether
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.errors import InvalidConfig
from waypost.node import settings
from waypost.protocol.signatures import address_of

ETH = Unit("ETH", 18)


@examples("waypost node fund 0.05 --dry-run", "waypost node fund 0.05 --yes")
def fund(
    amount: Annotated[str, typer.Argument(help="In ETH, such as 0.05.")],
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Send ETH from the operator to the node's gas account, which pays for openings and claims.

    Any wallet can do the same: `waypost node status` names the account, and how long its ETH lasts.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        wei, secret = ETH.parse(amount), password(str(folder), password_file)
        keys = {role: settings.read_key(folder, role, secret) for role in ("operator", "gas")}
        if keys["operator"] is None or keys["gas"] is None:
            raise InvalidConfig(
                f"{folder} lacks the operator's key or that of a gas account: send the ETH from a wallet.",
                path=str(folder),
            )
        account = address_of(keys["gas"])
        data = {"gasAccount": account, "amount": str(wei)}
        async with await connect(config.rpc_url, config.chain_id) as connection:
            sender, call = Sender(connection, keys["operator"]), Call(account, b"", wei, "The payment")
            words = f"Send {ETH.show(wei)} from {sender.address} to the gas account {account}?"
            if dry_run:
                await sender.simulate(call)
                out.result({**data, "dryRun": True}, [words])
                return
            out.confirm(words, yes=yes)
            receipt = await sender.send(call)
            balance = await connection.balance(account)
            out.result(
                {**data, "transaction": "0x" + receipt.hash.hex(), "balance": str(balance)},
                [f"{account} now has {ether(balance)}."],
            )

    asyncio.run(run())
