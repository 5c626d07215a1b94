"""What a client remembers between runs: its channels and its place in every mailbox. No secrets: keys come
from the seed. One folder per deployment, named in identity.json; one process at a time writes it."""

import asyncio
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self, TypeVar

from pydantic import BaseModel, ValidationError

from waypost import files
from waypost.client.records import ChannelRecord, MailboxRecord, MembershipRecord, RateRecord, RelayRecord
from waypost.errors import DataInUse, DataOfAnotherChain, InvalidConfig

FORMAT = 1
LOCK_WAIT_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.05

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Identity:
    """The deployment that a folder's state belongs to. `genesis` is the hash of the chain's first block:
    development chains restart under the same id and addresses, and their channels are gone then."""

    chain_id: int
    channels: str
    registry: str
    token: str
    genesis: str

    @property
    def folder(self) -> str:
        """A name for the folder: the chain id, and a digest of the rest."""
        content = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{self.chain_id}-{hashlib.sha256(content).hexdigest()[:12]}"


class Store:
    """The state files of one payer on one deployment. Every write is on disk before the call returns."""

    def __init__(self, folder: Path, lock: IO[bytes] | None) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    async def open(
        cls,
        home: Path,
        identity: Identity,
        payer: str,
        *,
        exclusive: bool = True,
        wait: float = LOCK_WAIT_SECONDS,
    ) -> Self:
        """Open the state under `home`, made when absent. Without `exclusive` it is only read.

        Raises DataInUse when another process holds it for longer than `wait` seconds, DataOfAnotherChain,
        InvalidConfig.
        """
        folder = home / "chains" / identity.folder / payer
        _check_identity(folder.parent / "identity.json", identity)
        lock = await _acquire(folder / "lock", wait) if exclusive else None
        return cls(folder, lock)

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def channels(self) -> list[ChannelRecord]:
        """Every channel that was ever begun, in order of payee and index."""
        files = sorted((self.folder / "channels").glob("*.json"))
        records = [_read(path, ChannelRecord) for path in files]
        return sorted(
            (record for record in records if record), key=lambda record: (record.payee, record.index)
        )

    def save_channel(self, record: ChannelRecord) -> None:
        """Replace one channel's record."""
        self._write(self._channel_path(record), record)

    def drop_channel(self, record: ChannelRecord) -> None:
        """Forget a channel that never came to be."""
        self.require_writable()
        self._channel_path(record).unlink(missing_ok=True)

    def mailbox(self) -> MailboxRecord:
        """Cursors and the ids of messages that were read."""
        return _read(self._mailbox_path, MailboxRecord) or MailboxRecord()

    def save_mailbox(self, record: MailboxRecord) -> None:
        """Replace the mailbox's record."""
        self._write(self._mailbox_path, record)

    def memberships(self) -> list[MembershipRecord]:
        """Every membership that was ever begun, in order of index."""
        records = [_read(path, MembershipRecord) for path in (self.folder / "memberships").glob("*.json")]
        return sorted((record for record in records if record), key=lambda record: record.index)

    def save_membership(self, record: MembershipRecord) -> None:
        """Replace one membership's record."""
        self._write(self.folder / "memberships" / f"{record.id_commitment}.json", record)

    def relay(self) -> RelayRecord:
        """How far subscriptions were read."""
        return _read(self.folder / "relay.json", RelayRecord) or RelayRecord()

    def save_relay(self, record: RelayRecord) -> None:
        """Replace how far subscriptions were read."""
        self._write(self.folder / "relay.json", record)

    def rate(self, id_commitment: int) -> RateRecord | None:
        """What a membership has signalled."""
        return _read(self.rate_path(id_commitment), RateRecord)

    def save_rate(self, id_commitment: int, record: RateRecord) -> None:
        """Replace what a membership has signalled."""
        self._write(self.rate_path(id_commitment), record)

    def rate_path(self, id_commitment: int) -> Path:
        """Where that is kept; other files of the membership are beside it."""
        return self.folder / "memberships" / f"{id_commitment}.rate"

    @property
    def _mailbox_path(self) -> Path:
        return self.folder / "mailbox.json"

    def _channel_path(self, record: ChannelRecord) -> Path:
        return self.folder / "channels" / f"{record.signer}.json"

    @property
    def is_writable(self) -> bool:
        """Whether this process holds it."""
        return self._lock is not None

    def require_writable(self) -> None:
        """Raises DataInUse if it was opened for reading only, or closed."""
        if self._lock is None:
            raise DataInUse(f"{self.folder} was opened for reading only.", path=str(self.folder))

    def _write(self, path: Path, record: BaseModel) -> None:
        self.require_writable()
        files.write(path, record.model_dump_json(by_alias=True, indent=1) + "\n")


def _read(path: Path, model: type[Record]) -> Record | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise InvalidConfig(f"{path} is damaged: {problem['msg']}.", path=str(path)) from error


def _check_identity(path: Path, identity: Identity) -> None:
    expected = {"format": FORMAT, **asdict(identity)}
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        files.write(path, json.dumps(expected, indent=1) + "\n")
        return
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{path} cannot be read.", path=str(path)) from error
    if not isinstance(found, Mapping) or dict(found) != expected:
        raise DataOfAnotherChain(
            f"{path.parent} holds the state of another deployment.", path=str(path.parent)
        )


async def _acquire(path: Path, wait: float) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be opened: {error.strerror}.", path=str(path)) from error
    give_up = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= give_up:
                file.close()
                sentence = f"Another process uses {path.parent}; try again when it is done."
                raise DataInUse(sentence, path=str(path.parent)) from None
        await asyncio.sleep(LOCK_POLL_SECONDS)
