"""A member of RlnMembership as it should be, for test_membership.py."""

from dataclasses import dataclass

from members import ENDED, Record, gross, record_hash

DEPTH, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE = 2, 600, 250, 13, 7


@dataclass
class Member:
    """A member as it should be. `fees` is all that it ever paid, `streamed` what of it was paid out."""

    secret: int
    record: Record
    owner: int
    home: int
    stake: int
    fees: int
    streamed: int = 0
    collected_at: int = 0
    periods: int = 0
    left_at: int = 0
    expired: bool = False
    ended: bool = False

    @property
    def rate(self) -> int:
        return self.record[4]

    @property
    def paid_until(self) -> int:
        return self.record[5] + PERIOD * self.periods

    @property
    def stream_end(self) -> int:
        """When the fee stops to stream: never later than what is paid for, or the period in which it left."""
        if not self.left_at:
            return self.paid_until
        begun = max(1, -(-(self.left_at - self.record[5]) // PERIOD))
        return min(self.paid_until, self.record[5] + PERIOD * begun)

    @property
    def withdrawable_at(self) -> int:
        return max(self.left_at + WINDOW, self.stream_end)

    def streamed_until(self, now: int) -> int:
        """In all, the burned fifth included."""
        return gross(self.record, min(now, self.stream_end), FEE_PER_RATE, PERIOD)

    def state(self) -> tuple:
        if self.ended:
            return ENDED, 0, 0, 0, False
        added = self.periods - self.record[6]
        return record_hash(self.record), added, self.collected_at, self.left_at, self.expired
