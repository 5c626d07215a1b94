"""Sessions: a channel's signer shows its key once and gets a bearer token of at most an hour.
Only hashes of tokens are stored, so the database opens nobody's session."""

import hashlib
import secrets
import sqlite3

from eth_typing import ChecksumAddress

from waypost.errors import ChannelUnknown, InvalidSignature, SessionExpired, SessionInvalid
from waypost.node.backends.sqlite import Database
from waypost.protocol.eip712 import Domain
from waypost.protocol.sessions import MAX_SESSION_SECONDS, Session
from waypost.protocol.signatures import Signature

REMEMBERED = 10_000
"""Tokens that are known without asking the database."""
EXPIRED_KEPT = 24 * 3600
"""Seconds for which an expired token is told from an unknown one."""


class Sessions:
    """Sessions at one operator, under the node domain.

    `skew` seconds more than the hour are allowed, for clients whose clock is ahead.
    """

    def __init__(self, db: Database, domain: Domain, operator: ChecksumAddress, *, skew: int = 60) -> None:
        self._db = db
        self._domain = domain
        self._operator = operator
        self._skew = skew
        self._remembered: dict[bytes, tuple[ChecksumAddress, int]] = {}

    async def open(
        self, signer: ChecksumAddress, session: Session, signature: Signature, now: int
    ) -> tuple[str, int]:
        """A bearer token for the channel's `signer`, and when it expires.

        Raises ChannelUnknown, SessionInvalid (another operator, too long, or a nonce that was
        used), SessionExpired or InvalidSignature.
        """
        if session.operator != self._operator:
            raise SessionInvalid(
                f"The session is for {session.operator}; this is {self._operator}.",
                given=session.operator,
                expected=self._operator,
            )
        if session.expires <= now:
            raise SessionExpired(expires=session.expires, now=now)
        latest = now + MAX_SESSION_SECONDS + self._skew
        if session.expires > latest:
            raise SessionInvalid(
                f"The session expires at {session.expires}; {latest} is the latest.",
                given=session.expires,
                maximum=latest,
            )
        expires = min(session.expires, now + MAX_SESSION_SECONDS)
        token = secrets.token_urlsafe(32)

        def work(connection: sqlite3.Connection) -> None:
            # Recovering a signer costs far more than finding out that nobody knows it.
            if not _is_known(connection, signer):
                raise ChannelUnknown(f"The node knows no channel of {signer}.", signer=signer)
            if session.recover(self._domain, signature) != signer:
                raise InvalidSignature(f"The session was not signed by {signer}.", signer=signer)
            used = connection.execute(
                "INSERT OR IGNORE INTO session_nonces (signer, nonce, expires) VALUES (?, ?, ?)",
                (signer, session.nonce.to_bytes(32), session.expires),
            )
            if used.rowcount == 0:
                raise SessionInvalid("This session's nonce was used before.")
            connection.execute(
                "INSERT INTO sessions (token_hash, signer, expires) VALUES (?, ?, ?)",
                (_hash(token), signer, expires),
            )

        await self._db.write(work)
        return token, expires

    async def signer_of(self, token: str, now: int) -> ChecksumAddress:
        """The channel that this bearer token speaks for. Raises SessionInvalid, SessionExpired."""
        key = _hash(token)
        found = self._remembered.get(key)
        if found is None:
            found = await self._db.read(lambda connection: _find(connection, key))
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[key] = found
        signer, expires = found
        if now >= expires:
            raise SessionExpired(f"The session expired at {expires}.", expires=expires)
        return signer

    async def prune(self, now: int) -> None:
        """Forgets sessions that expired a day ago, and nonces whose sessions have expired."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM sessions WHERE expires <= ?", (now - EXPIRED_KEPT,))
            connection.execute("DELETE FROM session_nonces WHERE expires <= ?", (now,))

        await self._db.write(work)


def _is_known(connection: sqlite3.Connection, signer: str) -> bool:
    found = connection.execute("SELECT 1 FROM channels WHERE signer = ?", (signer,))
    return found.fetchone() is not None


def _find(connection: sqlite3.Connection, token_hash: bytes) -> tuple[ChecksumAddress, int]:
    row = connection.execute(
        "SELECT signer, expires FROM sessions WHERE token_hash = ?", (token_hash,)
    ).fetchone()
    if row is None:
        raise SessionInvalid()
    return row["signer"], row["expires"]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
