"""`waypost rln`: memberships, with which messages are published for nothing as long as a rate is kept."""

import asyncio
from typing import Annotated, Any

import typer

from waypost.cli.amounts import Unit
from waypost.cli.collect import collect
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
from waypost.cli.times import span, utc
from waypost.client.client import Client
from waypost.client.membership import Standing
from waypost.client.nodes import Node
from waypost.client.orders import LeaveStep, Leaving
from waypost.protocol.fields import parse_address

app = noun("Memberships: the right to send so many messages in every epoch, with a stake behind it.")

POLL_SECONDS = 1.0

Periods = Annotated[int, typer.Option(min=1, max=2**32 - 1, help="For how many periods to pay.")]


@app.command()
@examples("waypost rln join --rate 10 --dry-run", "waypost rln join --rate 10 --periods 3 --node 0x… --yes")
def join(
    rate: Annotated[int, typer.Option(min=1, max=2**16 - 1, help="Messages in an epoch.")],
    periods: Periods = 1,
    node: OneNode = None,
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
    """Become a member: pay a stake that comes back, and a fee for the time.

    The home node, which earns the fee, submits it, so you need no ETH. With --keystore or --dev-account the
    transaction is sent from there instead. Who sends more than the rate loses the stake; this program never
    does, as long as the account is used on one device alone. Run it again if it was interrupted.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            quote = await client.orders.quote(await _node(client, node), rate, periods)
            lines = [
                f"home node   {quote.node.operator}  {quote.node.client.endpoint}",
                f"rate        {rate} messages in {span(quote.epoch_seconds)}",
                f"time        {periods} × {span(quote.period)}",
                f"stake       {unit.show(quote.stake)}  (comes back after leaving)",
                f"fee         {unit.show(quote.fee)}",
            ]
            data = {
                "operator": quote.node.operator,
                "rate": rate,
                "periods": periods,
                "periodSeconds": quote.period,
                "epochSeconds": quote.epoch_seconds,
                "stake": str(quote.stake),
                "fee": str(quote.fee),
            }
            if dry_run:
                out.result({**data, "dryRun": True}, lines)
                return
            for line in lines:
                out.progress(line)
            out.confirm("Join?", yes=yes)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            out.progress("registering, and waiting for the node's tree of members")
            await client.orders.join(quote, sender=None if key is None else client.sender(key))
            standing = await client.memberships.status()
            out.result({**data, **_as_json(standing)}, _as_text(standing))

    asyncio.run(run())


@app.command()
@examples("waypost rln status", "waypost rln status --json | jq .left")
def status(
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Show the membership: until when it is paid, whether nodes have it, and how many messages are left."""
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, _):
            standing = await client.memberships.status()
            out.result(_as_json(standing), _as_text(standing))

    asyncio.run(run())


@app.command()
@examples("waypost rln extend --periods 3 --dry-run", "waypost rln extend --periods 3 --yes")
def extend(
    periods: Periods = 1,
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
    """Pay for more periods, after those that are paid for already.

    The home node submits it, so you need no ETH; with --keystore or --dev-account it is sent from there.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            fee, until = await client.orders.quote_extension(periods)
            data: dict[str, Any] = {"periods": periods, "fee": str(fee)}
            line = f"{periods} more periods cost {unit.show(fee)}; paid until {utc(until)} then."
            if dry_run:
                out.result({**data, "paidUntil": until, "dryRun": True}, [line])
                return
            out.progress(line)
            out.confirm(f"Pay {unit.show(fee)}?", yes=yes)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            sender = None if key is None else client.sender(key)
            until = await client.orders.extend(periods, sender=sender)
            out.result({**data, "paidUntil": until}, [f"Paid until {utc(until)}."])

    asyncio.run(run())


@app.command()
@examples("waypost rln leave --dry-run", "waypost rln leave --wait --yes")
def leave(
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the stake is withdrawn, too.")] = False,
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
    """End the membership and get the stake back: exit now, withdraw when it can no longer be slashed.

    Fees of periods that have not begun come back, too. Run it again for the second step, or --wait. The home
    node submits both while your fees pay for its gas, and says so when they do not yet: wait then, or send it
    yourself with --keystore or --dev-account.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            plan = await client.orders.plan_leave()
            if dry_run:
                out.result({**_leaving_json(plan), "dryRun": True}, [_leaving_text(plan, unit)])
                return
            out.progress(_leaving_text(plan, unit))
            if plan.step is LeaveStep.EXIT:
                out.confirm("Leave? Nothing can be sent with the membership afterwards.", yes=yes)
            key = signing_key(keystore, dev_account, password_file, client.deployment.chain_id)
            sender = None if key is None else client.sender(key)
            done = await client.orders.leave(sender=sender)
            while wait and done.step is not LeaveStep.DONE:
                await asyncio.sleep(POLL_SECONDS)
                done = await client.orders.leave(sender=sender)
            out.result(_leaving_json(done), [_leaving_text(done, unit)])

    asyncio.run(run())


@app.command()
@examples("waypost rln recover")
def recover(
    node: OneNode = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Find this account's memberships on the chain, after a machine was lost.

    Never while another device uses them: two devices that count apart lose the stake. The first message can
    be sent in the next epoch.
    """
    out, places = Output(json), Places.under(home)

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, _):
            found = await client.memberships.recover(await _node(client, node))
            lines = [f"rate {record.rate}  {record.status}  {record.why}".rstrip() for record in found]
            memberships = [{"rate": record.rate, "status": record.status} for record in found]
            out.result(
                {"memberships": memberships}, lines or ["No membership was found that is not known already."]
            )

    asyncio.run(run())


app.command()(collect)


async def _node(client: Client, operator: str | None) -> Node:
    if operator is not None:
        return await client.nodes.get(parse_address(operator, "node"))
    (chosen,) = await client.nodes.choose(1)
    return chosen


def _as_json(standing: Standing) -> dict[str, Any]:
    record = standing.record
    return {
        "idCommitment": str(record.id_commitment),
        "status": record.status,
        "ended": record.why or None,
        "slashed": standing.slashed,
        "rate": record.rate,
        "operator": record.operator,
        "paidUntil": standing.paid_until or None,
        "withdrawableAt": standing.withdrawable_at or None,
        "epoch": standing.epoch or None,
        "left": standing.left,
        "secondsToNext": standing.seconds_to_next,
        "inTree": {
            operator: found if isinstance(found, bool) else describe(found)
            for operator, found in standing.trees.items()
        },
    }


def _as_text(standing: Standing) -> list[str]:
    record = standing.record
    lines = [f"{record.status}{f': {record.why}' if record.why else ''}, rate {record.rate} per epoch"]
    if standing.paid_until:
        lines.append(f"paid until {utc(standing.paid_until)}")
        later = f", the next one in {standing.seconds_to_next} s" if standing.seconds_to_next else ""
        lines.append(f"{standing.left} messages left in this epoch{later}")
    if standing.withdrawable_at:
        lines.append(f"the stake can be withdrawn from {utc(standing.withdrawable_at)} on")
    words = {True: "has it in its tree", False: "does not have it in its tree yet"}
    for operator, found in standing.trees.items():
        said = words[found] if isinstance(found, bool) else f"cannot say: {found}"
        lines.append(f"node {operator} {said}")
    return lines


def _leaving_json(leaving: Leaving) -> dict[str, Any]:
    return {
        "next": leaving.step.value,
        "withdrawableAt": leaving.withdrawable_at or None,
        "returned": str(leaving.returned) if leaving.step is LeaveStep.EXIT else None,
        "ended": leaving.why or None,
    }


def _leaving_text(leaving: Leaving, unit: Unit) -> str:
    match leaving.step:
        case LeaveStep.EXIT:
            back = unit.show(leaving.returned)
            return (
                f"Ends the membership: {back} come back, the stake and fees of periods that have not begun."
            )
        case LeaveStep.WAIT:
            return f"The stake can be withdrawn from {utc(leaving.withdrawable_at)} on: run this again then."
        case LeaveStep.WITHDRAW:
            return "The stake can be withdrawn now."
    return f"The membership has ended: {leaving.why}."
