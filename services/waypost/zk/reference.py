"""BN254 by py_ecc, in Python: a proof takes about a second to check."""

import sys
from collections.abc import Sequence

_LIMIT = sys.getrecursionlimit()

from py_ecc import optimized_bn128 as bn  # noqa: E402

# py_ecc raises the limit to 100,000 as it is imported: then nested JSON overflows the stack of the process.
sys.setrecursionlimit(_LIMIT)

from waypost.errors import InvalidPoint  # noqa: E402
from waypost.zk.curve import Element  # noqa: E402
from waypost.zk.points import decode_g1, decode_g2  # noqa: E402


class ReferenceCurve:
    """A Curve."""

    name = "py_ecc"

    def g1(self, data: bytes) -> Element:
        x, y = decode_g1(data)
        point = bn.FQ(x), bn.FQ(y), bn.FQ.one()
        if not bn.is_on_curve(point, bn.b):
            raise InvalidPoint("The point is not on the curve.")
        return point

    def g2(self, data: bytes) -> Element:
        x, y = decode_g2(data)
        point = bn.FQ2(x), bn.FQ2(y), bn.FQ2.one()
        if not bn.is_on_curve(point, bn.b2):
            raise InvalidPoint("The point is not on the twisted curve.")
        if not bn.is_inf(bn.multiply(point, bn.curve_order)):
            raise InvalidPoint("The point is outside the subgroup.")
        return point

    def multiply(self, element: Element, scalar: int) -> Element:
        return bn.multiply(element, scalar)

    def combine(self, elements: Sequence[Element], scalars: Sequence[int]) -> Element:
        total = bn.Z1
        for element, scalar in zip(elements, scalars, strict=True):
            total = bn.add(total, bn.multiply(element, scalar))
        return total

    def negate(self, element: Element) -> Element:
        return bn.neg(element)

    def pairing(self, left: Sequence[Element], right: Sequence[Element]) -> Element:
        product = bn.FQ12.one()
        for p, q in zip(left, right, strict=True):
            product *= bn.pairing(q, p, final_exponentiate=False)
        return bn.final_exponentiate(product)
