"""The development key: a proving key made in seconds from secrets that anybody can compute, so that tests
and local chains need no ceremony. Whoever runs this can forge proofs for it."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from waypost.errors import FileUnusable, InvalidKey, ProverUnavailable
from waypost.protocol.poseidon import R
from waypost.zk import circuit
from waypost.zk.curve import FastCurve, native
from waypost.zk.points import G1, G2
from waypost.zk.prover import ROOT_OF_UNITY
from waypost.zk.proving_key import ProvingKey, coefficients, write
from waypost.zk.r1cs import ConstraintSystem
from waypost.zk.verifying_key import VerifyingKey

DEVELOPMENT_PROVING_KEY = "5e6493152ddbdc4daa3dada903812ff1f13af2f0b4c8d24fb8fdefa39fb2a9d8"
"""SHA-256 of the file that `make_proving_key` makes."""
DEVELOPMENT_VERIFYING_KEY = "805dd666b1f69ae00be2a8fcb9d98ab9bf770d5ce2e2ffc968a43b1cf1859619"
"""The `digest` of its verifying key."""

_SEED = b"waypost development key: nobody's money"


def proving_key_file(cache: Path) -> Path:
    """The development key's file in the folder `cache`, made there when it is missing or damaged. Raises
    ProverUnavailable where there is no native library, FileUnusable when the folder cannot be written."""
    path = cache / f"{DEVELOPMENT_PROVING_KEY}.zkey"
    try:
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == DEVELOPMENT_PROVING_KEY:
            return path
        data = make_proving_key()
        if hashlib.sha256(data).hexdigest() != DEVELOPMENT_PROVING_KEY:
            raise InvalidKey("The development key came out differently than it must.")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=path.name, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError as error:
        raise FileUnusable(
            f"The development key cannot be kept in {cache}: {error}.", path=str(cache)
        ) from None
    return path


def make_proving_key() -> bytes:
    """The .zkey file, always the same; about ten seconds. Raises ProverUnavailable."""
    curve = native()
    if curve is None:
        raise ProverUnavailable
    return write(set_up(circuit.system(), _secrets(_SEED), curve))


def set_up(system: ConstraintSystem, secrets: Iterator[int], curve: FastCurve) -> ProvingKey:
    """Groth16's set-up (eprint 2016/260) in the form of snarkjs. `secrets` gives tau, alpha, beta, gamma
    and delta, numbers in [1, R) whose knowledge allows forging."""
    tau, alpha, beta, gamma, delta = (next(secrets) for _ in range(5))
    domain = 1 << (len(system.rows) + system.public).bit_length()
    a, b, c = _at(system, _lagrange(domain, tau))
    mixed = [(beta * x + alpha * y + z) % R for x, y, z in zip(a, b, c, strict=True)]
    public, private = mixed[: system.public + 1], mixed[system.public + 1 :]
    g1, g2 = curve.generators()

    def points_g1(scalars: Sequence[int], divisor: int = 1) -> list[G1 | None]:
        inverse = pow(divisor, -1, R)
        found = iter(curve.multiples(g1, [k * inverse % R for k in scalars if k]))
        return [curve.point_g1(next(found)) if k else None for k in scalars]

    def points_g2(scalars: Sequence[int]) -> list[G2 | None]:
        found = iter(curve.multiples(g2, [k for k in scalars if k]))
        return [curve.point_g2(next(found)) if k else None for k in scalars]

    alpha1, beta1, delta1 = _finite(points_g1([alpha, beta, delta]))
    beta2, gamma2, delta2 = _finite_g2(points_g2([beta, gamma, delta]))
    key = VerifyingKey(alpha1, beta2, gamma2, delta2, tuple(_finite(points_g1(public, gamma))))
    return ProvingKey(
        verifying_key=key,
        beta1=beta1,
        delta1=delta1,
        domain=domain,
        a=points_g1(a),
        b1=points_g1(b),
        b2=points_g2(b),
        c=points_g1(private, delta),
        h=points_g1(_lagrange(2 * domain, tau)[1::2], delta),
        coefficients=coefficients(system),
        contributions=0,
    )


def _at(system: ConstraintSystem, basis: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """The polynomials of each wire in a, b and c at the point that `basis` belongs to."""
    a, b, c = ([0] * system.wires for _ in range(3))
    for row, weight in zip(system.rows, basis, strict=False):
        for target, terms in ((a, row.a), (b, row.b), (c, row.c)):
            for wire, value in terms:
                target[wire] = (target[wire] + weight * value) % R
    for wire in range(system.public + 1):
        a[wire] = (a[wire] + basis[len(system.rows) + wire]) % R
    return a, b, c


def _lagrange(size: int, point: int) -> list[int]:
    """The Lagrange polynomials over the `size`-th roots of unity, at a point that is none of them."""
    root = pow(ROOT_OF_UNITY, 2**28 // size, R)
    scale = (pow(point, size, R) - 1) * pow(size, -1, R) % R
    values = []
    power = 1
    for _ in range(size):
        values.append(scale * power * pow(point - power, -1, R) % R)
        power = power * root % R
    return values


def _finite(points: Sequence[G1 | None]) -> list[G1]:
    return [each for each in points if each is not None]


def _finite_g2(points: Sequence[G2 | None]) -> list[G2]:
    return [each for each in points if each is not None]


def _secrets(seed: bytes) -> Iterator[int]:
    counter = 0
    while True:
        number = int.from_bytes(hashlib.sha512(seed + counter.to_bytes(4)).digest())
        yield number % (R - 1) + 1
        counter += 1
