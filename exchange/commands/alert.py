"""`exchange alert`: what is wrong now, saying that one deals with it, silence, and keys of channels."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.errors import ConfigError

if TYPE_CHECKING:
    from exchange.alerting.alert import Alert
    from exchange.governance.store import Store

_UNIT_S: Final = {"m": 60, "h": 3600, "d": 86_400}
Id = Annotated[int, typer.Argument(help="Number of the alert, as `list` shows it.", show_default=False)]
Actor = Annotated[str, typer.Option("--as", help="Who does it; default: the user of this machine.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 100,
    before: Annotated[int | None, typer.Option(min=1, help="Only those with a lower number.")] = None,
    as_json: Json = False,
) -> None:
    """List alerts: what, where, since when, the likely cause and what to do; the exit code is 1 if one fires.

    Examples:
      exchange alert list
      exchange alert list --all --limit 20 --json
    """
    from exchange.alerting.alert import ACTIVE, State
    from exchange.alerting.store import AlertStore, Page
    from exchange.governance.store import Store, exists
    from exchange.settings import Settings

    settings, page = Settings(), Page((), None)
    if exists(settings):
        with Store.of(settings) as store:
            page = AlertStore(store).page(() if everything else ACTIVE, before, limit)
    order = list(State)
    found = sorted(page.alerts, key=lambda alert: (order.index(alert.state), alert.severity, -alert.id))
    if as_json:
        alerts = [one.model_dump(mode="json") for one in found]
        document = {"alerts": alerts, "next_before": page.next_before}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(alert_text(one.model_dump(mode="json")) for one in found) or "no alerts\n")
    if any(one.state == State.FIRING for one in found):
        raise typer.Exit(1)


def ack(alert: Id, actor: Actor = "", as_json: Json = False) -> None:
    """Say that somebody deals with an alert; it stays until what it tells of is over.

    Examples:
      exchange alert ack 12
      exchange alert ack 12 --as li-na --json
    """
    from exchange.alerting.dealing import acknowledge

    _deal(lambda store: acknowledge(store, _name(actor), alert, _now()), as_json)


def silence(
    alert: Id,
    duration: Annotated[str, typer.Option("--for", help="How long, like 30m, 4h or 2d; 30 days at most.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; others read it.")],
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Tell nobody of an alert for a while, also if it ends and comes again; then it fires as before.

    Examples:
      exchange alert silence 12 --for 4h --reason "the source is being moved"
    """
    from exchange.alerting.dealing import silence as keep_silent

    lasts_s = _seconds(duration)
    _deal(lambda store: keep_silent(store, _name(actor), alert, reason, lasts_s, _now()), as_json)


def key(
    channel: Annotated[str, typer.Argument(help="Channel of kind webhook, of `alerts` in topology.yaml.")],
    only: Annotated[bool, typer.Option("--only", help="Sign with the new key alone at once.")] = False,
) -> None:
    """Make a key that signs a channel's notices, and print what its receiver needs to verify them.

    As with `exchange webhook-key`, notices are signed with the newest key before as well.

    Examples:
      exchange alert key duty-room
    """
    from connectors.sinks.webhook.signing import make_key
    from exchange.alerting.rules import WebhookChannel
    from exchange.files import yaml_source
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean
    from exchange.topology import check, today

    settings = Settings()
    declared = check(yaml_source.read(settings.topology), None, today()).topology.alerts.channels
    channels = {name: one for name, one in declared.items() if isinstance(one, WebhookChannel)}
    if channel not in channels:
        msg = f"{settings.topology}: no channel of kind webhook {did_you_mean(channel, channels)}"
        raise ConfigError(msg)
    found = channels[channel]
    sys.stdout.write(make_key(settings.secrets, found.keys_env, found.signature, only=only) + "\n")
    sys.stderr.write(f"Give it to whoever runs the receiver of {channel}.\n")


def alert_text(alert: dict[str, object]) -> str:
    """Return an alert of `/api/alerts` as a few lines."""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(str(alert["since_ms"])) / 1000))
    state = str(alert["state"]).upper()
    by = f" by {alert['by']}" if alert["by"] else ""
    until = ""
    if alert["state"] == "silenced" and alert["until_ms"] is not None:
        until = time.strftime(" until %Y-%m-%d %H:%M UTC", time.gmtime(int(str(alert["until_ms"])) / 1000))
        until += f": {alert['reason']}"
    lines = [
        f"{state}{by}{until} alert {alert['id']} [{alert['severity']}] since {since}: {_en(alert['what'])}"
    ]
    lines += [f"  cause: {_en(alert['cause'])}", f"  do: {_en(alert['action'])}"]
    return "".join(line + "\n" for line in lines)


def _en(label: object) -> str:
    return str(label["en"]) if isinstance(label, dict) else ""


def _deal(do: Callable[[Store], Alert], as_json: bool) -> None:
    from exchange.governance.store import Store
    from exchange.settings import Settings

    with Store.of(Settings()) as store:
        after = do(store).model_dump(mode="json")
    sys.stdout.write(json.dumps(after, ensure_ascii=False) + "\n" if as_json else alert_text(after))


def _name(actor: str) -> str:
    import getpass

    try:
        return (actor or getpass.getuser())[:63]
    except (KeyError, OSError):
        msg = "this user has no name here; say who it is with --as"
        raise ConfigError(msg) from None


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()


def _seconds(text: str) -> int:
    from exchange.alerting.dealing import LONGEST_SILENCE_S

    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_SILENCE_S:
        msg = f"--for {text[:20]}: wanted is a time like 30m, 4h or 2d, 30 days at most"
        raise ConfigError(msg)
    return seconds
