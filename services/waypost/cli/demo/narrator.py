"""What the audience sees: acts, facts and progress, on stderr when stdout is for programs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class Narrator:
    """Prints as things happen; a progress bar on a terminal, a line per quarter elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the curtain rose."""
        return time.monotonic() - self._begun

    def act(self, title: str) -> None:
        """A new act begins."""
        self._console.print(f"\n[bold]{title}[/bold] [dim]{self.seconds:5.1f} s[/dim]")

    def fact(self, text: str) -> None:
        """Something is now so."""
        self._console.print(f"  [green]✓[/green] {text}", highlight=False, soft_wrap=True)

    def failure(self, text: str) -> None:
        """Something is not as it should be."""
        self._console.print(f"  [red]✗[/red] {text}", highlight=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """The figures at the end."""
        self._console.print()
        self._console.print(table)

    def line(self, text: str) -> None:
        """Plain text."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator["Counter"]:
        """Counts long work."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        if self._console.is_terminal:
            with Progress(*columns, console=self._console, transient=True) as bar:
                task = bar.add_task(what, total=total)
                yield Counter(lambda _: bar.advance(task))
        else:
            quarters = {total * part // 4 for part in range(1, 4)}
            yield Counter(
                lambda done: self.line(f"    {what}: {done} of {total}") if done in quarters else None
            )


class Counter:
    """Tells how far some work is."""

    def __init__(self, show: Callable[[int], None]) -> None:
        self._show = show
        self.done = 0

    def advance(self) -> None:
        """One more is done."""
        self.done += 1
        self._show(self.done)
