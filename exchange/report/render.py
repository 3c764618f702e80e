"""An assessment as one page of HTML that prints; it loads nothing, and every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from exchange.model import Model
from exchange.report.assess import Assessment, DepartmentLine, ResourceLine, RuleLine

Columns = Sequence[tuple[str, str]]
"""Attribute of a line and its heading."""

DEPARTMENTS: Final[Columns] = (
    ("department", "部门 Department"), ("resources", "供给资源 Resources"),
    ("supplied", "供给变更 Supplied changes"), ("views_used", "使用视图 Views used"),
    ("used", "使用变更 Used changes"), ("score", "质量分 Score"),
    ("timeliness", "及时率 Timeliness"), ("overdue", "逾期申请 Overdue requests"),
)  # fmt: skip
RESOURCES: Final[Columns] = (
    ("resource", "资源 Resource"), ("department", "部门 Department"), ("captured", "采集 Captured"),
    ("refused", "拒绝 Refused"), ("completeness", "完整 Complete"), ("validity", "规范 Valid"),
    ("uniqueness", "唯一 Unique"), ("timeliness", "及时 Timely"), ("consistency", "一致 Consistent"),
    ("score", "得分 Score"), ("score_before", "上月 Month before"),
)  # fmt: skip
RULES: Final[Columns] = (
    ("resource", "资源 Resource"), ("stage", "环节 Stage"), ("reason", "规则 Rule"), ("field", "字段 Field"),
    ("changes", "变更 Changes"),
)  # fmt: skip
SHARES: Final = frozenset({"completeness", "validity", "uniqueness", "timeliness", "consistency"})

_STYLE: Final = """
body{font:14px/1.5 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;margin:2em;color:#111}
table{border-collapse:collapse;width:100%;margin:1em 0}
caption{text-align:left;font-weight:600;font-size:1.1em}
th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left}td.n{text-align:right}thead{background:#eee}
@media print{body{margin:0}thead{display:table-header-group}tr{break-inside:avoid}}
"""


def html(assessment: Assessment) -> str:
    """Return the page."""
    title = f"数据共享评估 Sharing assessment {escape(assessment.month)}"
    tables = "".join(
        (
            _table("部门 Departments", DEPARTMENTS, assessment.departments),
            _table("资源质量 Quality of resources", RESOURCES, assessment.resources),
            _table("违反最多的规则 Rules broken most", RULES, assessment.rules),
        )
    )
    return (
        f'<!doctype html>\n<html lang="zh"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{escape(assessment.made_at)}</p>{tables}"
        "</body></html>\n"
    )


def cell(line: Model, name: str) -> str | int | float | None:
    """Return what stands in a column; names go with their label, shares as percent."""
    value: str | int | float | None = getattr(line, name)
    if isinstance(value, float) and name in SHARES:
        return round(value * 100, 2)
    if (name == "department" and isinstance(line, DepartmentLine)) or (
        name == "resource" and isinstance(line, ResourceLine)
    ):
        return f"{line.label.zh} {value}"
    return value


def _table(title: str, columns: Columns, lines: Iterable[DepartmentLine | ResourceLine | RuleLine]) -> str:
    head = "".join(f"<th>{escape(_heading(name, heading))}</th>" for name, heading in columns)
    rows = "".join(f"<tr>{''.join(_cell(cell(line, name)) for name, _ in columns)}</tr>" for line in lines)
    body = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<table><caption>{escape(title)}</caption>{body}</table>"


def _heading(name: str, heading: str) -> str:
    return f"{heading} %" if name in SHARES else heading


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "<td>–</td>"
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    return f'<td class="n">{value:,}</td>'
