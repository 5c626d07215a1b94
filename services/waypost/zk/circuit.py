"""The RLN-v2 circuit of circuits/rln.circom, compiled: its constraints, and the wires' values for a
member's signal."""

import lzma
from functools import cache
from importlib import resources

from waypost.errors import Unprovable
from waypost.protocol.rln import DEPTH, LIMIT_BITS, Membership, Signal
from waypost.zk.r1cs import ConstraintSystem, Solver, read

FILE = "rln.r1cs.xz"

# The places of wires, which the compiler gives inputs first. The highest digit of a number is no wire, for it
# follows from the number and the others.
_X, _EXTERNAL_NULLIFIER, _SECRET, _LIMIT, _MESSAGE_ID, _SIBLINGS = range(4, 10)
_SIDES = _SIBLINGS + DEPTH
_DIGITS = 5814
_DISTANCE_DIGITS = _DIGITS + LIMIT_BITS - 1


@cache
def system() -> ConstraintSystem:
    """The constraint system that `make circuit` compiled: that of the public ceremony."""
    return read(lzma.decompress(resources.files("waypost.zk").joinpath(FILE).read_bytes()))


@cache
def _solver() -> Solver:
    return Solver(system(), frozenset(_inputs(0, 0, 0, 0, 0, 0, (0,) * DEPTH)))


def witness(membership: Membership, message_id: int, x: int, external_nullifier: int) -> list[int]:
    """The values of all wires for the signal. Raises Unprovable, naming the constraint, when the circuit
    does not allow it (a message id that is not below the limit), InvalidFieldElement for a number out of
    the field."""
    given = _inputs(
        membership.secret,
        membership.limit,
        message_id,
        x,
        external_nullifier,
        membership.index,
        membership.siblings,
    )
    try:
        return _solver().solve(given)
    except Unprovable as error:
        if message_id < membership.limit:
            raise
        sentence = f"Message id {message_id} is not below the limit of {membership.limit}."
        raise Unprovable(sentence, **error.details) from None


def signal_of(wires: list[int]) -> Signal:
    """The public part of a witness."""
    return Signal(*wires[1:6])


def _inputs(
    secret: int, limit: int, message_id: int, x: int, external: int, index: int, siblings: tuple[int, ...]
) -> dict[int, int]:
    given = {_X: x, _EXTERNAL_NULLIFIER: external, _SECRET: secret, _LIMIT: limit, _MESSAGE_ID: message_id}
    for level, sibling in enumerate(siblings):
        given[_SIBLINGS + level] = sibling
        given[_SIDES + level] = index >> level & 1
    distance = message_id + 2**LIMIT_BITS - limit
    for place in range(LIMIT_BITS - 1):
        given[_DIGITS + place] = message_id >> place & 1
        given[_DISTANCE_DIGITS + place] = distance >> place & 1
    return given
