"""Slashes members that the node found to send more than their rate: commit, wait, reveal, through the outbox.
Each step is on disk with its transaction. Whether somebody was faster is what the chain says."""

import asyncio
import secrets
from collections.abc import Callable

import structlog
from eth_typing import ChecksumAddress

from waypost.chain.membership import REVEAL_BLOCKS, Membership
from waypost.errors import TransactionReverted
from waypost.node import exposures
from waypost.node.backends.sqlite import Database
from waypost.node.claim_plan import Market
from waypost.node.exposures import Exposure, Slashes
from waypost.node.loops import Loop, Signal
from waypost.node.outbox import Outbox
from waypost.node.transactions import Draft, State, Transaction
from waypost.protocol.memberships import slash_hash

COMMIT, SLASH = "commit_slash", "slash"
COMMIT_GAS, SLASH_GAS = 60_000, 150_000
"""Gas limits are never lower; together, what a slash may cost."""
LAST_BLOCKS = 8
"""Too few to get a reveal mined in: it is committed to anew."""
MAX_IN_FLIGHT = 16
"""Slashes at once, the largest stakes first."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 5, 3600
"""Pause after a transaction that failed; it doubles with each."""

_FAILED = (State.REVERTED, State.CANCELLED, State.LOST)

log = structlog.get_logger(__name__)


class Slasher:
    """`receiver` is paid a fifth of each stake. `clock` gives Unix seconds; `signal` rings when blocks of the
    membership contract were applied. `token_per_ether` as in ClaimSettings; 0 counts gas as free, and so does
    `below_cost`."""

    def __init__(
        self,
        membership: Membership,
        outbox: Outbox,
        db: Database,
        clock: Callable[[], int],
        signal: Signal,
        *,
        receiver: ChecksumAddress,
        token_per_ether: int,
        below_cost: bool,
        poll_seconds: float,
    ) -> None:
        self._membership = membership
        self._outbox = outbox
        self._db = db
        self._clock = clock
        self._receiver = receiver
        self._token_per_ether = 0 if below_cost else token_per_ether
        self._stake_per_rate: int | None = None
        self._unworthy: set[int] = set()
        self._lock = asyncio.Lock()
        self._loop = Loop("slasher", self.step, poll_seconds, signal)

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._loop.run()

    @property
    def fault(self) -> str | None:
        """The code of what keeps it from slashing, if anything does."""
        return self._loop.faults.code

    async def slashes(self) -> Slashes:
        """What became of the exposures."""
        return await self._db.read(lambda connection: exposures.slashes(connection, self._receiver))

    async def step(self) -> None:
        """One round over all that can be slashed. Raises a ChainError; what the contract refuses for one
        member holds up no other."""
        refusal: TransactionReverted | None = None
        async with self._lock:
            waiting = await self._db.read(exposures.open_exposures)
            flying = 0
            for exposure in waiting:
                if flying == MAX_IN_FLIGHT:
                    break
                try:
                    flying += await self._advance(exposure)
                except TransactionReverted as error:
                    refusal = error
            self._unworthy &= {exposure.record.id_commitment for exposure in waiting}
        if refusal is not None:
            raise refusal

    async def _advance(self, exposure: Exposure) -> bool:
        """Takes the next step of one slash, if it is time; False if there is none to take or to wait for."""
        commit, slash = exposure.commit, exposure.slash
        if slash is not None and slash.state not in _FAILED:
            return True  # mined: the event is on its way
        if commit is not None and commit.state is State.SENT:
            return True
        if self._is_resting(exposure):
            return False
        if commit is None or commit.state in _FAILED or exposure.salt is None:
            return await self._commit(exposure)
        return await self._reveal(exposure, exposure.salt)

    async def _commit(self, exposure: Exposure) -> bool:
        ceiling = await self._ceiling(exposure, COMMIT_GAS + SLASH_GAS)
        if ceiling == 0 or await self._has_ended(exposure):
            return False
        # An expired commit can be neither revealed nor made again: each has a salt of its own.
        salt, member = secrets.token_bytes(32), exposure.record.id_commitment
        call = self._membership.commit_slash(slash_hash(exposure.secret, self._receiver, salt))
        _, estimate = await self._outbox.rehearse(call)
        draft = Draft(COMMIT, call, gas=max(COMMIT_GAS, estimate * 6 // 5), ceiling=ceiling)
        await self._outbox.post(
            draft, lambda connection, id: exposures.note_commit(connection, member, id, salt)
        )
        log.info("slash_committed", index=exposure.record.index)
        return True

    async def _reveal(self, exposure: Exposure, salt: bytes) -> bool:
        committed = await self._membership.committed_at(slash_hash(exposure.secret, self._receiver, salt))
        head = (await self._membership.connection.head()).number
        if not committed or head < committed + REVEAL_BLOCKS.start:
            return True
        if head + LAST_BLOCKS >= committed + REVEAL_BLOCKS.stop:
            return await self._commit(exposure)
        ceiling = await self._ceiling(exposure, SLASH_GAS)
        if ceiling == 0:
            return False
        record = exposure.record
        call = self._membership.slash(exposure.secret, self._receiver, salt, record)
        try:
            _, estimate = await self._outbox.rehearse(call)
        except TransactionReverted:
            if await self._has_ended(exposure):  # and sync hears of it in a moment
                log.info("slash_lost", index=record.index)
                return False
            raise
        draft = Draft(SLASH, call, gas=max(SLASH_GAS, estimate * 6 // 5), ceiling=ceiling)
        await self._outbox.post(
            draft, lambda connection, id: exposures.note_slash(connection, record.id_commitment, id)
        )
        log.info("slash_revealed", index=record.index)
        return True

    async def _has_ended(self, exposure: Exposure) -> bool:
        """Whether the chain has it slashed or withdrawn: the books may be behind, and gas is dear."""
        state = await self._membership.member(exposure.record.id_commitment)
        return state is None or state.ended

    async def _ceiling(self, exposure: Exposure, gas: int) -> int | None:
        """Wei per gas that the reward is worth: None without limit, 0 if that is less than gas costs now."""
        market = Market(await self._outbox.gas_price(), self._token_per_ether)
        reward = await self._reward(exposure)
        ceiling = market.ceiling(reward, gas)
        member = exposure.record.id_commitment
        if ceiling is None or ceiling >= market.gas_price:
            self._unworthy.discard(member)
            return ceiling
        if member not in self._unworthy:
            self._unworthy.add(member)
            log.warning(
                "slash_not_worth_its_gas", index=exposure.record.index, reward=reward, cost=market.cost(gas)
            )
        return 0

    async def _reward(self, exposure: Exposure) -> int:
        """What the contract pays for this slash: a fifth, less the tenth that expiring paid."""
        if self._stake_per_rate is None:
            self._stake_per_rate = (await self._membership.cost(1, 1))[0]
        stake = exposure.record.rate * self._stake_per_rate
        return stake // 5 - (stake // 10 if exposure.expired else 0)

    def _is_resting(self, exposure: Exposure) -> bool:
        latest: Transaction | None = exposure.slash or exposure.commit
        if latest is None or latest.state not in _FAILED:
            return False
        pause = min(MAX_RETRY_SECONDS, RETRY_SECONDS << exposure.attempts)
        return self._clock() < latest.created + pause
