"""BN254 by zksnake's Rust module (arkworks), which panics on bad coordinates: only its decoder is given
foreign data, for that one raises."""

from collections.abc import Sequence

from zksnake._algebra import ec_bn254, polynomial_bn254

from waypost.errors import InvalidPoint
from waypost.zk.curve import Element
from waypost.zk.points import G1, G2


class NativeCurve:
    """A FastCurve."""

    name = "zksnake"

    def g1(self, data: bytes) -> Element:
        return self._decode(ec_bn254.PointG1, data)

    def g2(self, data: bytes) -> Element:
        return self._decode(ec_bn254.PointG2, data)

    @staticmethod
    def _decode(kind: Element, data: bytes) -> Element:
        try:
            element = kind.from_bytes(data)
        except ValueError:
            raise InvalidPoint from None
        if element.is_zero():
            raise InvalidPoint("The point at infinity has no place here.")
        if bytes(element.to_bytes()) != data:  # it reads over what follows a point
            raise InvalidPoint("The point is not in canonical form.")
        return element

    def multiply(self, element: Element, scalar: int) -> Element:
        return element * scalar

    def combine(self, elements: Sequence[Element], scalars: Sequence[int]) -> Element:
        return ec_bn254.multiscalar_mul_g1(elements, scalars)

    def combine_g2(self, elements: Sequence[Element], scalars: Sequence[int]) -> Element:
        return ec_bn254.multiscalar_mul_g2(elements, scalars)

    def negate(self, element: Element) -> Element:
        return -element

    def add(self, a: Element, b: Element) -> Element:
        return a + b

    def pairing(self, left: Sequence[Element], right: Sequence[Element]) -> Element:
        return ec_bn254.multi_pairing(left, right)

    def generators(self) -> tuple[Element, Element]:
        return ec_bn254.g1(), ec_bn254.g2()

    def multiples(self, element: Element, scalars: Sequence[int]) -> list[Element]:
        many = ec_bn254.batch_multi_scalar_g1
        if isinstance(element, ec_bn254.PointG2):
            many = ec_bn254.batch_multi_scalar_g2
        return list(many([element] * len(scalars), scalars))

    def point_g1(self, element: Element) -> G1 | None:
        return None if element.is_zero() else (element.x, element.y)

    def point_g2(self, element: Element) -> G2 | None:
        if element.is_zero():
            return None
        (a, b), (c, d) = element.x, element.y
        return (a, b), (c, d)

    def evaluate(self, coefficients: Sequence[int], size: int) -> list[int]:
        return self._padded(polynomial_bn254.fft(coefficients, size), size)

    def interpolate(self, values: Sequence[int]) -> list[int]:
        return self._padded(polynomial_bn254.ifft(values, len(values)), len(values))

    @staticmethod
    def _padded(numbers: list[int], size: int) -> list[int]:
        return numbers + [0] * (size - len(numbers))
