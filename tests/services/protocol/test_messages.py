"""Messages: the Waku network's hash, topics and shards, and our limits."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import InvalidMessage, InvalidTopic, MessageTooLarge
from waypost.protocol.messages import (
    MAX_META,
    MAX_PAYLOAD,
    MAX_TIMESTAMP,
    MAX_TOPIC,
    SHARDS,
    Message,
    parse_topic,
    pubsub_topic,
)

TOPIC = "/waypost/1/lobby/raw"
letters = st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/")
segments = st.text(letters, min_size=1)
topics = (
    st.tuples(segments, segments, segments, segments)
    .map(lambda parts: "/" + "/".join(parts))
    .filter(lambda topic: len(topic.encode()) <= MAX_TOPIC)
)
messages = st.builds(
    Message, topics, st.binary(), st.integers(0, MAX_TIMESTAMP), st.binary(max_size=MAX_META)
)


@given(topics)
def test_topics_keep_their_parts(topic: str) -> None:
    assert "/" + "/".join(parse_topic(topic)) == topic
    assert parse_topic("/0" + topic) == parse_topic(topic) or len(topic.encode()) > MAX_TOPIC - 2


@given(topics)
def test_application_and_version_choose_the_shard(topic: str) -> None:
    application, version, _, _ = parse_topic(topic)
    shard = int(hashlib.sha256((application + version).encode()).hexdigest(), 16) % SHARDS
    assert pubsub_topic(topic) == f"/waku/2/rs/1/{shard}"
    assert pubsub_topic(f"/{application}/{version}/other/proto") == pubsub_topic(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "////",
        "waypost/1/lobby/raw",
        "/waypost/1/lobby",
        "/waypost/1/lobby/raw/",
        "/waypost/1//raw",
        "//1/lobby/raw",
        "/1/waypost/1/lobby/raw",
        "/0/0/waypost/1/lobby/raw",
        "/waypost/1/lob by/raw",
        "/waypost/1/lobby/raw\n",
        "/waypost/1/lob\x00by/raw",
        "/waypost/1/lob\ud800by/raw",
        "/waypost/1/" + "x" * MAX_TOPIC + "/raw",
        "/waypost/1/" + "é" * (MAX_TOPIC // 2) + "/raw",
    ],
)
def test_malformed_topics(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        parse_topic(topic)
    with pytest.raises(InvalidTopic):
        Message(topic, b"", 0)


def test_the_longest_topic_passes() -> None:
    topic = "/waypost/1//raw".replace("//", f"/{'x' * (MAX_TOPIC - 15)}/")
    assert len(topic) == MAX_TOPIC
    assert parse_topic(topic)[0] == "waypost"


@given(messages)
def test_the_id_is_the_hash_of_every_part(message: Message) -> None:
    hashed = hashlib.sha256(pubsub_topic(message.topic).encode())
    hashed.update(message.payload)
    hashed.update(message.topic.encode())
    hashed.update(message.meta)
    hashed.update(message.timestamp_ns.to_bytes(8, "big", signed=True))
    assert message.id == hashed.digest()


def test_equal_ids_are_not_equal_messages() -> None:
    one, other = Message("/waypost/1/lobby/raw", b"", 1), Message("/waypost/1/lobby/ra", b"", 1, b"w")
    assert one.id == other.id
    assert one != other


@given(messages)
def test_messages_survive_json(message: Message) -> None:
    written = json.loads(json.dumps(message.to_json()))
    assert Message.from_json(written) == message
    assert Message.from_json(written).id == message.id
    assert Message.from_json(written | {"timestamp": message.timestamp_ns}) == message


def test_an_empty_message_has_a_size() -> None:
    assert Message(TOPIC, b"", 0).size == len(TOPIC) + 8
    assert Message(TOPIC, b"abc", 0, b"de").size == len(TOPIC) + 3 + 2 + 8


def test_limits() -> None:
    assert Message(TOPIC, bytes(MAX_PAYLOAD), MAX_TIMESTAMP, bytes(MAX_META)).size > MAX_PAYLOAD
    with pytest.raises(MessageTooLarge) as caught:
        Message(TOPIC, bytes(MAX_PAYLOAD + 1), 0)
    assert caught.value.details == {"given": MAX_PAYLOAD + 1, "maximum": MAX_PAYLOAD}
    with pytest.raises(InvalidMessage):
        Message(TOPIC, b"", 0, bytes(MAX_META + 1))


@pytest.mark.parametrize("timestamp", [-1, MAX_TIMESTAMP + 1, 2**200])
def test_timestamps_out_of_range(timestamp: int) -> None:
    with pytest.raises(InvalidMessage):
        Message(TOPIC, b"", timestamp)
    with pytest.raises(InvalidMessage):
        Message.from_json({"topic": TOPIC, "payload": "", "timestamp": timestamp})
    with pytest.raises(InvalidMessage):
        Message.from_json({"topic": TOPIC, "payload": "", "timestamp": str(timestamp)})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"payload": "?"}, InvalidMessage),
        ({"payload": "YQ"}, InvalidMessage),
        ({"payload": "YQ==\n"}, InvalidMessage),
        ({"payload": "é"}, InvalidMessage),
        ({"payload": None}, InvalidMessage),
        ({"payload": [1]}, InvalidMessage),
        ({"meta": 7}, InvalidMessage),
        ({"meta": base64.b64encode(bytes(65)).decode()}, InvalidMessage),
        ({"timestamp": True}, InvalidMessage),
        ({"timestamp": 1.5}, InvalidMessage),
        ({"timestamp": "1.5"}, InvalidMessage),
        ({"topic": "lobby"}, InvalidTopic),
        ({"topic": 1}, InvalidMessage),
    ],
)
def test_malformed_json(change: dict[str, object], error: type[Exception]) -> None:
    sound = {"topic": TOPIC, "payload": "YQ==", "timestamp": "1"}
    assert Message.from_json(sound).payload == b"a"
    with pytest.raises(error):
        Message.from_json(sound | change)
