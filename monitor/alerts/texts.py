"""Alerts in words, in Chinese and English: what is wrong, why most likely, what to do."""

from __future__ import annotations

from typing import Final, NamedTuple

from exchange.model import Label
from monitor.alerts.seen import Condition


class Words(NamedTuple):
    """What is said of one kind of condition; `{where}`, `{stage}`, `{value}`, `{detail}` are filled in."""

    what: Label
    cause: Label
    action: Label


def words_of(condition: Condition) -> Words:
    """Return the words for a condition."""
    template = _WORDS.get((condition.kind, condition.text)) or _WORDS[(condition.kind, "")]
    value = f"{condition.value:,.0f}"
    if condition.kind in ("refusals", "retained_wal"):
        value = f"{condition.value:.0%}"
    if condition.kind == "delay_budget":
        value = f"{condition.value:.1f}"
    given = {"where": condition.where, "stage": condition.stage, "value": value, "detail": condition.detail}
    return Words(*(Label(zh=label.zh.format(**given), en=label.en.format(**given)) for label in template))


def _words(what: tuple[str, str], cause: tuple[str, str], action: tuple[str, str]) -> Words:
    return Words(*(Label(zh=zh, en=en) for zh, en in (what, cause, action)))


_WORDS: Final[dict[tuple[str, str], Words]] = {
    ("part_down", "part"): _words(
        ("监控的组成部分 {where} 不可用：{detail}", "The monitor's part {where} does not work: {detail}"),
        ("该部件已停止、不可达或拒绝连接", "It is stopped, cannot be reached, or refuses"),
        ("运行 exchange status，查看该部件日志并重新启动",
         "Run `exchange status`, see its log, start it again"),
    ),
    ("part_down", "capture"): _words(
        ("数源系统 {where} 的采集进程没有心跳", "The connector of system {where} gives no sign of life"),
        ("采集进程未启动或已退出", "It was not started, or it has ended"),
        ("运行 exchange connect {where}；其日志说明原因", "Run `exchange connect {where}`; its log says why"),
    ),
    ("part_down", "process"): _words(
        ("没有加工进程在运行", "No worker is at work"),
        ("加工进程未启动或已退出", "It was not started, or it has ended"),
        ("运行 exchange stream；其日志说明原因", "Run `exchange stream`; its log says why"),
    ),
    ("part_down", "deliver"): _words(
        ("订阅方 {where} 的投递进程没有心跳", "The delivery of subscriber {where} gives no sign of life"),
        ("投递进程未启动或已退出", "It was not started, or it has ended"),
        ("运行 exchange deliver {where}", "Run `exchange deliver {where}`"),
    ),
    ("stall", "halted"): _words(
        ("{stage} 环节在 {where} 已停住：{detail}", "Stage {stage} is halted at {where}: {detail}"),
        ("遇到不能跳过的问题，数据停住而不丢失", "It met what must not be passed over; nothing is lost"),
        ("按原因处理，处理后自动继续", "Mend the reason that it gives; it then goes on"),
    ),
    ("stall", "stands"): _words(
        ("{stage} 环节在 {where} 已 {value} 秒没有进展，而仍有待读数据",
         "Stage {stage} has not moved on {where} for {value} s, though there is more to read"),
        ("进程已停止、挂起，或卡在某条记录", "Its process is stopped, suspended, or stuck at one record"),
        ("运行 exchange status 查看心跳；重新启动该进程",
         "See its heartbeat with `exchange status`; start it again"),
    ),
    ("lag", ""): _words(
        ("{where} 的加工延迟 {value} 秒", "The workers are {value} s behind on {where}"),
        ("数据到达快于加工，或进程刚恢复", "More comes in than is processed, or a worker has just come back"),
        ("观察延迟趋势；增加一个 exchange stream 进程", "Watch the trend; start one more `exchange stream`"),
    ),
    ("imbalance", ""): _words(
        ("{stage} 环节 {where} 有 {value} 个分钟账目不平：{detail}",
         "The accounts of {value} minutes do not balance at stage {stage} of {where}: {detail}"),
        ("变更丢失、重复或被改动，或账目本身缺失",
         "Changes are missing, doubled or altered, or accounts themselves are lost"),
        ("查看 /api/accounts/balance 中的分钟与位点；保留现场，不要清空主题",
         "See minute and offsets at /api/accounts/balance; keep the topics as they are"),
    ),
    ("refusals", ""): _words(
        ("{where} 的变更有 {value} 被拒绝", "{value} of the changes on {where} are refused"),
        ("数源的数据不再符合约定", "The source's data no longer keep the contract"),
        ("运行 exchange quarantine list 查看原因与字段，请数源单位更正后重放",
         "See reason and field with `exchange quarantine list`; have the source mend it, then redrive"),
    ),
    ("delay_budget", ""): _words(
        ("{where} 的延迟是约定（{detail}）的 {value} 倍，主要在 {stage} 环节",
         "The delay of {where} is {value} times its budget ({detail}), most of it at stage {stage}"),
        ("该环节过载或被外部拖慢", "That stage is overloaded, or something outside slows it down"),
        ("查看 /api/route 中该路由各环节延迟", "See the route's delay stage by stage at /api/route"),
    ),
    ("retained_wal", "alarm"): _words(
        ("数源系统 {where} 告警：{detail}", "System {where} gives an alarm: {detail}"),
        ("采集进程停止、暂停或落后，或数源保留的日志不足",
         "Its connector is stopped, paused or behind, or the source keeps too little of its log"),
        ("运行 exchange doctor {where}", "Run `exchange doctor {where}`"),
    ),
    ("retained_wal", ""): _words(
        ("数源系统 {where} 为总线保留的日志已达上限的 {value}（{detail}）",
         "The server of system {where} keeps {value} of the log that it may keep for the bus ({detail})"),
        ("采集进程停止、暂停或落后", "Its connector is stopped, paused or behind"),
        ("启动、检查或恢复 {where} 的采集（exchange connect、exchange connector resume）；数源磁盘写满前处理",
         "Start or check `exchange connect {where}`, or `exchange connector resume {where}`, before the "
         "source's disk is full"),
    ),
    ("overdue_request", ""): _words(
        ("{where}（{detail}）已逾期 {value} 天", "{where} for {detail} is overdue by {value} days"),
        ("审批人未在期限内处理", "Nobody has decided on it in time"),
        ("请相应审批人处理：exchange request list", "Have those who decide do so: `exchange request list`"),
    ),
    ("certificate", ""): _words(
        ("{where} 的证书还有 {value} 天到期", "The certificate of {where} ends in {value} days"),
        ("证书未及时更换", "It was not renewed in time"),
        ("更换证书并重新启动", "Renew it and restart what uses it"),
    ),
}  # fmt: skip
