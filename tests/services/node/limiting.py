"""The gate of a node on a real database, with a chain that is only a list of blocks; who proves to it."""

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from eth_typing import ChecksumAddress
from tests.services.node.books import IDENTITY, PAYEE, PAYER, Clock

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.membership import Registered, Slashed
from waypost.node import blocks
from waypost.node.backends.schema import MIGRATIONS
from waypost.node.backends.sqlite import Database
from waypost.node.member_log import MemberLog
from waypost.node.members import TABLE, Members
from waypost.node.proof_process import Job
from waypost.node.proofs import CLIENTS, PEERS, Allowance, Proofs
from waypost.node.rate_gate import RateGate, Verdict
from waypost.node.rln_tree import RlnTree
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.messages import Message
from waypost.protocol.relay import PROOF_BYTES, Envelope, RateProof, signal_of
from waypost.protocol.rln import (
    DEPTH,
    Membership,
    Signal,
    external_nullifier,
    identity_commitment,
    leaf,
    signal,
)
from waypost.zk import proving_key
from waypost.zk.development import proving_key_file
from waypost.zk.prover import Prover
from waypost.zk.verifier import Public

T = TypeVar("T")

EPOCH_SECONDS, ROOT_SECONDS, TOLERANCE = 600, 1_800, 60
IDENTIFIER = b"a network for tests"
START = 1_800_000_000 - 1_800_000_000 % EPOCH_SECONDS
"""Where an epoch begins."""
NOW = START // EPOCH_SECONDS
"""Its number."""
ALICE, MALLORY, OTHERS = 11, 13, range(100, 120)
"""Secrets."""
RATE = 2
GOOD, BAD = b"\x01" * PROOF_BYTES, b"\x02" * PROOF_BYTES
"""What counts as a proof that holds, or does not, where no prover is asked."""
CLIENT, PEER = "192.0.2.1", "peer:" + PAYEE


@cache
def prover() -> Prover:
    """With the development key, made once."""
    folder = Path(__file__).parents[3] / "build" / "keys"
    return Prover(proving_key.read(proving_key_file(folder).read_bytes()))


@cache
def made(membership: Membership, message_id: int, x: int, external: int) -> Signal:
    """As protocol.rln.signal, which takes a while."""
    return signal(membership, message_id, x, external)


def message(text: str, at: int = START) -> Message:
    """One that was made at that time."""
    return Message("/waypost/1/test/raw", text.encode(), at * 10**9)


def envelope(
    membership: Membership, text: str, *, message_id: int = 0, epoch: int, proof: bytes = GOOD
) -> Envelope:
    """A message with its signal; the proof is only said to hold."""
    sent = message(text, epoch * EPOCH_SECONDS)
    external = external_nullifier(epoch, IDENTIFIER)
    told = made(membership, message_id, signal_of(sent), external)
    return Envelope(sent, RateProof(epoch, told.root, told.nullifier, told.y, proof))


def proved(membership: Membership, text: str, *, message_id: int = 0, epoch: int) -> Envelope:
    """The same, proved."""
    sent = message(text, epoch * EPOCH_SECONDS)
    external = external_nullifier(epoch, IDENTIFIER)
    proof, told = prover().prove(membership, message_id, signal_of(sent), external)
    return Envelope(sent, RateProof(epoch, told.root, told.nullifier, told.y, proof.data))


def changed(whole: Envelope, **fields: Any) -> Envelope:
    """Another rate proof for the same message."""
    assert whole.proof is not None
    return replace(whole, proof=replace(whole.proof, **fields))


@dataclass
class Chain:
    """Blocks with members' events, and the tree that they make."""

    blocks: list[tuple[BlockRef, list[Event]]] = field(
        default_factory=lambda: [(BlockRef(1, b"\1" * 32, bytes(32), START - 10_000), [])]
    )
    members: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By secret: index and rate."""
    forks: int = 0

    def mine(self, at: int, *events: Event) -> None:
        """A block with that timestamp."""
        parent = self.blocks[-1][0]
        digest = hashlib.sha256(parent.hash + f"{self.forks} {events}".encode()).digest()
        block = BlockRef(parent.number + 1, digest, parent.hash, at)
        placed = [
            replace(event, block_number=block.number, block_hash=digest, log_index=place)
            for place, event in enumerate(events)
        ]
        self.blocks.append((block, placed))

    def register(self, at: int, *secrets: int, rate: int = 2) -> None:
        """A block in which they become members."""
        events: list[Event] = []
        for secret in secrets:
            index = self.members[secret] = (len(self.members), rate)
            events.append(
                Registered(
                    **_PLACE,
                    id_commitment=identity_commitment(secret),
                    owner=PAYER,
                    home_node=PAYEE,
                    index=index[0],
                    rate=rate,
                    start=0,
                    periods=1,
                )
            )
        self.mine(at, *events)

    def tell(self, at: int, kind: Callable[..., Event], whom: int, **fields: Any) -> None:
        """A block in which this happens to a member."""
        index, _ = self.members[whom]
        self.mine(at, kind(**_PLACE, id_commitment=identity_commitment(whom), index=index, **fields))

    def slash(self, at: int, secret: int, *, receiver: ChecksumAddress = PAYEE, reward: int = 1) -> None:
        """A block in which a member is slashed."""
        self.tell(at, Slashed, secret, receiver=receiver, secret=secret, reward=reward, burned=4)

    def undo(self, count: int) -> None:
        """A reorg."""
        self.forks += 1
        gone = self.blocks[len(self.blocks) - count :]
        del self.blocks[len(self.blocks) - count :]
        left = {
            event.id_commitment for _, events in gone for event in events if isinstance(event, Registered)
        }
        self.members = {s: at for s, at in self.members.items() if identity_commitment(s) not in left}

    def membership(self, secret: int, *, besides: Sequence[int] = ()) -> Membership:
        """What the member proves with now; `besides` are leaves that are gone."""
        tree = MerkleTree()
        tree.set(
            {
                index: leaf(identity_commitment(each), rate)
                for each, (index, rate) in self.members.items()
                if each not in besides
            }
        )
        index, rate = self.members[secret]
        return Membership(secret, rate, index, tuple(tree.path(index)))


def two_members() -> Chain:
    """Alice and Mallory joined long ago."""
    chain = Chain()
    chain.register(START - 5_000, ALICE, MALLORY, rate=RATE)
    return chain


_PLACE: dict[str, Any] = {
    "contract": PAYEE,
    "block_number": 0,
    "block_hash": b"",
    "transaction_hash": bytes(32),
    "log_index": 0,
}


class Memory:
    """A database in memory, with the tables of a real one."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for migration in MIGRATIONS:
            self._connection.executescript(migration)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return work(self._connection)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._connection.execute("BEGIN")
        try:
            result = work(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result


@dataclass
class ScriptedJudge:
    """Takes GOOD for a proof that holds, and keeps what it was asked."""

    batches: list[tuple[list[bytes], list[bytes]]] = field(default_factory=list)
    public: list[Public] = field(default_factory=list)
    """The signals that the proofs were said to prove, in order."""
    closed: bool = False

    async def judge(self, together: Sequence[Job], apart: Sequence[Job]) -> list[bool]:
        self.batches.append(([proof.data for proof, _ in together], [proof.data for proof, _ in apart]))
        self.public += [public for _, public in (*together, *apart)]
        await asyncio.sleep(0)
        return [proof.data == GOOD for proof, _ in (*together, *apart)]

    async def close(self) -> None:
        self.closed = True

    @property
    def judged(self) -> int:
        """How many proofs it looked at."""
        return sum(len(together) + len(apart) for together, apart in self.batches)


class Gate:
    """A node's gate, and the chain that it was told."""

    def __init__(
        self,
        db: Database,
        clock: Callable[[], int],
        judge: Any = None,
        clients: Allowance = CLIENTS,
    ) -> None:
        self.db, self.clock, self.level = db, clock, True
        self.tree = RlnTree(DEPTH, ROOT_SECONDS)
        self.log = MemberLog(self.tree, clock)
        self.members = Members(db, self.tree, clock)
        self.judge = judge or ScriptedJudge()
        self.proofs = Proofs(self.judge, clock, clients=clients, peers=PEERS)
        self.gate = RateGate(
            db,
            self.members,
            lambda: self.level,
            self.proofs,
            clock,
            identifier=IDENTIFIER,
            epoch_seconds=EPOCH_SECONDS,
            root_seconds=ROOT_SECONDS,
            tolerance=TOLERANCE,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Gate"]:
        """With its proofs being verified."""
        task = asyncio.ensure_future(self.proofs.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    async def follow(self, chain: Chain) -> None:
        """Its books have the chain's head."""

        def work(connection: sqlite3.Connection) -> None:
            known = {block.hash for block in blocks.recent(connection, TABLE)}
            common = max((b for b, _ in chain.blocks if b.hash in known), key=_number, default=None)
            head = blocks.head(connection, TABLE)
            if head is not None and common is not None and head.hash != common.hash:
                self.log.rollback(connection, common)
                blocks.rewind(connection, common.number, TABLE)
            for block, events in chain.blocks:
                if block.hash not in known:
                    self.log.apply(connection, events, block)
                    blocks.advance(connection, block, TABLE)

        await self.db.write(work)

    async def take(self, sent: Envelope, source: str = CLIENT, *, late: bool = False) -> Verdict:
        """What a relay does with a message."""
        await self.gate.check(sent, source, late=late)
        return await self.record(sent)

    async def record(self, sent: Envelope) -> Verdict:
        """What it does after the check."""
        return await self.db.write(lambda connection: self.gate.record(connection, sent))

    async def exposed(self) -> set[int]:
        """The secrets that it found."""
        rows = await self.db.read(lambda c: c.execute("SELECT secret FROM exposures").fetchall())
        return {int.from_bytes(row["secret"]) for row in rows}


def _number(block: BlockRef) -> int:
    return block.number


@contextlib.asynccontextmanager
async def gate_on(
    chain: Chain, clock: Callable[[], int] | None = None, folder: Path | None = None, **options: Any
) -> AsyncIterator[Gate]:
    """A gate that has read the chain: in memory, or with a folder on disk."""
    db = cast(Database, Memory()) if folder is None else Database(folder, IDENTITY)
    try:
        gate = Gate(db, clock or Clock(START), **options)
        await gate.follow(chain)
        async with gate.running():
            yield gate
    finally:
        if folder is not None:
            await db.close()
