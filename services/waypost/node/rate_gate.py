"""Whether a proved message keeps within its sender's rate: what is checked before it is written, and what its
signal is beside those seen before. Who sends more than its rate is found here."""

import sqlite3
from collections.abc import Callable
from enum import Enum, auto

import structlog

from waypost.chain.blocks import BlockRef
from waypost.errors import (
    EpochOutOfRange,
    InvalidProof,
    MemberExposed,
    NodeNotReady,
    RateLimited,
    RootUnknown,
)
from waypost.node import exposures, nullifiers
from waypost.node.backends.sqlite import Database
from waypost.node.exposures import Refused
from waypost.node.members import Members
from waypost.node.nullifiers import Verdict as Verdict
from waypost.node.proofs import Proofs
from waypost.node.settings import DAY
from waypost.protocol.relay import Envelope, RateProof
from waypost.protocol.rln import Signal
from waypost.zk.proof import Proof

log = structlog.get_logger(__name__)


class _Finding(Enum):
    """What the books say of a signal that they do not refuse, before anybody looks at its proof."""

    LOGGED = auto()
    CONFLICT = auto()
    NEW = auto()


class RateGate:
    """The gate of one RLN application. `clock` gives Unix seconds; `tolerance` is how many seconds a client's
    clock may be off; `ready` says whether the members are up to date; `epoch_seconds` and `root_seconds` are
    those of RlnSettings."""

    def __init__(
        self,
        db: Database,
        members: Members,
        ready: Callable[[], bool],
        proofs: Proofs,
        clock: Callable[[], int],
        *,
        identifier: bytes,
        epoch_seconds: int,
        root_seconds: int,
        tolerance: int,
    ) -> None:
        self._db = db
        self._members = members
        self._ready = ready
        self._proofs = proofs
        self._clock = clock
        self._identifier = identifier
        self._epoch_seconds = epoch_seconds
        self._tolerance = tolerance
        self._late = max(tolerance, root_seconds)
        self._refused = Refused(root_seconds)

    async def check(self, envelope: Envelope, source: str, *, late: bool = False) -> bool:
        """Before the write: whether `record` may see the message, cheapest first. `source` is a client's
        address, or "peer:" and an operator; `late`: its epoch may have ended a while ago, as long as roots
        count, for nodes pass on what they have when they meet.

        The nullifier log comes before the root: it must recognise a second signal whatever root that names,
        or spammers would choose one that expires on the way from node to node.

        Returns whether the proof was seen to hold. A conflict needs none to expose its sender; but one that
        is passed on needs it, for a node that lacks the other share takes it for a message like any other.

        Raises EpochOutOfRange, RootUnknown, MemberExposed, InvalidProof, RateLimited or NodeNotReady.
        """
        self._proofs.admit(source)
        proof = _proof_of(envelope)
        self._check_epoch(proof.epoch, late=late)
        if not self._ready():
            raise NodeNotReady(
                "The node has not caught up with its members; try again shortly.", retryAfter=5
            )
        signal = proof.signal(envelope.message, self._identifier)
        try:
            finding = await self._members.settled(
                lambda connection, head: self._look(connection, head, signal, late)
            )
        except InvalidProof as error:
            self._proofs.refuse(source, str(error))
        if finding is _Finding.LOGGED:
            return False
        try:
            await self._proofs.verify(Proof(proof.proof), signal.public, source)
        except (InvalidProof, RateLimited):
            if finding is _Finding.NEW:
                raise
            return False
        return True

    def record(self, connection: sqlite3.Connection, envelope: Envelope) -> Verdict:
        """Inside the write that accepts a checked message: logs its signal, or enters the sender's exposure.
        What other requests wrote since the check changes the verdict, and is no error."""
        proof = _proof_of(envelope)
        signal = proof.signal(envelope.message, self._identifier)
        weighed = nullifiers.weigh(connection, signal)
        if weighed.verdict is Verdict.NEW:
            nullifiers.enter(connection, signal, proof.epoch)
        if weighed.secret is not None:
            if not exposures.enter(connection, weighed.secret, self._clock()):
                return Verdict.EXPOSED
            log.warning("member_exposed", epoch=proof.epoch)
        return weighed.verdict

    async def prune(self, now: int) -> int:
        """Forgets signals of epochs that can be accepted no more, after as long again for clocks that are
        set, and of those that begin more than a day from now; returns how many. `now` is Unix seconds."""
        oldest = (now - 2 * self._late) // self._epoch_seconds
        newest = (now + DAY) // self._epoch_seconds
        pruned = 0
        while some := await self._db.write(lambda connection: nullifiers.prune(connection, oldest, newest)):
            pruned += some
        return pruned

    def _check_epoch(self, epoch: int, *, late: bool) -> None:
        now, seconds = self._clock(), self._epoch_seconds
        begins, ends = epoch * seconds, (epoch + 1) * seconds
        ahead = self._tolerance * (2 if late else 1)  # the other node's clock may be ahead of ours, too
        if begins - ahead <= now < ends + (self._late if late else self._tolerance):
            return
        current = now // seconds
        raise EpochOutOfRange(
            f"The proof is for epoch {epoch}; epoch {current} is now.", given=epoch, current=current
        )

    def _look(self, connection: sqlite3.Connection, head: BlockRef, signal: Signal, late: bool) -> _Finding:
        weighed = nullifiers.weigh(connection, signal)
        if weighed.verdict is Verdict.DUPLICATE:
            return _Finding.LOGGED
        now = self._members.now(head)
        # A root that counted where the message was published counts here, too, when it comes a moment later.
        known = self._members.tree.accepts(connection, signal.root, now - self._tolerance if late else now)
        if weighed.secret is not None:
            if exposures.is_known(connection, weighed.secret):
                raise MemberExposed()
            return _Finding.CONFLICT if known else _Finding.LOGGED
        if not known:
            raise RootUnknown(root=str(signal.root))
        if self._refused.holds(connection, head, now, signal):
            raise MemberExposed()
        return _Finding.NEW


def _proof_of(envelope: Envelope) -> RateProof:
    if envelope.proof is None:
        raise InvalidProof("The message has no proof.")
    return envelope.proof
