"""What Groth16 needs of BN254's groups, and who computes it: the native library where there is one, else
py_ecc."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

from waypost.zk.points import G1, G2

Element: TypeAlias = Any
"""A group element in the form of one implementation: never infinity as a result of decoding, in the right
subgroup, opaque to callers but for ==."""


class Curve(Protocol):
    """One implementation of the groups. Elements of different implementations do not mix."""

    name: str

    def g1(self, data: bytes) -> Element:
        """Decodes 32 canonical bytes. Raises InvalidPoint, also for infinity."""

    def g2(self, data: bytes) -> Element:
        """Decodes 64 canonical bytes. Raises InvalidPoint, also for infinity and outside the subgroup."""

    def multiply(self, element: Element, scalar: int) -> Element:
        """For 0 ≤ scalar < R."""

    def combine(self, elements: Sequence[Element], scalars: Sequence[int]) -> Element:
        """The sum of each element of G1 times its scalar; at least one of each, equally many."""

    def negate(self, element: Element) -> Element:
        """The inverse of an element of either group."""

    def pairing(self, left: Sequence[Element], right: Sequence[Element]) -> Element:
        """The product of the pairings of each element of G1 on the left with that of G2 on the right."""


class FastCurve(Curve, Protocol):
    """One that is fast enough to prove with."""

    def add(self, a: Element, b: Element) -> Element:
        """Of the same group."""

    def combine_g2(self, elements: Sequence[Element], scalars: Sequence[int]) -> Element:
        """As `combine`, in G2."""

    def generators(self) -> tuple[Element, Element]:
        """Of G1 and G2."""

    def multiples(self, element: Element, scalars: Sequence[int]) -> list[Element]:
        """The element times each scalar."""

    def point_g1(self, element: Element) -> G1 | None:
        """The coordinates, None for infinity."""

    def point_g2(self, element: Element) -> G2 | None:
        """The coordinates, None for infinity."""

    def evaluate(self, coefficients: Sequence[int], size: int) -> list[int]:
        """The polynomial's values at the `size`-th roots of unity 1, ω, ω², …; size is a power of two."""

    def interpolate(self, values: Sequence[int]) -> list[int]:
        """The inverse of `evaluate`; a power of two of values."""


@cache
def native() -> FastCurve | None:
    """The native implementation, None on a platform without one."""
    try:
        from waypost.zk.native import NativeCurve
    except ImportError:
        return None
    return NativeCurve()


@cache
def reference() -> Curve:
    """py_ecc: slow, everywhere, and what the native one is checked against."""
    from waypost.zk.reference import ReferenceCurve

    return ReferenceCurve()


def best() -> Curve:
    """The native implementation, or else the reference."""
    return native() or reference()
