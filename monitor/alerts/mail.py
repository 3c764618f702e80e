"""A notice as a mail in Chinese and English, by SMTP."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

from exchange.alerting.alert import Event
from exchange.alerting.rules import MailChannel
from exchange.alerting.store import Notice
from exchange.errors import ConfigError, TransientError
from exchange.model import Label
from exchange.settings import Secrets

_TIMEOUT_S: Final = 10.0
_LONGEST_SUBJECT: Final = 120


def send(channel: MailChannel, notice: Notice, secrets: Secrets) -> None:
    """Send a notice; the server has taken it when this returns.

    Raises: TransientError when it is to be sent again; ConfigError when the login is not as it should be.
    """
    login = _login(channel, secrets)
    try:
        with _connected(channel) as server:
            if login is not None:
                server.login(*login)
            server.send_message(message(channel, notice))
    except (OSError, smtplib.SMTPException) as error:
        # The server's text may repeat the login or the recipients.
        msg = f"{channel.host}: the mail was not taken ({type(error).__name__}); it is sent again"
        raise TransientError(msg) from None


def message(channel: MailChannel, notice: Notice) -> EmailMessage:
    """Return the mail of a notice; its Message-ID is the same at every try."""
    alert, over = notice.alert, notice.event == Event.RESOLVED
    made = EmailMessage()
    head = "已恢复 resolved" if over else f"{alert.severity}"
    made["Subject"] = " ".join(f"[{head}] {alert.kind} {alert.where}".split())[:_LONGEST_SUBJECT]
    made["From"] = channel.sender
    made["To"] = ", ".join(channel.recipients)
    made["Date"] = formatdate(localtime=False)
    made["Message-ID"] = f"<{notice.id}@{channel.sender.partition('@')[2]}>"
    made.set_content("\n".join(_lines(notice)) + "\n")
    return made


def _lines(notice: Notice) -> Iterator[str]:
    alert = notice.alert
    facts = (
        (Label(zh="事项", en="What"), alert.what),
        (Label(zh="可能原因", en="Likely cause"), alert.cause),
        (Label(zh="处理", en="What to do"), alert.action),
    )
    if alert.resolved_at_ms is not None:
        yield f"已恢复 Resolved: {_time(alert.resolved_at_ms)}"
    yield f"环节 Stage: {alert.stage}"
    yield f"位置 Where: {alert.where}"
    yield f"起始 Since: {_time(alert.since_ms)}"
    for name, text in facts:
        yield ""
        yield f"{name.zh}：{text.zh}"
        yield f"{name.en}: {text.en}"
    yield ""
    yield f"告警 Alert {alert.id}; exchange alert ack {alert.id}"


def _time(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ms / 1000))


def _connected(channel: MailChannel) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if channel.tls == "tls":
        return smtplib.SMTP_SSL(channel.host, channel.port, timeout=_TIMEOUT_S, context=context)
    server = smtplib.SMTP(channel.host, channel.port, timeout=_TIMEOUT_S)
    if channel.tls == "starttls":
        try:
            server.starttls(context=context)
        except (OSError, smtplib.SMTPException):
            server.close()
            raise
    return server


def _login(channel: MailChannel, secrets: Secrets) -> tuple[str, str] | None:
    if channel.login_env is None:
        return None
    user, colon, password = secrets.get(channel.login_env).get_secret_value().partition(":")
    if not colon or not user:
        msg = f"secret {channel.login_env}: wanted is user:password"
        raise ConfigError(msg)
    return user, password
