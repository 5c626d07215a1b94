"""`waypost node doctor`: what is wrong with a node, and what to do about it."""

import asyncio

import typer

from waypost.cli.nouns import examples
from waypost.cli.options import DEFAULT_HOME, DataDir, Home, Json, PasswordFile
from waypost.cli.output import Output
from waypost.cli.passwords import password
from waypost.cli.places import Places
from waypost.node import settings
from waypost.node.app import unix_time
from waypost.node.doctor import Finding, Verdict, examine
from waypost.node.rln_doctor import examine_rln

MARKS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAILED: "✗", Verdict.SKIPPED: "–"}


@examples("waypost node doctor", "waypost node doctor --json | jq '.findings[] | select(.verdict != \"ok\")'")
def doctor(
    data_dir: DataDir = None,
    home: Home = DEFAULT_HOME,
    password_file: PasswordFile = None,
    json: Json = False,
) -> None:
    """Check keys, files, disk, clock, RPC endpoint, contracts, gas, registration and endpoint.

    Changes nothing, and works whether the node runs or not. Ends with 1 if a check failed.
    """
    out, folder = Output(json), (data_dir or Places.under(home).node).expanduser().absolute()

    async def run() -> list[Finding]:
        config = settings.read_config(folder)  # names a missing folder before anybody is asked for a password
        secret = password(str(folder), password_file)
        found = [finding async for finding in examine(folder, secret, unix_time)]
        return found + [finding async for finding in examine_rln(folder, config)]

    findings = asyncio.run(run())
    failed = sum(finding.verdict is Verdict.FAILED for finding in findings)
    out.result(
        {"healthy": not failed, "findings": [_as_json(finding) for finding in findings]},
        [line for finding in findings for line in _as_text(finding)],
    )
    if failed:
        raise typer.Exit(1)


def _as_json(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "verdict": finding.verdict.value,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _as_text(finding: Finding) -> list[str]:
    lines = [f"{MARKS[finding.verdict]} {finding.check:<13} {finding.sentence}"]
    return lines + ([f"  {'':<13} → {finding.remedy}"] if finding.remedy else [])
