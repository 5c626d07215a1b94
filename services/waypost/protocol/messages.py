"""Messages and their ids, the same as on the Waku network.
14/WAKU2-MESSAGE hashes, 23/WAKU2-TOPICS topics, WAKU2-RELAY-SHARDING autosharding."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from waypost.errors import JSON, InvalidMessage, InvalidTopic, MessageTooLarge
from waypost.protocol.fields import Fields

MAX_PAYLOAD = 150 * 1024
MAX_META = 64
MAX_TOPIC = 256
MAX_TIMESTAMP = 2**63 - 1

CLUSTER = 1  # The Waku Network
SHARDS = 8


def parse_topic(topic: str) -> tuple[str, str, str, str]:
    """Application, version, name and encoding of a content topic. Raises InvalidTopic."""
    parts = topic.split("/")
    if len(parts) == 6 and parts[1] == "0":  # the only generation of shards so far, spelled out
        del parts[1]
    readable = topic.isprintable() and " " not in topic and len(topic.encode()) <= MAX_TOPIC
    if len(parts) != 5 or parts[0] or not all(parts[1:]) or not readable:
        sentence = f"A topic is /application/version/name/encoding, up to {MAX_TOPIC} bytes."
        raise InvalidTopic(sentence)
    return parts[1], parts[2], parts[3], parts[4]


def pubsub_topic(topic: str) -> str:
    """The relay shard that carries a content topic. Raises InvalidTopic."""
    application, version, _, _ = parse_topic(topic)
    hashed = hashlib.sha256((application + version).encode()).digest()
    return f"/waku/2/rs/{CLUSTER}/{int.from_bytes(hashed) % SHARDS}"


@dataclass(frozen=True, slots=True)
class Message:
    """An opaque payload under a content topic. `timestamp_ns`: when it was made, Unix nanoseconds.

    `id` is the deterministic message hash of 14/WAKU2-MESSAGE, 32 bytes. That hash does not say where
    payload, topic and meta end, so equal ids need not be equal messages: compare those.
    Raises InvalidTopic, MessageTooLarge or InvalidMessage.
    """

    topic: str
    payload: bytes
    timestamp_ns: int
    meta: bytes = b""
    pubsub_topic: str = ""
    id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        shard = pubsub_topic(self.topic)
        if not self.pubsub_topic:
            object.__setattr__(self, "pubsub_topic", shard)
        if len(self.payload) > MAX_PAYLOAD:
            sentence = f"The payload has {len(self.payload)} bytes; {MAX_PAYLOAD} are allowed."
            raise MessageTooLarge(sentence, given=len(self.payload), maximum=MAX_PAYLOAD)
        if len(self.meta) > MAX_META:
            sentence = f"The meta has {len(self.meta)} bytes; {MAX_META} are allowed."
            raise InvalidMessage(sentence, given=len(self.meta), maximum=MAX_META)
        if not 0 <= self.timestamp_ns <= MAX_TIMESTAMP:
            raise InvalidMessage("The timestamp is no Unix time in nanoseconds.", field="timestamp")
        parts = (self.pubsub_topic.encode(), self.payload, self.topic.encode(), self.meta)
        hashed = hashlib.sha256(b"".join(parts) + self.timestamp_ns.to_bytes(8))
        object.__setattr__(self, "id", hashed.digest())

    @property
    def size(self) -> int:
        """Bytes that are stored and billed: topic, payload, meta and eight for the timestamp."""
        return len(self.topic.encode()) + len(self.payload) + len(self.meta) + 8

    def to_json(self) -> dict[str, JSON]:
        """`{topic, payload, timestamp, meta?}`: base64, nanoseconds as a decimal string."""
        fields: dict[str, JSON] = {
            "topic": self.topic,
            "payload": base64.b64encode(self.payload).decode(),
            "timestamp": str(self.timestamp_ns),
        }
        return fields | ({"meta": base64.b64encode(self.meta).decode()} if self.meta else {})

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse; the timestamp may also be an integer. Raises as the constructor does."""
        fields = Fields(value, InvalidMessage)
        is_number = isinstance(fields.raw("timestamp"), int)
        return cls(
            topic=fields.text("topic"),
            payload=fields.base64("payload"),
            timestamp_ns=(
                fields.integer("timestamp", MAX_TIMESTAMP) if is_number else fields.decimal("timestamp")
            ),
            meta=fields.base64("meta") if "meta" in fields else b"",
        )
