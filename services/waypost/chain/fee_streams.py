"""What a member's fee has paid and will pay, from its record, its state and the clock: the contract's own
arithmetic, so that one read tells all about a member. Amounts are base units, times Unix seconds."""

from dataclasses import dataclass, replace

from waypost.chain.membership import MemberRecord, Membership, MemberState


@dataclass(frozen=True, slots=True)
class Tariff:
    """What the contract's constructor fixed: base units for each message in an epoch, `period` in seconds."""

    stake_per_rate: int
    fee_per_rate: int
    period: int

    @classmethod
    async def of(cls, membership: Membership) -> "Tariff":
        """A contract's. Raises a ChainError."""
        stake, fee = await membership.cost(1, 1)
        return cls(stake, fee, await membership.period())

    def stake(self, rate: int) -> int:
        """What can come back."""
        return self.stake_per_rate * rate

    def fee(self, rate: int, periods: int) -> int:
        """What will not."""
        return self.fee_per_rate * rate * periods

    def expiry_reward(self, record: MemberRecord) -> int:
        """What `expire` pays its caller."""
        return self.stake(record.rate) // 10

    def paid_until(self, record: MemberRecord, state: MemberState) -> int:
        """From then on it can be expired."""
        return record.start + (record.periods + state.added) * self.period

    def collected(self, record: MemberRecord, state: MemberState) -> int:
        """What its home node was paid."""
        before = self._gross(record, state.collected_at) if state.collected_at else 0
        return home_share(before)

    def collectable(self, record: MemberRecord, state: MemberState, now: int) -> tuple[int, int]:
        """What has streamed by `now` and was not collected: for the home node, and to burn."""
        before = self._gross(record, state.collected_at) if state.collected_at else 0
        gross = self._gross(record, max(record.start, min(now, self._stream_end(record, state))))
        paid = home_share(gross) - home_share(before)
        return paid, gross - before - paid

    def kept(self, record: MemberRecord, state: MemberState, now: int) -> int:
        """What its home node is paid in all, whatever the owner does from `now` on: no period that has begun
        is given back. Only a slash can take it from the node, and burns it."""
        return home_share(self._due(record, state, now))

    def returned(self, record: MemberRecord, state: MemberState, now: int) -> int:
        """What its owner gets back in all who leaves now: the stake, and fees of periods that have not
        begun. Whoever is slashed or expired gets less."""
        paid = self.fee(record.rate, record.periods + state.added)
        return self.stake(record.rate) + paid - self._due(record, state, now)

    def _due(self, record: MemberRecord, state: MemberState, now: int) -> int:
        left = replace(state, left_at=state.left_at or now)
        return self._gross(record, self._stream_end(record, left))

    def _gross(self, record: MemberRecord, until: int) -> int:
        return self.fee_per_rate * record.rate * (until - record.start) // self.period

    def _stream_end(self, record: MemberRecord, state: MemberState) -> int:
        end = self.paid_until(record, state)
        if not state.left_at:
            return end
        begun = max(1, -(-(state.left_at - record.start) // self.period))
        return min(end, record.start + begun * self.period)


def home_share(fee: int) -> int:
    """What the home node gets of a fee; the rest is burned."""
    return fee * 4 // 5
