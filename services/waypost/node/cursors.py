"""Cursors: opaque places in the order of acceptance of one table."""

import base64
import binascii
import hashlib
import sqlite3

from waypost.errors import InvalidCursor
from waypost.node.backends.schema import read_meta


class Cursors:
    """Cursors of a table in this database, as of the connection's snapshot.

    One says "everything up to this sequence number is known" and names the table by the store's random id,
    so that the cursor of another node or table, or of a lost database, is noticed.
    """

    def __init__(self, connection: sqlite3.Connection, table: str = "messages") -> None:
        store = bytes.fromhex(read_meta(connection, "store"))
        self._store = hashlib.sha256(store + table.encode()).digest()[:8]
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        self.latest: int = 0 if row is None else row["seq"]

    def encode(self, sequence: int) -> str:
        """Unpadded base64url."""
        return base64.urlsafe_b64encode(self._store + sequence.to_bytes(8)).decode().rstrip("=")

    def decode(self, cursor: str) -> int:
        """The sequence number. Raises InvalidCursor."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        sequence = int.from_bytes(raw[8:])
        if len(raw) != 16 or raw[:8] != self._store or sequence > self.latest:
            raise InvalidCursor()
        return sequence
