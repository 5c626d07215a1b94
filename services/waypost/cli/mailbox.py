"""`waypost send` and `waypost fetch`: sealed messages out and in, paid from the open channels."""

import asyncio
import base64
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.amounts import Unit
from waypost.cli.nouns import examples
from waypost.cli.options import (
    DEFAULT_HOME,
    DEFAULT_RPC_URL,
    DryRun,
    Home,
    Json,
    ManifestPath,
    Operators,
    PasswordFile,
    RpcUrl,
)
from waypost.cli.output import Output, describe
from waypost.cli.places import Places, open_client
from waypost.client.inbox import Fetched, Received
from waypost.errors import InvalidConfig, SpendingLimitExceeded
from waypost.protocol.fields import parse_address
from waypost.protocol.messages import MAX_PAYLOAD

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MaxCost = Annotated[
    str | None,
    typer.Option(
        "--max-cost", help="Most to spend now, in whole tokens.", show_default="the channels' limits"
    ),
]


@examples(
    'waypost send wp1… "See you at eight"',
    "waypost send wp1… --file photo.jpg --retention 30d --copies 2",
    "date | waypost send wp1… --file -",
)
def send(
    recipient: Annotated[str, typer.Argument(help="The recipient's mailbox, wp1….")],
    text: Annotated[str | None, typer.Argument(help="The message; or use --file.")] = None,
    file: Annotated[Path | None, typer.Option(help="Send this file; - is standard input.")] = None,
    retention: Annotated[str, typer.Option(help="How long it is kept: seconds, or 90m, 12h, 7d.")] = "7d",
    copies: Annotated[int, typer.Option(min=1, max=100, help="At how many nodes.")] = 1,
    node: Operators = None,
    max_cost: MaxCost = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Seal a message to a mailbox and have nodes keep it there.

    Only the recipient can open it. It is paid from your open channels, within their spending limits, so you
    are not asked again; --dry-run shows the price.
    """
    out, places = Output(json), Places.under(home)
    content, seconds = content_of(text, file), _seconds(retention)
    operators = [parse_address(entry, "node") for entry in node or ()]

    async def run() -> int:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            outbox = client.mailbox.outbox
            message = outbox.compose(recipient, content)
            quotes = await outbox.quote(message, seconds, operators)
            dearest = sum(sorted(quotes.values(), reverse=True)[:copies])
            if dry_run:
                lines = [f"{operator}  {unit.show(quote)}" for operator, quote in quotes.items()]
                out.result({"dryRun": True, "quotes": {o: str(q) for o, q in quotes.items()}}, lines)
                return 0
            require_below(dearest, max_cost, unit)
            sent = await outbox.store(message, seconds, copies, operators)
            for operator, fault in sent.faults.items():
                out.progress(f"warning: {operator} does not keep it: {fault}")
            out.result(
                {
                    "id": "0x" + sent.message.id.hex(),
                    "copies": [
                        {"operator": c.operator, "charged": str(c.charged), "expires": c.expires}
                        for c in sent.copies
                    ],
                    "faults": {operator: describe(fault) for operator, fault in sent.faults.items()},
                    "charged": str(sent.charged),
                },
                [
                    f"0x{sent.message.id.hex()}",
                    f"kept at {len(sent.copies)} of {copies} nodes, for {unit.show(sent.charged)}",
                ],
            )
            return 0 if len(sent.copies) == copies else 1

    raise typer.Exit(asyncio.run(run()))


@examples(
    "waypost fetch", "waypost fetch --dry-run", "waypost fetch --save-to messages/", "waypost fetch --json"
)
def fetch(
    node: Operators = None,
    save_to: Annotated[Path | None, typer.Option(help="Write each message to a file in this folder.")] = None,
    max_cost: MaxCost = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fetch, check and open what is new in your mailbox.

    Looking is free; each message is paid once, from your open channels. A message that a node altered is
    reported and fetched elsewhere, if another node has it. The exit code is 1 if a listed message could not
    be read.
    """
    out, places = Output(json), Places.under(home)
    operators = [parse_address(entry, "node") for entry in node or ()]

    async def run() -> int:
        async with open_client(places, rpc_url, manifest, password_file) as (client, unit):
            listing = await client.mailbox.look(operators)
            for operator, fault in listing.faults.items():
                out.progress(f"warning: {operator} cannot be asked: {fault}")
            cost = client.mailbox.inbox.quote(listing)
            if dry_run:
                data = {
                    "dryRun": True,
                    "messages": ["0x" + id.hex() for id in listing.ids],
                    "cost": str(cost),
                }
                out.result(data, [f"{len(listing.ids)} new messages, for at most {unit.show(cost)}"])
                return 0
            require_below(cost, max_cost, unit)
            fetched = await client.mailbox.fetch(listing)
            files = {} if save_to is None else _save(fetched, save_to)
            for fault_ in fetched.faults:
                out.progress(f"warning: 0x{fault_.id.hex()[:16]}… at {fault_.operator}: {fault_.error}")
            out.result(_as_json(fetched, files), _as_text(fetched, files, unit))
            await client.mailbox.acknowledge(fetched)  # only now: what was not shown is fetched again
            return 1 if fetched.unread else 0

    raise typer.Exit(asyncio.run(run()))


def content_of(text: str | None, file: Path | None) -> bytes:
    """What a command is to send, from its argument or a file. Raises InvalidConfig."""
    if (text is None) == (file is None):
        raise InvalidConfig("Give either a text or --file.")
    if text is not None:
        return text.encode(errors="surrogateescape")
    assert file is not None
    try:
        # One byte more than could ever be sent is enough to refuse it.
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_PAYLOAD + 1)
        with file.expanduser().open("rb") as opened:
            return opened.read(MAX_PAYLOAD + 1)
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}.", path=str(file)) from error


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,10})([smhd]?)", text.strip(), re.ASCII)
    if found is None:
        raise InvalidConfig(f"{text[:40]!r} is no time such as 3600, 90m, 12h or 7d.", given=text[:40])
    return int(found[1]) * SECONDS[found[2] or "s"]


def require_below(cost: int, max_cost: str | None, unit: Unit) -> None:
    """Raises SpendingLimitExceeded."""
    if max_cost is not None and cost > unit.parse(max_cost, "highest cost"):
        raise SpendingLimitExceeded(
            f"This may cost {unit.show(cost)}; {max_cost} is allowed.", needed=str(cost)
        )


def _save(fetched: Fetched, folder: Path) -> dict[bytes, Path]:
    files = {}
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        for received in fetched.messages:
            path = folder / received.message.id.hex()
            path.write_bytes(received.plaintext)
            files[received.message.id] = path
    except OSError as error:
        raise InvalidConfig(f"{folder} cannot be written: {error.strerror}.", path=str(folder)) from error
    return files


def _as_json(fetched: Fetched, files: dict[bytes, Path]) -> dict[str, Any]:
    return {
        "messages": [_message(received, files) for received in fetched.messages],
        "faults": [
            {"id": "0x" + fault.id.hex(), "operator": fault.operator, **describe(fault.error)}
            for fault in fetched.faults
        ],
        "unread": ["0x" + id.hex() for id in sorted(fetched.unread)],
        "charged": str(fetched.charged),
    }


def _message(received: Received, files: dict[bytes, Path]) -> dict[str, Any]:
    path = files.get(received.message.id)
    return {
        "id": "0x" + received.message.id.hex(),
        "timestamp": str(received.message.timestamp_ns),
        "operator": received.operator,
        **content_json(received.plaintext),
        **({} if path is None else {"file": str(path)}),
    }


def _as_text(fetched: Fetched, files: dict[bytes, Path], unit: Unit) -> list[str]:
    lines = []
    for received in fetched.messages:
        when = datetime.fromtimestamp(received.message.timestamp_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
        path = files.get(received.message.id)
        lines.append(f"{when}  {path or shown(received.plaintext)}")
    return [*lines, f"{len(fetched.messages)} messages, for {unit.show(fetched.charged)}"]


def content_json(content: bytes) -> dict[str, str]:
    """A stranger's content in a result: as text if it is UTF-8, or else in base64."""
    text = _text(content)
    return {"text": text} if text is not None else {"base64": base64.b64encode(content).decode()}


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def shown(content: bytes) -> str:
    """A stranger's text, fit for a terminal: no control characters but tabs and line ends."""
    text = _text(content)
    if text is None:
        return f"({len(content)} bytes that are no text: use --save-to or --json)"
    return "".join(c if c.isprintable() or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
