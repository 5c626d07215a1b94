"""The members' book against a model that starts from nothing each time: any events, any reorgs, hashed now or
later; and every event that cannot be the whole story."""

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.node.books import PAYEE, PAYER, address

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.membership import Exited, Expired, Extended, Registered, Slashed, Withdrawn
from waypost.errors import BooksDisagree
from waypost.node.backends.schema import RLN
from waypost.node.member_log import MemberLog
from waypost.node.rln_tree import RlnTree
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.poseidon import R
from waypost.protocol.rln import leaf

DEPTH = 3
SECONDS = 100
START = 1_000_000
FIELDS: dict[type[Event], dict[str, Any]] = {
    Registered: {"owner": PAYER, "home_node": PAYEE, "rate": 5, "start": 0, "periods": 1},
    Exited: {"withdrawable_at": 0},
    Expired: {"caller": PAYER, "reward": 0, "withdrawable_at": 0},
    Withdrawn: {"owner": PAYER, "amount": 0},
    Slashed: {"receiver": PAYER, "secret": 77, "reward": 0, "burned": 0},
}
NEXT = {
    Registered: (Exited, Expired, Slashed),
    Exited: (Withdrawn, Slashed),
    Expired: (Withdrawn, Slashed),
    Withdrawn: (),
    Slashed: (),
}
"""What can follow in a member's life."""

Change = tuple[type[Event], int, int]
"""Kind, commitment and index."""


class Book:
    """A book, the chain that it was told, and what that chain says."""

    def __init__(self, now: int = START) -> None:
        self.now = now
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self.connection.executescript(RLN)
        self.tree = RlnTree(DEPTH, SECONDS)
        self.log = MemberLog(self.tree, lambda: self.now)
        self.chain: list[tuple[BlockRef, list[Change]]] = [(BlockRef(0, bytes(32), bytes(32), START), [])]
        self.forks = 0

    def mine(self, *changes: Change, seconds: int = 12) -> BlockRef:
        """A block with these events; it stays out of the chain if the book refuses it."""
        parent = self.chain[-1][0]
        digest = hashlib.sha256(f"{parent.hash.hex()} {self.forks} {changes}".encode()).digest()
        block = BlockRef(parent.number + 1, digest, parent.hash, parent.timestamp + seconds)
        events = [event_of(block, place, change) for place, change in enumerate(changes)]
        self.connection.execute("BEGIN")
        try:
            self.log.apply(self.connection, events, block)
        except BooksDisagree:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        self.chain.append((block, list(changes)))
        return block

    def undo(self, count: int) -> None:
        """A reorg."""
        self.forks += 1
        del self.chain[len(self.chain) - count :]
        self.log.rollback(self.connection, self.chain[-1][0])

    def lives(self) -> dict[int, tuple[type[Event], int]]:
        """The last kind and the index of every member, in order of registration."""
        return {who: (kind, index) for _, changes in self.chain for kind, who, index in changes}

    def roots(self) -> list[tuple[int, int, int]]:
        """Number, timestamp and root of each block that changed a leaf, from nothing."""
        tree, found = MerkleTree(DEPTH), []
        for block, changes in self.chain:
            change = {
                index: leaf(who, 5) if kind is Registered else 0
                for kind, who, index in changes
                if kind is not Withdrawn
            }
            tree.set(change)
            if change:
                found.append((block.number, block.timestamp, tree.root))
        return found

    def settled_root(self) -> int:
        """The book's."""
        self.tree.settle(self.connection)
        return self.tree.root(self.connection)

    def check(self, now: int) -> None:
        """The book says what the chain says."""
        root, model = self.settled_root(), self.roots()
        assert root == (model[-1][2] if model else MerkleTree(DEPTH).root)
        ends = [*(timestamp + SECONDS for _, timestamp, _ in model[1:]), *([None] if model else [])]
        wanted = [
            (number, known, end)
            for (number, _, known), end in zip(model, ends, strict=True)
            if end is None or end >= now
        ]
        found = self.tree.roots(self.connection, now, 10_000)
        assert [(each.block, each.root, each.accepted_until) for each in reversed(found)] == wanted
        accepted = {known for _, known, _ in wanted}
        for _, _, known in model:
            assert self.tree.accepts(self.connection, known, now) == (known in accepted)


def event_of(block: BlockRef, place: int, change: Change) -> Event:
    kind, who, index = change
    origin = {
        "contract": address("membership"),
        "block_number": block.number,
        "block_hash": block.hash,
        "transaction_hash": bytes(32),
        "log_index": place,
    }
    return kind(id_commitment=who, index=index, **{**FIELDS[kind], **origin})  # type: ignore[call-arg]


def possible(book: Book, taken: list[Change], serial: Iterator[int]) -> list[Change]:
    """What the contract could do next: leaves are used again when there are no others."""
    lives = book.lives() | {who: (kind, index) for kind, who, index in taken}
    found: list[Change] = [(kind, who, index) for who, (last, index) in lives.items() for kind in NEXT[last]]
    used = {index for _, index in lives.values()}
    if len(used) < 1 << DEPTH:
        found.append((Registered, next(serial), len(used)))
    else:
        newest = {index: kind for kind, index in lives.values()}
        found += [(Registered, next(serial), index) for index, kind in newest.items() if kind is Withdrawn]
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chain_and_any_reorg(data: st.DataObject) -> None:
    serial = iter(range(1, 10**6))
    # By its clock the first blocks may be so old that the book puts their hashing off.
    book = Book(START + data.draw(st.sampled_from([0, 2 * SECONDS, 50 * SECONDS])))
    for _ in range(data.draw(st.integers(1, 20))):
        if len(book.chain) > 1 and data.draw(st.integers(0, 4)) == 0:
            book.undo(data.draw(st.integers(1, len(book.chain) - 1)))
        else:
            changes: list[Change] = []
            for _ in range(data.draw(st.sampled_from([0, 1, 1, 2, 5]))):
                if next_ones := possible(book, changes, serial):
                    changes.append(data.draw(st.sampled_from(next_ones)))
            book.mine(*changes, seconds=data.draw(st.sampled_from([1, 12, 60])))
        if data.draw(st.booleans()):
            assert book.settled_root() == (book.roots() or [(0, 0, MerkleTree(DEPTH).root)])[-1][2]
    book.check(max(book.now, book.chain[-1][0].timestamp))


@pytest.mark.parametrize("count", [1, 1023, 1024])
def test_as_deep_a_reorg_as_the_ledger_survives(count: int) -> None:
    book = Book()
    for index in range(4):
        book.mine((Registered, index + 1, index))
    book.mine((Exited, 1, 0))
    for number in range(1023):
        book.mine(*([(Slashed, 2, 1)] if number == 500 else []))
    book.mine((Registered, 5, 4))
    before = len(book.chain)
    book.undo(count)
    assert len(book.chain) == before - count
    assert book.settled_root() == book.roots()[-1][2]
    now = book.chain[-1][0].timestamp
    assert book.tree.roots(book.connection, now, 1)[0].accepted_until is None
    index = len({index for _, index in book.lives().values()})
    book.mine((Registered, 9, index))
    assert book.settled_root() == book.roots()[-1][2]
    assert book.tree.accepts(book.connection, book.roots()[-2][2], now)


def test_old_roots_do_not_pile_up() -> None:
    book = Book()
    book.mine((Registered, 1, 0))
    for round_ in range(6):
        book.mine((Registered, round_ + 2, round_ + 1))
        for _ in range(300):
            book.mine()
    kept = book.connection.execute("SELECT min(block_number) FROM tree_roots").fetchone()[0]
    assert 1 < kept <= book.chain[-1][0].number - 1024


def test_telling_it_again_changes_nothing() -> None:
    book = Book()
    book.mine((Registered, 1, 0), (Registered, 2, 1))
    block, changes = book.chain[-1]
    rows = [tuple(row) for row in book.connection.execute("SELECT * FROM tree_roots")]
    book.log.apply(book.connection, [event_of(block, n, each) for n, each in enumerate(changes)], block)
    assert [tuple(row) for row in book.connection.execute("SELECT * FROM tree_roots")] == rows
    book.check(block.timestamp)


def test_other_events_of_the_contract_change_nothing() -> None:
    book = Book()
    block = book.mine((Registered, 1, 0))
    origin = {name: getattr(event_of(block, 5, (Exited, 1, 0)), name) for name in Event.__slots__}
    extended = Extended(id_commitment=1, payer=PAYER, periods=1, paid_until=5, **origin)
    book.log.apply(book.connection, [extended], block)
    book.check(block.timestamp)


PAST: list[Change] = [(Registered, 1, 0), (Registered, 2, 1), (Registered, 3, 2), (Exited, 3, 2)]
LEFT_OUT: dict[str, tuple[Change, int]] = {
    "a leaf is skipped": ((Registered, 4, 4), 3),
    "a leaf that is taken": ((Registered, 4, 1), 2),
    "a leaf that was left, while others are free": ((Registered, 4, 2), 3),
    "a member registers again": ((Registered, 2, 3), 2),
    "one that has left registers again": ((Registered, 3, 3), 3),
    "a stranger leaves": ((Exited, 9, 3), 3),
    "a stranger leaves a leaf that is taken": ((Exited, 9, 1), 0),
    "a member leaves another's leaf": ((Exited, 1, 1), 0),
    "a member leaves twice": ((Exited, 3, 2), 3),
    "what was left expires": ((Expired, 3, 2), 3),
    "a member is withdrawn that has not left": ((Withdrawn, 2, 1), 2),
    "a commitment of zero": ((Registered, 0, 3), 3),
    "a commitment that is not reduced": ((Registered, R, 3), 3),
    "a leaf outside the tree": ((Registered, 4, 8), 3),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_the_whole_story_is_read_again(name: str) -> None:
    change, block = LEFT_OUT[name]
    book = Book()
    for past in PAST:
        book.mine(past)
    with pytest.raises(BooksDisagree) as refused:
        book.mine(change)
    assert refused.value.details["block"] == block
    book.check(book.chain[-1][0].timestamp)


def test_a_leaf_is_used_again_once_it_was_withdrawn_and_the_tree_is_full() -> None:
    book = Book()
    for index in range(8):
        book.mine((Registered, index + 1, index))
    book.mine((Exited, 3, 2))
    with pytest.raises(BooksDisagree):
        book.mine((Registered, 20, 2))
    book.mine((Withdrawn, 3, 2))
    book.mine((Registered, 20, 2))
    book.check(book.chain[-1][0].timestamp)
    book.undo(3)
    book.check(book.chain[-1][0].timestamp)
