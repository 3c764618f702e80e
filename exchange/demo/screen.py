"""The live screen: routes, accounts, one record before and after masking, processes, where to go on.

It fits the terminal: on a narrow one topics are named without what their place tells, on a low one the record
shows fewer fields, masked ones first, and the ways to go on stand above the screen only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from exchange.contract import Contract
from exchange.demo.figures import Figures, Json, Rates, Totals, since
from exchange.demo.samples import Pair

_WIDE: Final = 110
"""Columns from which topics are named in full."""
_FEWEST_FIELDS: Final = 2
"""Of the record, when there is little room; with less it is left out."""


@dataclass(slots=True)
class View:
    """What the screen shows just now."""

    start: Totals
    began: float
    """Monotonic seconds."""
    contract: Contract
    """Of the sample's table."""
    commands: tuple[str, ...]
    """How to read the topics and the API."""
    rates: Rates = field(default_factory=Rates)
    figures: Figures | None = None
    pair: Pair | None = None
    children: Mapping[str, str] = field(default_factory=dict)
    """Connector or worker → how its process is."""
    troubles: tuple[str, ...] = ()
    phase: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the whole screen, as much as there is room for."""
        if self.figures is None:
            yield Text("waiting for the first figures 等待首批数据 …")
            return

        def lines(part: RenderableType) -> int:
            return len(console.render_lines(part, options.update(height=None)))

        above = Group(
            _headline(self, self.figures.totals),
            _routes(self, self.figures, wide=options.max_width >= _WIDE),
            _refusals(self, self.figures.totals),
        )
        below = Group(
            _processes(self, self.figures),
            *(Text(line, style="red") for line in self.troubles),
            Text(self.phase, style="bold"),
        )
        further = Group(*(Text(command, style="dim", overflow="fold") for command in self.commands))
        room = console.height - lines(above) - lines(below)
        sample = self._sample(lines, room)
        yield above
        if sample is not None:
            yield sample
        if lines(further) <= room - (lines(sample) if sample else 0):
            yield further
        yield below

    def _sample(self, lines: Callable[[RenderableType], int], room: int) -> Table | None:
        """Return the record with as many fields as there is room for; None when that is next to nothing."""
        if self.pair is None:
            return None
        for fields in range(len(self.pair.masked), _FEWEST_FIELDS - 1, -1):
            sample = _sample(self.pair, self.contract, fields)
            if lines(sample) <= room:
                return sample
        return None

    def line(self) -> str:
        """Return the same in one line, for a log."""
        if self.figures is None:
            return "waiting for the first figures"
        totals = self.figures.totals
        captured, delivered, filtered, refused = (
            sum(since(*pair).values())
            for pair in (
                (self.start.captured, totals.captured),
                (self.start.delivered, totals.delivered),
                (self.start.filtered, totals.filtered),
                (self.start.refused, totals.refused),
            )
        )
        delays = [route["delay_ms"]["p99"] for route in self.figures.routes if route["delay_ms"]]
        state = "; ".join([*totals.problems[:1], *self.troubles, *_halts(self.figures)[:1]]) or "ok"
        return (
            f"captured {captured}  delivered {delivered}  filtered {filtered}  refused {refused}  "
            f"in flight {sum(totals.in_flight.values())}  p99 {max(delays, default=0):.0f} ms  {state}"
        )


def _headline(view: View, totals: Totals) -> Text:
    captured = since(view.start.captured, totals.captured)
    text = Text.assemble(
        ("数据交换总线 Exchange bus", "bold"),
        f"   {time.monotonic() - view.began:.0f} s   采集 captured {sum(captured.values())}   ",
    )
    return text.append_text(_verdict(totals))


def _verdict(totals: Totals) -> Text:
    if totals.problems:
        return Text(f"✗ 账目不平 unbalanced: {totals.problems[0]}", style="bold red")
    if not totals.settled:
        return Text(f"✓ 账目平衡 balanced, 在途 in flight {sum(totals.in_flight.values())}", style="green")
    return Text("✓ 账目平衡 balanced", style="green")


def _routes(view: View, figures: Figures, *, wide: bool) -> Table:
    totals = figures.totals
    delivered, filtered = (
        since(view.start.delivered, totals.delivered),
        since(view.start.filtered, totals.filtered),
    )
    padding = (0, 1 if wide else 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, expand=True)
    table.add_column("路线\nroute", ratio=1, overflow="fold")
    for heading in (
        "速率\n/s",
        "延迟\np50",
        "ms\np95",
        "\np99",
        "送达\ndelivered",
        "过滤\nfiltered",
        "账目\naccounts",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    source = ""
    for route in figures.routes:
        if route["topic"] != source:
            source = route["topic"]
            name = source if wide else source.removeprefix("raw.")
            table.add_row(Text(name, style="bold"), *[""] * 6, _account(totals, source))
        topic, delay = route["view_topic"], route["delay_ms"]
        table.add_row(
            f"→ {topic if wide else '.'.join(topic.split('.')[2:])}",
            f"{view.rates.of(topic):.1f}",
            *([f"{delay[p]:.0f}" for p in ("p50", "p95", "p99")] if delay else ["-"] * 3),
            str(delivered.get(topic, 0)),
            str(filtered.get(topic, 0)),
            _account(totals, topic),
        )
    return table


def _account(totals: Totals, topic: str) -> Text:
    if topic in totals.uneven:
        return Text("✗", style="bold red")
    in_flight = totals.in_flight.get(topic, 0)
    return Text(f"在途 {in_flight}" if in_flight else "✓", style="yellow" if in_flight else "green")


def _refusals(view: View, totals: Totals) -> Text:
    refused = since(view.start.refused, totals.refused)
    reasons = "  ".join(f"{reason} {count}" for reason, count in refused.items() if count) or "0"
    return Text.assemble(("拒绝 refused: ", "bold"), (reasons, "yellow"))


def _sample(pair: Pair, contract: Contract, fields: int) -> Table:
    """Return some fields of the view beside the source, masked ones first; below, what it does not show."""
    title = f"脱敏前后 before and after masking (invented 虚构): {pair.view}"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("字段 field", no_wrap=True)
    table.add_column("数源 source row", overflow="ellipsis", no_wrap=True, max_width=44)
    table.add_column("视图 as subscribers see it", overflow="ellipsis", no_wrap=True, max_width=44)
    rows = []
    for name in (name for name in contract.fields if name in pair.masked):
        contract_field = contract.fields[name]
        label = f"{contract_field.label_zh.partition('（')[0]} {name}"
        rows.append((label, _text(pair.row[contract_field.source]), _text(pair.masked[name])))
    rows.sort(key=lambda row: row[1] == row[2])
    for row in rows[:fields]:
        table.add_row(*row)
    hidden = [name for name in contract.fields if name not in pair.masked]
    table.add_row(Text("不提供 not shown", style="dim"), Text(", ".join(hidden), style="dim"), "")
    return table


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _processes(view: View, figures: Figures) -> Text:
    text = Text.assemble(("进程 processes: ", "bold"))
    for name, state in view.children.items():
        text.append(f"{name} {state}  ", style="" if state == "running" else "yellow")
    for worker in figures.workers:
        text.append(f"[{worker.get('writer')}: {worker.get('state')}] ", style="dim")
    for halt in _halts(figures):
        text.append(f"\n✗ 暂停 halted {halt}", style="bold red")
    return text


def _halts(figures: Figures) -> list[str]:
    halted: list[Json] = [halt for worker in figures.workers for halt in worker.get("halted") or ()]
    return [
        f"{halt.get('topic')} {halt.get('partition')}:{halt.get('offset')}: {halt.get('reason')}"
        for halt in halted
    ]
