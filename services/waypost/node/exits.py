"""Lets members without ETH leave: the node sends the exit that the owner signed, and later has stake and rest
paid back to the owner. It earned their fees."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

import structlog

from waypost.chain.membership import MemberRecord, Membership
from waypost.errors import MemberRemoved, MemberUnknown, TransactionReverted
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_actions import FAILED, find_member, latest, recording, require_alive
from waypost.node.member_log import Status, record_of
from waypost.node.registration_rules import EXIT, WITHDRAWAL, RegistrationRules
from waypost.node.submissions import Kind, Submissions, check_validity, settle
from waypost.node.transactions import Transaction
from waypost.protocol.memberships import Exit
from waypost.protocol.signatures import Signature

log = structlog.get_logger(__name__)

_LEFT = (Status.EXITED, Status.EXPIRED)


class ExitState(StrEnum):
    """How far a member has left. Pending: what was sent is not mined yet."""

    PENDING = "pending"
    EXITED = "exited"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ExitResult:
    """`transaction`: what the node sent last for it, if it sent anything. `withdrawable_at`: Unix seconds,
    from which on the same request has stake and rest paid back; None while it is pending, and afterwards."""

    state: ExitState
    transaction: bytes | None
    withdrawable_at: int | None


class Exits:
    """Of members of the rules' home node. `signal` rings when blocks were applied."""

    def __init__(
        self,
        membership: Membership,
        rules: RegistrationRules,
        submissions: Submissions,
        db: Database,
        signal: Signal,
        *,
        wait_seconds: float = 8.0,
    ) -> None:
        self._membership = membership
        self._rules = rules
        self._submissions = submissions
        self._db = db
        self._signal = signal
        self._wait_seconds = wait_seconds

    async def leave(self, exit_: Exit, signature: Signature) -> ExitResult:
        """Sends the exit, or, once that is possible, the withdrawal; each once, and waits a moment for it.

        Raises MemberUnknown, MemberRemoved (slashed), InvalidSignature, MembershipRefused,
        MembershipRateLimited, InsufficientFunds or another ChainError.
        """
        row = await self._member(exit_)
        record = record_of(row)
        self._rules.check_exit(exit_, record, signature)
        if row["status"] == Status.WITHDRAWN:
            return await self._result(Status.WITHDRAWN, record)
        if row["status"] in _LEFT:
            return await self._withdraw(exit_, record)
        async with self._submissions.lock:
            sent = await self._latest(EXIT, record)
            if sent is None or sent.state in FAILED:
                check_validity(EXIT, exit_.deadline, self._submissions.now())
                call = self._membership.exit_for(exit_, record, signature)
                await self._submissions.check_limits(EXIT, record.owner)
                entry = recording(EXIT, record.id_commitment, record.owner, exit_.struct_hash())
                await self._submissions.send(EXIT, call, entry, worth=None)
                log.info("exit_sent", owner=record.owner, index=record.index)
        return await self._wait(EXIT, record)

    async def _withdraw(self, exit_: Exit, record: MemberRecord) -> ExitResult:
        try:
            at = await self._membership.withdrawable_at(record)
        except TransactionReverted:  # the chain is ahead of the book, or was before a reorg
            return await self._result(Status.EXITED, record)
        head = await self._membership.connection.head()
        if max(self._submissions.now(), head.timestamp) < at:  # as the next block will see it
            sent = await self._latest(EXIT, record)
            return ExitResult(ExitState.EXITED, None if sent is None else sent.hash, at)
        async with self._submissions.lock:
            sent = await self._latest(WITHDRAWAL, record)
            if sent is None or sent.state in FAILED:
                await self._submissions.check_limits(WITHDRAWAL, record.owner)
                entry = recording(WITHDRAWAL, record.id_commitment, record.owner, exit_.struct_hash())
                await self._submissions.send(WITHDRAWAL, self._membership.withdraw(record), entry, worth=None)
                log.info("withdrawal_sent", owner=record.owner, index=record.index)
        return await self._wait(WITHDRAWAL, record)

    async def _wait(self, kind: Kind, record: MemberRecord) -> ExitResult:
        def look(connection: sqlite3.Connection) -> tuple[Status, Transaction | None]:
            row = find_member(connection, record.id_commitment)
            status = Status.MEMBER if row is None else Status(row["status"])
            return status, latest(connection, kind, self._membership.address, record.id_commitment)

        def is_settled(found: tuple[Status, Transaction | None]) -> bool:
            status, sent = found
            waiting = (Status.MEMBER,) if kind is EXIT else _LEFT
            return status not in waiting or (sent is not None and sent.state in FAILED)

        status, sent = await settle(lambda: self._db.read(look), is_settled, self._signal, self._wait_seconds)
        if is_settled((status, None)):
            return await self._result(status, record)
        if sent is not None:
            require_alive(kind, sent)
        return ExitResult(ExitState.PENDING, None if sent is None else sent.hash, None)

    async def _result(self, status: Status, record: MemberRecord) -> ExitResult:
        if status is Status.SLASHED:
            raise MemberRemoved("The member was slashed.", status=status)
        if status is Status.WITHDRAWN:
            sent = await self._latest(WITHDRAWAL, record)
            return ExitResult(ExitState.WITHDRAWN, None if sent is None else sent.hash, None)
        sent = await self._latest(EXIT, record)
        try:
            at = await self._membership.withdrawable_at(record)
        except TransactionReverted:
            at = None
        return ExitResult(ExitState.EXITED, None if sent is None else sent.hash, at)

    async def _latest(self, kind: Kind, record: MemberRecord) -> Transaction | None:
        address, commitment = self._membership.address, record.id_commitment
        return await self._db.read(lambda connection: latest(connection, kind, address, commitment))

    async def _member(self, exit_: Exit) -> sqlite3.Row:
        row = await self._db.read(lambda connection: find_member(connection, exit_.id_commitment))
        if row is None:
            raise MemberUnknown("Nobody registered this commitment, as far as this node has read.")
        if row["status"] == Status.SLASHED:
            raise MemberRemoved("The member was slashed.", status=row["status"])
        return row
