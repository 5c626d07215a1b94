"""The container of iden3's binary files (.r1cs, .zkey): a magic word, a version, then numbered sections."""

import struct
from collections.abc import Mapping

from waypost.errors import InvalidKey


class Reader:
    """Reads numbers from bytes one after another. Raises InvalidKey when they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def number(self) -> int:
        """A number of 32 bytes, little-endian."""
        return int.from_bytes(self.take(32), "little")

    def take(self, size: int) -> bytes:
        start, self._offset = self._offset, self._offset + size
        if self._offset > len(self._data):
            raise InvalidKey("The file ends in the middle of a section.")
        return self._data[start : self._offset]

    def finish(self) -> None:
        """Raises InvalidKey unless everything was read."""
        if self._offset != len(self._data):
            raise InvalidKey("A section is longer than what it should hold.")


def unpack(data: bytes, magic: bytes, version: int) -> Mapping[int, bytes]:
    """The sections by number. Raises InvalidKey for another kind of file, and for a number that comes
    twice."""
    reader = Reader(data)
    if reader.take(4) != magic or reader.u32() != version:
        raise InvalidKey(f"This is no {magic.decode()} file of version {version}.")
    sections: dict[int, bytes] = {}
    for _ in range(reader.u32()):
        number, size = reader.u32(), reader.u64()
        if number in sections:
            raise InvalidKey(f"The file has section {number} twice.")
        sections[number] = reader.take(size)
    reader.finish()
    return sections


def pack(sections: Mapping[int, bytes], magic: bytes, version: int) -> bytes:
    """The file of these sections, in their order."""
    parts = [magic, struct.pack("<II", version, len(sections))]
    for number, body in sections.items():
        parts += [struct.pack("<IQ", number, len(body)), body]
    return b"".join(parts)


def section(sections: Mapping[int, bytes], number: int) -> bytes:
    """One section. Raises InvalidKey when it is missing."""
    try:
        return sections[number]
    except KeyError:
        raise InvalidKey(f"The file lacks section {number}.") from None
