"""The end of the demo: what each node served, earned, claimed and owns, from four places that know nothing of
each other: the clients' books, the node's books, the chain's events and the token's balances."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from waypost.cli.demo.members import earned_by_members
from waypost.cli.demo.narrator import Narrator
from waypost.cli.demo.stage import DOLLAR, Slash, Stage


@dataclass(frozen=True, slots=True)
class Row:
    """One node's figures in base units. `members`: fees and rewards that the membership contract paid.
    `onchain` is the balance of its payee, which began at zero."""

    name: str
    operator: str
    served: int
    earned: int
    claimed: int
    members: int
    onchain: int

    @property
    def agrees(self) -> bool:
        """Whether all places say the same."""
        return self.served == self.earned == self.claimed == self.onchain - self.members


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a performance."""

    rows: tuple[Row, ...]
    stored: int
    fetched: int
    verified: int
    chatted: int
    slash: Slash | None
    cheats: dict[str, bool]
    claims: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every figure agrees and every cheat was refused."""
        return all(row.agrees for row in self.rows) and all(self.cheats.values())

    def to_json(self) -> dict[str, Any]:
        """What the demo prints last under --json."""
        return {
            "ok": self.good,
            "nodes": [asdict(row) for row in self.rows],
            "messages": {"stored": self.stored, "fetched": self.fetched, "verified": self.verified},
            "relayed": self.chatted,
            "slash": None if self.slash is None else asdict(self.slash),
            "cheats": self.cheats,
            "claims": list(self.claims),
            "seconds": round(self.seconds, 1),
        }

    def show(self, narrator: Narrator) -> None:
        """The table, and what to make of it."""
        table = Table(title="What the nodes earned, in DUSD", title_justify="left")
        table.add_column("node")
        for column in ("served", "earned", "claimed", "from members", "balance on chain"):
            table.add_column(column, justify="right")
        for row in self.rows:
            figures = (row.served, row.earned, row.claimed, row.members, row.onchain)
            style = None if row.agrees else "red"
            table.add_row(row.name, *(f"{figure / DOLLAR:.6f}" for figure in figures), style=style)
        narrator.table(table)
        verdict = "All columns agree to the unit" if self.good else "SOMETHING DOES NOT AGREE"
        refused = sum(self.cheats.values())
        narrator.line(
            f"{verdict}; {self.stored} messages stored, {self.verified} verified, {self.chatted} relayed; "
            f"{refused} of {len(self.cheats)} cheats refused; {self.seconds:.1f} s."
        )


async def report(stage: Stage) -> Report:
    """Collects the figures, each from where it is known best."""
    claims = await stage.claims()
    rows = []
    for waypost in stage.wayposts:
        status = await waypost.ask(stage.http, "GET", "/status")
        rows.append(
            Row(
                name=waypost.name,
                operator=waypost.operator,
                served=stage.served(waypost),
                earned=int(status["totals"]["earned"]),
                claimed=sum(claim.total for claim in claims if claim.payee == waypost.operator),
                members=await earned_by_members(stage, waypost.operator),
                onchain=await stage.deployed.token.balance_of(waypost.operator),
            )
        )
    return Report(
        rows=tuple(rows),
        stored=len(stage.stored),
        fetched=stage.fetched,
        verified=stage.verified,
        chatted=stage.chatted,
        slash=stage.slash,
        cheats=dict(stage.cheats),
        claims=tuple("0x" + claim.transaction_hash.hex() for claim in claims),
        seconds=stage.narrator.seconds,
    )
