"""The members' Merkle tree in the node's database, and the roots that it had: what proofs are held against.
Hashing is put off while the node reads blocks whose roots nobody may use any more."""

import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from waypost.chain.blocks import BlockRef
from waypost.node import blocks
from waypost.protocol.merkle import MerkleTree


@dataclass(frozen=True, slots=True)
class Root:
    """A root that the tree had after `block`, and until when proofs may name it: Unix seconds, None while
    it is the newest."""

    root: int
    block: int
    accepted_until: int | None


class TreeNodes(MutableMapping[int, int]):
    """The nodes of a MerkleTree, in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getitem__(self, node: int) -> int:
        found = self._connection.execute("SELECT hash FROM tree_nodes WHERE node = ?", (node,)).fetchone()
        if found is None:
            raise KeyError(node)
        return int.from_bytes(found["hash"])

    def __setitem__(self, node: int, value: int) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO tree_nodes VALUES (?, ?)", (node, value.to_bytes(32))
        )

    def __delitem__(self, node: int) -> None:
        self._connection.execute("DELETE FROM tree_nodes WHERE node = ?", (node,))

    def __iter__(self) -> Iterator[int]:
        return (row["node"] for row in self._connection.execute("SELECT node FROM tree_nodes"))

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM tree_nodes").fetchone()[0])


class RlnTree:
    """Every method works in the transaction of its connection.

    A root is accepted while it is the newest, and for `root_seconds` after the block that replaced it, by
    its timestamp. The newest row of tree_roots is that of the newest block with a change.
    """

    def __init__(self, depth: int, root_seconds: int) -> None:
        self.depth = depth
        self.root_seconds = root_seconds

    def change(
        self, connection: sqlite3.Connection, leaves: Mapping[int, int], block: BlockRef, *, recent: bool
    ) -> None:
        """`leaves`, by index, are these from `block` on. Unless it is `recent`, nothing is hashed yet: only
        the last of such roots matters, and is hashed when the first recent block or question comes."""
        if recent:
            self.settle(connection)
        if not leaves:
            return
        self._place(connection, leaves)
        if not recent:
            connection.execute("DELETE FROM tree_roots WHERE root IS NULL")
        connection.execute(
            "INSERT OR REPLACE INTO tree_roots VALUES (?, ?, NULL)", (block.number, block.timestamp)
        )
        if recent:
            self.settle(connection)
        self._prune(connection, block)

    def undo(
        self,
        connection: sqlite3.Connection,
        leaves: Mapping[int, int],
        to: BlockRef,
        last: tuple[int, int] | None,
    ) -> None:
        """The tree as it was after `to`; `last` are number and timestamp of the newest block up to there
        that changed a leaf. A root of undone blocks is accepted no more: its members may never have paid."""
        connection.execute("DELETE FROM tree_roots WHERE block_number > ?", (to.number,))
        self._place(connection, leaves)
        if last is not None:
            connection.execute("INSERT OR IGNORE INTO tree_roots VALUES (?, ?, NULL)", last)

    def is_settled(self, connection: sqlite3.Connection) -> bool:
        """Whether all is hashed, so that roots and paths are right."""
        return connection.execute("SELECT 1 FROM tree_pending LIMIT 1").fetchone() is None

    def settle(self, connection: sqlite3.Connection) -> None:
        """Hashes what was put off."""
        if self.is_settled(connection):
            return
        tree = self._tree(connection)
        rows = connection.execute("SELECT position FROM tree_pending").fetchall()
        tree.rehash(row["position"] for row in rows)
        connection.execute("DELETE FROM tree_pending")
        connection.execute("UPDATE tree_roots SET root = ? WHERE root IS NULL", (tree.root.to_bytes(32),))

    def root(self, connection: sqlite3.Connection) -> int:
        """The newest root, if all is settled."""
        return self._tree(connection).root

    def path(self, connection: sqlite3.Connection, index: int) -> tuple[int, ...]:
        """The siblings of a leaf, lowest first, if all is settled."""
        return self._tree(connection).path(index)

    def accepts(self, connection: sqlite3.Connection, root: int, now: int) -> bool:
        """Whether a proof may name this root at `now`."""
        found = connection.execute(
            "SELECT 1 FROM tree_roots AS had WHERE root = ? AND coalesce((SELECT later.timestamp"
            " FROM tree_roots AS later WHERE later.block_number > had.block_number"
            " ORDER BY later.block_number LIMIT 1), ?) >= ? LIMIT 1",
            (root.to_bytes(32), now, now - self.root_seconds),
        )
        return found.fetchone() is not None

    def roots(self, connection: sqlite3.Connection, now: int, limit: int) -> list[Root]:
        """Those that are accepted at `now`, the newest first, at most so many."""
        found: list[Root] = []
        until: int | None = None
        for row in connection.execute(
            "SELECT * FROM tree_roots WHERE root IS NOT NULL ORDER BY block_number DESC LIMIT ?", (limit,)
        ):
            if until is not None and until < now:
                break
            found.append(Root(int.from_bytes(row["root"]), row["block_number"], until))
            until = row["timestamp"] + self.root_seconds
        return found

    def _tree(self, connection: sqlite3.Connection) -> MerkleTree:
        return MerkleTree(self.depth, TreeNodes(connection))

    def _place(self, connection: sqlite3.Connection, leaves: Mapping[int, int]) -> None:
        self._tree(connection).place(leaves)
        connection.executemany(
            "INSERT OR IGNORE INTO tree_pending VALUES (?)", [(index,) for index in leaves]
        )

    def _prune(self, connection: sqlite3.Connection, block: BlockRef) -> None:
        """A root goes when neither the clock nor a reorg can make it count again."""
        connection.execute(
            "DELETE FROM tree_roots WHERE block_number < (SELECT max(block_number) FROM tree_roots"
            " WHERE block_number <= ? AND timestamp < ?)",
            (block.number - blocks.KEPT, block.timestamp - 2 * self.root_seconds),
        )
