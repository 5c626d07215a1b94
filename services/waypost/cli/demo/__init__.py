"""`waypost demo`: the whole idea at work on this machine, as a play in acts."""

import asyncio
import json as json_format
import secrets
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from waypost.cli.demo.acts import ACTS, programme
from waypost.cli.demo.narrator import Narrator
from waypost.cli.demo.report import Report, report
from waypost.cli.demo.stage import Stage
from waypost.errors import InvalidConfig

MESSAGES = 300
_NAMES = ", ".join(act.name for act in ACTS)


def demo(
    act: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Play this act and what it needs: {', '.join(act.name for act in ACTS)}. Repeatable."
        ),
    ] = None,
    messages: Annotated[int, typer.Option(min=1, max=5000, help="How many messages are stored.")] = MESSAGES,
    seed: Annotated[int | None, typer.Option(help="Chooses the texts; random if not given.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all servers running, and print where.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object, last.")] = False,
) -> None:
    """Shows the whole idea at work: staked nodes, clients without ETH, payment, claims, cheats.

    Nothing but this machine is used and no money is real. The exit code is 0 only if all figures agree.
    """
    known = {act.name for act in ACTS}
    for name in act or ():
        if name not in known:
            raise InvalidConfig(
                f"There is no act {name!r}; there are {', '.join(sorted(known))}.", given=name
            )
    console = Console(stderr=json)
    folder = Path(tempfile.mkdtemp(prefix="waypost-demo-"))
    seed = secrets.randbelow(2**32) if seed is None else seed
    outcome = asyncio.run(_perform(folder, Narrator(console), act or [], messages, seed, keep))
    if json:
        print(json_format.dumps(outcome))
    raise typer.Exit(0 if outcome["ok"] else 1)


async def _perform(
    folder: Path, narrator: Narrator, acts: list[str], messages: int, seed: int, keep: bool
) -> dict[str, object]:
    good = False
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60, trust_env=False))
        stage = Stage(folder, narrator, messages, seed, http, stack)
        try:
            for act in programme(acts):
                narrator.act(act.title)
                await act.play(stage)
            outcome = await report(stage)
            good = outcome.good
        finally:
            if not keep:
                for process in reversed(stage.processes):
                    process.stop()
            if not (keep or good):
                narrator.line(f"Logs and data are in {folder}")
    outcome.show(narrator)
    if keep:
        _show_where(stage, narrator)
    elif good:
        shutil.rmtree(folder, ignore_errors=True)
    return _as_json(outcome, stage)


def _as_json(outcome: Report, stage: Stage) -> dict[str, object]:
    processes = {process.name: process.pid for process in stage.processes}
    return {
        **outcome.to_json(),
        "rpc": stage.rpc_url,
        "contracts": dict(stage.accounts()),
        "seed": stage.seed,
        "folder": str(stage.folder),
        "processes": processes,
    }


def _show_where(stage: Stage, narrator: Narrator) -> None:
    narrator.line(f"\nStill running:\n  chain     {stage.rpc_url}")
    for waypost in stage.wayposts:
        narrator.line(f"  {waypost.name:<9} {waypost.endpoint}  operator {waypost.operator}")
    for name, address in stage.accounts().items():
        narrator.line(f"  {name:<13} {address}")
    narrator.line(f"  data and manifest in {stage.folder} (password of all key files: {stage.password})")
    narrator.line("Stop it with: kill " + " ".join(str(process.pid) for process in stage.processes))
