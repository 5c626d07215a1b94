"""EIP-1559 fees: what the chain asks for, what we offer, and what replaces an offer that is stuck.
All in wei per gas."""

from dataclasses import dataclass
from typing import Self

from waypost.chain.connection import Connection
from waypost.errors import FeeTooHigh, RpcFailed

DEFAULT_TIP = 1_000_000_000
MAX_TIP = 100 * 10**9
"""Wei per gas: an endpoint's bad advice must not empty the account."""


@dataclass(frozen=True, slots=True)
class Fees:
    """What the chain asks for: the newest block's base fee, and the tip that gets into the next one."""

    base: int
    tip: int

    @property
    def limit(self) -> int:
        """A `maxFeePerGas` that survives a few full blocks, each of which adds an eighth."""
        return 2 * self.base + self.tip


@dataclass(frozen=True, slots=True)
class Offer:
    """A transaction's `maxFeePerGas` and `maxPriorityFeePerGas`."""

    max_fee: int
    tip: int

    @classmethod
    def within(cls, cap: int | None, fees: Fees) -> Self:
        """The usual offer, at most `cap`. Raises FeeTooHigh if nothing within it would be mined now."""
        if cap is None or fees.limit <= cap:
            return cls(fees.limit, fees.tip)
        if cap < fees.base:
            raise _too_high(fees.base, cap)
        return cls(cap, min(fees.tip, cap))

    def raised(self, cap: int | None, fees: Fees) -> "Offer":
        """What replaces this offer: an eighth more, which satisfies all nodes, or what is asked for now.

        Raises FeeTooHigh if that is above `cap`.
        """
        max_fee = max(fees.limit, self.max_fee * 9 // 8 + 1)
        if cap is not None and max_fee > cap:
            max_fee = self.max_fee * 9 // 8 + 1
            if max_fee > cap:
                raise _too_high(max_fee, cap)
        return Offer(max_fee, min(max_fee, max(fees.tip, self.tip * 9 // 8 + 1)))


async def ask(connection: Connection) -> Fees:
    """What the chain asks for now, with a tip of at most MAX_TIP. Raises RpcUnreachable, RpcFailed."""
    base = await connection.base_fee()
    try:
        tip = await connection.tip()
    except RpcFailed:
        tip = DEFAULT_TIP  # the endpoint does not know the method
    return Fees(base, min(MAX_TIP, tip))


def _too_high(asked: int, cap: int) -> FeeTooHigh:
    sentence = f"The chain asks for {asked} wei per gas, and the limit is {cap}."
    return FeeTooHigh(sentence, asked=str(asked), limit=str(cap))
