"""The Poseidon hash over BN254's scalar field, as circomlib, zerokit and the contracts compute it (x^5,
capacity 0).

Source: Grassi et al., "Poseidon", eprint 2019/458; parameters from its Grain LFSR (section F), sparse form
of the partial rounds from its appendix B.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from waypost.errors import InvalidFieldElement

R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""The order of BN254's groups: the field of every value that is hashed or proved."""

FULL_ROUNDS = 8
PARTIAL_ROUNDS = {2: 56, 3: 57, 4: 56}
"""By width, which is one more than the number of inputs."""

try:  # eight times as fast for pairs, on the one platform that it has a wheel for
    from light_poseidon_python import Hasher

    _hash_pair: Callable[[list[int]], int] | None = Hasher(2).hash
except ImportError:
    _hash_pair = None

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class SparseRound:
    """How a partial round mixes: `first` makes the new first element from the whole state, `column` times
    the old first element is added to each other element."""

    constant: int
    first: tuple[int, ...]
    column: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parameters:
    """Poseidon of one width: `plain` are the constants that the paper adds before each round. In sparse
    form `constants[0]` is added before the first full round, `constants[i]` after the S-boxes of full round
    i − 1; the last full round has none. `bridge` mixes between the first full rounds and the partial ones,
    `mix` everywhere else."""

    width: int
    plain: Matrix
    constants: Matrix
    mix: Matrix
    bridge: Matrix
    partial: tuple[SparseRound, ...]


def poseidon(inputs: Sequence[int]) -> int:
    """The hash of one to three field elements. Raises InvalidFieldElement for any other number of inputs,
    and for an input that is not reduced."""
    for each in inputs:
        require_field_element(each)
    if len(inputs) + 1 not in PARTIAL_ROUNDS:
        raise InvalidFieldElement(f"Poseidon takes one to three inputs here, not {len(inputs)}.")
    if len(inputs) == 2 and _hash_pair is not None:
        return int(_hash_pair(list(inputs)))
    return hash_plainly(inputs)


def hash_plainly(inputs: Sequence[int]) -> int:
    """As `poseidon`, for reduced inputs, and always in Python: some 0.19, 0.24 or 0.28 ms for one,
    two or three."""
    p = parameters(len(inputs) + 1)
    state = [value + constant for value, constant in zip((0, *inputs), p.constants[0], strict=True)]
    half = FULL_ROUNDS // 2
    for number in range(1, half + 1):
        state = _full_round(state, p.constants[number], p.mix if number < half else p.bridge)
    for each in p.partial:
        head = pow(state[0], 5, R) + each.constant
        tail = state[1:]
        state = [each.first[0] * head + sum(map(int.__mul__, each.first[1:], tail))]
        state[0] %= R
        state += [(value + factor * head) % R for value, factor in zip(tail, each.column, strict=True)]
    for number in range(half + 1, FULL_ROUNDS):
        state = _full_round(state, p.constants[number], p.mix)
    return sum(factor * pow(value, 5, R) for factor, value in zip(p.mix[0], state, strict=True)) % R


def require_field_element(value: int) -> int:
    """The value, if it lies in [0, R). Raises InvalidFieldElement."""
    if not 0 <= value < R:
        raise InvalidFieldElement("The number is not reduced modulo the order of BN254.")
    return value


def _full_round(state: Sequence[int], constants: Sequence[int], mix: Matrix) -> list[int]:
    boxed = [pow(value, 5, R) + constant for value, constant in zip(state, constants, strict=True)]
    return [sum(map(int.__mul__, row, boxed)) % R for row in mix]


# ---- Parameters ----


@cache
def parameters(width: int) -> Parameters:
    """The parameters of a width in PARTIAL_ROUNDS, computed once (17 to 34 ms)."""
    partial_rounds = PARTIAL_ROUNDS[width]
    numbers = _grain(width, partial_rounds)
    rounds = FULL_ROUNDS + partial_rounds
    plain = [[next(n for n in numbers if n < R) for _ in range(width)] for _ in range(rounds)]
    points = list(islice(numbers, 2 * width))
    mix = tuple(tuple(pow(x + y, -1, R) for y in points[width:]) for x in points[:width])
    inverse = _inverse(mix)

    # Constants move backwards through the mixing and, but for the first element's, through the partial S-box.
    half = FULL_ROUNDS // 2
    heads = [0] * partial_rounds
    carried = plain[half + partial_rounds]
    for index in reversed(range(partial_rounds)):
        before = _apply(inverse, carried)
        heads[index] = before[0]
        own = plain[half + index]
        carried = [own[0], *((a + b) % R for a, b in zip(own[1:], before[1:], strict=True))]
    early = [_apply(inverse, each) for each in plain[1:half]]
    late = [_apply(inverse, each) for each in plain[half + partial_rounds + 1 :]]
    constants = (plain[0], *early, _apply(inverse, carried), *late)

    # Each mixing matrix is a sparse one times a block that commutes with the partial S-box: that joins the
    # mixing before.
    sparse: list[SparseRound] = []
    current = mix
    for index in reversed(range(partial_rounds)):
        block = tuple(row[1:] for row in current[1:])
        across = _apply(tuple(zip(*_inverse(block), strict=True)), current[0][1:])
        column = tuple(row[0] for row in current[1:])
        sparse.append(SparseRound(heads[index], (current[0][0], *across), column))
        padded = ((1, *(0,) * (width - 1)), *((0, *row) for row in block))
        current = _multiply(padded, mix)
    return Parameters(
        width, tuple(map(tuple, plain)), tuple(map(tuple, constants)), mix, current, tuple(reversed(sparse))
    )


def _grain(width: int, partial_rounds: int) -> Iterator[int]:
    """The 254-bit numbers of the Grain LFSR, for a prime field and the S-box x^5."""
    bits = R.bit_length()
    fields = (
        (1, 2),
        (0, 4),
        (bits, 12),
        (width, 12),
        (FULL_ROUNDS, 10),
        (partial_rounds, 10),
        (2**30 - 1, 30),
    )
    state = 0
    for value, size in fields:
        state = state << size | value

    def stream() -> Iterator[int]:
        """Bits, oldest first. The nearest tap is 18 steps back, so 18 bits come at a time."""
        nonlocal state
        while True:
            fresh = 0
            for tap in (17, 28, 41, 56, 66, 79):
                fresh ^= state >> (tap - 17)
            fresh &= 2**18 - 1
            state = (state << 18 | fresh) & 2**80 - 1
            for place in range(17, -1, -1):
                yield fresh >> place & 1

    stream_of_bits = islice(stream(), 160, None)
    chosen = (bit for select, bit in zip(stream_of_bits, stream_of_bits, strict=True) if select)
    while True:
        number = 0
        for bit in islice(chosen, bits):
            number = number << 1 | bit
        yield number


def _apply(matrix: Matrix, vector: Sequence[int]) -> list[int]:
    return [sum(map(int.__mul__, row, vector)) % R for row in matrix]


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    columns = tuple(zip(*right, strict=True))
    return tuple(tuple(sum(map(int.__mul__, row, column)) % R for column in columns) for row in left)


def _inverse(matrix: Matrix) -> Matrix:
    """Gauss-Jordan; the matrices here are never singular."""
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = pow(rows[column][column], -1, R)
        rows[column] = [value * scale % R for value in rows[column]]
        for i in range(size):
            if i != column and (factor := rows[i][column]):
                rows[i] = [(a - factor * b) % R for a, b in zip(rows[i], rows[column], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)
