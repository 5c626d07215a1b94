"""Writes tests/vectors: what contracts, Python and TypeScript must all compute.
Made with eth-account and the standard library alone, never with the code under test; messages.json
is copied from the RFCs."""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

FOLDER = Path(__file__).parent.parent / "tests" / "vectors"
CHAIN_ID = 31337

TYPES = {
    "Receipt": "address payee,address token,uint128 cumulative",
    "Opening": "address payer,address payee,address token,address signer,uint32 closeDelay,"
    "uint128 amount,bytes32 salt,uint40 deadline",
    "TopUp": "address payer,address payee,address token,address signer,uint128 amount,bytes32 salt,"
    "uint40 deadline",
    "StartClose": "address payee,address token,address signer,uint40 deadline",
    "Close": "address payee,address token,address signer,uint128 finalCumulative,uint40 deadline",
    "WithdrawCredit": "address owner,address token,address to,bytes32 salt,uint40 deadline",
    "ReceiveWithAuthorization": "address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce",
    "Registration": "address payer,uint256 idCommitment,uint16 rate,address homeNode,uint32 periods,"
    "uint40 deadline",
    "Extension": "address payer,uint256 idCommitment,uint32 periods,bytes32 salt,uint40 deadline",
    "Exit": "uint256 idCommitment,uint40 deadline",
    "Session": "address operator,uint256 nonce,uint40 expires",
    "NodeKey": "address operator,address nodeKey",
    "Node": "address operator,bytes32 descriptorHash,uint40 issued",
}


def key(label: str) -> str:
    """A private key that everybody can compute again."""
    return "0x" + hashlib.sha256(f"waypost vector {label}".encode()).hexdigest()


def address(label: str) -> str:
    """The address of that key."""
    return str(Account.from_key(key(label)).address)


def word(label: str) -> str:
    """32 bytes, 0x-hex."""
    return "0x" + hashlib.sha256(label.encode()).hexdigest()


def domain(name: str, contract: str, chain_id: int = CHAIN_ID) -> dict[str, Any]:
    """An EIP-712 domain."""
    return {
        "name": name,
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": address(contract),
    }


def signed(
    name: str, kind: str, where: dict[str, Any], message: Mapping[str, Any], signer: str
) -> dict[str, Any]:
    """One EIP-712 vector, signed by the key of `signer`."""
    members = [member.split(" ") for member in TYPES[kind].split(",")]
    types = {kind: [{"name": member, "type": abi} for abi, member in members]}
    values = {
        member: int(message[member]) if abi.startswith("uint") else message[member] for abi, member in members
    }
    encoded = encode_typed_data(where, types, values)
    signature = Account.sign_message(encoded, key(signer))
    vs = signature.s | (signature.v - 27) << 255
    return {
        "name": name,
        "type": f"{kind}({TYPES[kind]})",
        "primaryType": kind,
        "domain": where,
        "message": dict(message),
        "signer": address(signer),
        "privateKey": key(signer),
        "structHash": "0x" + encoded.body.hex(),
        "digest": "0x" + keccak(b"\x19" + encoded.version + encoded.header + encoded.body).hex(),
        "r": f"0x{signature.r:064x}",
        "vs": f"0x{vs:064x}",
    }


def channels() -> list[dict[str, Any]]:
    """Everything that the Channels contract checks; each signed by whoever has to sign it."""
    here = domain("Waypost Channels", "channels")
    names = {name: address(name) for name in ("payer", "payee", "token", "signer")}
    channel = {name: names[name] for name in ("payee", "token", "signer")}
    receipt = {"payee": names["payee"], "token": names["token"]}
    totals = {
        "zero": 0,
        "one unit": 1,
        "ten dollars": 10_000_000,
        "largest deposit": 2**96 - 1,
        "largest total": 2**128 - 1,
    }
    opening = names | {
        "closeDelay": 129_600,
        "amount": "5000000",
        "salt": word("opening"),
        "deadline": 1_900_000_000,
    }
    extreme = opening | {
        "closeDelay": 2**32 - 1,
        "amount": str(2**128 - 1),
        "salt": "0x" + "ff" * 32,
        "deadline": 2**40 - 1,
    }
    top_up = {k: v for k, v in opening.items() if k != "closeDelay"} | {"salt": word("top-up")}
    deadline = {"deadline": 1_900_000_000}
    open_vector = signed("opening", "Opening", here, opening, "signer")
    transfer = {
        "from": names["payer"],
        "to": here["verifyingContract"],
        "value": opening["amount"],
        "validAfter": "0",
        "validBefore": "1900000000",
        "nonce": open_vector["structHash"],
    }
    return [
        *(
            signed(f"receipt: {name}", "Receipt", here, receipt | {"cumulative": str(n)}, "signer")
            for name, n in totals.items()
        ),
        signed(
            "receipt: on another chain",
            "Receipt",
            domain("Waypost Channels", "channels", 1),
            receipt | {"cumulative": "1"},
            "signer",
        ),
        open_vector,
        signed("opening: by the payer", "Opening", here, opening, "payer"),
        signed("opening: largest values", "Opening", here, extreme, "signer"),
        signed("top-up", "TopUp", here, top_up, "payer"),
        signed("start of a close", "StartClose", here, channel | deadline, "payer"),
        signed(
            "close by consent",
            "Close",
            here,
            channel | {"finalCumulative": "1"} | deadline,
            "payee",
        ),
        signed(
            "withdrawal of a credit",
            "WithdrawCredit",
            here,
            {"owner": names["payee"], "token": names["token"], "to": address("elsewhere")}
            | {"salt": word("credit")}
            | deadline,
            "payee",
        ),
        signed(
            "authorization of the opening",
            "ReceiveWithAuthorization",
            domain("Dev Dollar", "token"),
            transfer,
            "payer",
        ),
    ]


def memberships() -> list[dict[str, Any]]:
    """Everything that people sign for the RlnMembership contract, about one member."""
    here = domain("Waypost RlnMembership", "membership")
    member = {"idCommitment": str(int(word("commitment")[:65], 16))}
    deadline = {"deadline": 1_900_000_000}
    registration = {"payer": address("payer")} | member | {"rate": 100, "homeNode": address("home")}
    registration |= {"periods": 4} | deadline
    extreme = {
        "idCommitment": str(2**256 - 1),
        "rate": 2**16 - 1,
        "periods": 2**32 - 1,
        "deadline": 2**40 - 1,
    }
    extension = {"payer": address("payer")} | member | {"periods": 2, "salt": word("extension")} | deadline
    return [
        signed("registration", "Registration", here, registration, "payer"),
        signed("registration: largest values", "Registration", here, registration | extreme, "payer"),
        signed("extension", "Extension", here, extension, "payer"),
        signed("exit", "Exit", here, member | deadline, "payer"),
    ]


def sessions() -> list[dict[str, Any]]:
    """Session requests by a channel's signer."""
    here = domain("Waypost Node", "registry")
    nonces = {"session": 1, "session: largest nonce": 2**256 - 1}
    return [
        signed(
            name,
            "Session",
            here,
            {"operator": address("operator"), "nonce": str(nonce), "expires": 1_800_000_000},
            "signer",
        )
        for name, nonce in nonces.items()
    ]


PRICES = {
    "token": address("token"),
    "storePerKibHour": "3",
    "fetchPerKib": "2",
    "relayPerKib": "4",
    "opening": "50000",
    "minReceipt": "1000",
    "minDeposit": "1000000",
}


def canonical(value: Any) -> bytes:
    """RFC 8785, for values that are ASCII and hold no fraction."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def price_list() -> dict[str, Any]:
    """A price list as a node publishes it."""
    identity = "0x" + keccak(canonical(PRICES)).hex()
    return {"priceId": identity, "validUntil": 1_800_000_000} | PRICES


def prices() -> list[dict[str, Any]]:
    """Costs in base units, rounded up once."""
    store, fetch, relay = (int(PRICES[name]) for name in ("storePerKibHour", "fetchPerKib", "relayPerKib"))
    cases = [
        (size, seconds)
        for size in (0, 1, 1023, 1024, 1025, 150 * 1024)
        for seconds in (1, 3600, 3601, 30 * 86_400)
    ]
    costs = [
        {
            "size": size,
            "seconds": seconds,
            "store": str(ceil_div(size * seconds * store, 1024 * 3600)),
            "fetch": str(ceil_div(size * fetch, 1024)),
            "relay": str(ceil_div(size * relay, 1024)),
        }
        for size, seconds in cases
    ]
    return [{"name": "prices", "prices": price_list(), "costs": costs}]


def ceil_div(numerator: int, denominator: int) -> int:
    """Rounded towards more."""
    whole, rest = divmod(numerator, denominator)
    return whole + bool(rest)


def nodes() -> list[dict[str, Any]]:
    """A node key's possession proof, and signed descriptors: of a node without RLN, and of one with it."""
    return [
        signed(
            "possession of a node key",
            "NodeKey",
            domain("Waypost NodeRegistry", "registry"),
            {"operator": address("operator"), "nodeKey": address("node key")},
            "node key",
        ),
        described("descriptor", "channels", "registry", "token"),
        described("descriptor of a node with RLN", "channels", "registry", "token", "membership"),
    ]


def described(name: str, *contracts: str) -> dict[str, Any]:
    """A signed descriptor of a node that works with these contracts."""
    descriptor = {
        "operator": address("operator"),
        "nodeKey": address("node key"),
        "payee": address("payee"),
        "services": ["store", "lease"],
        "endpoint": "https://node.example",
        "chain": {"id": CHAIN_ID, "network": "local"},
        "contracts": {contract: address(contract) for contract in contracts},
        "prices": price_list(),
        "limits": {
            "maxPayload": 153_600,
            "minRetention": 3600,
            "maxRetention": 2_592_000,
            "minCloseDelay": 129_600,
            "confirmations": 3,
            "maxTopics": 64,
            "maxPage": 100,
        },
        "version": "0.1.0",
        "issued": 1_790_000_000,
    }
    statement = {
        "operator": descriptor["operator"],
        "descriptorHash": "0x" + keccak(canonical(descriptor)).hex(),
        "issued": descriptor["issued"],
    }
    vector = signed(name, "Node", domain("Waypost Node", "registry"), statement, "node key")
    return vector | {"descriptor": descriptor}


def main() -> int:
    """Writes the vectors, or with --check compares them with the files."""
    parser = argparse.ArgumentParser(description="Write tests/vectors.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    for make in (channels, memberships, sessions, nodes, prices):
        path = FOLDER / f"{make.__name__}.json"
        text = json.dumps(make(), indent=2) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        print(f"Out of date: {', '.join(stale)}. Run scripts/make_vectors.py.", file=sys.stderr)
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
