"""Points that no honest party sends."""

import waypost.zk.reference  # noqa: F401, I001 - first, for it keeps py_ecc from raising the recursion limit
from py_ecc import optimized_bn128 as bn

from waypost.errors import InvalidPoint
from waypost.zk.points import G2, Q, decode_g2, encode_g2


def outside_the_subgroup() -> G2:
    """A point of the twisted curve whose order is not R."""
    for x in range(1, 100):
        try:
            point = decode_g2(x.to_bytes(32, "little") + bytes(32))
        except InvalidPoint:
            continue
        full = bn.FQ2(point[0]), bn.FQ2(point[1]), bn.FQ2.one()
        if not bn.is_inf(bn.multiply(full, bn.curve_order)):
            return point
    raise AssertionError("none found")


def unreduced() -> bytes:
    """A point of the subgroup whose x is written with a coordinate plus Q, in the bytes where only flags
    would show that."""
    point = bn.G2
    while True:
        x, y = bn.normalize(point)
        (first, second), (third, fourth) = map(int, x.coeffs), map(int, y.coeffs)
        if first + Q < 2**254:
            data = encode_g2(((first, second), (third, fourth)))
            return (first + Q).to_bytes(32, "little") + data[32:]
        point = bn.add(point, bn.G2)
