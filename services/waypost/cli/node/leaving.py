"""`waypost node exit`: stake and earnings back, step by step. Every step is seen on chain, so it can be
repeated until all is done."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from eth_typing import ChecksumAddress

from waypost.chain.connection import Call, Connection, connect
from waypost.chain.registry import Provision, Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.amounts import Unit
from waypost.cli.node.admin import operator_side
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.cli.times import utc
from waypost.errors import ClaimPaysNothing, InvalidConfig, NodeRefused
from waypost.node import settings
from waypost.node.app import unix_time
from waypost.protocol.fields import parse_address

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How far an exit has come; amounts in base units, times in Unix seconds and seconds."""

    provisions: tuple[Provision, ...]
    unbonding: int
    now: int

    @property
    def stake(self) -> int:
        """What still backs promises."""
        return sum(provision.amount for provision in self.provisions)

    @property
    def thawing(self) -> int:
        """What is on its way out."""
        return sum(provision.thawing for provision in self.provisions)

    @property
    def withdrawable(self) -> int:
        """What can leave now."""
        return sum(provision.withdrawable(self.now, self.unbonding) for provision in self.provisions)

    @property
    def delayed(self) -> int:
        """What thaws already, and waits anew when the stake beside it is thawed."""
        waiting = (p.thawing - p.withdrawable(self.now, self.unbonding) for p in self.provisions if p.amount)
        return sum(waiting)

    @property
    def next_at(self) -> int:
        """When more of what thaws can leave, at the latest; 0 if nothing waits."""
        waiting = [p for p in self.provisions if p.thawing > p.withdrawable(self.now, self.unbonding)]
        times = (p.thawed_at + (self.unbonding if self.now >= p.thawed_at else 0) for p in waiting)
        return min(times, default=0)

    @property
    def next(self) -> str:
        """ "withdraw", "thaw", "wait" or "done"."""
        if self.withdrawable:  # first: thawing more of a provision makes all of it wait again
            return "withdraw"
        if self.stake:
            return "thaw"
        return "wait" if self.thawing else "done"


@examples("waypost node exit --dry-run", "waypost node exit --yes --wait", "waypost node exit --to 0x… --yes")
def leave(
    to: Annotated[str | None, typer.Option(help="Who gets the stake.", show_default="the operator")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the stake can be withdrawn.")] = False,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Leave the registry: withdraw what has thawed, thaw the rest, claim all earnings, withdraw it.

    Without --wait the command does what can be done now, and says when to run it again. Keep the node running
    until its clients' messages have expired and its last claim is through.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        receiver = parse_address(to or config.operator)
        async with await connect(config.rpc_url, config.chain_id) as connection:
            registry = Registry(connection, config.registry)
            unit = await Unit.of(Token(connection, config.token))
            found = await _look(connection, registry, config.operator)
            if dry_run or found.next == "done":
                out.result({**_as_json(found), "dryRun": dry_run}, _as_text(found, unit))
                return
            for line in _as_text(found, unit):
                out.progress(line)
            out.confirm(f"Leave the registry, and send the stake to {receiver}?", yes=yes)
            sender = Sender(connection, _operator_key(folder, password_file))
            while True:
                found = await _look(connection, registry, config.operator)
                match found.next:
                    case "thaw":
                        for provision in found.provisions:
                            if provision.amount:
                                words = f"Thawing {unit.show(provision.amount)}"
                                call = registry.thaw(provision.amount, provision.slasher)
                                await _send(sender, call, words, out)
                        await _claim(folder, password_file, out)
                    case "withdraw":
                        await _claim(folder, password_file, out)
                        for provision in found.provisions:
                            if amount := provision.withdrawable(found.now, found.unbonding):
                                words = f"Withdrawing {unit.show(amount)} to {receiver}"
                                await _send(
                                    sender, registry.withdraw(receiver, provision.slasher), words, out
                                )
                    case "wait" if wait:
                        await asyncio.sleep(POLL_SECONDS)
                    case _:
                        break
            out.result(_as_json(found), _as_text(found, unit))

    asyncio.run(run())


async def _look(connection: Connection, registry: Registry, operator: ChecksumAddress) -> Exit:
    if await registry.node(operator) is None:
        raise InvalidConfig(f"{operator} is not in the registry.", operator=operator)
    # The next block carries about our time, the newest one may be old.
    now = max((await connection.head()).timestamp, unix_time())
    return Exit(tuple(await registry.provisions(operator)), await registry.unbonding(), now)


async def _send(sender: Sender, call: Call, words: str, out: Output) -> None:
    receipt = await sender.send(call)
    out.progress(f"{words}: 0x{receipt.hash.hex()}")


async def _claim(folder: Path, password_file: Path | None, out: Output) -> None:
    async with operator_side(folder, password_file, out.progress) as node:
        if int((await node.ask("GET", "/status"))["totals"]["claimable"]) == 0:
            return
        try:
            for transaction in (await node.ask("POST", "/claim"))["transactions"]:
                out.progress(f"Claiming: {transaction}")
        except NodeRefused as error:
            if error.details.get("reason") != ClaimPaysNothing.code:
                raise


def _operator_key(folder: Path, password_file: Path | None) -> bytes:
    key = settings.read_key(folder, "operator", password(str(folder), password_file))
    if key is None:
        raise InvalidConfig(f"{folder} lacks the operator's key.", path=str(folder))
    return key


def _as_json(found: Exit) -> dict[str, object]:
    return {
        "next": found.next,
        "stake": str(found.stake),
        "thawing": str(found.thawing),
        "withdrawable": str(found.withdrawable),
        "withdrawableAt": found.next_at,
    }


def _as_text(found: Exit, unit: Unit) -> list[str]:
    stake = [f"{unit.show(found.stake)} are staked: to be thawed."] if found.stake else []
    if found.delayed:
        stake.append(f"{unit.show(found.delayed)} that are thawing beside it then wait as long again.")
    match found.next:
        case "thaw":
            return stake
        case "wait":
            return [
                f"{unit.show(found.thawing)} can be withdrawn at {utc(found.next_at)}: run this again then."
            ]
        case "withdraw":
            return [f"{unit.show(found.withdrawable)} have thawed and can be withdrawn.", *stake]
    return ["No stake is left in the registry."]
