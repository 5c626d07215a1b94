"""Storing, extending, listing, expiring: rules one by one, and a mailbox reader against a plain model."""

import asyncio
import base64
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.services.node.books import TOKEN, Clock, address, open_database

from waypost.errors import (
    ClockSkew,
    InvalidCursor,
    MessageConflict,
    MessageExpired,
    MessageUnknown,
    QuotaExceeded,
    RetentionOutOfRange,
    StorageFull,
)
from waypost.node.backends.sqlite import Database
from waypost.node.messages import MessageStore, Stored, StoreLimits
from waypost.protocol.messages import Message
from waypost.protocol.prices import HOUR, PriceList

DAY = 24 * HOUR
LIMITS = StoreLimits(
    retention_min=HOUR,
    retention_max=30 * DAY,
    quota_bytes=10_000,
    channel_quota_bytes=6_000,
    clock_tolerance=60,
    remember_seconds=7 * DAY,
)
PRICES = PriceList(TOKEN, 0, 10, 1, 1, 1, 1)
INBOX, OTHER = "/waypost/1/inbox/raw", "/waypost/1/other/raw"
ALICE, BOB = address("alice"), address("bob")


@pytest.fixture
def store(db: Database) -> MessageStore:
    return MessageStore(db, LIMITS)


@dataclass
class Sender:
    """Stores distinct messages."""

    db: Database
    store: MessageStore
    clock: Clock
    count: int = 0

    def message(self, size: int = 1000, topic: str = INBOX) -> Message:
        """A new message that is billed as `size` bytes."""
        self.count += 1
        empty = Message(topic, b"", self.clock.now * 10**9 + self.count)
        return replace(empty, payload=bytes(size - empty.size))

    async def put(self, message: Message, retention: int = HOUR, signer: str = ALICE) -> Stored:
        return await self.db.write(
            lambda c: self.store.put(c, message, signer, retention, PRICES, self.clock.now)
        )

    async def put_new(self, size: int = 1000, topic: str = INBOX, **options: Any) -> Stored:
        return await self.put(self.message(size, topic), **options)


@pytest.fixture
def sender(db: Database, store: MessageStore, clock: Clock) -> Sender:
    return Sender(db, store, clock)


# ---- Storing ----


async def test_a_message_comes_back_as_it_was(sender: Sender, store: MessageStore, clock: Clock) -> None:
    message = Message(INBOX, b"\x00\xff payload", clock.now * 10**9 + 123, b"meta")
    stored = await sender.put(message, retention=2 * HOUR)
    assert stored.id == message.id
    assert (stored.accepted, stored.expires) == (clock.now, clock.now + 2 * HOUR)
    assert stored.cost == PRICES.store_cost(message.size, 2 * HOUR)
    unknown = bytes(32)
    found = await store.get([message.id, unknown, message.id], clock.now)
    assert [(kept.message, kept.expires) for kept in found.messages] == [(message, stored.expires)]
    assert found.size == stored.size == message.size
    assert isinstance(found.missing[unknown], MessageUnknown)


async def test_another_message_with_the_same_id_is_refused(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    message = Message("/waypost/1/inbox/raw", b"payload", clock.now * 10**9)
    twin = replace(message, topic="/waypost/1/inbox/ra", meta=b"w")
    assert twin.id == message.id
    await sender.put(twin)
    with pytest.raises(MessageConflict):
        await sender.put(message)
    with pytest.raises(MessageConflict):
        await store.quote(message, HOUR, PRICES, clock.now)


async def test_storing_a_live_message_again_extends_it_for_the_difference(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    message = sender.message()
    first = await sender.put(message, retention=2 * HOUR)
    other = await sender.put_new()
    clock.now += HOUR  # older than the tolerated clock skew by now
    quote = await store.quote(message, 3 * HOUR, PRICES, clock.now)
    longer = await sender.put(message, retention=3 * HOUR, signer=BOB)
    assert longer.cost == quote == PRICES.store_cost(1000, 2 * HOUR) < first.cost * 2
    assert (longer.sequence, longer.accepted) == (first.sequence, first.accepted)
    assert longer.sequence < other.sequence
    assert longer.expires == clock.now + 3 * HOUR
    again = await sender.put(message, retention=2 * HOUR)
    assert (again.cost, again.expires) == (0, longer.expires)
    assert await store.quote(message, 2 * HOUR, PRICES, clock.now) == 0
    assert await store.used_bytes() == 2000


async def test_a_message_that_expired_is_accepted_anew(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    message = replace(sender.message(), timestamp_ns=(clock.now + HOUR) * 10**9)
    clock.now += HOUR - 60
    first = await sender.put(message)
    cursor = (await store.list([INBOX], None, 10, clock.now)).cursor
    clock.now = first.expires
    with pytest.raises(ClockSkew):
        await sender.put(message)
    tolerant = MessageStore(sender.db, replace(LIMITS, clock_tolerance=DAY))
    for pruned in (False, True):
        if pruned:
            await store.prune(clock.now)
        anew = await Sender(sender.db, tolerant, clock).put(message)
        assert anew.sequence > first.sequence
        assert anew.cost == first.cost
        page = await store.list([INBOX], cursor, 10, clock.now)
        assert [entry.id for entry in page.entries] == [message.id]
        assert await store.used_bytes() == 1000
        clock.now = anew.expires


async def test_unusable_retentions_and_clocks_are_refused(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    for retention in (HOUR - 1, 30 * DAY + 1, -1, 2**62):
        with pytest.raises(RetentionOutOfRange) as refused:
            await sender.put_new(retention=retention)
        assert refused.value.details["maximum"] == 30 * DAY
        with pytest.raises(RetentionOutOfRange):
            await store.quote(sender.message(), retention, PRICES, clock.now)
    for timestamp in (0, clock.now - 61, clock.now + 61, 2**63 // 10**9):
        with pytest.raises(ClockSkew) as skewed:
            await sender.put(Message(INBOX, b"", timestamp * 10**9))
        assert skewed.value.details["now"] == clock.now
    for offset in (-60, 60):
        await sender.put(Message(INBOX, b"", (clock.now + offset) * 10**9))


async def test_quotas_of_a_channel_and_of_the_node(sender: Sender, store: MessageStore, clock: Clock) -> None:
    await sender.put_new(5000)
    with pytest.raises(QuotaExceeded) as refused:
        await sender.put_new(1001)
    assert refused.value.details == {"used": 5000, "given": 1001, "maximum": 6000}
    await sender.put_new(1000)
    await sender.put_new(3000, signer=BOB)
    with pytest.raises(StorageFull):
        await sender.put_new(1001, signer=BOB)
    await sender.put_new(1000, signer=BOB)
    assert await store.used_bytes() == 10_000
    clock.now += HOUR
    assert await store.prune(clock.now) == 4
    assert await store.used_bytes() == 0
    await sender.put_new(6000)


async def test_parallel_stores_of_one_message_cost_once(sender: Sender) -> None:
    message = sender.message()
    stored = await asyncio.gather(*(sender.put(message) for _ in range(5)))
    assert sorted(s.cost for s in stored) == [0, 0, 0, 0, PRICES.store_cost(1000, HOUR)]


# ---- Expiring ----


async def test_expired_is_told_from_unknown_for_a_while(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    stored = await sender.put_new()
    clock.now = stored.expires - 1
    assert (await store.get([stored.id], clock.now)).messages
    clock.now += 1
    for seconds, expected in ((0, MessageExpired), (7 * DAY - 1, MessageExpired), (1, MessageUnknown)):
        clock.now += seconds
        missing = (await store.get([stored.id], clock.now)).missing
        before = MessageExpired if expected is MessageUnknown else expected
        assert type(missing[stored.id]) is before  # the same before and after pruning
        await store.prune(clock.now)
        missing = (await store.get([stored.id], clock.now)).missing
        assert type(missing[stored.id]) is expected


async def test_pruning_clears_more_than_one_batch(db: Database, clock: Clock) -> None:
    store = MessageStore(db, replace(LIMITS, quota_bytes=10**9, channel_quota_bytes=10**9))
    sender = Sender(db, store, clock)
    await asyncio.gather(*(sender.put_new(100) for _ in range(450)))
    kept = await sender.put_new(100, retention=2 * HOUR)
    clock.now += HOUR
    assert await store.prune(clock.now) == 450
    assert await store.used_bytes() == 100
    clock.now += 7 * DAY
    await store.prune(clock.now)
    rows = await db.read(lambda c: [row["id"] for row in c.execute("SELECT id FROM messages")])
    assert rows == [kept.id]


# ---- Cursors ----


async def test_pages_go_on_where_the_last_one_ended(
    sender: Sender, store: MessageStore, clock: Clock
) -> None:
    ids = [(await sender.put_new(100, topic)).id for topic in (INBOX, OTHER, INBOX, OTHER, INBOX)]
    for topics, limit, expected in (([OTHER, INBOX, OTHER], 2, ids), ([INBOX], 1, ids[::2])):
        seen, cursor = [], None
        for _ in range(3):
            page = await store.list(topics, cursor, limit, clock.now)
            seen += [entry.id for entry in page.entries]
            cursor = page.cursor
            assert page.pruned_before is None
        assert seen == expected
    page = await store.list([INBOX], None, 10, clock.now)
    assert [entry.id for entry in page.entries] == ids[::2]
    entry = page.entries[0]
    assert (entry.topic, entry.size, entry.expires) == (INBOX, 100, clock.now + HOUR)
    assert (await store.list(["/waypost/1/empty/raw"], None, 10, clock.now)).entries == []


async def test_cursors_of_other_stores_are_refused(
    sender: Sender, store: MessageStore, clock: Clock, tmp_path: Path
) -> None:
    await sender.put_new()
    cursor = (await store.list([INBOX], None, 10, clock.now)).cursor
    raw = base64.urlsafe_b64decode(cursor + "==")
    future = base64.urlsafe_b64encode(raw[:8] + (2).to_bytes(8)).decode().rstrip("=")
    for bad in ("", "!", "AAAA", cursor[:-1], cursor + "A", "A" * 22, future, "é", cursor + "\n"):
        with pytest.raises(InvalidCursor):
            await store.list([INBOX], bad, 10, clock.now)
    async with open_database(tmp_path / "other") as db:
        with pytest.raises(InvalidCursor):
            await MessageStore(db, LIMITS).list([INBOX], cursor, 10, clock.now)


async def test_a_reader_is_told_what_it_missed(sender: Sender, store: MessageStore, clock: Clock) -> None:
    await sender.put_new(100)
    start = (await store.list([INBOX], None, 10, clock.now)).cursor
    await sender.put_new(100)  # expires unread
    live = await sender.put_new(100, retention=DAY)
    clock.now += HOUR
    for _ in range(2):  # by the clock alone, and after pruning
        page = await store.list([INBOX], start, 10, clock.now)
        assert [entry.id for entry in page.entries] == [live.id]
        assert page.pruned_before is not None
        assert (await store.list([OTHER], start, 10, clock.now)).pruned_before is None
        assert (await store.list([INBOX], None, 10, clock.now)).pruned_before is None
        assert (await store.list([INBOX], page.cursor, 10, clock.now)).pruned_before is None
        await store.prune(clock.now)
    rest = await store.list([INBOX], page.pruned_before, 10, clock.now)
    assert [entry.id for entry in rest.entries] == [live.id]
    clock.now += 8 * DAY
    await store.prune(clock.now)
    assert (await store.list([INBOX], start, 10, clock.now)).pruned_before is not None
    assert (await store.list([INBOX], page.cursor, 10, clock.now)).pruned_before is None


async def test_sequence_numbers_are_never_reused(tmp_path: Path, clock: Clock) -> None:
    async with open_database(tmp_path) as db:
        sender = Sender(db, MessageStore(db, LIMITS), clock)
        last = (await sender.put_new()).sequence
        clock.now += 30 * DAY
        await sender.store.prune(clock.now)
    async with open_database(tmp_path) as db:
        sender = Sender(db, MessageStore(db, LIMITS), clock, count=1)
        assert (await sender.put_new()).sequence == last + 1


class MailboxMachine(RuleBasedStateMachine):
    """Readers that poll now and then see every message once, or are told that they missed some."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.accepted: list[tuple[bytes, str, int]] = []  # id, topic, expires
        self.read: dict[str, int] = {}  # reader: how many of `accepted` it has been past
        self.seen: dict[str, set[bytes]] = {INBOX: set(), OTHER: set()}
        self.cursors: dict[str, str | None] = {INBOX: None, OTHER: None}
        self.polled_at: dict[str, int] = {}

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    @initialize()
    def start(self) -> None:
        self.db = open_database(self.folder)
        self.store = MessageStore(self.db, replace(LIMITS, quota_bytes=10**6, channel_quota_bytes=10**6))
        self.sender = Sender(self.db, self.store, self.clock)

    def teardown(self) -> None:
        self.run(self.db.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(topic=st.sampled_from((INBOX, OTHER)), hours=st.integers(1, 5))
    def send(self, topic: str, hours: int) -> None:
        stored = self.run(self.sender.put_new(100, topic, retention=hours * HOUR))
        self.accepted.append((stored.id, topic, stored.expires))

    @rule(hours=st.sampled_from((1, 1, 1, 2, 3, 200)))
    def wait(self, hours: int) -> None:
        self.clock.now += hours * HOUR

    @rule()
    def prune(self) -> None:
        self.run(self.store.prune(self.clock.now))

    @rule(topic=st.sampled_from((INBOX, OTHER)), limit=st.integers(1, 4))
    def poll(self, topic: str, limit: int) -> None:
        cursor, now = self.cursors[topic], self.clock.now
        page = self.run(self.store.list([topic], cursor, limit, now))
        unread = self.accepted[self.read.get(topic, 0) :]
        live = [id for id, where, expires in unread if where == topic and expires > now]
        gone = [id for id, where, expires in unread if where == topic and expires <= now]
        assert [entry.id for entry in page.entries] == live[:limit]
        assert not self.seen[topic] & {entry.id for entry in page.entries}
        if gone and cursor:
            assert page.pruned_before
        if page.pruned_before and not gone:
            # Only a reader that stayed away for longer than the node remembers may be told in vain.
            assert now - self.polled_at[topic] >= LIMITS.remember_seconds
        self.seen[topic] |= {entry.id for entry in page.entries}
        self.cursors[topic] = page.cursor
        if len(live) > limit:
            ids = [id for id, _, _ in self.accepted]
            self.read[topic] = ids.index(live[limit - 1]) + 1
        else:
            self.read[topic] = len(self.accepted)
            self.polled_at[topic] = now

    @invariant()
    def quota_counts_what_is_kept(self) -> None:
        query = "SELECT coalesce(sum(size), 0) FROM messages WHERE payload IS NOT NULL"
        kept = self.run(self.db.read(lambda c: c.execute(query).fetchone()[0]))
        assert self.run(self.store.used_bytes()) == kept


MailboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestMailbox = MailboxMachine.TestCase
