"""Mailboxes: daily topics of one key, and payloads that only its owner opens."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import words

from waypost.errors import InvalidSeal
from waypost.protocol.mailboxes import day_of, public_key, seal, topic, unseal
from waypost.protocol.messages import parse_topic, pubsub_topic

ALICE, BOB = b"\x01" * 32, b"\x02" * 32
SEALED = seal(b"hello", public_key(ALICE))


def test_a_day_has_86400_seconds() -> None:
    assert (day_of(0), day_of(86_399), day_of(86_400)) == (0, 0, 1)


@given(words, st.integers(0, 10**6))
def test_topics_come_from_an_hmac(key: bytes, day: int) -> None:
    mac = hmac.new(key, b"waypost mailbox" + day.to_bytes(8, "big"), hashlib.sha256).digest()
    name = base64.b32encode(mac).decode().lower()[:26]
    assert topic(key, day) == f"/waypost/1/{name}/raw"
    assert parse_topic(topic(key, day))[2] == name


def test_topics_change_daily_and_by_key_on_one_shard() -> None:
    found = {topic(key, day) for key in (ALICE, BOB) for day in range(3)}
    assert len(found) == 6
    assert len({pubsub_topic(name) for name in found}) == 1


@given(st.binary(max_size=2000), words)
def test_the_owner_opens_what_was_sealed(payload: bytes, key: bytes) -> None:
    sealed = seal(payload, public_key(key))
    assert unseal(sealed, key) == payload
    assert len(sealed) == len(payload) + 48


def test_sealing_twice_looks_different() -> None:
    assert seal(b"hello", public_key(ALICE)) != SEALED


def test_nobody_else_opens_it() -> None:
    with pytest.raises(InvalidSeal):
        unseal(SEALED, BOB)


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_every_altered_bit_is_noticed(bit: int) -> None:
    altered = bytearray(SEALED)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidSeal):
        unseal(bytes(altered), ALICE)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_seal(data: bytes) -> None:
    with pytest.raises(InvalidSeal):
        unseal(data, ALICE)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32)])
def test_unusable_recipients(key: bytes) -> None:
    with pytest.raises(InvalidSeal):
        seal(b"hello", key)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_unusable_private_keys(key: bytes) -> None:
    with pytest.raises(InvalidSeal):
        unseal(SEALED, key)
