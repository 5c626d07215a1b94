"""`waypost channel`: deposits with nodes, from which messages are paid. No ETH is needed to open one."""

import asyncio
from typing import Annotated, Any

import typer
from eth_typing import ChecksumAddress

from waypost.cli.amounts import Unit
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
    OneNode,
    PasswordFile,
    RpcUrl,
    Yes,
)
from waypost.cli.output import Output, describe
from waypost.cli.passwords import signing_key
from waypost.cli.places import Places, open_client
from waypost.cli.times import utc
from waypost.client.channel import Channel
from waypost.client.client import Client
from waypost.client.closing import Closing, Step
from waypost.client.nodes import Node
from waypost.errors import ChannelMissing
from waypost.protocol.fields import parse_address

app = noun("Channels with nodes: what you deposit, spend and get back.")

POLL_SECONDS = 1.0

Signer = Annotated[str, typer.Argument(help="The channel, as `waypost channel show` names it.")]


@app.command("open")
@examples(
    "waypost channel open --amount 5 --dry-run", "waypost channel open --amount 5 --limit 1 --node 0x… --yes"
)
def open_channel(
    amount: Annotated[str, typer.Option(help="Deposit in whole tokens, such as 2.5.")],
    limit: Annotated[
        str | None, typer.Option(help="Most that is ever spent of it.", show_default="the deposit")
    ] = None,
    node: OneNode = None,
    close_delay: Annotated[
        int | None,
        typer.Option(
            help="Seconds that a close without the node's consent takes.", show_default="the shortest"
        ),
    ] = None,
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
    """Open a channel: lock a deposit that pays one node as messages are sent and fetched.

    The node submits your signed opening for the price that it names, so you need no ETH. With --keystore or
    --dev-account the transaction is sent from there instead. What is not spent comes back when the channel is
    closed.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            deposit = unit.parse(amount, "deposit")
            most = None if limit is None else unit.parse(limit, "spending limit")
            chosen = await _node(client, node)
            terms = await client.channels.terms(chosen, deposit, limit=most, close_delay=close_delay)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            fee = chosen.descriptor.prices.opening if key is None else 0
            lines = [
                f"node          {chosen.operator}  {chosen.descriptor.endpoint}",
                f"deposit       {unit.show(terms.amount)}  (at most {unit.show(terms.limit)} of it is spent)",
                f"opening fee   {unit.show(fee)}",
                f"close delay   {terms.close_delay} s without the node's consent",
            ]
            data = {
                "operator": chosen.operator,
                "endpoint": chosen.descriptor.endpoint,
                "deposit": str(terms.amount),
                "limit": str(terms.limit),
                "fee": str(fee),
                "closeDelay": terms.close_delay,
            }
            if dry_run:
                out.result({**data, "dryRun": True}, lines)
                return
            for line in lines:
                out.progress(line)
            out.confirm("Open this channel?", yes=yes)
            sender = None if key is None else client.sender(key)
            channel = await client.channels.open(chosen, terms, sender=sender)
            out.result({**data, **_as_json(channel)}, [f"The channel {channel.signer} is open."])

    asyncio.run(run())


@app.command()
@examples("waypost channel show", "waypost channel show --json | jq '.channels[].available'")
def show(
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Show all channels, compared with the chain."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            channels = await client.channels.refresh()
            balance = await client.balance()
            lines = [line for channel in channels for line in _as_text(channel, unit)]
            out.result(
                {"channels": [_as_json(channel) for channel in channels], "balance": str(balance)},
                [*(lines or ["There is no channel yet."]), f"Outside of channels: {unit.show(balance)}"],
            )

    asyncio.run(run())


@app.command("top-up")
@examples("waypost channel top-up 0x… 2.5 --dev-account 0")
def top_up(
    signer: Signer,
    amount: Annotated[str, typer.Argument(help="In whole tokens, such as 2.5.")],
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
    """Add to a channel's deposit and spending limit. Whoever pays the gas, the tokens are yours."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            channel = client.channels.by_signer(parse_address(signer, "signer"))
            channel.require_open()
            units = unit.parse(amount)
            if dry_run:
                words = f"Would add {unit.show(units)} to {unit.show(channel.books.deposited)}."
                out.result({"amount": str(units), "dryRun": True}, [words])
                return
            out.confirm(f"Add {unit.show(units)} to {channel.signer}?", yes=yes)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            deposit = await client.channels.top_up(channel, units, client.sender(key))
            out.result(_as_json(channel), [f"The deposit is now {unit.show(deposit)}."])

    asyncio.run(run())


@app.command()
@examples(
    "waypost channel close --dry-run",
    "waypost channel close 0x… --no-consent --wait --yes --dev-account 0",
)
def close(
    signer: Annotated[
        str | None,
        typer.Argument(help="The channel, as `waypost channel show` names it.", show_default="the only one"),
    ] = None,
    consent: Annotated[
        bool,
        typer.Option(help="Ask the node to agree, so that the rest comes back at once; or don't, and wait."),
    ] = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until the close delay is over, and finish.")
    ] = False,
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
    """Close a channel and get back what was not spent.

    The transactions' gas is paid by --keystore or --dev-account (anybody may), or by the account itself.
    Without the node's consent, closing takes two transactions and the close delay between them: run the
    command again then.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            channel = _channel(client, signer)
            plan = await client.channels.plan_close(channel, consent=consent)
            if dry_run or plan.step is Step.DONE:
                out.result({**_closing_json(plan), "dryRun": dry_run}, [_closing_text(plan, unit)])
                return
            out.progress(_closing_text(plan, unit))
            out.confirm(f"Close {channel.signer}?", yes=yes)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            sender = client.sender(key)
            done = await client.channels.close(channel, sender, consent=consent)
            while done.step is Step.FINISH or (wait and done.step is Step.WAIT):
                if done.step is Step.WAIT:
                    await asyncio.sleep(POLL_SECONDS)
                done = await client.channels.close(channel, sender, consent=False)
            out.result({**_as_json(channel), **_closing_json(done)}, [_closing_text(done, unit)])

    asyncio.run(run())


@app.command()
@examples("waypost channel recover", "waypost channel recover --node 0x…")
def recover(
    node: Annotated[
        list[str] | None,
        typer.Option(help="Operator address; repeatable.", show_default="all registered nodes"),
    ] = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Find this account's channels on the chain and at the nodes, after a machine was lost."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            recovered = await client.channels.recover([parse_address(entry, "node") for entry in node or ()])
            for fault in recovered.faults.values():
                out.progress(f"warning: {fault}")
            lines = [line for channel in recovered.channels for line in _as_text(channel, unit)]
            out.result(
                {
                    "channels": [_as_json(channel) for channel in recovered.channels],
                    "faults": {signer: describe(fault) for signer, fault in recovered.faults.items()},
                },
                lines or ["No channel was found that is not known already."],
            )

    asyncio.run(run())


def _channel(client: Client, signer: str | None) -> Channel:
    if signer is not None:
        return client.channels.by_signer(parse_address(signer, "signer"))
    live = [channel for channel in client.channels.all() if channel.record.status != "closed"]
    if len(live) != 1:
        raise ChannelMissing(
            f"There are {len(live)} channels that could be meant: name one.", found=len(live)
        )
    return live[0]


async def _node(client: Client, operator: str | None) -> Node:
    if operator is not None:
        return await client.nodes.get(parse_address(operator, "node"))
    taken: set[ChecksumAddress] = {channel.record.operator for channel in client.channels.open_channels()}
    (chosen,) = await client.nodes.choose(1, exclude=taken)
    return chosen


def _as_json(channel: Channel) -> dict[str, Any]:
    record, books = channel.record, channel.books
    return {
        "signer": record.signer,
        "operator": record.operator,
        "payee": record.payee,
        "status": record.status,
        "deposited": str(books.deposited),
        "limit": str(books.limit),
        "signed": str(books.signed),
        "spent": str(books.spent),
        "available": str(books.available),
        "closesAt": record.closes_at,
        "stopped": books.stopped or None,
    }


def _as_text(channel: Channel, unit: Unit) -> list[str]:
    record, books = channel.record, channel.books
    spent, deposited, left = (unit.show(each) for each in (books.spent, books.deposited, books.available))
    lines = [
        f"{record.signer}  {record.status}",
        f"    node {record.operator}",
        f"    {spent} spent of {deposited}, {left} left",
    ]
    if books.stopped:
        lines.append(f"    nothing more is signed: {books.stopped}")
    return lines


def _closing_json(closing: Closing) -> dict[str, Any]:
    return {
        "next": closing.step.value,
        "final": str(closing.final),
        "refund": str(closing.refund),
        "closesAt": closing.closes_at,
    }


def _closing_text(closing: Closing, unit: Unit) -> str:
    refund, final = unit.show(closing.refund), unit.show(closing.final)
    match closing.step:
        case Step.CONSENT:
            return f"With the node's consent, {refund} come back at once; the node keeps {final}."
        case Step.START:
            return f"Starts the close delay: then at least {refund} come back, the node gets at most {final}."
        case Step.WAIT:
            when = utc(closing.closes_at)
            return f"The close delay is over at {when}: then run this again; at least {refund} come back."
        case Step.FINISH:
            return f"The close delay is over: {refund} come back, the node keeps {final}."
    return f"The channel is closed: {refund} came back, the node got {final}."
