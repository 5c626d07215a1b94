"""How far into the chain the books are: the recent blocks that were applied, the highest being the cursor.
It moves in the same write as the books themselves."""

import sqlite3
from typing import Any

from waypost.chain.blocks import BlockRef

KEPT = 1024
"""Blocks that are remembered: the deepest reorg that the node follows."""


def head(connection: sqlite3.Connection) -> BlockRef | None:
    """The last block that was applied."""
    row = connection.execute("SELECT * FROM blocks ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else _block(row)


def at(connection: sqlite3.Connection, number: int) -> BlockRef | None:
    """The applied block of that number, if it is remembered."""
    row = connection.execute("SELECT * FROM blocks WHERE number = ?", (number,)).fetchone()
    return None if row is None else _block(row)


def recent(connection: sqlite3.Connection) -> list[BlockRef]:
    """All remembered blocks, in ascending order."""
    return [_block(row) for row in connection.execute("SELECT * FROM blocks ORDER BY number")]


def advance(connection: sqlite3.Connection, block: BlockRef) -> None:
    """`block` was applied."""
    connection.execute(
        "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)",
        (block.number, block.hash, block.parent_hash, block.timestamp),
    )
    connection.execute(
        "DELETE FROM blocks WHERE number <="
        " (SELECT number FROM blocks ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (KEPT,),
    )


def rewind(connection: sqlite3.Connection, to: int) -> None:
    """Blocks above number `to` are no longer applied."""
    connection.execute("DELETE FROM blocks WHERE number > ?", (to,))


def _block(row: Any) -> BlockRef:
    return BlockRef(row["number"], row["hash"], row["parent_hash"], row["timestamp"])
