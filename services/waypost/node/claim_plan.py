"""Which receipts to claim now, and whether it pays: value that waits, times urgency, against gas.
Pure: accounts and prices in, a plan out. Amounts are token base units unless they say wei."""

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.node.accounts import ChannelAccount, Status
from waypost.node.settings import ClaimSettings
from waypost.protocol.receipts import SignedReceipt

BATCH_GAS = 42_000
ENTRY_GAS = 11_000
"""A claim costs about BATCH_GAS + n × ENTRY_GAS: the budgets that the contract's tests hold it to."""
PATIENCE = 20
"""A fresh claim may wait until gas is a twentieth of it; one as old as `max_age_seconds` only has to pay."""
WEI = 10**18


@dataclass(frozen=True, slots=True)
class Plan:
    """One claim, most urgent entries first."""

    accounts: tuple[ChannelAccount, ...]

    @property
    def urgent(self) -> bool:
        """Whether it must be sent whatever the gas."""
        return any(is_urgent(account) for account in self.accounts)

    @property
    def value(self) -> int:
        """What it should pay."""
        return sum(account.claimable for account in self.accounts)

    @property
    def receipts(self) -> list[SignedReceipt]:
        """What is claimed."""
        return [account.receipt for account in self.accounts if account.receipt is not None]


@dataclass(frozen=True, slots=True)
class Market:
    """`gas_price`: wei per gas that a transaction would pay now. `token_per_ether`: base units."""

    gas_price: int
    token_per_ether: int

    def cost(self, gas: int) -> int:
        """What so much gas is worth, rounded up."""
        return -(-gas * self.gas_price * self.token_per_ether // WEI)

    def ceiling(self, value: int, gas: int) -> int | None:
        """Wei per gas at which `gas` would eat up `value`; None if gas counts as free."""
        if not self.token_per_ether:
            return None
        return value * WEI // (gas * self.token_per_ether)


def worthwhile(
    accounts: Sequence[ChannelAccount], market: Market, now: int, *, forced: bool = False
) -> list[ChannelAccount]:
    """Accounts that add more to a claim than their own gas, by value; `forced`: however little.
    Closing ones always, and before all others.

    A channel whose payer may just be using our consent to close is left alone until that has expired.
    """
    entry = 0 if forced else market.cost(ENTRY_GAS)
    closing = [account for account in accounts if is_urgent(account)]
    others = [
        account
        for account in accounts
        if not is_urgent(account) and account.claimable > entry and account.frozen_until <= now
    ]
    return sorted(closing, key=lambda a: (a.closes_at, -a.claimable)) + sorted(
        others, key=lambda a: -a.claimable
    )


def plan(
    accounts: Sequence[ChannelAccount],
    market: Market,
    settings: ClaimSettings,
    *,
    age: int,
    forced: bool = False,
) -> Plan | None:
    """The claim to send now for accounts in this order, or None if waiting is better.

    `age` is for how many seconds some of them have been waiting; `forced`: do not wait, nor count gas.
    """
    result = Plan(tuple(accounts[: settings.max_batch]))
    if result.value == 0:
        return None
    if forced or result.urgent:
        return result
    cost = market.cost(BATCH_GAS + len(result.accounts) * ENTRY_GAS)
    limit = settings.max_age_seconds
    if age >= limit:
        return result if result.value > cost else None
    # From PATIENCE times the cost for a fresh claim straight down to the cost itself.
    enough = cost * (limit + (PATIENCE - 1) * (limit - age)) // limit
    return result if result.value >= max(enough, settings.min_value) else None


def is_urgent(account: ChannelAccount) -> bool:
    """Whether the money may be gone if it is not claimed soon."""
    return account.status is Status.CLOSING and account.claimable > 0
