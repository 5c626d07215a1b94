"""What a node is configured with: node.json holds the public part, keystore files the keys,
admin.token the token of the operator's listener. Everything is validated here, once."""

import functools
import ipaddress
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from eth_account import Account
from eth_typing import ChecksumAddress
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from waypost import files
from waypost.errors import InvalidConfig, ProtocolError, WrongPassword
from waypost.node.backends.schema import Identity
from waypost.protocol.fields import parse_address
from waypost.protocol.nodes import parse_endpoint

CONFIG_FILE = "node.json"
KEYS_FOLDER = "keys"
KEY_FILES_FOLDER = "rln-keys"
"""Proving and verifying keys, which are public and named in the settings by their hash."""
TOKEN_FILE = "admin.token"
KEY_ROLES = ("operator", "node", "gas", "payee")

_LOST = f"{{}} holds keys, and its {CONFIG_FILE} is lost: restore that from a backup"

HOUR = 3600
DAY = 24 * HOUR
MIB = 1024 * 1024
MAX_UINT96 = 2**96 - 1


def _protocol(parse: Callable[[str], str]) -> Callable[[object], str]:
    def validate(value: object) -> str:
        try:
            return parse(str(value))
        except ProtocolError as error:
            raise ValueError(str(error)) from None

    return validate


Address = Annotated[ChecksumAddress, BeforeValidator(_protocol(parse_address))]
Amount = Annotated[int, Field(ge=0, le=MAX_UINT96)]
"""Base units of the payment token."""
Seconds = Annotated[int, Field(ge=0, le=3650 * DAY)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
    )


class PriceSettings(_Section):
    """Base units. `min_receipt` should cover the gas of one more entry in a claim; a route whose price
    is zero is free."""

    store_per_kib_hour: Amount = 10
    fetch_per_kib: Amount = 5
    relay_per_kib: Amount = 5
    opening: Amount = 100_000
    min_receipt: Amount = 1_000
    min_deposit: Amount = 1_000_000


class ClaimSettings(_Section):
    """When claiming is worth its gas; a closing channel is always claimed, whatever these say."""

    token_per_ether: Amount = 0
    """Base units that one ETH is worth, to weigh gas against earnings; 0 counts gas as free."""
    min_value: Amount = 1_000_000
    max_age_seconds: Seconds = DAY
    close_margin_seconds: Seconds = 6 * HOUR
    max_batch: Annotated[int, Field(ge=1, le=1000)] = 200


class RateSettings(_Section):
    """Requests per address that nobody pays for. An IPv6 /64 counts as one address."""

    requests_per_second: Annotated[float, Field(gt=0, le=1e6)] = 20.0
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    max_addresses: Annotated[int, Field(ge=1, le=10_000_000)] = 65_536


class RelaySettings(_Section):
    """What was relayed is kept for `retentionSeconds`, within `quotaBytes`, for subscribers and nodes that
    were away. `maxPeers`: other nodes that this one reads from.

    `quotaBytes` is the most that it takes in the database: payload, meta, topic and proof of each message,
    its entries in indexes, and what pages may leave empty, up to as much again. The nullifier log and
    SQLite's write-ahead log are not in it."""

    retention_seconds: Annotated[int, Field(ge=60, le=7 * DAY)] = HOUR
    quota_bytes: Annotated[int, Field(ge=MIB)] = 512 * MIB
    max_subscribers: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_subscriptions_per_address: Annotated[int, Field(ge=1, le=100_000)] = 32
    max_peers: Annotated[int, Field(ge=0, le=1000)] = 32


class RlnSettings(_Section):
    """The membership contract that the node follows; without this section it has no RLN. `network` and
    `epochSeconds` must be those of all nodes that share members.

    `rootSeconds`: for how long a root is accepted after a block that replaced it, so that registrations by
    others fail nobody's message. Half an hour is ten minutes that a serving node's chain may be behind
    (maxHeadAgeSeconds), ten that a client may keep its path, and ten for proving, passing on and clocks.
    Who left can send as long, within its rate; the contract must hold its stake three times as long.

    `verifyingKey`: SHA-256, in hex, of a .json file in the folder rln-keys; on development chains the
    development key when there is none. `slashBelowCost`: also for a reward that does not pay the gas.
    """

    contract: Address
    start_block: Annotated[int, Field(ge=0)] = 0
    network: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "waypost"
    epoch_seconds: Annotated[int, Field(ge=1, le=DAY)] = 600
    root_seconds: Annotated[int, Field(ge=1, le=DAY)] = 1800
    verifying_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the verifying key's file, in the data folder's rln-keys."""
    force_development_key: bool = False
    slash_below_cost: bool = False

    def least_window(self, clock_tolerance: int) -> int:
        """For how many seconds the contract has to hold the stake of who leaves, at least.

        With the time of leaving as 0, and rootSeconds as r: until r, nodes accept new messages under its last
        root, of an epoch that ends an epoch and twice the clocks' tolerance later. Nodes pass on what they
        have until r after the end of its epoch: by then two shares have met. Another r is for slashing, which
        takes two transactions.
        """
        return 3 * self.root_seconds + self.epoch_seconds + 2 * clock_tolerance


class NodeConfig(_Section):
    """The public part of a node's settings: the content of node.json, camelCase there."""

    rpc_url: Annotated[str, Field(pattern=r"^https?://\S+$", repr=False)]
    chain_id: Annotated[int, Field(ge=1, le=2**53)]
    channels: Address
    registry: Address
    token: Address
    start_block: Annotated[int, Field(ge=0)] = 0
    operator: Address
    payee: Address

    endpoint: Annotated[str, AfterValidator(_protocol(parse_endpoint))]
    host: str = "127.0.0.1"
    port: Port = 8400
    admin_host: str = "127.0.0.1"
    admin_port: Port = 8401
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxy: bool = False

    prices: PriceSettings = PriceSettings()
    claim: ClaimSettings = ClaimSettings()
    rate: RateSettings = RateSettings()
    relay: RelaySettings = RelaySettings()
    rln: RlnSettings | None = None

    confirmations: Annotated[int, Field(ge=0, le=1000)] = 12
    min_close_delay: Seconds = 36 * HOUR
    max_head_age_seconds: Annotated[int, Field(ge=1)] = 600
    poll_seconds: Annotated[float, Field(gt=0, le=600)] = 4.0
    retention_min: Annotated[int, Field(ge=1)] = HOUR
    retention_max: Annotated[int, Field(ge=1, le=30 * DAY)] = 30 * DAY
    storage_quota_bytes: Annotated[int, Field(ge=1)] = 10 * 1024 * MIB
    channel_quota_bytes: Annotated[int, Field(ge=1)] = 1024 * MIB
    opening_cap_per_hour: Annotated[int, Field(ge=0)] = 60
    clock_tolerance_seconds: Seconds = 60

    @property
    def identity(self) -> Identity:
        """Whose books this node does."""
        return Identity(self.chain_id, self.channels, self.registry, self.token, self.payee)

    @property
    def reachable(self) -> bool:
        """Whether requests to `endpoint` can arrive: directly, through a proxy, or from this machine."""
        here = is_loopback(urlsplit(self.endpoint).hostname or "")
        return here or self.trusted_proxy or not is_loopback(self.host)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tlsCert and tlsKey belong together: give both or neither")
        if self.retention_min > self.retention_max:
            raise ValueError("retentionMin is longer than retentionMax")
        if not (self.tls_cert or self.trusted_proxy or is_loopback(self.host)):
            raise ValueError(
                f"plain HTTP on {self.host} would show tokens to the network: "
                "give tlsCert and tlsKey, or set trustedProxy when a proxy in front of the node ends TLS"
            )
        if not (self.tls_cert or is_loopback(self.admin_host)):
            raise ValueError(
                f"the admin listener on {self.admin_host} needs tlsCert and tlsKey, or a loopback address"
            )
        return self


class NodeSettings(NodeConfig):
    """A node's whole configuration. Keys are 32-byte secp256k1 secrets."""

    data_dir: Path
    node_key: SecretBytes
    """Signs the descriptor."""
    gas_key: SecretBytes
    """Sends transactions and pays their gas; the operator's key in a folder without a gas key."""
    payee_key: SecretBytes | None = None
    """Signs consent to close; absent when the payee is a contract or kept elsewhere."""
    admin_token: SecretStr

    @model_validator(mode="after")
    def _keys(self) -> Self:
        for name in ("node_key", "gas_key", "payee_key"):
            key = getattr(self, name)
            if key is not None and len(key.get_secret_value()) != 32:
                raise ValueError(f"{name} is not 32 bytes")
        if len(self.admin_token.get_secret_value()) < 16:
            raise ValueError("the admin token is shorter than 16 characters")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host` (an IP address or "localhost")."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def initialise(
    data_dir: Path, config: NodeConfig, keys: Mapping[str, bytes], password: str, *, scrypt_n: int = 2**18
) -> None:
    """Makes a node's folder: node.json, one keystore per role in `keys` (see KEY_ROLES) and a fresh admin
    token. Refuses a folder that already holds a node, so that no key is ever overwritten.

    `scrypt_n` is the work factor of the keystores (a power of two); lower it only for keys that hold nothing.
    """
    unknown = set(keys) - set(KEY_ROLES)
    if unknown or not {"operator", "node"} <= set(keys):
        raise InvalidConfig("a node needs an operator key and a node key; gas and payee keys are optional")
    if (data_dir / CONFIG_FILE).exists():
        raise InvalidConfig(f"{data_dir} already holds a node", path=str(data_dir))
    if _holds_keys(data_dir):
        raise InvalidConfig(_LOST.format(data_dir), path=str(data_dir))
    (data_dir / KEYS_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    for role, key in keys.items():
        keystore = Account.encrypt(key, password, kdf="scrypt", iterations=scrypt_n)
        files.write(keystore_path(data_dir, role), json.dumps(keystore))
    files.write(data_dir / TOKEN_FILE, secrets.token_urlsafe(32))
    save(data_dir, config)  # last: a folder without node.json holds no node


def save(data_dir: Path, config: NodeConfig) -> None:
    """Replaces node.json in one step: a crash leaves the old file or the new one."""
    document = NodeConfig.model_validate(config.model_dump(include=set(NodeConfig.model_fields)))
    files.write(
        data_dir / CONFIG_FILE, document.model_dump_json(by_alias=True, indent=2, exclude_none=True) + "\n"
    )


def read_config(data_dir: Path) -> NodeConfig:
    """node.json alone: all that commands need which ask a running node something."""
    path = data_dir / CONFIG_FILE
    try:
        return NodeConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        missing = "{} holds no node: run `waypost node init` first"
        sentence = (_LOST if _holds_keys(data_dir) else missing).format(data_dir)
        raise InvalidConfig(sentence, path=str(path)) from error
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    except ValidationError as error:
        raise InvalidConfig(f"{path}: {_first(error)}", path=str(path)) from error


def read_admin_token(data_dir: Path) -> SecretStr:
    """The bearer token of the admin listener. Raises InvalidConfig."""
    path = data_dir / TOKEN_FILE
    try:
        return SecretStr(path.read_text().strip())
    except FileNotFoundError as error:
        sentence = f"{path} is missing: the node makes another when it is started again"
        raise InvalidConfig(sentence, path=str(path)) from error
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def renew_admin_token(data_dir: Path) -> None:
    """Makes a token if there is none: who loses or leaks it deletes the file and starts the node again."""
    if not (data_dir / TOKEN_FILE).exists():
        files.write(data_dir / TOKEN_FILE, secrets.token_urlsafe(32))


def read_key(data_dir: Path, role: str, password: str) -> bytes | None:
    """The secret key kept for `role`, or None when the node keeps none.

    Raises InvalidConfig, WrongPassword.
    """
    path = keystore_path(data_dir, role)
    if not path.exists():
        return None
    try:
        return bytes(Account.decrypt(json.loads(path.read_text()), password))
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        if str(error) in ("MAC mismatch", "Checksum mismatch"):
            raise WrongPassword(f"the password does not open {path.name}", path=str(path)) from error
        sentence = f"{path} is damaged, or no keystore: restore it from a backup"
        raise InvalidConfig(sentence, path=str(path)) from error


def load(data_dir: Path, passwords: Mapping[str, str] | str) -> NodeSettings:
    """Everything a node runs with, from its folder. `passwords` is one password, or one for each role."""

    def key(role: str) -> bytes | None:
        return read_key(data_dir, role, passwords if isinstance(passwords, str) else passwords.get(role, ""))

    config = read_config(data_dir)
    operator = functools.cache(lambda: key("operator"))
    node, gas = key("node"), key("gas") or operator()
    payee = key("payee") or (operator() if config.payee == config.operator else None)
    if node is None or gas is None:
        raise InvalidConfig(f"{data_dir} lacks the node key or a key that pays gas", path=str(data_dir))
    return settings(
        config,
        data_dir=data_dir,
        node_key=node,
        gas_key=gas,
        payee_key=payee,
        admin_token=read_admin_token(data_dir),
    )


def settings(config: NodeConfig, **private: Any) -> NodeSettings:
    """`config` completed with the data folder, the keys and the admin token."""
    try:
        return NodeSettings.model_validate({**config.model_dump(), **private})
    except ValidationError as error:
        raise InvalidConfig(_first(error)) from error


def _holds_keys(data_dir: Path) -> bool:
    return any((data_dir / KEYS_FOLDER).glob("*.keystore.json"))


def keystore_path(data_dir: Path, role: str) -> Path:
    """Where the key for `role` is kept."""
    return data_dir / KEYS_FOLDER / f"{role}.keystore.json"


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"].removeprefix("Value error, ")
