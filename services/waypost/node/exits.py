"""Lets members without ETH leave: the node sends the exit that the owner signed, and later has stake and rest
paid back to the owner. Their fees pay for it: as long as they do not, it asks to wait."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

import structlog

from waypost.chain.connection import Call
from waypost.chain.membership import MemberRecord
from waypost.errors import MemberRemoved, TransactionReverted
from waypost.node.member_actions import (
    FAILED,
    WITHDRAWAL_GAS,
    Action,
    MemberActions,
    find_member,
    require_alive,
)
from waypost.node.member_log import Status, record_of
from waypost.node.registration_rules import EXIT, WITHDRAWAL, RegistrationRules
from waypost.node.submissions import Kind, check_validity
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
    """Of members of the rules' home node."""

    def __init__(self, actions: MemberActions, rules: RegistrationRules) -> None:
        self._actions = actions
        self._submissions = actions.submissions
        self._membership = actions.membership
        self._rules = rules

    async def leave(self, exit_: Exit, signature: Signature) -> ExitResult:
        """Sends the exit, or, once that is possible, the withdrawal; each once, and waits a moment for it.

        Raises MemberUnknown, MemberRemoved (slashed), InvalidSignature, MembershipRefused,
        MembershipRateLimited, InsufficientFunds or another ChainError.
        """
        row = await self._actions.member(exit_.id_commitment)
        if row["status"] == Status.SLASHED:
            raise MemberRemoved("The member was slashed.", status=row["status"])
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
                await self._send(EXIT, exit_, record, call, later=WITHDRAWAL_GAS)
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
                await self._send(WITHDRAWAL, exit_, record, self._membership.withdraw(record), later=0)
                log.info("withdrawal_sent", owner=record.owner, index=record.index)
        return await self._wait(WITHDRAWAL, record)

    async def _send(self, kind: Kind, exit_: Exit, record: MemberRecord, call: Call, *, later: int) -> None:
        action = Action(kind, record.id_commitment, record.owner, exit_.struct_hash(), later)
        kept = self._rules.kept(record, *await self._actions.state(record))
        await self._actions.send(action, call, kept=kept)

    async def _wait(self, kind: Kind, record: MemberRecord) -> ExitResult:
        def look(connection: sqlite3.Connection) -> tuple[Status, Transaction | None]:
            row = find_member(connection, record.id_commitment)
            status = Status.MEMBER if row is None else Status(row["status"])
            return status, self._actions.latest(connection, kind, record.id_commitment)

        def is_settled(found: tuple[Status, Transaction | None]) -> bool:
            status, sent = found
            waiting = (Status.MEMBER,) if kind is EXIT else _LEFT
            return status not in waiting or (sent is not None and sent.state in FAILED)

        status, sent = await self._actions.settled(look, is_settled)
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
        return await self._actions.read(
            lambda connection: self._actions.latest(connection, kind, record.id_commitment)
        )
