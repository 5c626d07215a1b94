"""Registers members without ETH, and extends them: the node sends what a payer signed, for the fee that
streams to it as the member's home node."""

import sqlite3
from dataclasses import dataclass

import structlog

from waypost.chain.membership import MemberRecord, Membership
from waypost.errors import (
    JSON,
    MemberRemoved,
    MembershipRateLimited,
    MembershipRefused,
    MemberUnknown,
    TransactionReverted,
)
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_actions import FAILED, find_member, latest, recording, require_alive
from waypost.node.member_log import Status, record_of
from waypost.node.registration_rules import EXTENSION, REGISTRATION, RegistrationRules
from waypost.node.submissions import Submissions, settle
from waypost.node.transactions import State, Transaction
from waypost.protocol.memberships import Extension, Registration
from waypost.protocol.openings import Authorization

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """`index` of the leaf; None while the registration is not in the members' book."""

    transaction: bytes
    index: int | None


@dataclass(frozen=True, slots=True)
class ExtensionResult:
    """`extended`: it is mined. `paid_until`: Unix seconds; None before, and if the member has ended since."""

    transaction: bytes
    extended: bool
    paid_until: int | None


class Registrations:
    """For members of the rules' home node. `signal` rings when blocks were applied."""

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

    async def register(self, registration: Registration, authorization: JSON) -> RegistrationResult:
        """Sends the registration, once however often it is asked for, and waits a moment for the member.

        Raises MembershipRefused, MembershipRateLimited, InvalidAuthorization, InsufficientFunds (of the
        node's gas account) or another ChainError.
        """
        payment = self._rules.check_registration(registration, authorization)
        async with self._submissions.lock:
            if await self._db.read(lambda connection: self._standing(connection, registration)) is None:
                await self._register(registration, payment)

        async def look() -> RegistrationResult:
            return await self._db.read(lambda connection: self._look(connection, registration))

        return await settle(look, lambda found: found.index is not None, self._signal, self._wait_seconds)

    async def extend(self, extension: Extension, authorization: JSON) -> ExtensionResult:
        """The same for an extension of one of the node's members. Raises MemberUnknown, MemberRemoved."""
        row = await self._db.read(lambda connection: find_member(connection, extension.id_commitment))
        if row is None:
            raise MemberUnknown("Nobody registered this commitment, as far as this node has read.")
        record = record_of(row)
        payment = self._rules.check_extension(extension, record, authorization)
        async with self._submissions.lock:
            sent = await self._db.read(lambda connection: self._latest_extension(connection, extension))
            if sent is None or sent.state in FAILED:
                if row["status"] != Status.MEMBER:
                    raise MemberRemoved(f"The member is not in the tree any more: {row['status']}.")
                sent = await self._extend(extension, record, payment)

        async def look() -> Transaction | None:
            return await self._db.read(lambda connection: self._latest_extension(connection, extension))

        found = await settle(
            look,
            lambda each: each is not None and each.state is not State.SENT,
            self._signal,
            self._wait_seconds,
        )
        found = found or sent
        require_alive(EXTENSION, found)
        extended = found.state is State.MINED
        return ExtensionResult(found.hash, extended, await self._paid_until(record) if extended else None)

    # ---- Registering ----

    async def _register(self, registration: Registration, payment: Authorization) -> Transaction:
        self._rules.check_times(REGISTRATION, registration.deadline, payment, self._submissions.now())
        await self._submissions.check_limits(REGISTRATION, registration.payer)
        sent = await self._submissions.send(
            REGISTRATION,
            self._membership.register_with_authorization(registration, payment),
            recording(
                REGISTRATION, registration.id_commitment, registration.payer, registration.struct_hash()
            ),
            worth=self._rules.worth(registration.rate, registration.periods),
        )
        log.info("registration_sent", payer=registration.payer, rate=registration.rate)
        return sent

    def _standing(self, connection: sqlite3.Connection, registration: Registration) -> Transaction | None:
        """The transaction that was sent for it, unless that came to nothing.

        Raises MembershipRefused or MembershipRateLimited if the commitment is, or may soon be, another's.
        """
        commitment, digest = registration.id_commitment, registration.struct_hash()
        ours = latest(connection, REGISTRATION, self._membership.address, commitment, digest)
        newest = latest(connection, REGISTRATION, self._membership.address, commitment)
        row = find_member(connection, commitment)
        if row is not None and (ours is None or not _fits(row, registration)):
            raise MembershipRefused(
                "This commitment is registered already; a commitment registers once.", index=row["position"]
            )
        if row is None and (ours is None or ours.state in FAILED):
            if newest is not None and newest.state is State.SENT:
                raise MembershipRateLimited(
                    "Another registration of this commitment is under way.", retryAfter=10
                )
            return None
        return ours

    def _look(self, connection: sqlite3.Connection, registration: Registration) -> RegistrationResult:
        transaction = latest(
            connection,
            REGISTRATION,
            self._membership.address,
            registration.id_commitment,
            registration.struct_hash(),
        )
        assert transaction is not None
        row = find_member(connection, registration.id_commitment)
        if row is not None and _fits(row, registration):  # by us, or by whoever sent it before us
            return RegistrationResult(transaction.hash, row["position"])
        require_alive(REGISTRATION, transaction)
        return RegistrationResult(transaction.hash, None)

    # ---- Extending ----

    async def _extend(
        self, extension: Extension, record: MemberRecord, payment: Authorization
    ) -> Transaction:
        self._rules.check_times(EXTENSION, extension.deadline, payment, self._submissions.now())
        await self._submissions.check_limits(EXTENSION, extension.payer)
        sent = await self._submissions.send(
            EXTENSION,
            self._membership.extend_with_authorization(extension, record, payment),
            recording(EXTENSION, extension.id_commitment, extension.payer, extension.struct_hash()),
            worth=self._rules.worth(record.rate, extension.periods),
        )
        log.info("extension_sent", payer=extension.payer, periods=extension.periods)
        return sent

    def _latest_extension(self, connection: sqlite3.Connection, extension: Extension) -> Transaction | None:
        commitment, digest = extension.id_commitment, extension.struct_hash()
        return latest(connection, EXTENSION, self._membership.address, commitment, digest)

    async def _paid_until(self, record: MemberRecord) -> int | None:
        try:
            return await self._membership.paid_until(record)
        except TransactionReverted:
            return None


def _fits(row: sqlite3.Row, registration: Registration) -> bool:
    """Whether this registration may have made the member."""
    made = row["owner"], row["home_node"], row["rate"], row["periods"]
    return made == (registration.payer, registration.home_node, registration.rate, registration.periods)
