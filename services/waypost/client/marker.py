"""A file that a copy of its folder does not reproduce: by it a restored backup is told from the folder
itself. It sees copies, archives and synchronised folders, not a whole disk or machine that is set back to a
snapshot."""

import os
from pathlib import Path

from waypost.errors import InvalidConfig


class Marker:
    """Whoever keeps state writes a turn here first, and the stamp that this gives into the state: a count,
    and what the file system says of the file, of which nobody can choose the time of the last change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stamp(self) -> str:
        """As the file is now; empty if there is none that can be read."""
        try:
            with self._path.open("rb") as file:
                return _stamp(file.read(32), file.fileno())
        except OSError:
            return ""

    def advance(self, turn: int) -> str:
        """The stamp after this turn, which is on disk then. Raises InvalidConfig."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
                content = str(turn).encode()
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
                return _stamp(content, file.fileno())
        except OSError as error:
            sentence = f"{self._path} cannot be written: {error.strerror or error}."
            raise InvalidConfig(sentence, path=str(self._path)) from error


def _stamp(content: bytes, handle: int) -> str:
    state = os.fstat(handle)
    turn = content.decode(errors="replace")
    return f"{turn} {state.st_dev} {state.st_ino} {state.st_ctime_ns}"
