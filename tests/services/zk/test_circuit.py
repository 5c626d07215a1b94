"""The compiled circuit: that it is the ceremony's, and that its constraints leave no wire free."""

from pathlib import Path

import pytest
from tests.services.zk.conftest import MEMBER

from waypost.errors import InvalidKey, Unprovable
from waypost.protocol.poseidon import R
from waypost.protocol.rln import signal
from waypost.zk import circuit, proving_key
from waypost.zk.r1cs import ConstraintSystem, Row, Solver, dot

DIGEST = "5b3eaaaa78ac5a8c2d85da3e8ec0ed2a9c41fde7196919a609669c77870e4a8e"


def test_it_is_the_circuit_that_keys_were_made_for() -> None:
    system = circuit.system()
    assert (len(system.rows), system.wires, system.public) == (5820, 5844, 5)
    assert system.digest == DIGEST


def test_it_is_the_circuit_of_the_public_ceremony(published: Path) -> None:
    key = proving_key.read((published / "rln_final.zkey").read_bytes())
    key.require_fit(circuit.system())
    assert key.contributions == 61


def test_the_witness_holds_and_says_what_the_formulas_say() -> None:
    wires = circuit.witness(MEMBER, 4, 11, 12)
    assert not _broken(circuit.system(), wires)
    assert circuit.signal_of(wires) == signal(MEMBER, 4, 11, 12)


def test_every_wire_is_bound_by_a_constraint() -> None:
    """Changing any one wire breaks a constraint."""
    system = circuit.system()
    wires = circuit.witness(MEMBER, 4, 11, 12)
    users: dict[int, list[Row]] = {}
    for row in system.rows:
        for wire in {wire for terms in (row.a, row.b, row.c) for wire, _ in terms}:
            users.setdefault(wire, []).append(row)
    for wire in range(1, system.wires):
        wires[wire] += 1
        assert any(not _holds(row, wires) for row in users[wire]), wire
        wires[wire] -= 1


def test_digits_have_no_second_form() -> None:
    """A message id of 4 whose digits say 4 + R, or −1 at one place, breaks a constraint."""
    system = circuit.system()
    wires = circuit.witness(MEMBER, 4, 11, 12)
    for digits in ({5814: 2}, {5814: R - 1}, {5816: 0, 5815: 2}, {5829: 2, 5830: R - 1}):
        changed = [*wires]
        for wire, value in digits.items():
            changed[wire] = value
        assert _broken(system, changed)


def _broken(system: ConstraintSystem, wires: list[int]) -> list[int]:
    return [number for number, row in enumerate(system.rows) if not _holds(row, wires)]


def _holds(row: Row, wires: list[int]) -> bool:
    return (dot(row.a, wires) * dot(row.b, wires) - dot(row.c, wires)) % R == 0


# ---- The solver ----

ONE, OUT, X, MIDDLE = ((wire, 1) for wire in range(4))
CUBE = ConstraintSystem(4, 1, 1, (Row((MIDDLE,), (X,), ((1, 2),)), Row((X,), (X,), (MIDDLE,))))
"""Wire 1 is half the cube of wire 2, whatever the order of the rows."""


def test_wires_follow_from_each_other() -> None:
    assert Solver(CUBE, frozenset({2})).solve({2: 4}) == [1, 32, 4, 16]


def test_a_wire_that_is_given_wrongly_is_found() -> None:
    solver = Solver(CUBE, frozenset({2, 3}))
    assert solver.solve({2: 4, 3: 16})[1] == 32
    with pytest.raises(Unprovable, match="Constraint 1"):
        solver.solve({2: 4, 3: 17})
    with pytest.raises(Unprovable, match="Other wires"):
        solver.solve({2: 4})


@pytest.mark.parametrize("given", [set(), {3}, {1}])
def test_a_system_that_does_not_follow_is_refused(given: set[int]) -> None:
    with pytest.raises(InvalidKey, match="follow"):
        Solver(CUBE, frozenset(given))
