"""A Groth16 proving key in snarkjs's .zkey format, version 1: reads and writes it. Numbers in it are in
Montgomery form (times 2^256), little-endian; a point of zeros is infinity."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from waypost.errors import InvalidKey
from waypost.protocol.poseidon import R
from waypost.zk.points import G1, G2, Q
from waypost.zk.r1cs import ConstraintSystem
from waypost.zk.sections import Reader, pack, section, unpack
from waypost.zk.verifying_key import VerifyingKey

MONTGOMERY = 2**256

Coefficient: TypeAlias = tuple[int, int, int, int]
"""(matrix: 0 for a and 1 for b, row, wire, value). After the system's rows, one row of a for each public
wire."""


@dataclass(frozen=True)
class ProvingKey:
    """Points by wire in `a`, `b1`, `b2`, and from the first private wire on in `c`; by point of the domain
    in `h`. None is infinity. `contributions` counts those of the ceremony's second phase."""

    verifying_key: VerifyingKey
    beta1: G1
    delta1: G1
    domain: int
    a: Sequence[G1 | None]
    b1: Sequence[G1 | None]
    b2: Sequence[G2 | None]
    c: Sequence[G1 | None]
    h: Sequence[G1 | None]
    coefficients: Sequence[Coefficient]
    contributions: int

    def require_fit(self, system: ConstraintSystem) -> None:
        """Raises InvalidKey unless the key was made for exactly this system's a and b. (A key holds no c;
        that one differs shows when a proof made with the key does not hold.)"""
        if sorted(self.coefficients) != sorted(coefficients(system)) or len(self.a) != system.wires:
            raise InvalidKey("The proving key was made for another circuit.")


def coefficients(system: ConstraintSystem) -> list[Coefficient]:
    """Those that a key for the system holds."""
    found = []
    for number, row in enumerate(system.rows):
        found += [(0, number, wire, value) for wire, value in row.a]
        found += [(1, number, wire, value) for wire, value in row.b]
    return found + [(0, len(system.rows) + wire, wire, 1) for wire in range(system.public + 1)]


# ---- Reading ----


def read(data: bytes) -> ProvingKey:
    """The key in a .zkey file. Raises InvalidKey. Points are not checked against the curve but for those of
    the verifying key: a prover does that as it decodes them."""
    sections = unpack(data, b"zkey", 1)
    if section(sections, 1) != struct.pack("<I", 1):
        raise InvalidKey("The proving key is for another protocol than Groth16.")
    header = Reader(section(sections, 2))
    if (header.u32(), header.number(), header.u32(), header.number()) != (32, Q, 32, R):
        raise InvalidKey("The proving key is over another curve.")
    wires, public, domain = header.u32(), header.u32(), header.u32()
    alpha, beta1 = (_required(_g1(header.take(64))) for _ in range(2))
    beta, gamma = (_required(_g2(header.take(128))) for _ in range(2))
    delta1, delta = _required(_g1(header.take(64))), _required(_g2(header.take(128)))
    header.finish()
    if public >= wires or domain & (domain - 1) or not 2 <= domain <= 2**27:
        raise InvalidKey("The proving key's header holds impossible sizes.")
    ic = tuple(map(_required, _all_g1(section(sections, 3), public + 1)))
    key = VerifyingKey(alpha, beta, gamma, delta, ic)
    contributions = Reader(section(sections, 10))
    contributions.take(64)  # the hash of the circuit's first key
    return ProvingKey(
        key,
        beta1,
        delta1,
        domain,
        _all_g1(section(sections, 5), wires),
        _all_g1(section(sections, 6), wires),
        _all_g2(section(sections, 7), wires),
        _all_g1(section(sections, 8), wires - public - 1),
        _all_g1(section(sections, 9), domain),
        _coefficients(section(sections, 4), wires, domain),
        contributions.u32(),
    )


_Point = TypeVar("_Point", G1, G2)

_OUT_OF_Q = pow(MONTGOMERY, -1, Q)
_OUT_OF_R_TWICE = pow(MONTGOMERY, -2, R)


def _coordinate(data: bytes) -> int:
    value = int.from_bytes(data, "little")
    if value >= Q:
        raise InvalidKey("A coordinate in the proving key is not reduced.")
    return value * _OUT_OF_Q % Q


def _g1(data: bytes) -> G1 | None:
    x, y = _coordinate(data[:32]), _coordinate(data[32:])
    return (x, y) if x or y else None


def _g2(data: bytes) -> G2 | None:
    a, b, c, d = (_coordinate(data[start : start + 32]) for start in range(0, 128, 32))
    return ((a, b), (c, d)) if a or b or c or d else None


def _required(point: _Point | None) -> _Point:
    if point is None:
        raise InvalidKey("The proving key has infinity where a point must be.")
    return point


def _all_g1(data: bytes, count: int) -> list[G1 | None]:
    _require_size(data, count * 64)
    return [_g1(data[start : start + 64]) for start in range(0, len(data), 64)]


def _all_g2(data: bytes, count: int) -> list[G2 | None]:
    _require_size(data, count * 128)
    return [_g2(data[start : start + 128]) for start in range(0, len(data), 128)]


def _require_size(data: bytes, size: int) -> None:
    if len(data) != size:
        raise InvalidKey("A section of the proving key has the wrong size.")


def _coefficients(data: bytes, wires: int, domain: int) -> list[Coefficient]:
    reader = Reader(data)
    found = []
    for _ in range(reader.u32()):
        matrix, row, wire, value = reader.u32(), reader.u32(), reader.u32(), reader.number()
        if matrix > 1 or row >= domain or wire >= wires or value >= R:
            raise InvalidKey("A coefficient of the proving key is out of range.")
        found.append((matrix, row, wire, value * _OUT_OF_R_TWICE % R))
    reader.finish()
    return found


# ---- Writing ----


def write(key: ProvingKey) -> bytes:
    """The .zkey file of a key without contributions. The same key gives the same bytes."""
    vk = key.verifying_key
    header = (
        struct.pack("<I", 32) + Q.to_bytes(32, "little") + struct.pack("<I", 32) + R.to_bytes(32, "little")
    )
    header += struct.pack("<III", len(key.a), vk.public, key.domain)
    header += _bytes_g1(vk.alpha) + _bytes_g1(key.beta1) + _bytes_g2(vk.beta) + _bytes_g2(vk.gamma)
    header += _bytes_g1(key.delta1) + _bytes_g2(vk.delta)
    values = [
        struct.pack("<III", *place) + (value * MONTGOMERY**2 % R).to_bytes(32, "little")
        for *place, value in key.coefficients
    ]
    sections = {
        1: struct.pack("<I", 1),
        2: header,
        3: b"".join(map(_bytes_g1, vk.ic)),
        4: struct.pack("<I", len(values)) + b"".join(values),
        5: b"".join(map(_bytes_g1, key.a)),
        6: b"".join(map(_bytes_g1, key.b1)),
        7: b"".join(map(_bytes_g2, key.b2)),
        8: b"".join(map(_bytes_g1, key.c)),
        9: b"".join(map(_bytes_g1, key.h)),
        10: bytes(64) + struct.pack("<I", 0),
    }
    return pack(sections, b"zkey", 1)


def _bytes_g1(point: G1 | None) -> bytes:
    return b"".join((each * MONTGOMERY % Q).to_bytes(32, "little") for each in point or (0, 0))


def _bytes_g2(point: G2 | None) -> bytes:
    return b"".join(map(_bytes_g1, point or (None, None)))
