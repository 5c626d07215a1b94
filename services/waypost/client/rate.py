"""How many messages a membership has signalled: no message id is ever used for two messages, for two shares
disclose the secret, and with it the stake. What is used is on disk before it leaves this object."""

from collections.abc import Callable
from dataclasses import dataclass

from waypost.client.marker import Marker
from waypost.client.records import EpochsRecord, RateRecord
from waypost.client.store import Store
from waypost.errors import EpochSpent

KEPT_EPOCHS = 64
"""Of which the counts are kept; older ones are closed for good."""
KEPT_MESSAGES = 256
"""Which get the same message id when they are sent again."""
SLACK_SECONDS = 120
"""How much earlier than the true time the latest clock may be that is known when a backup is found restored,
and how far ahead of it the clock may have been with which messages were sent."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave to signal one message: the epoch, and the circuit's message id, from 0."""

    epoch: int
    message_id: int


class RateCounter:
    """Counts for one member (`id_commitment`), `limit` messages in an epoch of `epoch_seconds`, in the
    application `identifier` (see protocol.rln). `clock` gives Unix seconds, right or wrong.

    The store must be open for writing: its lock keeps other processes out. Everything here happens without
    awaiting anything, so that neither another task nor a cancellation comes between count and file.

    Limits: the same membership on two devices, or a disk or machine set back to a snapshot while it runs, is
    not seen. A copied or restored folder is: it sends nothing before the next epoch.
    """

    def __init__(
        self,
        store: Store,
        id_commitment: int,
        limit: int,
        identifier: bytes,
        epoch_seconds: int,
        clock: Callable[[], float],
        *,
        latest: int = 0,
    ) -> None:
        """`latest`: the time of the chain's newest block, in case that the clock is behind. Raises
        InvalidConfig for a damaged file."""
        self.limit, self.epoch_seconds = limit, epoch_seconds
        self._store, self._clock, self._latest = store, clock, latest
        self._id_commitment, self._identifier = id_commitment, identifier.hex()
        self._marker = Marker(store.rate_path(id_commitment).with_suffix(".marker"))
        self._record = store.rate(id_commitment) or RateRecord()

    @classmethod
    def begin(cls, store: Store, id_commitment: int) -> None:
        """Before a commitment is registered: nothing has been signalled with it anywhere. Raises DataInUse,
        InvalidConfig."""
        if store.rate(id_commitment) is None:
            marker = Marker(store.rate_path(id_commitment).with_suffix(".marker"))
            store.require_writable()
            store.save_rate(id_commitment, RateRecord(turn=1, marker=marker.advance(1)))

    @property
    def epoch(self) -> int:
        """The clock's."""
        return int(self._clock()) // self.epoch_seconds

    @property
    def left(self) -> int:
        """How many more messages may be sent in this epoch."""
        if self._opens_in() > 0:
            return 0
        return self.limit - self._epochs.used.get(self.epoch, 0)

    @property
    def seconds_to_next(self) -> int:
        """Until a message can be sent: 0 if one can be now."""
        if self.left > 0:
            return 0
        return max(self._opens_in(), (self.epoch + 1) * self.epoch_seconds - int(self._clock()))

    def take(self, id: bytes) -> Slot:
        """A slot for the message of this id; the same one for the same message while its epoch lasts.

        Raises EpochSpent, with the seconds until there is one; DataInUse or InvalidConfig when it cannot be
        written down. Then none is used.
        """
        self._store.require_writable()
        restored = self._is_restored
        epoch, key = self.epoch, id.hex()
        if (known := self._epochs.recent.get(key)) and known[0] == epoch:
            # Right in a restored folder, too: what is written here was used for this message, and no other.
            return Slot(*known)
        if restored:
            self._skip()
        self._require_open(epoch)
        record = self._record.model_copy(deep=True)
        epochs = record.identifiers.setdefault(self._identifier, EpochsRecord())
        slot = Slot(epoch, epochs.used.get(epoch, 0))
        epochs.used[epoch] = slot.message_id + 1
        epochs.recent.pop(key, None)
        epochs.recent[key] = (epoch, slot.message_id)
        _prune(epochs)
        self._save(record)
        return slot

    # ---- When ----

    def _require_open(self, epoch: int) -> None:
        if self.left > 0:
            return
        seconds = self.seconds_to_next
        used = self._epochs.used.get(epoch, 0)
        if used >= self.limit:
            why = f"All {self.limit} messages of this epoch were sent"
        elif epoch * self.epoch_seconds < self._record.not_before:
            why = "This folder is new or was restored, so what was sent in this epoch is not known"
        else:
            why = "The clock is behind the epochs in which messages were sent"
        raise EpochSpent(
            f"{why}; the next message can be sent in {seconds} s.",
            limit=self.limit,
            used=used,
            epoch=epoch,
            seconds=seconds,
        )

    def _opens_in(self) -> int:
        """Seconds until an epoch that may be used at all."""
        length = self.epoch_seconds
        first = max(self._epochs.floor, -(-self._record.not_before // length))
        if self._is_restored:
            first = max(first, -(-self._after_restore() // length))
        return max(0, first * length - int(self._clock()))

    # ---- Restored ----

    @property
    def _is_restored(self) -> bool:
        return not self._record.marker or self._marker.stamp() != self._record.marker

    def _after_restore(self) -> int:
        return max(int(self._clock()), self._latest) + SLACK_SECONDS

    def _skip(self) -> None:
        """Another copy of the folder may have used anything up to now: only epochs that begin later are
        new."""
        record = self._record.model_copy()
        record.not_before = max(record.not_before, self._after_restore())
        self._save(record)

    # ---- On disk ----

    @property
    def _epochs(self) -> EpochsRecord:
        return self._record.identifiers.get(self._identifier) or EpochsRecord()

    def _save(self, record: RateRecord) -> None:
        """Takes the record over once it is on disk. If that fails in between, marker and record differ, and
        the rest of the epoch is given up."""
        record.turn += 1
        record.marker = self._marker.advance(record.turn)
        self._store.save_rate(self._id_commitment, record)
        self._record = record


def _prune(epochs: EpochsRecord) -> None:
    while len(epochs.used) > KEPT_EPOCHS:
        # Counted, not by the clock: one that jumps ahead for a moment closes no epoch of today.
        oldest = min(epochs.used)
        del epochs.used[oldest]
        epochs.floor = max(epochs.floor, oldest + 1)
    while len(epochs.recent) > KEPT_MESSAGES:
        del epochs.recent[next(iter(epochs.recent))]
