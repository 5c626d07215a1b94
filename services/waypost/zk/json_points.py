"""Points as snarkjs writes them in JSON: decimal strings, projective with the last coordinate 1."""

import re
from collections.abc import Sequence
from typing import Any

from waypost.errors import InvalidPoint
from waypost.zk.points import G1, G2, Fq2

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")


def json_of_g1(point: G1) -> list[str]:
    """The three coordinates."""
    return [str(point[0]), str(point[1]), "1"]


def json_of_g2(point: G2) -> list[list[str]]:
    """The three coordinates, each a pair."""
    return [[str(each) for each in coordinate] for coordinate in (*point, (1, 0))]


def parse_g1(value: Any) -> G1:
    """The coordinates, not checked against the curve. Raises InvalidPoint for another form, or infinity."""
    x, y, z = map(_number, _list(value, 3))
    if z != 1:
        raise InvalidPoint("The point is not in affine form.")
    return x, y


def parse_g2(value: Any) -> G2:
    """The coordinates, not checked against the curve. Raises InvalidPoint for another form, or infinity."""
    x, y, z = map(_pair, _list(value, 3))
    if z != (1, 0):
        raise InvalidPoint("The point is not in affine form.")
    return x, y


def _pair(value: Any) -> Fq2:
    a, b = map(_number, _list(value, 2))
    return a, b


def _number(value: Any) -> int:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise InvalidPoint("A coordinate is no decimal string.")
    return int(value)


def _list(value: Any, size: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != size:
        raise InvalidPoint(f"A list of {size} coordinates is expected.")
    return value
