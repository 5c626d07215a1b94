"""What an operator should do next, in order of urgency, from what status and registry say."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from waypost.chain.registry import RegisteredNode
from waypost.cli.amounts import Unit, ether
from waypost.cli.node.stake import Stake
from waypost.node.claim_plan import BATCH_GAS
from waypost.node.doctor import CLAIMS_AHEAD, differences


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
    needed = CLAIMS_AHEAD * BATCH_GAS * place.gas_price
    if status.get("gasBalance") is not None and int(status["gasBalance"]) < needed:
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
    if differs := differences(found, config):
        yield Action("update", f"The registry has another {differs}.", "waypost node register")
    missing = place.minimum - found.stake
    if missing > 0:
        sentence = f"{unit.show(missing)} of stake are missing: the node is not listed."
        yield Action("stake", sentence, f"waypost node stake {_plain(unit, missing)}")


def _leaving(place: Place) -> Iterator[Action]:
    for provision in place.stake.provisions:
        if amount := provision.withdrawable(place.now, place.stake.unbonding):
            option = f" --slasher {provision.slasher}" if provision.slasher else ""
            sentence = f"{place.stake.unit.show(amount)} have thawed."
            yield Action("withdraw", sentence, f"waypost node withdraw{option}")


def _plain(unit: Unit, amount: int) -> str:
    return unit.show(amount).removesuffix(f" {unit.symbol}")
