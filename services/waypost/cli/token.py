"""`waypost token`: balances, and test tokens out of nothing where the token allows it."""

import asyncio
from typing import Annotated

import typer
from eth_typing import ChecksumAddress

from waypost.chain.transactions import Sender
from waypost.cli.amounts import ether
from waypost.cli.nouns import examples, noun
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
from waypost.cli.places import Places, deployed
from waypost.client.keystore import payer_of
from waypost.errors import InvalidConfig, WrongContract
from waypost.protocol.fields import parse_address

app = noun("The token that nodes are paid in.")

To = Annotated[
    str | None, typer.Option("--to", help="Who gets them.", show_default="the account of this home")
]


@app.command()
@examples("waypost token mint 100 --dev-account 0", "waypost token mint 100 --to 0x… --keystore wallet.json")
def mint(
    amount: Annotated[str, typer.Argument(help="In whole tokens, such as 2.5.")],
    to: To = None,
    keystore: Keystore = None,
    dev_account: DevAccount = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make test tokens out of nothing: Dev Dollars, which anybody can mint and nobody should value.

    The transaction's gas is paid by --keystore or --dev-account.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with deployed(places, rpc_url, manifest) as there:
            if "DevDollar" not in there.manifest.contracts:
                sentence = f"{there.unit.symbol} is a real token: only its issuer can make more of it."
                raise WrongContract(sentence, token=there.token.address)
            units = there.unit.parse(amount)
            receiver = _receiver(to, places)
            key = signing_key(keystore, dev_account, password_file, there.connection.chain_id)
            data = {"to": receiver, "amount": str(units), "token": there.token.address}
            if dry_run:
                out.result({**data, "dryRun": True}, [f"Would mint {there.unit.show(units)} to {receiver}."])
                return
            if key is None:
                raise InvalidConfig(
                    "Give --keystore or --dev-account: minting is a transaction, and costs gas."
                )
            if dev_account is None:
                out.confirm(f"Mint {there.unit.show(units)} to {receiver}?", yes=yes)
            receipt = await Sender(there.connection, key).send(there.token.mint(receiver, units))
            balance = await there.token.balance_of(receiver)
            out.result(
                {**data, "transaction": "0x" + receipt.hash.hex(), "balance": str(balance)},
                [f"{receiver} now has {there.unit.show(balance)}."],
            )

    asyncio.run(run())


@app.command()
@examples("waypost token balance", "waypost token balance 0x…")
def balance(
    owner: Annotated[
        str | None, typer.Argument(help="An address.", show_default="the account of this home")
    ] = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    json: Json = False,
) -> None:
    """Show an address's tokens, what it can withdraw after refused transfers, and its ETH."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with deployed(places, rpc_url, manifest) as there:
            address = _receiver(owner, places)
            tokens = await there.token.balance_of(address)
            wei = await there.connection.balance(address)
            out.result(
                {"owner": address, "token": there.token.address, "balance": str(tokens), "wei": str(wei)},
                [address, f"  {there.unit.show(tokens)}", f"  {ether(wei)}"],
            )

    asyncio.run(run())


def _receiver(given: str | None, places: Places) -> ChecksumAddress:
    return parse_address(given if given is not None else payer_of(places.account))
