"""Points of BN254 (EIP-196, EIP-197) as plain numbers, and their one canonical encoding: that of arkworks,
compressed, little-endian, which zerokit puts on the wire."""

from typing import TypeAlias

from waypost.errors import InvalidPoint

Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""The prime of the field that coordinates lie in."""

Fq2: TypeAlias = tuple[int, int]
"""a + b·u, where u² = −1."""
G1: TypeAlias = tuple[int, int]
G2: TypeAlias = tuple[Fq2, Fq2]

G1_BYTES = 32
G2_BYTES = 64

_NEGATIVE = 0x80
_INFINITY = 0x40
_HALF = (Q - 1) // 2
_INVERSE_OF_2 = (Q + 1) // 2


def encode_g1(point: G1) -> bytes:
    """32 bytes. Raises InvalidPoint when it is not on the curve or a coordinate is not reduced."""
    x, y = point
    _require_reduced(x, y)
    if (y * y - x * x * x - 3) % Q:
        raise InvalidPoint("The point is not on the curve.")
    return _flagged(x.to_bytes(32, "little"), y > _HALF)


def encode_g2(point: G2) -> bytes:
    """64 bytes. Raises InvalidPoint when it is not on the twisted curve or a coordinate is not reduced.
    Does not look at the subgroup."""
    x, y = point
    _require_reduced(*x, *y)
    if _square(y) != _right_side(x):
        raise InvalidPoint("The point is not on the twisted curve.")
    return _flagged(x[0].to_bytes(32, "little") + x[1].to_bytes(32, "little"), _is_negative(y))


def decode_g1(data: bytes) -> G1:
    """The point. Raises InvalidPoint for anything that encode_g1 does not make, infinity too."""
    body, negative = _unflagged(data, G1_BYTES)
    x = int.from_bytes(body, "little")
    _require_reduced(x)
    square = (x * x * x + 3) % Q
    y = pow(square, (Q + 1) // 4, Q)
    if y * y % Q != square:
        raise InvalidPoint("No point of the curve has this x.")
    return x, Q - y if negative != (y > _HALF) else y


def decode_g2(data: bytes) -> G2:
    """The point. Raises InvalidPoint for anything that encode_g2 does not make, infinity too. Does not look
    at the subgroup."""
    body, negative = _unflagged(data, G2_BYTES)
    x = int.from_bytes(body[:32], "little"), int.from_bytes(body[32:], "little")
    _require_reduced(*x)
    y = _root(_right_side(x))
    if y is None:
        raise InvalidPoint("No point of the twisted curve has this x.")
    return x, ((-y[0]) % Q, (-y[1]) % Q) if negative != _is_negative(y) else y


def _require_reduced(*coordinates: int) -> None:
    if not all(0 <= each < Q for each in coordinates):
        raise InvalidPoint("A coordinate is not reduced modulo the field's prime.")


def _flagged(body: bytes, negative: bool) -> bytes:
    return body[:-1] + bytes([body[-1] | (_NEGATIVE if negative else 0)])


def _unflagged(data: bytes, size: int) -> tuple[bytes, bool]:
    if len(data) != size:
        raise InvalidPoint(f"A point takes {size} bytes, not {len(data)}.", expected=size, given=len(data))
    if data[-1] & _INFINITY:
        raise InvalidPoint("The point at infinity has no place here.")
    return data[:-1] + bytes([data[-1] & ~_NEGATIVE]), bool(data[-1] & _NEGATIVE)


# ---- The quadratic extension ----


def _multiply(a: Fq2, b: Fq2) -> Fq2:
    return (a[0] * b[0] - a[1] * b[1]) % Q, (a[0] * b[1] + a[1] * b[0]) % Q


def _square(a: Fq2) -> Fq2:
    return _multiply(a, a)


def _inverse(a: Fq2) -> Fq2:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, Q)
    return a[0] * norm % Q, -a[1] * norm % Q


_B = _multiply((3, 0), _inverse((9, 1)))


def _right_side(x: Fq2) -> Fq2:
    cube = _multiply(_square(x), x)
    return (cube[0] + _B[0]) % Q, (cube[1] + _B[1]) % Q


def _is_negative(y: Fq2) -> bool:
    """Whether y is the larger of y and −y, comparing the part of u first."""
    return y[1] > _HALF or (y[1] == 0 and y[0] > _HALF)


def _root(a: Fq2) -> Fq2 | None:
    """A square root, by the norm (Q ≡ 3 mod 4), or None."""
    norm = (a[0] * a[0] + a[1] * a[1]) % Q
    length = pow(norm, (Q + 1) // 4, Q)
    for sign in (length, -length):
        square = (a[0] + sign) * _INVERSE_OF_2 % Q
        real = pow(square, (Q + 1) // 4, Q)
        if real * real % Q == square:
            imaginary = a[1] * pow(2 * real, -1, Q) if real else pow(-a[0] % Q, (Q + 1) // 4, Q)
            root = real, imaginary % Q
            if _square(root) == (a[0] % Q, a[1] % Q):
                return root
    return None
