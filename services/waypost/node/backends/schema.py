"""The tables of a node's database, and whose data it is.
Amounts are decimal text: they outgrow SQLite's 64-bit integers. Times are Unix seconds."""

import secrets
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

from eth_typing import ChecksumAddress

from waypost.errors import DataCorrupt, DataOfAnotherChain, DataTooNew

APPLICATION_ID = 0x57617970  # "Wayp"

LEDGER = """
CREATE TABLE channels (
    signer TEXT PRIMARY KEY,
    -- What the chain says: folded from channel_events, rebuilt after a reorg.
    payer TEXT, deposited TEXT NOT NULL, claimed TEXT NOT NULL, claimed_final TEXT NOT NULL,
    status TEXT NOT NULL, closes_at INTEGER NOT NULL, close_delay INTEGER NOT NULL,
    opened_block INTEGER NOT NULL,
    -- What the node keeps: never rolled back.
    paid TEXT NOT NULL DEFAULT '0', spent TEXT NOT NULL DEFAULT '0', signature BLOB,
    frozen_until INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE channel_events (
    block_hash BLOB NOT NULL, log_index INTEGER NOT NULL, signer TEXT NOT NULL,
    block_number INTEGER NOT NULL, kind TEXT NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (block_hash, log_index, signer)
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_events_of_signer ON channel_events (signer, block_number, log_index);
CREATE INDEX channel_events_by_block ON channel_events (block_number);
CREATE TABLE answers (
    signer TEXT NOT NULL, key TEXT NOT NULL, body_hash BLOB NOT NULL,
    charged TEXT NOT NULL, answer TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (signer, key)
) STRICT;
CREATE INDEX answers_by_age ON answers (created);
"""

MESSAGES = """
CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
    topic TEXT NOT NULL, timestamp_ns INTEGER NOT NULL, size INTEGER NOT NULL,
    signer TEXT NOT NULL, accepted INTEGER NOT NULL, expires INTEGER NOT NULL,
    meta BLOB, payload BLOB -- NULL once dropped: what is left says that it was here
) STRICT;
CREATE INDEX messages_of_topic ON messages (topic, sequence, expires);
CREATE INDEX messages_kept ON messages (expires) WHERE payload IS NOT NULL;
CREATE INDEX messages_dropped ON messages (expires) WHERE payload IS NULL;
CREATE TABLE storage_used (signer TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

SESSIONS = """
CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY, signer TEXT NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_age ON sessions (expires);
CREATE TABLE session_nonces (
    signer TEXT NOT NULL, nonce BLOB NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (signer, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_nonces_by_age ON session_nonces (expires);
"""

MONEY = """
CREATE TABLE blocks ( -- recent blocks that were applied; the highest is the cursor
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL, parent_hash BLOB NOT NULL, timestamp INTEGER NOT NULL
) STRICT;
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, purpose TEXT NOT NULL,
    nonce INTEGER NOT NULL, target TEXT NOT NULL, data BLOB NOT NULL, gas INTEGER NOT NULL,
    ceiling TEXT, -- the most that it is worth per gas, in wei; NULL: whatever it takes
    urgent INTEGER NOT NULL, state TEXT NOT NULL,
    hash BLOB NOT NULL, -- of the attempt that was mined, else of the newest
    block_number INTEGER, created INTEGER NOT NULL
) STRICT;
CREATE INDEX transactions_sent ON transactions (nonce) WHERE state = 'sent';
CREATE INDEX transactions_by_age ON transactions (purpose, created);
CREATE INDEX transactions_by_block ON transactions (block_number) WHERE block_number IS NOT NULL;
CREATE TABLE attempts (
    hash BLOB PRIMARY KEY, transaction_id INTEGER NOT NULL, raw BLOB NOT NULL,
    max_fee TEXT NOT NULL, tip TEXT NOT NULL, empty INTEGER NOT NULL, signed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_of_transaction ON attempts (transaction_id);
CREATE TABLE claims (
    transaction_id INTEGER PRIMARY KEY, value TEXT NOT NULL, receipts INTEGER NOT NULL
) STRICT;
CREATE TABLE openings (
    transaction_id INTEGER PRIMARY KEY, signer TEXT NOT NULL, payer TEXT NOT NULL, digest BLOB NOT NULL,
    price TEXT NOT NULL, cumulative TEXT NOT NULL, signature BLOB NOT NULL,
    credited INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX openings_of_signer ON openings (signer);
CREATE INDEX openings_of_payer ON openings (payer);
"""

RLN = """
CREATE TABLE rln_blocks ( -- as blocks, for the membership contract: it is followed by itself
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL, parent_hash BLOB NOT NULL, timestamp INTEGER NOT NULL
) STRICT;
CREATE TABLE member_events (
    block_hash BLOB NOT NULL, log_index INTEGER NOT NULL, id_commitment BLOB NOT NULL,
    block_number INTEGER NOT NULL, timestamp INTEGER NOT NULL, kind TEXT NOT NULL, fields TEXT NOT NULL,
    PRIMARY KEY (block_hash, log_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_events_of_member ON member_events (id_commitment, block_number, log_index);
CREATE INDEX member_events_by_block ON member_events (block_number);
CREATE TABLE members ( -- folded from member_events
    id_commitment BLOB PRIMARY KEY, position INTEGER NOT NULL, rate INTEGER NOT NULL, owner TEXT NOT NULL,
    home_node TEXT NOT NULL, start INTEGER NOT NULL, periods INTEGER NOT NULL, leaf BLOB NOT NULL,
    registered_block INTEGER NOT NULL, status TEXT NOT NULL, removed_at INTEGER, secret BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_position ON members (position, registered_block);
CREATE INDEX members_in_tree ON members (position) WHERE status = 'member';
CREATE INDEX members_slashed ON members (removed_at) WHERE secret IS NOT NULL;
CREATE TABLE tree_nodes (node INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT; -- see protocol.merkle
CREATE TABLE tree_pending (position INTEGER PRIMARY KEY) STRICT; -- leaves above which nothing is hashed yet
CREATE TABLE tree_roots ( -- after each block with a change; NULL: not hashed yet
    block_number INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, root BLOB
) STRICT;
CREATE INDEX tree_roots_by_root ON tree_roots (root);
CREATE TABLE member_actions ( -- what the node sends for members without ETH
    transaction_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, id_commitment BLOB NOT NULL, payer TEXT NOT NULL,
    digest BLOB NOT NULL -- of what was signed: equal for repetitions of one request
) STRICT;
CREATE INDEX member_actions_of_member ON member_actions (id_commitment);
CREATE INDEX member_actions_of_payer ON member_actions (payer);
"""

RELAY = """
CREATE TABLE relayed ( -- what subscribers are given, in order of acceptance
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, topic TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL, size INTEGER NOT NULL, accepted INTEGER NOT NULL,
    meta BLOB NOT NULL, payload BLOB NOT NULL,
    proof TEXT, nullifier BLOB, -- JSON as protocol.relay has it; NULL: paid for here, and not passed on
    nodes_only INTEGER NOT NULL -- 1: it exposes a member, or subscribers were given it without its proof
) STRICT;
CREATE UNIQUE INDEX relayed_of_id ON relayed (id, topic, nullifier);
CREATE INDEX relayed_of_topic ON relayed (topic, sequence, size) WHERE nodes_only = 0;
CREATE INDEX relayed_proved ON relayed (sequence, size) WHERE proof IS NOT NULL;
CREATE INDEX relayed_by_age ON relayed (accepted);
CREATE TABLE shares ( -- the nullifier log: the first signal of each nullifier
    nullifier BLOB PRIMARY KEY, epoch INTEGER NOT NULL, external_nullifier BLOB NOT NULL,
    x BLOB NOT NULL, y BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX shares_by_epoch ON shares (epoch);
CREATE TABLE exposures ( -- members whose secret the node found, and the transactions that slash them
    id_commitment BLOB PRIMARY KEY, secret BLOB NOT NULL, found INTEGER NOT NULL,
    salt BLOB, -- of the commit; each has a new one
    commit_id INTEGER, slash_id INTEGER, attempts INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE peers ( -- how far another node's relay was read
    operator TEXT PRIMARY KEY, cursor TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

META = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

MIGRATIONS = (META + LEDGER + MESSAGES + SESSIONS + MONEY, RLN + RELAY)
"""Entry n takes a database from version n to n + 1. Released entries never change."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose books these are. A node refuses to open another's."""

    chain_id: int
    channels: ChecksumAddress
    registry: ChecksumAddress
    token: ChecksumAddress
    payee: ChecksumAddress


def check(connection: sqlite3.Connection, path: Path, identity: Identity) -> int:
    """The version of the file's tables, 0 if it is empty. Only reads.

    Raises DataCorrupt, DataTooNew or DataOfAnotherChain.
    """
    version = _version(connection, path)
    if version:
        _check_identity(connection, path, identity)
    return version


def prepare(connection: sqlite3.Connection, path: Path, identity: Identity) -> None:
    """Checks that the file is ours, brings its tables up to date and sets what durability needs.

    Raises DataCorrupt, DataTooNew or DataOfAnotherChain, and leaves such a file as it was.
    """
    version = check(connection, path, identity)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1};"
            + ("" if version else _founding(identity))
            + "COMMIT;"
        )
        version = number + 1
    for table in ("channels", "channel_events"):
        problem = connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]
        if problem != "ok":
            raise DataCorrupt(f"{path} is damaged: {problem}.", path=str(path))


def find_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """One fact about the whole database, if it is known."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row["value"])


def read_meta(connection: sqlite3.Connection, key: str) -> str:
    """The same of a fact that is always known. Raises KeyError."""
    found = find_meta(connection, key)
    if found is None:
        raise KeyError(key)
    return found


def write_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Replaces one fact about the whole database."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def renew_store(connection: sqlite3.Connection) -> None:
    """Makes another store of it, for sequence numbers will be given out again that cursors know."""
    write_meta(connection, "store", secrets.token_hex(8))


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """0 for an empty file."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise DataCorrupt(f"{path} is no database of a Waypost node.", path=str(path))
    if version > len(MIGRATIONS):
        raise DataTooNew(
            f"{path} was written by a newer Waypost (version {version}; this one knows {len(MIGRATIONS)}).",
            path=str(path),
            given=version,
            maximum=len(MIGRATIONS),
        )
    return version


def _facts(identity: Identity) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(identity).items()}


def _founding(identity: Identity) -> str:
    # Addresses, integers and hex: nothing here needs quoting.
    facts = _facts(identity) | {"store": secrets.token_hex(8), "head": "0", "forgotten": "0"}
    rows = ", ".join(f"('{key}', '{value}')" for key, value in facts.items())
    return f"INSERT INTO meta VALUES {rows};"


def _check_identity(connection: sqlite3.Connection, path: Path, identity: Identity) -> None:
    for name, expected in _facts(identity).items():
        found = read_meta(connection, name)
        if found != expected:
            raise DataOfAnotherChain(
                f"{path} belongs to {name} {found}, but this node is set up for {expected}.",
                path=str(path),
                field=name,
                given=expected,
                found=found,
            )
