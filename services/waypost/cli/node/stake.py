"""`waypost node stake`, `provision`, `thaw` and `withdraw`: how much backs the node, and who may slash it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from eth_typing import ChecksumAddress

from waypost.chain.connection import Call, connect
from waypost.chain.registry import Provision, Registry
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.amounts import Unit
from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, DryRun, Home, Json, PasswordFile, Yes
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.cli.times import utc
from waypost.errors import InvalidConfig
from waypost.node import settings
from waypost.node.settings import NodeConfig
from waypost.protocol.fields import parse_address

Amount = Annotated[str, typer.Argument(help="In whole tokens, such as 20 or 0.5.")]
Slasher = Annotated[
    str | None,
    typer.Option("--slasher", help="The slasher whose provision it is.", show_default="assigned to nobody"),
]


@dataclass(frozen=True, slots=True)
class Stake:
    """An operator's stake, and what it is counted in."""

    config: NodeConfig
    registry: Registry
    token: Token
    unit: Unit
    provisions: tuple[Provision, ...]
    unbonding: int

    def lines(self) -> list[str]:
        """All provisions, for people."""
        return [f"stake        {line}" for line in map(self._line, self.provisions)]

    def to_json(self) -> list[dict[str, object]]:
        """The same for programs."""
        return [
            {
                "slasher": provision.slasher,
                "amount": str(provision.amount),
                "thawing": str(provision.thawing),
                "thawedAt": provision.thawed_at,
                "locked": str(provision.locked),
            }
            for provision in self.provisions
        ]

    def _line(self, provision: Provision) -> str:
        show, whose = self.unit.show, f"for {provision.slasher}"
        parts = [f"{show(provision.amount)} {whose if provision.slasher else 'assigned to nobody'}"]
        parts += [f"{show(provision.thawing)} thawing"] if provision.thawing else []
        parts += [f"{show(provision.locked)} locked"] if provision.locked else []
        return ", ".join(parts)


async def look(config: NodeConfig, registry: Registry, token: Token, unit: Unit) -> Stake:
    """The operator's stake now. Raises ChainError."""
    provisions = tuple(await registry.provisions(config.operator))
    return Stake(config, registry, token, unit, provisions, await registry.unbonding())


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask the operator, the calls to send, and what they would rather have known before."""

    question: str
    calls: list[Call]
    warning: str = ""


Steps = Callable[[Stake], Awaitable[Plan]]


@examples("waypost node stake 50 --dry-run", "waypost node stake 50 --yes")
def stake(
    amount: Amount,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Add tokens of the operator's to the stake. It is assigned to nobody until it is provisioned."""

    async def steps(found: Stake) -> Plan:
        units = found.unit.parse(amount)
        allowed = await found.token.allowance(found.config.operator, found.registry.address)
        approve = [] if allowed >= units else [found.token.approve(found.registry.address, units)]
        return Plan(f"Stake {found.unit.show(units)}?", [*approve, found.registry.stake(units)])

    _carry_out(steps, data_dir, home, password_file, dry_run, yes, json)


@examples("waypost node provision 0x… 50 --dry-run", "waypost node provision 0x… 50 --yes")
def provision(
    slasher: Annotated[str, typer.Argument(help="Address of the contract that may slash it.")],
    amount: Amount,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let a service contract slash part of the stake.

    From then on that contract can take all of it: choose it as you choose code to run.
    """

    async def steps(found: Stake) -> Plan:
        units, whom = found.unit.parse(amount), parse_address(slasher, "slasher")
        question = f"Let {whom} slash {found.unit.show(units)}, and take it back no sooner than in "
        return Plan(f"{question}{found.unbonding:,} s?", [found.registry.provision(whom, units)])

    _carry_out(steps, data_dir, home, password_file, dry_run, yes, json)


@examples("waypost node thaw 50 --yes", "waypost node thaw 50 --slasher 0x… --yes")
def thaw(
    amount: Amount,
    slasher: Slasher = None,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Start to take stake out. It backs nothing any more, and can be slashed until it is withdrawn.

    All that thaws in this provision waits for the whole unbonding time, counted from now.
    """

    async def steps(found: Stake) -> Plan:
        units, whom = found.unit.parse(amount), _slasher(slasher)
        question = f"Thaw {found.unit.show(units)}, to be withdrawn in {found.unbonding:,} s?"
        thawing = [one for one in found.provisions if one.slasher == whom and one.thawing]
        warning = "".join(
            f"{found.unit.show(one.thawing)}, which can be withdrawn from {utc(one.thawed_at)} on, "
            "would wait as long again: withdraw them first, if you can."
            for one in thawing
        )
        return Plan(question, [found.registry.thaw(units, whom)], warning)

    _carry_out(steps, data_dir, home, password_file, dry_run, yes, json)


@examples("waypost node cancel-thaw --yes", "waypost node cancel-thaw --slasher 0x… --yes")
def cancel_thaw(
    slasher: Slasher = None,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let everything that thaws in one provision back the node again."""

    async def steps(found: Stake) -> Plan:
        whom = _slasher(slasher)
        thawing = sum(provision.thawing for provision in found.provisions if provision.slasher == whom)
        question = f"Let {found.unit.show(thawing)} that are thawing back the node again?"
        return Plan(question, [found.registry.cancel_thaw(whom)])

    _carry_out(steps, data_dir, home, password_file, dry_run, yes, json)


@examples("waypost node withdraw --yes", "waypost node withdraw --slasher 0x… --to 0x… --yes")
def withdraw(
    slasher: Slasher = None,
    to: Annotated[str | None, typer.Option(help="Who gets it.", show_default="the operator")] = None,
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take out what has thawed in one provision; `waypost node exit` does so for all of them."""

    async def steps(found: Stake) -> Plan:
        receiver = parse_address(to or found.config.operator)
        return Plan(f"Withdraw to {receiver}?", [found.registry.withdraw(receiver, _slasher(slasher))])

    _carry_out(steps, data_dir, home, password_file, dry_run, yes, json)


def _slasher(text: str | None) -> ChecksumAddress | None:
    return None if text is None else parse_address(text, "slasher")


def _carry_out(
    steps: Steps,
    data_dir: Path | None,
    home: Path,
    password_file: Path | None,
    dry_run: bool,
    yes: bool,
    json: bool,
) -> None:
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> None:
        config = settings.read_config(folder)
        async with await connect(config.rpc_url, config.chain_id) as connection:
            registry, token = Registry(connection, config.registry), Token(connection, config.token)
            found = await look(config, registry, token, await Unit.of(token))
            plan = await steps(found)
            if plan.warning:
                out.progress(plan.warning)
            if dry_run:
                # The first is tried; what follows it may only work after it.
                await connection.simulate(plan.calls[0], config.operator)
                out.result({"provisions": found.to_json(), "dryRun": True}, [plan.question, *found.lines()])
                return
            out.confirm(plan.question, yes=yes)
            key = settings.read_key(folder, "operator", password(str(folder), password_file))
            if key is None:
                raise InvalidConfig(f"{folder} lacks the operator's key.", path=str(folder))
            sender = Sender(connection, key)
            for call in plan.calls:
                receipt = await sender.send(call)
                out.progress(f"{call.name}: 0x{receipt.hash.hex()}")
            done = await look(config, registry, token, found.unit)
            out.result({"provisions": done.to_json()}, done.lines())

    asyncio.run(run())
