"""A rank-1 constraint system as circom compiles it: every row says (a·w)(b·w) = c·w for the vector w of
wires. Reads iden3's .r1cs format, version 1, and solves for the wires that follow from others."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from waypost.errors import InvalidKey, Unprovable
from waypost.protocol.poseidon import R, require_field_element
from waypost.zk.sections import Reader, section, unpack

Terms: TypeAlias = tuple[tuple[int, int], ...]
"""A linear combination: (wire, coefficient) by ascending wire, coefficients in [1, R)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One constraint."""

    a: Terms
    b: Terms
    c: Terms


@dataclass(frozen=True)
class ConstraintSystem:
    """Wire 0 is 1; then come `outputs` and `inputs`, which are public; then all others, `wires` together."""

    wires: int
    outputs: int
    inputs: int
    rows: tuple[Row, ...]

    @property
    def public(self) -> int:
        """How many signals a verifier sees."""
        return self.outputs + self.inputs

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything, in hex: equal systems, equal digests."""
        hasher = hashlib.sha256(repr((self.wires, self.outputs, self.inputs)).encode())
        for row in self.rows:
            hasher.update(repr((row.a, row.b, row.c)).encode())
        return hasher.hexdigest()


def read(data: bytes) -> ConstraintSystem:
    """The system in an .r1cs file. Raises InvalidKey."""
    sections = unpack(data, b"r1cs", 1)
    header = Reader(section(sections, 1))
    if header.u32() != 32 or header.number() != R:
        raise InvalidKey("The constraint system is over another field.")
    wires, outputs, inputs, _private = (header.u32() for _ in range(4))
    header.u64()  # labels
    count = header.u32()
    header.finish()
    body = Reader(section(sections, 2))
    rows = tuple(Row(_terms(body, wires), _terms(body, wires), _terms(body, wires)) for _ in range(count))
    body.finish()
    if outputs + inputs >= wires:
        raise InvalidKey("The constraint system has more public signals than wires.")
    return ConstraintSystem(wires, outputs, inputs, rows)


def _terms(body: Reader, wires: int) -> Terms:
    count = body.u32()
    data = body.take(36 * count)
    terms = []
    for start in range(0, len(data), 36):
        wire = int.from_bytes(data[start : start + 4], "little")
        factor = int.from_bytes(data[start + 4 : start + 36], "little")
        if wire >= wires or not 0 < factor < R:
            raise InvalidKey("A constraint names a wire or a factor out of range.")
        terms.append((wire, factor))
    return tuple(sorted(terms))


def dot(terms: Terms, values: Sequence[int]) -> int:
    """The linear combination's value, not reduced."""
    return sum([factor * values[wire] for wire, factor in terms])


# ---- Solving ----


@dataclass(frozen=True, slots=True)
class _Step:
    """Row `number` yields `wire`, which has the inverse factor `scale` in its c; None: the row is only
    checked."""

    number: int
    wire: int | None
    scale: int


class Solver:
    """Finds all wires from some: again and again a row with one unknown wire, in c, gives that wire."""

    def __init__(self, system: ConstraintSystem, given: frozenset[int]) -> None:
        """`given` are the wires that each solution starts from, besides wire 0. Raises InvalidKey when the
        others do not follow from them."""
        self.system = system
        self._given = given
        self._steps = self._plan()

    def solve(self, given: Mapping[int, int]) -> list[int]:
        """The values of all wires in [0, R). Raises Unprovable when a constraint does not hold, with its
        number, and InvalidFieldElement for a value that is not reduced."""
        if given.keys() != self._given:
            raise Unprovable("Other wires are given than the solver was made for.")
        values = [0] * self.system.wires
        values[0] = 1
        for wire, value in given.items():
            values[wire] = require_field_element(value)
        for step in self._steps:
            row = self.system.rows[step.number]
            difference = dot(row.a, values) * dot(row.b, values) - dot(row.c, values)
            if step.wire is not None:
                values[step.wire] = difference * step.scale % R
            elif difference % R:
                raise Unprovable(f"Constraint {step.number} does not hold.", constraint=step.number)
        return values

    def _plan(self) -> tuple[_Step, ...]:
        rows = self.system.rows
        known = {0, *self._given}
        unknown: list[set[int]] = []
        waiting: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            wires = {wire for terms in (row.a, row.b, row.c) for wire, _ in terms} - known
            unknown.append(wires)
            for wire in wires:
                waiting.setdefault(wire, []).append(number)
        ready = [number for number, wires in enumerate(unknown) if len(wires) <= 1]
        steps: list[_Step] = []
        done: set[int] = set()
        while ready:
            number = ready.pop()
            if number in done:
                continue
            step = self._step(number, unknown[number])
            if step is None:
                continue
            done.add(number)
            steps.append(step)
            if step.wire is not None:
                known.add(step.wire)
                for other in waiting[step.wire]:
                    unknown[other].discard(step.wire)
                    if len(unknown[other]) <= 1:
                        ready.append(other)
        if len(steps) != len(rows) or len(known) != self.system.wires:
            raise InvalidKey("The circuit's wires do not follow from its inputs.")
        return tuple(steps)

    def _step(self, number: int, unknown: set[int]) -> _Step | None:
        """None for a row that cannot give its unknown wire, but may be checked later."""
        if not unknown:
            return _Step(number, None, 0)
        (wire,) = unknown
        row = self.system.rows[number]
        if any(wire == each for terms in (row.a, row.b) for each, _ in terms):
            return None
        return _Step(number, wire, pow(dict(row.c)[wire], -1, R))
