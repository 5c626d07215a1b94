"""`waypost node status` and `claim`: what the node earned, and getting it on chain now."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from waypost.chain import fees
from waypost.chain.connection import connect
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.cli.amounts import Unit, ether
from waypost.cli.node.admin import operator_side
from waypost.cli.node.advice import Place, advise
from waypost.cli.node.stake import look
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.places import Places
from waypost.cli.times import span, utc
from waypost.errors import ChainError
from waypost.node import settings
from waypost.node.app import unix_time
from waypost.node.doctor import CLAIM_GAS, claims_affordable
from waypost.node.settings import NodeConfig

SHOWN = 5
"""Of claims and closing channels; --json has all."""
NO_UNIT = Unit("base units", 0)


@examples("waypost node status", "waypost node status --json | jq .totals.earned")
def status(
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Show what the node earned, what it can claim, its stake, what is wrong, and what to do next."""
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        async with operator_side(folder, password_file, out.progress) as node:
            found = await node.ask("GET", "/status")
            running = node.running
        here: dict[str, Any] = {**found, "running": running, "disk": _disk(folder, config)}
        try:
            place = await _place(config)
        except ChainError as error:
            here["chain"] = {"reachable": False, "reason": str(error)}
            out.result(
                here,
                [
                    *_as_text(here, NO_UNIT),
                    f"chain        out of reach, and with it stake and next steps: {error}",
                ],
            )
            return
        here["chain"] = {"reachable": True}
        here["stake"] = {
            "minimum": str(place.minimum),
            "listed": place.registered is not None and place.registered.stake >= place.minimum,
            "unbondingSeconds": place.stake.unbonding,
            "provisions": place.stake.to_json(),
        }
        here["gas"] = _gas(found, place)
        actions = advise(found, running, place)
        here["next"] = [action.to_json() for action in actions]
        out.result(
            here,
            [
                *_as_text(here, place.stake.unit),
                *place.stake.lines(),
                *(action.line() for action in actions),
            ],
        )

    asyncio.run(run())


@examples("waypost node claim --dry-run", "waypost node claim --yes")
def claim(
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Claim all that is claimable now, whatever the gas; the node pays the gas.

    There is rarely a need to: a running node claims by itself when it pays, and always before a channel
    closes.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        async with operator_side(folder, password_file, out.progress) as node:
            claimable = int((await node.ask("GET", "/status"))["totals"]["claimable"])
            unit = await _unit(config)
            if dry_run or not claimable:
                words = f"Claimable: {unit.show(claimable)}."
                out.result({"claimable": str(claimable), "transactions": [], "dryRun": dry_run}, [words])
                return
            out.confirm(f"Claim {unit.show(claimable)} to {config.payee}?", yes=yes)
            transactions = (await node.ask("POST", "/claim"))["transactions"]
            totals = (await node.ask("GET", "/status"))["totals"]
            out.result(
                {
                    "claimable": totals["claimable"],
                    "claimed": totals["claimed"],
                    "transactions": transactions,
                },
                [*transactions, f"Claimed so far: {unit.show(int(totals['claimed']))}."],
            )

    asyncio.run(run())


async def _unit(config: NodeConfig) -> Unit:
    """The token's unit; bare base units while the chain is out of reach."""
    try:
        async with await connect(config.rpc_url, config.chain_id) as connection:
            return await Unit.of(Token(connection, config.token))
    except ChainError:
        return NO_UNIT


async def _place(config: NodeConfig) -> Place:
    """The node in its registry. Raises ChainError."""
    async with await connect(config.rpc_url, config.chain_id) as connection:
        registry, token = Registry(connection, config.registry), Token(connection, config.token)
        return Place(
            registered=await registry.node(config.operator),
            stake=await look(config, registry, token, await Unit.of(token)),
            minimum=await registry.min_stake(),
            gas_price=(await fees.ask(connection)).limit,
            now=max((await connection.head()).timestamp, unix_time()),
        )


def _disk(folder: Path, config: NodeConfig) -> dict[str, int]:
    """Bytes."""
    return {"free": shutil.disk_usage(folder).free, "quota": config.storage_quota_bytes}


def _gas(found: dict[str, Any], place: Place) -> dict[str, str | int]:
    """What a claim of one channel costs now, in wei, and how many of them the gas account can send."""
    gas: dict[str, str | int] = {"claimCost": str(CLAIM_GAS * place.gas_price)}
    if found.get("gasBalance") is not None:
        gas["claimsAffordable"] = claims_affordable(int(found["gasBalance"]), place.gas_price)
    return gas


def _as_text(here: dict[str, Any], unit: Unit) -> list[str]:
    totals = {name: int(value) for name, value in here["totals"].items()}
    running = "running" if here["running"] else "not running"
    level = "level with" if here["ready"] else "behind"
    return [
        f"operator     {here['operator']}  ({running}, {level} its chain)",
        f"channels     {totals['channels']}",
        f"earned       {unit.show(totals['earned'])}",
        f"  claimed    {unit.show(totals['claimed'])}",
        f"  confirming {unit.show(totals['confirming'])}  (claimed, not deep enough yet)",
        f"  claimable  {unit.show(totals['claimable'])}" + _waiting(here),
        f"  at risk    {unit.show(totals['atRisk'])}  (claimable, on channels that are closing)",
        *(_closing(channel, unit) for channel in here["closing"][:SHOWN]),
        f"stored       {here['storedBytes']:,} of {here['disk']['quota']:,} bytes;"
        f" {here['disk']['free'] / 2**30:.1f} GiB of disk are free",
        *_gas_account(here),
        *(
            f"claim        {entry['transaction']}  {unit.show(int(entry['value']))}  {entry['state']}"
            for entry in here["claims"][:SHOWN]
        ),
        *_rln(here, unit),
        *(f"fault        {code}" for code in here["faults"]),
    ]


def _rln(here: dict[str, Any], unit: Unit) -> list[str]:
    if (rln := here.get("rln")) is None:
        return []
    verified = (
        f"rln          {rln['verified']:,} proofs verified by {rln['library']}, {rln['invalid']:,} invalid"
    )
    if rln["library"] == "py_ecc":
        verified += "  (slow: this platform has no native library)"
    return [
        verified,
        f"  exposed    {rln['exposed']} members; slashes: {rln['committed']} committed, {rln['won']} won"
        f" ({unit.show(int(rln['reward']))}), {rln['lost']} lost",
    ]


def _waiting(here: dict[str, Any]) -> str:
    since = here["claimWaitingSince"]
    return "" if since is None else f"  (worth its gas for {span(max(0, unix_time() - since))})"


def _closing(channel: dict[str, Any], unit: Unit) -> str:
    left, shown = channel["closesAt"] - unix_time(), unit.show(int(channel["claimable"]))
    when = f"in {span(left)}" if left > 0 else f"{span(-left)} ago"
    return (
        f"  closing    {channel['signer']}  {shown}  can be closed from {utc(channel['closesAt'])} ({when})"
    )


def _gas_account(here: dict[str, Any]) -> list[str]:
    if here["gasBalance"] is None:
        return []
    line = f"gas account  {here['gasAccount']}  {ether(int(here['gasBalance']))}"
    if gas := here.get("gas"):
        line += f", enough for {gas['claimsAffordable']} claims of about {ether(int(gas['claimCost']))}"
    return [line]
