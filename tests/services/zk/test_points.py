"""The encoding of points: canonical or refused, and alike in three implementations."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.zk.hostile import outside_the_subgroup, unreduced

from waypost.errors import InvalidPoint
from waypost.protocol.poseidon import R
from waypost.zk import keys
from waypost.zk.curve import Curve, FastCurve, native, reference
from waypost.zk.points import G1_BYTES, G2_BYTES, Q, decode_g1, decode_g2, encode_g1, encode_g2

SCALARS = st.integers(1, R - 1)
CURVES = [each for each in (native(), reference()) if each is not None]


@given(SCALARS)
def test_every_point_has_one_encoding(curve: FastCurve, scalar: int) -> None:
    one, other = (curve.multiply(each, scalar) for each in curve.generators())
    p, q = curve.point_g1(one), curve.point_g2(other)
    assert p is not None
    assert q is not None
    assert decode_g1(encode_g1(p)) == p
    assert decode_g2(encode_g2(q)) == q
    assert curve.g1(encode_g1(p)) == one
    assert curve.g2(encode_g2(q)) == other


@given(st.binary(min_size=32, max_size=32))
def test_random_bytes_mean_the_same_to_all(data: bytes) -> None:
    assert len({_accepts_g1(each, data) for each in (*CURVES, None)}) == 1


@given(st.binary(min_size=64, max_size=64))
def test_random_bytes_are_in_the_subgroup_for_all_or_none(data: bytes) -> None:
    """Nearly all are off the curve or outside the subgroup."""
    assert len({_accepts_g2(each, data) for each in CURVES}) == 1


def _accepts_g1(curve: Curve | None, data: bytes) -> bool:
    try:
        point = decode_g1(data)
        if curve:
            curve.g1(data)
    except InvalidPoint:
        return False
    assert encode_g1(point) == data
    return True


def _accepts_g2(curve: Curve, data: bytes) -> bool:
    try:
        curve.g2(data)
    except InvalidPoint:
        return False
    return True


X2 = (
    10857046999023057135944570762232829481370756359578518086990519993285655852781,
    11559732032986387107991004021392285783925812861821192530917403151452391805634,
)
Y2 = (
    8495653923123431417604973247489272438418190587263600148770280649306958101930,
    4082367875863433681332203403145435568316851327593401208105741076214120093531,
)

X_1 = (1).to_bytes(32, "little")
BAD_G1 = {
    "empty": b"",
    "short": X_1[:-1],
    "long": X_1 + b"\0",
    "x = 1 + Q": (1 + Q).to_bytes(32, "little"),
    "off the curve": (4).to_bytes(32, "little"),
    "infinity": bytes(31) + b"\x40",
    "infinity with a sign": bytes(31) + b"\xc0",
    "infinity with an x": X_1[:-1] + b"\x40",
}


@pytest.mark.parametrize("curve", [*CURVES, None], ids=lambda curve: curve.name if curve else "plain")
@pytest.mark.parametrize("name", BAD_G1)
def test_bad_points_of_g1_are_refused(
    name: str, curve: Curve | None, capfd: pytest.CaptureFixture[str]
) -> None:
    decode = curve.g1 if curve else decode_g1
    with pytest.raises(InvalidPoint, match="infinity" if name == "infinity" else ""):
        decode(BAD_G1[name])
    assert capfd.readouterr().err == ""  # the native library's panics print


def _bad_g2() -> dict[str, bytes]:
    good = encode_g2((X2, Y2))
    return {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\0",
        "first part of x + Q": unreduced(),
        "second part of x + Q": good[:32] + (X2[1] + Q).to_bytes(32, "little"),
        "infinity": bytes(63) + b"\x40",
        "infinity with an x": good[:-1] + bytes([good[-1] | 0x40]),
        "outside the subgroup": encode_g2(outside_the_subgroup()),
    }


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
@pytest.mark.parametrize("name", _bad_g2())
def test_bad_points_of_g2_are_refused(name: str, curve: Curve, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidPoint):
        curve.g2(_bad_g2()[name])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("point", [(1, 3), (0, 0), (1 + Q, 2), (1, 2 + Q), (-1, 2), (1, -2), (2**256, 2)])
def test_coordinates_off_the_curve_are_not_encoded(point: tuple[int, int]) -> None:
    with pytest.raises(InvalidPoint):
        encode_g1(point)


@pytest.mark.parametrize("place", range(4))
def test_coordinates_off_the_twisted_curve_are_not_encoded(place: int) -> None:
    for change in (1, Q, -Q):
        numbers = [*X2, *Y2]
        numbers[place] += change
        with pytest.raises(InvalidPoint):
            encode_g2(((numbers[0], numbers[1]), (numbers[2], numbers[3])))


def test_py_ecc_leaves_the_recursion_limit_alone() -> None:
    """It raises it to 100,000, with which a few KiB of nested JSON kill a process."""
    program = """
import json, sys
from waypost.zk.curve import reference
before = sys.getrecursionlimit()
reference()
assert "py_ecc" in sys.modules and sys.getrecursionlimit() == before
try:
    json.loads("[" * 100_000)
except RecursionError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


def test_without_native_libraries_everything_but_proving_works() -> None:
    program = """
import sys
sys.modules["zksnake"] = sys.modules["light_poseidon_python"] = None
from waypost.protocol.poseidon import poseidon
from waypost.zk import keys, verifying_key
from waypost.zk.curve import best, native
from waypost.zk.verifier import Verifier
assert native() is None and best().name == "py_ecc"
print(poseidon([1, 2]))
key = verifying_key.parse(sys.stdin.read())
proof, public = keys.known_proof(key)
print(Verifier(key).verify(proof, public), Verifier(key).verify(proof, [*public[:4], 2]))
"""
    key = keys.development_key().to_json()
    done = subprocess.run(
        [sys.executable, "-c", program], input=key, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    expected = 7853200120776062878684798364095072458815029376092732009249414926327459813530
    assert done.stdout.split() == [str(expected), "True", "False"]


def test_the_sizes() -> None:
    assert (len(encode_g1((1, 2))), len(encode_g2((X2, Y2)))) == (G1_BYTES, G2_BYTES)
