"""The message counter: no message id for two messages, whatever happens to clock, process and folder."""

import contextlib
import shutil
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from waypost import files
from waypost.client import rate
from waypost.client.rate import KEPT_EPOCHS, SLACK_SECONDS, RateCounter
from waypost.client.store import Store
from waypost.errors import DataInUse, EpochSpent, InvalidConfig, InvalidShares
from waypost.protocol.rln import (
    Membership,
    Signal,
    external_nullifier,
    hash_to_field,
    identity_commitment,
    recover_secret,
    signal,
)

SECRET, LIMIT, EPOCH, IDENTIFIER = 12_345, 3, 600, b"chain and contract and network"
COMMITMENT = identity_commitment(SECRET)
MEMBER = Membership(SECRET, LIMIT, 0, (0,) * 20)
START = 1_000 * EPOCH + 100


class Hand:
    """A clock that somebody sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def opened(folder: Path, clock: Hand, latest: int = 0, limit: int = LIMIT) -> RateCounter:
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder, (folder / "lock").open("wb"))
    return RateCounter(store, COMMITMENT, limit, IDENTIFIER, EPOCH, clock, latest=latest)


def begun(folder: Path, clock: Hand, limit: int = LIMIT) -> RateCounter:
    folder.mkdir(parents=True, exist_ok=True)
    RateCounter.begin(Store(folder, (folder / "lock").open("wb")), COMMITMENT)
    return opened(folder, clock, limit=limit)


def numbers(counter: RateCounter, *ids: bytes) -> list[tuple[int, int]]:
    slots = [counter.take(id) for id in ids]
    return [(slot.epoch, slot.message_id) for slot in slots]


@pytest.fixture
def clock() -> Hand:
    return Hand()


def test_messages_count_up_and_the_next_epoch_begins_anew(tmp_path: Path, clock: Hand) -> None:
    counter = begun(tmp_path, clock)
    assert counter.left == LIMIT
    assert numbers(counter, b"a", b"b", b"c") == [(1_000, 0), (1_000, 1), (1_000, 2)]
    assert counter.left == 0
    with pytest.raises(EpochSpent, match="All 3 messages of this epoch were sent") as refused:
        counter.take(b"d")
    assert refused.value.details == {"limit": 3, "used": 3, "epoch": 1_000, "seconds": 500}
    assert counter.seconds_to_next == 500
    clock.now += 500
    assert counter.seconds_to_next == 0
    assert numbers(counter, b"d") == [(1_001, 0)]


def test_a_message_that_is_sent_again_keeps_its_slot_while_the_epoch_lasts(
    tmp_path: Path, clock: Hand
) -> None:
    counter = begun(tmp_path, clock)
    assert numbers(counter, b"a", b"b", b"a", b"c", b"b") == [
        (1_000, 0),
        (1_000, 1),
        (1_000, 0),
        (1_000, 2),
        (1_000, 1),
    ]
    assert numbers(opened(tmp_path, clock), b"b") == [(1_000, 1)]
    clock.now += EPOCH
    assert numbers(counter, b"b", b"b") == [(1_001, 0), (1_001, 0)]


def test_a_message_that_was_sent_again_is_among_the_newest(
    tmp_path: Path, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "KEPT_MESSAGES", 2)
    counter = begun(tmp_path, clock)
    numbers(counter, b"a", b"b")
    clock.now += EPOCH
    assert numbers(counter, b"a", b"c", b"a") == [(1_001, 0), (1_001, 1), (1_001, 0)]


def test_each_turn_has_a_stamp_of_its_own(tmp_path: Path, clock: Hand) -> None:
    """Clocks of file systems are coarse: two turns may be made at one time."""
    counter = begun(tmp_path, clock)
    for turn in (1, 2, 3):
        record = Store(tmp_path, None).rate(COMMITMENT)
        assert record is not None
        assert (record.turn, record.marker.split()[0]) == (turn, str(turn))
        counter.take(b"%d" % turn)


def test_a_restart_goes_on(tmp_path: Path, clock: Hand) -> None:
    assert numbers(begun(tmp_path, clock), b"a") == [(1_000, 0)]
    assert numbers(opened(tmp_path, clock), b"b") == [(1_000, 1)]
    RateCounter.begin(Store(tmp_path, (tmp_path / "lock").open("wb")), COMMITMENT)
    assert numbers(opened(tmp_path, clock), b"c") == [(1_000, 2)]


def test_a_clock_that_jumps_returns_to_the_counts_of_its_epochs(tmp_path: Path, clock: Hand) -> None:
    counter = begun(tmp_path, clock)
    numbers(counter, b"a", b"b")
    clock.now += 10**9
    numbers(counter, b"c")
    clock.now = START
    assert numbers(counter, b"d") == [(1_000, 2)]
    clock.now += 10**9
    assert numbers(counter, b"e")[0][1] == 1


def test_epochs_that_are_forgotten_are_closed(tmp_path: Path, clock: Hand) -> None:
    counter = begun(tmp_path, clock)
    for number in range(KEPT_EPOCHS + 1):
        clock.now = START + number * EPOCH
        counter.take(b"%d" % number)
    clock.now = START
    sentence = r"^The clock is behind the epochs in which messages were sent; the next"
    with pytest.raises(EpochSpent, match=sentence) as refused:
        counter.take(b"late")
    assert refused.value.details["seconds"] == 500
    assert counter.left == 0
    clock.now = START + EPOCH
    assert numbers(opened(tmp_path, clock), b"1", b"late") == [(1_001, 0), (1_001, 1)]


def test_an_epoch_that_begins_when_the_folder_was_restored_may_be_closed_all_the_same(
    tmp_path: Path, clock: Hand
) -> None:
    begun(tmp_path, clock).take(b"a")
    store = Store(tmp_path, (tmp_path / "lock").open("wb"))
    record = store.rate(COMMITMENT)
    assert record is not None
    record.not_before = 1_001 * EPOCH
    record.identifiers[IDENTIFIER.hex()].floor = 1_003
    store.save_rate(COMMITMENT, record)
    clock.now = 1_001 * EPOCH
    with pytest.raises(EpochSpent, match="behind") as refused:
        opened(tmp_path, clock).take(b"b")
    assert refused.value.details == {"limit": LIMIT, "used": 0, "epoch": 1_001, "seconds": 2 * EPOCH}


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def unpacked_over(folder: Path, to: Path) -> Path:
    """A backup of this moment is unpacked over the folder itself, later."""
    archive = shutil.make_archive(str(to), "tar", folder)
    numbers(opened(folder, Hand()), b"after the backup")
    shutil.unpack_archive(archive, folder)
    return folder


def record_alone(folder: Path, to: Path) -> Path:
    """As a synchronisation that leaves the marker alone, since it looks unchanged."""
    record = next((folder / "memberships").glob("*.rate"))
    before = record.read_text()
    numbers(opened(folder, Hand()), b"after the backup")
    files.write(record, before)
    return folder


@pytest.mark.parametrize("restore", [copied, unpacked_over, record_alone])
def test_a_restored_folder_sends_nothing_before_the_next_epoch(
    tmp_path: Path, clock: Hand, restore: type
) -> None:
    numbers(begun(tmp_path / "home", clock), b"a")
    folder = restore(tmp_path / "home", tmp_path / "backup")
    counter = opened(folder, clock)
    assert (counter.left, counter.seconds_to_next) == (0, 500)
    with pytest.raises(EpochSpent, match="was restored") as refused:
        counter.take(b"b")
    assert refused.value.details["seconds"] == 500
    assert numbers(counter, b"a") == [(1_000, 0)]  # the same share as before
    again = opened(folder, clock)
    assert again.left == 0
    clock.now += EPOCH
    assert numbers(again, b"b") == [(1_001, 0)]


def test_shortly_before_an_epoch_ends_a_restored_folder_skips_the_next_one_too(
    tmp_path: Path, clock: Hand
) -> None:
    """Others' clocks may be in it already."""
    begun(tmp_path / "home", clock).take(b"a")
    clock.now = 1_001 * EPOCH - SLACK_SECONDS + 1
    counter = opened(copied(tmp_path / "home", tmp_path / "copy"), clock)
    assert counter.seconds_to_next == 719
    with pytest.raises(EpochSpent):
        counter.take(b"b")
    assert counter.seconds_to_next == 719, "that is on disk now"


def test_a_restored_folder_does_not_believe_a_clock_that_is_behind_the_chain(
    tmp_path: Path, clock: Hand
) -> None:
    begun(tmp_path / "home", clock).take(b"a")
    counter = opened(copied(tmp_path / "home", tmp_path / "copy"), clock, latest=START + 10 * EPOCH)
    for clock.now in (START, START + EPOCH, START + 10 * EPOCH):
        with pytest.raises(EpochSpent):
            counter.take(b"b")
    clock.now = START + 11 * EPOCH
    assert numbers(counter, b"b") == [(1_011, 0)]


def test_without_a_record_nothing_is_known_of_this_epoch(tmp_path: Path, clock: Hand) -> None:
    counter = opened(tmp_path, clock)
    sentence = r"^This folder is new or was restored, so what was sent in this epoch is not known; the next"
    with pytest.raises(EpochSpent, match=sentence):
        counter.take(b"a")
    clock.now += EPOCH
    assert numbers(counter, b"a") == [(1_001, 0)]


def test_two_copies_at_once_do_not_share_an_epoch(tmp_path: Path, clock: Hand) -> None:
    """The lock is a file, and a restore over a running process replaces it."""
    first = begun(tmp_path, clock)
    first.take(b"a")
    second = opened(tmp_path, clock)
    assert numbers(second, b"b") == [(1_000, 1)]
    with pytest.raises(EpochSpent):
        first.take(b"c")
    clock.now += EPOCH
    assert numbers(first, b"c") == [(1_001, 0)]
    with pytest.raises(EpochSpent):
        second.take(b"d")


def test_what_cannot_be_written_down_is_not_given_out(
    tmp_path: Path, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = begun(tmp_path, clock)

    def full(*_: object) -> None:
        raise InvalidConfig("No space left on device.")

    with monkeypatch.context() as patched:
        patched.setattr(files, "write", full)
        for _ in range(2):
            with pytest.raises(InvalidConfig):
                counter.take(b"a")
    with pytest.raises(EpochSpent):  # what the failed write used is not known
        counter.take(b"a")
    clock.now += EPOCH
    assert numbers(counter, b"a") == [(1_001, 0)]


def test_only_who_holds_the_lock_counts(tmp_path: Path, clock: Hand) -> None:
    begun(tmp_path, clock).take(b"a")
    reader = RateCounter(Store(tmp_path, None), COMMITMENT, LIMIT, IDENTIFIER, EPOCH, clock)
    assert reader.left == 2
    for id in (b"a", b"b"):
        with pytest.raises(DataInUse):
            reader.take(id)


def test_applications_count_apart(tmp_path: Path, clock: Hand) -> None:
    begun(tmp_path, clock).take(b"a")
    store = Store(tmp_path, (tmp_path / "lock").open("wb"))
    other = RateCounter(store, COMMITMENT, LIMIT, b"another network", EPOCH, clock)
    assert numbers(other, b"b") == [(1_000, 0)]
    assert numbers(opened(tmp_path, clock), b"c") == [(1_000, 1)]


class Sending(RuleBasedStateMachine):
    """A person with one membership, whose clock, processes and folder have every accident. Everything that
    was ever signalled is known to everybody. Time itself only goes forward; while somebody sends, the clock
    may be behind by anything, and ahead by no more than the nodes take (see SLACK_SECONDS)."""

    @initialize()
    def begin(self) -> None:
        self.root = TemporaryDirectory()
        self.folder = Path(self.root.name) / "home"
        self.true_time, self.clock = float(START), Hand()
        self.copies: list[Path] = []
        self.sent: set[tuple[bytes, int, int]] = set()
        self.counter = begun(self.folder, self.clock)

    @rule(word=st.integers(0, 30))
    def send(self, word: int) -> None:
        id = b"%d" % word
        try:
            slot = self.counter.take(id)
        except EpochSpent:
            assert self.counter.left == 0
            assert self.counter.seconds_to_next > 0
        else:
            self.sent.add((id, slot.epoch, slot.message_id))

    @rule(seconds=st.sampled_from([1, 30, 60, 119, 300, 600, 900, 10_000]))
    def time_passes(self, seconds: int) -> None:
        self.true_time += seconds
        self.clock.now += seconds
        self.clock.now = min(self.clock.now, self.true_time + 60)

    @rule(skew=st.sampled_from([60, 30, 0, 0, -1, -100, -600, -1_300, -50_000]))
    def the_clock_is_set(self, skew: int) -> None:
        self.clock.now = self.true_time + skew

    @rule()
    def the_process_ends(self) -> None:
        self.counter = opened(self.folder, self.clock, latest=int(self.true_time))

    @rule()
    def it_dies_between_marker_and_record(self) -> None:
        def die(*_: object) -> None:
            raise KeyboardInterrupt

        self.counter._store.save_rate = die  # type: ignore[method-assign, assignment]
        with contextlib.suppress(KeyboardInterrupt, EpochSpent):
            self.counter.take(b"never sent")
        self.the_process_ends()

    @rule()
    def a_backup_is_made(self) -> None:
        self.copies.append(copied(self.folder, Path(self.root.name) / f"copy {len(self.copies)}"))

    @rule(data=st.data(), over=st.booleans())
    def a_backup_is_restored(self, data: st.DataObject, over: bool) -> None:
        if self.copies:
            backup = data.draw(st.sampled_from(self.copies))
            if not over:
                shutil.rmtree(self.folder)
            shutil.copytree(backup, self.folder, dirs_exist_ok=True)
            self.the_process_ends()

    @rule()
    def a_backup_is_restored_under_a_running_process(self) -> None:
        if self.copies:
            shutil.copytree(self.copies[0], self.folder, dirs_exist_ok=True)
            self.counter._latest = int(self.true_time)

    def teardown(self) -> None:
        signals = [shown(*each) for each in sorted(self.sent)]
        for first, second in combinations(signals, 2):
            with pytest.raises(InvalidShares):
                recover_secret(first, second)
        self.root.cleanup()


def shown(id: bytes, epoch: int, message_id: int) -> Signal:
    return signal(MEMBER, message_id, hash_to_field(id), external_nullifier(epoch, IDENTIFIER))


TestSending = Sending.TestCase
TestSending.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_the_machine_would_see_a_secret_disclosed() -> None:
    assert recover_secret(shown(b"a", 7, 1), shown(b"b", 7, 1)) == SECRET
