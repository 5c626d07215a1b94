"""What the chain did to channels: an append-only log of events, of which each channel's state is a
fold. A reorg deletes the events of undone blocks and folds again, so nothing is undone by hand."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from eth_typing import ChecksumAddress

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.channels import Claimed, Closed, CloseStarted, Opened, ToppedUp
from waypost.node.accounts import Status
from waypost.node.backends.schema import read_meta, write_meta

HEAD = "head"


@dataclass(slots=True)
class _State:
    """A channel as the chain has it so far."""

    payer: str | None = None
    deposited: int = 0
    claimed: int = 0
    claimed_final: int = 0
    status: Status = Status.OPENING
    closes_at: int = 0
    close_delay: int = 0
    opened_block: int = 0


class ChannelLog:
    """The events of one payee's channels in one token.

    An event counts towards what is final once `confirmations` blocks are on top of its own.
    """

    def __init__(self, payee: ChecksumAddress, token: ChecksumAddress, confirmations: int) -> None:
        self._payee = payee
        self._token = token
        self._confirmations = confirmations

    def head(self, connection: sqlite3.Connection) -> int:
        """Number of the latest block that was applied."""
        return int(read_meta(connection, HEAD))

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        """Takes in the events up to `block`, the new head. Doing it again changes nothing."""
        touched = set()
        for event in events:
            for signer, kind, fields in self._entries(event):
                connection.execute(
                    "INSERT OR IGNORE INTO channel_events VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        event.block_hash,
                        event.log_index,
                        signer,
                        event.block_number,
                        kind,
                        json.dumps(fields),
                    ),
                )
                touched.add(signer)
        self._move(connection, block.number, touched)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        """Forgets every event above `to`, the new head. What was paid and spent stays."""
        undone = connection.execute(
            "DELETE FROM channel_events WHERE block_number > ? RETURNING signer", (to.number,)
        )
        self._move(connection, to.number, {row["signer"] for row in undone.fetchall()})

    def _move(self, connection: sqlite3.Connection, head: int, touched: set[str]) -> None:
        # Moving the head also makes events final, or shallow again.
        low, high = sorted((self.head(connection), head))
        aged = connection.execute(
            "SELECT DISTINCT signer FROM channel_events WHERE block_number > ? AND block_number <= ?",
            (low - self._confirmations, high - self._confirmations),
        )
        touched.update(row["signer"] for row in aged)
        write_meta(connection, HEAD, str(head))
        for signer in sorted(touched):
            self._fold(connection, signer, head)

    def _fold(self, connection: sqlite3.Connection, signer: str, head: int) -> None:
        state = _State()
        for row in connection.execute(
            "SELECT block_number, kind, fields FROM channel_events WHERE signer = ?"
            " ORDER BY block_number, log_index",
            (signer,),
        ):
            final = row["block_number"] + self._confirmations <= head
            _step(state, row["kind"], json.loads(row["fields"]), row["block_number"], final)
        connection.execute(
            "INSERT INTO channels (signer, payer, deposited, claimed, claimed_final, status,"
            " closes_at, close_delay, opened_block) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (signer) DO UPDATE SET payer = excluded.payer,"
            " deposited = excluded.deposited, claimed = excluded.claimed,"
            " claimed_final = excluded.claimed_final, status = excluded.status,"
            " closes_at = excluded.closes_at, close_delay = excluded.close_delay,"
            " opened_block = excluded.opened_block",
            (
                signer,
                state.payer,
                str(state.deposited),
                str(state.claimed),
                str(state.claimed_final),
                state.status,
                state.closes_at,
                state.close_delay,
                state.opened_block,
            ),
        )

    def _entries(self, event: Event) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Signer, kind and fields of each channel that the event touches; amounts as text."""
        if not isinstance(event, Opened | ToppedUp | Claimed | CloseStarted | Closed):
            return
        if (event.payee, event.token) != (self._payee, self._token):
            return
        match event:
            case Opened():
                fields = {
                    "payer": event.payer,
                    "amount": str(event.amount),
                    "close_delay": event.close_delay,
                }
                yield event.signer, "opened", fields
            case ToppedUp():
                yield event.signer, "topped_up", {"amount": str(event.amount)}
            case Claimed():
                for signer, amount in _by_signer(event.entries):
                    yield signer, "claimed", {"amount": str(amount)}
            case CloseStarted():
                yield event.signer, "close_started", {"closes_at": event.closes_at}
            case Closed():
                yield event.signer, "closed", {"claimed": str(event.claimed)}


def _by_signer(entries: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """A batch may pay one channel twice."""
    for signer, group in groupby(sorted(entries), key=lambda entry: entry[0]):
        yield signer, sum(amount for _, amount in group)


def _step(state: _State, kind: str, fields: dict[str, Any], block: int, final: bool) -> None:
    match kind:
        case "opened":
            state.payer, state.close_delay = fields["payer"], fields["close_delay"]
            state.opened_block = block
            if final:
                state.status = Status.OPEN
                state.deposited += int(fields["amount"])
        case "topped_up":
            state.deposited += int(fields["amount"]) if final else 0
        case "claimed":
            state.claimed += int(fields["amount"])
            state.claimed_final += int(fields["amount"]) if final else 0
        case "close_started":
            state.status, state.closes_at = Status.CLOSING, fields["closes_at"]
        case "closed":
            state.status, state.claimed = Status.CLOSED, int(fields["claimed"])
            state.claimed_final = state.claimed if final else state.claimed_final
