"""What an operator should do next, in order of urgency, from what status and registry say."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from waypost.chain.registry import RegisteredNode
from waypost.cli.amounts import Unit, ether
from waypost.cli.node.stake import Stake
from waypost.cli.times import utc
from waypost.node.doctor import CLAIMS_AHEAD, claims_affordable, differences, gas_funds


@dataclass(frozen=True, slots=True)
class Action:
    """`code` is stable, for programs; `command` may be empty."""

    code: str
    sentence: str
    command: str = ""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        return f"next         {self.sentence}" + (f"  ({self.command})" if self.command else "")


@dataclass(frozen=True, slots=True)
class Place:
    """The node in its registry: its entry, stake, the least that is listed, and the price of gas in wei."""

    registered: RegisteredNode | None
    stake: Stake
    minimum: int
    gas_price: int
    now: int


def advise(status: Mapping[str, Any], running: bool, place: Place) -> list[Action]:
    """The next actions for a node with this status; none if all is well."""
    return [*_money(status, running, place), *_entry(place), *_leaving(place)]


def _money(status: Mapping[str, Any], running: bool, place: Place) -> Iterator[Action]:
    unit, at_risk = place.stake.unit, int(status["totals"]["atRisk"])
    balance = status["gasBalance"]
    if balance is not None and claims_affordable(int(balance), place.gas_price) < CLAIMS_AHEAD:
        needed = gas_funds(place.gas_price) - int(balance)
        sentence = f"Send {status['gasAccount']} at least {ether(needed)}: it pays for claims."
        yield Action("fund_gas_account", sentence)
    if at_risk and not running:
        sentence = f"Start the node: {unit.show(at_risk)} are on channels that are closing."
        yield Action("run", sentence, "waypost node run")
    elif at_risk:
        yield Action("wait", f"{unit.show(at_risk)} are on closing channels: the node claims them first.")
    elif not running:
        yield Action("run", "The node does not run.", "waypost node run")


def _entry(place: Place) -> Iterator[Action]:
    config, found, unit = place.stake.config, place.registered, place.stake.unit
    if found is None:
        yield Action("register", "Clients cannot find the node.", "waypost node register")
        return
    if not found.stake and found.thawing:
        command = f"waypost node stake {_plain(unit, place.minimum)}"
        yield Action(
            "leave", "All stake is on its way out: the node is not listed, unless you stake.", command
        )
        return
    if differs := differences(found, config):
        yield Action("update", f"The registry has another {differs}.", "waypost node register")
    missing = place.minimum - found.stake
    if missing > 0:
        sentence = f"{unit.show(missing)} of stake are missing: the node is not listed."
        yield Action("stake", sentence, f"waypost node stake {_plain(unit, missing)}")


def _leaving(place: Place) -> Iterator[Action]:
    show = place.stake.unit.show
    for provision in place.stake.provisions:
        option = f" --slasher {provision.slasher}" if provision.slasher else ""
        amount = provision.withdrawable(place.now, place.stake.unbonding)
        if amount:
            yield Action("withdraw", f"{show(amount)} have thawed.", f"waypost node withdraw{option}")
        elif provision.thawing and place.now < provision.thawed_at:
            sentence = f"{show(provision.thawing)} thaw until {utc(provision.thawed_at)}."
            yield Action("wait_for_thaw", sentence)


def _plain(unit: Unit, amount: int) -> str:
    return unit.show(amount).removesuffix(f" {unit.symbol}")
