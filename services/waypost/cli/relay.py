"""`waypost mailbox`: messages that relays pass on just now, published with a membership or for money."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.mailbox import MaxCost, content_json, content_of, require_below, shown
from waypost.cli.nouns import examples, noun
from waypost.cli.options import (
    DEFAULT_HOME,
    DEFAULT_RPC_URL,
    DryRun,
    Home,
    Json,
    ManifestPath,
    Operators,
    PasswordFile,
    RlnKeys,
    RpcUrl,
)
from waypost.cli.output import Output, describe
from waypost.cli.places import Places, open_client
from waypost.client.subscription import Heard, Subscription
from waypost.errors import WaypostError
from waypost.protocol.fields import parse_address

app = noun("Messages that nodes relay: publish them, and listen.")


@app.command()
@examples(
    'waypost mailbox publish /chat/1/lobby/plain "hello, all"',
    "waypost mailbox publish wp1… --file note.txt --copies 2",
    'waypost mailbox publish /chat/1/lobby/plain "paid" --paid --dry-run',
)
def publish(
    to: Annotated[str, typer.Argument(help="A topic, /app/version/name/encoding, or a mailbox, wp1….")],
    text: Annotated[str | None, typer.Argument(help="The message; or use --file.")] = None,
    file: Annotated[Path | None, typer.Option(help="Publish this file; - is standard input.")] = None,
    copies: Annotated[int, typer.Option(min=1, max=100, help="To how many nodes it is handed.")] = 1,
    node: Operators = None,
    paid: Annotated[bool, typer.Option("--paid", help="Pay from a channel, although a member.")] = False,
    max_cost: MaxCost = None,
    rln_keys: RlnKeys = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Publish a message to who listens now: for nothing as a member, or paid from a channel.

    Under a topic everybody can read it; to a mailbox it is sealed. A member's message reaches the listeners
    of all nodes, a paid one those of the nodes that it is handed to.
    """
    out, places = Output(json), Places.under(home)
    content = content_of(text, file)
    operators = [parse_address(entry, "node") for entry in node or ()]

    async def run() -> int:
        async with open_client(
            places, rpc_url, manifest, password_file, rln_keys=rln_keys, progress=out.progress
        ) as (client, unit):
            mailbox, publisher = client.mailbox, client.mailbox.publisher
            message = mailbox.compose(to, content)
            proved = not paid and publisher.has_membership()
            quotes = {} if proved else await publisher.quote(message, operators)
            dearest = sum(sorted(quotes.values(), reverse=True)[:copies])
            if dry_run:
                how = "with the membership, for nothing" if proved else f"for at most {unit.show(dearest)}"
                data = {"dryRun": True, "proved": proved, "cost": str(dearest)}
                out.result(data, [f"Would publish {message.size} bytes {how}."])
                return 0
            require_below(dearest, max_cost, unit)
            published = await mailbox.publish(
                to, content, copies=copies, operators=operators, paid=not proved, message=message
            )
            for operator, fault in published.faults.items():
                out.progress(f"warning: {operator} does not take it: {fault}")
            slot = published.slot
            out.result(
                {
                    "id": "0x" + message.id.hex(),
                    "proved": proved,
                    "copies": [{"operator": c.operator, "charged": str(c.charged)} for c in published.copies],
                    "faults": {operator: describe(f) for operator, f in published.faults.items()},
                    "charged": str(published.charged),
                    "epoch": slot and slot.epoch,
                    "messageId": slot and slot.message_id,
                },
                [
                    f"0x{message.id.hex()}",
                    f"taken by {len(published.copies)} of {copies} nodes, for {unit.show(published.charged)}",
                ],
            )
            return 0 if len(published.copies) >= copies else 1

    raise typer.Exit(asyncio.run(run()))


@app.command()
@examples(
    "waypost mailbox subscribe",
    "waypost mailbox subscribe --topic /chat/1/lobby/plain --count 10",
    "waypost mailbox subscribe --topic /chat/1/lobby/plain --json | jq -r .text",
)
def subscribe(
    topic: Annotated[
        list[str] | None, typer.Option(help="A topic; repeatable.", show_default="your own mailbox")
    ] = None,
    node: Operators = None,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="At how many nodes, without --node.")] = 2,
    cursor: Annotated[
        str | None, typer.Option(help="A node's cursor to begin after.", show_default="what comes next")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    home: Home = DEFAULT_HOME,
    rpc_url: RpcUrl = DEFAULT_RPC_URL,
    manifest: ManifestPath = None,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Print messages as they come, each once, until Ctrl-C.

    With --json each message is one JSON object on a line. Another run goes on where this one ended. Nodes
    that have a price are paid from their channels, batch by batch.
    """
    out, places = Output(json), Places.under(home)
    operators = [parse_address(entry, "node") for entry in node or ()]

    async def run() -> None:
        async with open_client(places, rpc_url, manifest, password_file) as (client, _):
            subscription = await client.mailbox.subscribe(
                topic or (), operators=operators, nodes=nodes, cursor=cursor
            )
            async with subscription:
                await _until_interrupted(_print_all(subscription, count, out))

    asyncio.run(run())


async def _print_all(subscription: Subscription, count: int | None, out: Output) -> None:
    printed, known = 0, dict[str, WaypostError]()
    async for heard in subscription:
        for operator, fault in subscription.faults.items():
            if known.get(operator) is not fault:
                known[operator] = fault
                out.progress(f"warning: {operator}: {fault}")
        out.result(_as_json(heard), [_as_text(heard)])
        printed += 1
        if printed == count:
            await subscription.acknowledge()
            return


async def _until_interrupted(work: Any) -> None:
    """Ends the work at Ctrl-C or a request to end, which is no error."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _content(heard: Heard) -> bytes:
    return heard.message.payload if heard.plaintext is None else heard.plaintext


def _as_json(heard: Heard) -> dict[str, Any]:
    return {
        "id": "0x" + heard.message.id.hex(),
        "topic": heard.message.topic,
        "timestamp": str(heard.message.timestamp_ns),
        "operator": heard.operator,
        "proved": heard.proved,
        **content_json(_content(heard)),
    }


def _as_text(heard: Heard) -> str:
    return shown(_content(heard))
