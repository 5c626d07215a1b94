"""What `waypost node collect` does: shows what members' fees brought, and gets it.
The node's own process sends the transactions, since its gas account is one queue."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from waypost.cli.amounts import Unit, ether
from waypost.cli.node.admin import CATCH_UP_SECONDS, POLL_SECONDS, OperatorSide, operator_side
from waypost.cli.node.money import token_unit
from waypost.cli.output import Output
from waypost.cli.times import utc
from waypost.errors import InvalidConfig, NodeNotReady, NodeRefused
from waypost.node import settings

SHOWN = 20
"""Of members; --json has all."""


async def run(
    out: Output, folder: Path, password_file: Path | None, *, expire: bool, dry_run: bool, yes: bool
) -> None:
    """Shows what waits in the node of this folder, and collects it."""
    config = settings.read_config(folder)
    if config.rln is None:
        raise InvalidConfig(f"{folder} has no RLN membership contract in its settings.", path=str(folder))
    async with operator_side(folder, password_file, out.progress) as node:
        found = await members(node)
        unit = await token_unit(config)
        late = [member for member in found["members"] if member["late"]] if expire else []
        worth_it = int(found["collectable"]) > 0
        if dry_run or not (worth_it or late):
            out.result({**found, "dryRun": dry_run, "transactions": []}, _as_text(found, unit))
            return
        for line in _as_text(found, unit):
            out.progress(line)
        out.confirm(_question(found, late, unit), yes=yes)
        sent: list[dict[str, str]] = []
        if worth_it:
            sent += (await node.ask("POST", "/rln/collect"))["transactions"]
        if late:
            sent += (await node.ask("POST", "/rln/expire"))["transactions"]
        done = await members(node)
        out.result(
            {**done, "dryRun": False, "transactions": sent},
            [
                *(f"{each['transaction']}  {each['state']}" for each in sent),
                f"Collected so far: {unit.show(int(done['collected']))}.",
            ],
        )


async def members(node: OperatorSide) -> dict[str, Any]:
    """GET /rln/members; a node that does not run has to read the contract first.

    Raises NodeRefused, or NodeNotReady if that takes too long.
    """
    give_up = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
    while True:
        try:
            return await node.ask("GET", "/rln/members")
        except NodeRefused as error:
            if node.running or error.details.get("reason") != NodeNotReady.code:
                raise
        if asyncio.get_running_loop().time() > give_up:
            raise NodeNotReady(f"The members are not read after {CATCH_UP_SECONDS:g} s; try again.")
        await asyncio.sleep(POLL_SECONDS)


def _question(found: dict[str, Any], late: list[dict[str, Any]], unit: Unit) -> str:
    parts = []
    if int(found["collectable"]):
        parts.append(f"collect {unit.show(int(found['collectable']))} to {found['payee']}")
    if late:
        parts.append(f"remove {len(late)} members that nobody pays for")
    return " and ".join(parts).capitalize() + "?"


def _as_text(found: dict[str, Any], unit: Unit) -> Iterator[str]:
    show: Callable[[str], str] = lambda amount: unit.show(int(amount))  # noqa: E731
    yield f"members      {len(found['members'])} pay {found['payee']}"
    yield f"collected    {show(found['collected'])}, of those that are still there"
    yield f"collectable  {show(found['collectable'])}; {show(found['burned'])} are burned with it"
    if found["gas"]:
        cost = f"{found['gas']:,} gas, about {ether(found['gas'] * int(found['gasPrice']))}"
        worth = f", worth {show(found['gasCost'])}" if int(found["gasCost"]) else ""
        yield f"gas          {cost}{worth}"
    for member in found["members"][:SHOWN]:
        until = "not paid for since" if member["late"] else "paid until"
        reward = f"; {show(member['reward'])} for removing it" if member["late"] else ""
        yield (
            f"  member     leaf {member['index']}, {member['status']}, {show(member['collectable'])} wait,"
            f" {until} {_when(member['paidUntil'])}{reward}"
        )


def _when(seconds: int) -> str:
    return utc(seconds) if seconds < 2**37 else "further than calendars go"
