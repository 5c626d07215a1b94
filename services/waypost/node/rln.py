"""RLN in a node: one membership contract, followed by itself, so that nothing there can hold up money."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from waypost.chain.connection import Connection
from waypost.chain.membership import Membership
from waypost.errors import InvalidConfig
from waypost.node.backends.schema import find_meta, write_meta
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_audit import MemberAudit
from waypost.node.member_log import MemberLog, clear
from waypost.node.members import TABLE, Members
from waypost.node.rln_tree import RlnTree
from waypost.node.settings import NodeSettings, RlnSettings
from waypost.node.sync import Sync
from waypost.protocol.rln import DEPTH, application

_CONTRACT = "rln"


@dataclass(frozen=True, slots=True)
class Rln:
    """`identifier` is what external nullifiers are made with, see protocol.rln."""

    settings: RlnSettings
    identifier: bytes
    members: Members
    sync: Sync
    audit: MemberAudit

    @property
    def fault(self) -> str | None:
        """The code of what keeps it from following the contract, if anything does."""
        return self.sync.fault or self.audit.fault


async def open_rln(
    connection: Connection,
    db: Database,
    settings: NodeSettings,
    rln: RlnSettings,
    clock: Callable[[], int],
) -> Rln:
    """The parts, with the books of the contract as they were left; those of another contract are dropped.
    `sync` and `audit` are not running yet.

    Raises InvalidConfig for a contract that does not fit, WrongContract, RpcUnreachable or RpcFailed.
    """
    membership = Membership(connection, rln.contract)
    await _check(membership, rln)
    await db.write(lambda writing: _adopt(writing, rln))
    tree = RlnTree(DEPTH, rln.root_seconds)
    sync = Sync(
        connection,
        db,
        [membership],
        [MemberLog(tree, clock)],
        clock,
        Signal(),
        start=rln.start_block,
        poll_seconds=settings.poll_seconds,
        max_head_age_seconds=settings.max_head_age_seconds,
        name="rln_sync",
        table=TABLE,
    )
    return Rln(
        settings=rln,
        identifier=application(settings.chain_id, rln.contract, rln.network),
        members=Members(db, tree, clock),
        sync=sync,
        audit=MemberAudit(membership, db, sync),
    )


async def _check(membership: Membership, rln: RlnSettings) -> None:
    if (depth := await membership.depth()) != DEPTH:
        raise InvalidConfig(
            f"The membership contract's tree has {depth} levels; proofs are for {DEPTH}.",
            given=depth,
            expected=DEPTH,
        )
    window = await membership.window()
    if 2 * rln.root_seconds > window:
        raise InvalidConfig(
            f"rln.rootSeconds is {rln.root_seconds}; who leaves can be slashed for {window} s, of which half"
            " is for collecting the evidence.",
            given=rln.root_seconds,
            maximum=window // 2,
        )


def _adopt(connection: sqlite3.Connection, rln: RlnSettings) -> None:
    if find_meta(connection, _CONTRACT) != rln.contract:
        clear(connection)
        write_meta(connection, _CONTRACT, rln.contract)
