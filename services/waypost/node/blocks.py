"""How far into the chain the books are: the recent blocks that were applied, the highest being the cursor.
It moves in the same write as the books themselves. `table` names whose books: "blocks" or "rln_blocks"."""

import sqlite3
from typing import Any

from waypost.chain.blocks import BlockRef

KEPT = 1024
"""Blocks that are remembered: the deepest reorg that the node follows."""


def head(connection: sqlite3.Connection, table: str = "blocks") -> BlockRef | None:
    """The last block that was applied."""
    row = connection.execute(f"SELECT * FROM {table} ORDER BY number DESC LIMIT 1").fetchone()
    return None if row is None else _block(row)


def at(connection: sqlite3.Connection, number: int) -> BlockRef | None:
    """The applied block of that number, if it is remembered."""
    row = connection.execute("SELECT * FROM blocks WHERE number = ?", (number,)).fetchone()
    return None if row is None else _block(row)


def recent(connection: sqlite3.Connection, table: str = "blocks") -> list[BlockRef]:
    """All remembered blocks, in ascending order."""
    return [_block(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY number")]


def advance(connection: sqlite3.Connection, block: BlockRef, table: str = "blocks") -> None:
    """`block` was applied."""
    connection.execute(
        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)",
        (block.number, block.hash, block.parent_hash, block.timestamp),
    )
    connection.execute(
        f"DELETE FROM {table} WHERE number <="
        f" (SELECT number FROM {table} ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (KEPT,),
    )


def rewind(connection: sqlite3.Connection, to: int, table: str = "blocks") -> None:
    """Blocks above number `to` are no longer applied."""
    connection.execute(f"DELETE FROM {table} WHERE number > ?", (to,))


def _block(row: Any) -> BlockRef:
    return BlockRef(row["number"], row["hash"], row["parent_hash"], row["timestamp"])
