"""`waypost node status` and `claim`: what the node earned, and getting it on chain now."""

import asyncio
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
from waypost.errors import ChainError
from waypost.node import settings
from waypost.node.app import unix_time
from waypost.node.settings import NodeConfig

SHOWN_CLAIMS = 5
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
        place = await _place(config)
        if place is None:
            out.result({**found, "running": running}, _as_text(found, NO_UNIT, running))
            return
        actions = advise(found, running, place)
        stake = {
            "minimum": str(place.minimum),
            "listed": place.registered is not None and place.registered.stake >= place.minimum,
            "provisions": place.stake.to_json(),
        }
        out.result(
            {**found, "running": running, "stake": stake, "next": [action.to_json() for action in actions]},
            [
                *_as_text(found, place.stake.unit, running),
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


async def _place(config: NodeConfig) -> Place | None:
    """The node in its registry; None while the chain is out of reach."""
    try:
        async with await connect(config.rpc_url, config.chain_id) as connection:
            registry, token = Registry(connection, config.registry), Token(connection, config.token)
            return Place(
                registered=await registry.node(config.operator),
                stake=await look(config, registry, token, await Unit.of(token)),
                minimum=await registry.min_stake(),
                gas_price=(await fees.ask(connection)).limit,
                now=max((await connection.head()).timestamp, unix_time()),
            )
    except ChainError:
        return None


def _as_text(found: dict[str, Any], unit: Unit, running: bool) -> list[str]:
    totals = {name: int(value) for name, value in found["totals"].items()}
    state = (
        f"{'running' if running else 'not running'}, {'level with' if found['ready'] else 'behind'} its chain"
    )
    lines = [
        f"operator     {found['operator']}  ({state})",
        f"channels     {totals['channels']}",
        f"earned       {unit.show(totals['earned'])}",
        f"  claimed    {unit.show(totals['claimed'])}",
        f"  confirming {unit.show(totals['confirming'])}  (claimed, not deep enough yet)",
        f"  claimable  {unit.show(totals['claimable'])}",
        f"  at risk    {unit.show(totals['atRisk'])}  (claimable, on channels that are closing)",
        f"stored       {found['storedBytes']:,} bytes",
    ]
    if found.get("gasBalance") is not None:
        lines.append(f"gas account  {found['gasAccount']}  {ether(int(found['gasBalance']))}")
    lines += [
        f"claim        {entry['transaction']}  {unit.show(int(entry['value']))}  {entry['state']}"
        for entry in found["claims"][:SHOWN_CLAIMS]
    ]
    return lines + [f"fault        {code}" for code in found["faults"]]
