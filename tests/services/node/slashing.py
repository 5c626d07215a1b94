"""A slasher's surroundings, of which the chain and the outbox only say what a test told them."""

from dataclasses import dataclass, field

from tests.services.node.books import CHAIN_ID, CHANNELS, PAYEE, Clock
from tests.services.node.desk import GAS_PRICE, Desk
from tests.services.node.limiting import (
    MALLORY,
    RATE,
    START,
    Chain,
    Gate,
)
from web3 import AsyncWeb3

from waypost.chain.blocks import BlockRef
from waypost.chain.connection import BlockId, Call, Connection
from waypost.chain.membership import REVEAL_BLOCKS, Membership, MemberState
from waypost.errors import RpcUnreachable, TransactionReverted
from waypost.node import exposures, transactions
from waypost.node.claim_plan import Market
from waypost.node.exposures import Exposure
from waypost.node.loops import Signal
from waypost.node.slasher import Slasher
from waypost.node.transactions import State
from waypost.protocol.memberships import slash_hash

TOKEN_PER_ETHER = 3_000_000_000
STAKE_PER_RATE = 10_000_003
REWARD = RATE * STAKE_PER_RATE // 5
MARKET = Market(GAS_PRICE, TOKEN_PER_ETHER)
COMMITTED = 1_000
"""The block of a commit."""
LIVING, ENDED = (MemberState(bytes([n]).rjust(32, b"\0"), 0, 0, 0, False) for n in (7, 1))


class Contract(Membership):
    """In place of the contract: answers as a test says."""

    def __init__(self) -> None:
        super().__init__(Chainless(), CHANNELS)
        self.states: dict[int, MemberState | None] = {}
        self.commits: dict[bytes, int] = {}
        self.costs: list[tuple[int, int]] = []

    async def member(self, id_commitment: int, block: BlockId | None = None) -> MemberState | None:
        return self.states.get(id_commitment, LIVING)

    async def committed_at(self, slash_hash: bytes) -> int:
        return self.commits.get(slash_hash, 0)

    async def cost(self, rate: int, periods: int) -> tuple[int, int]:
        self.costs.append((rate, periods))
        return rate * STAKE_PER_RATE, periods


class Chainless(Connection):
    """Its newest block is what a test says; None: it does not answer."""

    def __init__(self) -> None:
        super().__init__(AsyncWeb3(), "nowhere", CHAIN_ID)
        self.number: int | None = COMMITTED

    async def head(self) -> BlockRef:
        if self.number is None:
            raise RpcUnreachable
        return BlockRef(self.number, bytes(32), bytes(32), START)


class Rehearsing(Desk):
    """`refuses`: the contract takes no commits ("commit_slash"), or no reveals ("slash")."""

    refuses = ""

    async def rehearse(self, call: Call) -> tuple[bytes, int]:
        if self.refuses == ("commit_slash" if len(call.data) == 4 + 32 else "slash"):
            raise TransactionReverted
        return await super().rehearse(call)


@dataclass
class Alone:
    """A slasher's surroundings."""

    chain: Chain
    gate: Gate
    desk: Rehearsing
    clock: Clock
    contract: Contract = field(default_factory=Contract)

    def slasher(self, *, token_per_ether: int = TOKEN_PER_ETHER, below_cost: bool = False) -> Slasher:
        return Slasher(
            self.contract,
            self.desk,
            self.gate.db,
            self.clock,
            Signal(),
            receiver=PAYEE,
            token_per_ether=token_per_ether,
            below_cost=below_cost,
            poll_seconds=0.001,
        )

    async def find(self, *secrets: int) -> None:
        """Their secrets are found, one after the other."""
        for secret in secrets:
            await self.gate.db.write(lambda c, s=secret: exposures.enter(c, s, exposures.count(c)))  # type: ignore[misc]

    async def waiting(self) -> list[Exposure]:
        return await self.gate.db.read(exposures.open_exposures)

    async def conclude(self, state: State) -> None:
        """What became of the newest transaction; a commit that is mined is on chain."""
        newest, (exposure, *_) = len(self.desk.drafts), await self.waiting()
        found = await self.gate.db.read(lambda c: transactions.find(c, newest))
        await self.gate.db.write(lambda c: transactions.conclude(c, found.hash, state, COMMITTED))
        if state is State.MINED and exposure.salt is not None:
            self.contract.commits[slash_hash(exposure.secret, PAYEE, exposure.salt)] = COMMITTED

    async def commit(self, secret: int = MALLORY) -> Slasher:
        """It is found and committed to, and the reveal is due."""
        await self.find(secret)
        slasher = self.slasher()
        await slasher.step()
        await self.conclude(State.MINED)
        self.at(REVEAL_BLOCKS.start)
        return slasher

    def at(self, blocks: int) -> None:
        """So many blocks after the commit."""
        assert isinstance(self.contract.connection, Chainless)
        self.contract.connection.number = COMMITTED + blocks

    @property
    def purposes(self) -> list[str]:
        return [draft.purpose for draft in self.desk.drafts]
