"""Random values of the protocol's types, shared by the property tests."""

from collections.abc import Callable
from typing import Any, TypeVar

from eth_typing import ChecksumAddress
from hypothesis import strategies as st

from waypost.protocol.eip712 import Domain, TypedStruct
from waypost.protocol.signatures import CURVE_ORDER, Signature, checksum

T = TypeVar("T", bound=TypedStruct)

addresses: st.SearchStrategy[ChecksumAddress] = st.binary(min_size=20, max_size=20).map(checksum)
words = st.binary(min_size=32, max_size=32)
private_keys = st.integers(1, CURVE_ORDER - 1).map(lambda n: n.to_bytes(32))
signatures = st.builds(Signature, words, words)
domains = st.builds(Domain, st.text(), st.text(), st.integers(0, 2**256 - 1), addresses)

amounts = st.integers(0, 2**128 - 1)
prices = st.integers(0, 2**96 - 1)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=5,
)


def structs(kind: type[T]) -> st.SearchStrategy[T]:
    """Any valid value of a typed struct."""
    return st.builds(kind, **{attribute: _member(abi) for attribute, (_, abi) in kind.members.items()})


def _member(abi: str) -> st.SearchStrategy[Any]:
    if abi == "address":
        return addresses
    return words if abi == "bytes32" else st.integers(0, 2 ** int(abi.removeprefix("uint")) - 1)


@st.composite
def damaged(draw: Callable[..., Any], sound: Any) -> Any:
    """A JSON value with one part, anywhere in it, left out or replaced by something arbitrary."""
    if isinstance(sound, dict) and sound and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(sound)))
        rest = {k: v for k, v in sound.items() if k != name}
        return rest if draw(st.booleans()) else rest | {name: draw(damaged(sound[name]))}
    if isinstance(sound, str) and draw(st.booleans()):
        cut = draw(st.integers(0, len(sound)))
        return sound[:cut] + draw(st.text(max_size=3)) + sound[cut + draw(st.integers(0, 2)) :]
    return draw(json_values)
