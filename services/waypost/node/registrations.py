"""Registers members without ETH, and extends them: the node sends what a payer signed, for the fee that
streams to it as the member's home node."""

import sqlite3
from dataclasses import dataclass

import structlog

from waypost.chain.membership import MemberRecord
from waypost.errors import (
    JSON,
    MemberRemoved,
    MembershipRateLimited,
    MembershipRefused,
    TransactionReverted,
)
from waypost.node.member_actions import FAILED, Action, MemberActions, find_member, require_alive
from waypost.node.member_log import Status, record_of
from waypost.node.registration_rules import EXTENSION, REGISTRATION, RegistrationRules
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
    """For members of the rules' home node."""

    def __init__(self, actions: MemberActions, rules: RegistrationRules) -> None:
        self._actions = actions
        self._submissions = actions.submissions
        self._membership = actions.membership
        self._rules = rules

    async def register(self, registration: Registration, authorization: JSON) -> RegistrationResult:
        """Sends the registration, once however often it is asked for, and waits a moment for the member.

        Raises MembershipRefused, MembershipRateLimited, InvalidAuthorization, InsufficientFunds (of the
        node's gas account) or another ChainError.
        """
        payment = self._rules.check_registration(registration, authorization)
        async with self._submissions.lock:
            if await self._actions.read(lambda connection: self._standing(connection, registration)) is None:
                await self._register(registration, payment)
        return await self._actions.settled(
            lambda connection: self._look(connection, registration), lambda found: found.index is not None
        )

    async def extend(self, extension: Extension, authorization: JSON) -> ExtensionResult:
        """The same for an extension of one of the node's members. Raises MemberUnknown, MemberRemoved."""
        row = await self._actions.member(extension.id_commitment)
        record = record_of(row)
        payment = self._rules.check_extension(extension, record, authorization)
        commitment, digest = extension.id_commitment, extension.struct_hash()

        def look(connection: sqlite3.Connection) -> Transaction | None:
            return self._actions.latest(connection, EXTENSION, commitment, digest)

        async with self._submissions.lock:
            sent = await self._actions.read(look)
            if sent is None or sent.state in FAILED:
                if row["status"] != Status.MEMBER:
                    raise MemberRemoved(f"The member is not in the tree any more: {row['status']}.")
                sent = await self._extend(extension, record, payment)
        found = await self._actions.settled(
            look, lambda each: each is not None and each.state is not State.SENT
        )
        found = found or sent
        require_alive(EXTENSION, found)
        extended = found.state is State.MINED
        return ExtensionResult(found.hash, extended, await self._paid_until(record) if extended else None)

    # ---- Registering ----

    async def _register(self, registration: Registration, payment: Authorization) -> Transaction:
        self._rules.check_times(REGISTRATION, registration.deadline, payment, self._submissions.now())
        sent = await self._actions.send(
            Action(REGISTRATION, registration.id_commitment, registration.payer, registration.struct_hash()),
            self._membership.register_with_authorization(registration, payment),
            kept=self._rules.kept_at_first(registration.rate),
        )
        log.info("registration_sent", payer=registration.payer, rate=registration.rate)
        return sent

    def _standing(self, connection: sqlite3.Connection, registration: Registration) -> Transaction | None:
        """The transaction that was sent for it, unless that came to nothing.

        Raises MembershipRefused or MembershipRateLimited if the commitment is, or may soon be, another's.
        """
        commitment, digest = registration.id_commitment, registration.struct_hash()
        ours = self._actions.latest(connection, REGISTRATION, commitment, digest)
        newest = self._actions.latest(connection, REGISTRATION, commitment)
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
        commitment, digest = registration.id_commitment, registration.struct_hash()
        transaction = self._actions.latest(connection, REGISTRATION, commitment, digest)
        assert transaction is not None
        row = find_member(connection, commitment)
        if row is not None and _fits(row, registration):  # by us, or by whoever sent it before us
            return RegistrationResult(transaction.hash, row["position"])
        require_alive(REGISTRATION, transaction)
        return RegistrationResult(transaction.hash, None)

    # ---- Extending ----

    async def _extend(
        self, extension: Extension, record: MemberRecord, payment: Authorization
    ) -> Transaction:
        self._rules.check_times(EXTENSION, extension.deadline, payment, self._submissions.now())
        sent = await self._actions.send(
            Action(EXTENSION, extension.id_commitment, extension.payer, extension.struct_hash()),
            self._membership.extend_with_authorization(extension, record, payment),
            kept=self._rules.kept(record, *await self._actions.state(record)),
        )
        log.info("extension_sent", payer=extension.payer, periods=extension.periods)
        return sent

    async def _paid_until(self, record: MemberRecord) -> int | None:
        try:
            return await self._membership.paid_until(record)
        except TransactionReverted:
            return None


def _fits(row: sqlite3.Row, registration: Registration) -> bool:
    """Whether this registration may have made the member."""
    made = row["owner"], row["home_node"], row["rate"], row["periods"]
    return made == (registration.payer, registration.home_node, registration.rate, registration.periods)
