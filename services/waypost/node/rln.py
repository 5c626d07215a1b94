"""RLN in a node: one membership contract, followed by itself, so that nothing there can hold up money; the
gate that messages pass with its members' proofs, and the slasher of those who send too many."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from waypost.chain.connection import Connection
from waypost.chain.membership import Membership
from waypost.errors import InvalidConfig, InvalidKey
from waypost.node.backends.schema import find_meta, write_meta
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_audit import MemberAudit
from waypost.node.member_log import MemberLog, clear
from waypost.node.members import TABLE, Members
from waypost.node.outbox import Outbox
from waypost.node.proof_process import VerifierProcess
from waypost.node.proofs import Proofs
from waypost.node.rate_gate import RateGate
from waypost.node.rln_tree import RlnTree
from waypost.node.settings import NodeSettings, RlnSettings
from waypost.node.slasher import Slasher
from waypost.node.sync import Sync
from waypost.node.tasks import Runner
from waypost.protocol.rln import DEPTH, application
from waypost.zk import keys
from waypost.zk.verifier import Verifier

KEYS_FOLDER = "rln-keys"
_CONTRACT = "rln"
_PUBLIC = 5
"""Public signals of RLN's circuit."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rln:
    """`identifier` is what external nullifiers are made with, see protocol.rln. `key` is the digest of the
    verifying key, `library` what computes with it: zksnake, or py_ecc, which is slow."""

    settings: RlnSettings
    identifier: bytes
    members: Members
    sync: Sync
    audit: MemberAudit
    proofs: Proofs
    gate: RateGate
    slasher: Slasher
    key: str
    library: str

    @property
    def fault(self) -> str | None:
        """The code of what keeps it from following the contract or slashing, if anything does."""
        return self.sync.fault or self.audit.fault or self.slasher.fault

    @property
    def tasks(self) -> tuple[Runner, ...]:
        """What has to run."""
        return self.sync, self.audit, self.proofs, self.slasher


async def open_rln(
    connection: Connection,
    db: Database,
    settings: NodeSettings,
    rln: RlnSettings,
    outbox: Outbox,
    clock: Callable[[], int],
) -> Rln:
    """The parts, with the books of the contract as they were left; those of another contract are dropped.
    Its `tasks` are not running yet.

    Raises InvalidConfig for a contract that does not fit or a key that is missing, KeyUnknown, InvalidKey,
    DevelopmentKey, FileUnusable, WrongContract, RpcUnreachable or RpcFailed.
    """
    membership = Membership(connection, rln.contract)
    await _check(membership, settings, rln)
    verifier = await asyncio.to_thread(_open_verifier, settings, rln)
    await db.write(lambda writing: _adopt(writing, rln))
    tree, signal = RlnTree(DEPTH, rln.root_seconds), Signal()
    sync = Sync(
        connection,
        db,
        [membership],
        [MemberLog(tree, clock)],
        clock,
        signal,
        start=rln.start_block,
        poll_seconds=settings.poll_seconds,
        max_head_age_seconds=settings.max_head_age_seconds,
        name="rln_sync",
        table=TABLE,
    )
    members = Members(db, tree, clock)
    proofs = Proofs(VerifierProcess(verifier.key), time.monotonic)
    identifier = application(settings.chain_id, rln.contract, rln.network, rln.epoch_seconds)
    return Rln(
        settings=rln,
        identifier=identifier,
        members=members,
        sync=sync,
        audit=MemberAudit(membership, db, sync),
        proofs=proofs,
        gate=RateGate(
            db,
            members,
            lambda: sync.ready,
            proofs,
            clock,
            identifier=identifier,
            epoch_seconds=rln.epoch_seconds,
            root_seconds=rln.root_seconds,
            tolerance=settings.clock_tolerance_seconds,
        ),
        slasher=Slasher(
            membership,
            outbox,
            db,
            clock,
            signal,
            receiver=settings.payee,
            token_per_ether=settings.claim.token_per_ether,
            below_cost=rln.slash_below_cost,
            poll_seconds=settings.poll_seconds,
        ),
        key=verifier.key.digest,
        library=verifier.library,
    )


async def _check(membership: Membership, settings: NodeSettings, rln: RlnSettings) -> None:
    """Whether the proofs are for its tree, and it holds the stake of who leaves for long enough."""
    if (depth := await membership.depth()) != DEPTH:
        raise InvalidConfig(
            f"The membership contract's tree has {depth} levels; proofs are for {DEPTH}.",
            given=depth,
            expected=DEPTH,
        )
    window = await membership.window()
    least = rln.least_window(settings.clock_tolerance_seconds)
    if least > window:
        raise InvalidConfig(
            f"rln.rootSeconds is {rln.root_seconds}, rln.epochSeconds {rln.epoch_seconds}; who leaves can"
            f" be slashed for {window} s: it must be three times the one, the other, and what clocks differ.",
            given=rln.root_seconds,
            maximum=max(0, window - least + 3 * rln.root_seconds) // 3,
        )


def _open_verifier(settings: NodeSettings, rln: RlnSettings) -> Verifier:
    """With the key of the settings; takes a second."""
    chain_id, force = settings.chain_id, rln.force_development_key
    if rln.verifying_key is not None:
        folder = settings.data_dir / KEYS_FOLDER
        verifier = keys.load_verifier(folder, rln.verifying_key, chain_id, force)
    elif chain_id in keys.DEVELOPMENT_CHAINS or force:
        verifier = keys.load_development_verifier(chain_id, force)
    else:
        raise InvalidConfig(
            "rln.verifyingKey must name the verifying key, a file in rln-keys; that of the public ceremony"
            f" has the SHA-256 {keys.CEREMONY_VERIFYING_KEY}.",
            ceremony=keys.CEREMONY_VERIFYING_KEY,
        )
    if verifier.key.public != _PUBLIC:
        raise InvalidKey(f"The verifying key is for {verifier.key.public} public signals; RLN has {_PUBLIC}.")
    slow = verifier.library == "py_ecc"
    (log.warning if slow else log.info)(
        "verifying_key_loaded", digest=verifier.key.digest, library=verifier.library, slow=slow
    )
    return verifier


def _adopt(connection: sqlite3.Connection, rln: RlnSettings) -> None:
    if find_meta(connection, _CONTRACT) != rln.contract:
        clear(connection)
        write_meta(connection, _CONTRACT, rln.contract)
