"""The command `exchange`: assembles the commands and turns errors into one clear line.

stdout is the answer, stderr the log. Exit codes: 0 done, 1 error (or an unbalanced account), 2 wrong usage or
differences found, 3 "restart me" (worker and connector only).
"""

from __future__ import annotations

import importlib
import inspect
import re
import signal
import sys
from typing import Final

import typer

from exchange import log, tracing
from exchange.errors import ExchangeError
from exchange.settings import read_settings

# group of commands (None: top level) → module and function of each, in the order of the help
COMMANDS: Final[dict[str | None, dict[str, str]]] = {
    None: {
        "demo": "exchange.commands.demo:demo",
        "up": "exchange.commands.parts:up",
        "down": "exchange.commands.parts:down",
        "status": "exchange.commands.parts:status",
        "check": "exchange.commands.topology:check",
        "plan": "exchange.commands.plan:plan",
        "apply": "exchange.commands.topology:apply",
        "adopt": "exchange.commands.adopt:adopt",
        "revoke": "exchange.commands.revoke:revoke",
        "revoke-verify": "exchange.commands.revoke:revoke_verify",
        "restore": "exchange.commands.revoke:restore",
        "watch": "exchange.commands.watch:watch",
        "connect": "exchange.commands.connect:connect",
        "resnapshot": "exchange.commands.connect:resnapshot",
        "doctor": "exchange.commands.doctor:doctor",
        "load": "exchange.commands.load:load",
        "push-key": "exchange.commands.push:push_key",
        "stream": "exchange.commands.stream:stream",
        "monitor": "exchange.commands.monitor:monitor",
        "deliver": "exchange.commands.deliver:deliver",
        "consume": "exchange.commands.consume:consume",
        "client-config": "exchange.commands.parts:client_config",
        "serve-pull": "exchange.commands.pull:serve_pull",
        "pull-key": "exchange.commands.pull:pull_key",
        "report": "exchange.commands.report:report",
        "decisions": "exchange.commands.decisions:decisions",
        "webhook-key": "exchange.commands.webhook:webhook_key",
    },
    "connector": {
        "pause": "exchange.commands.connector:pause",
        "resume": "exchange.commands.connector:resume",
        "status": "exchange.commands.connector:status",
    },
    "snapshot": {
        "start": "exchange.commands.snapshot:start",
        "pause": "exchange.commands.snapshot:pause",
        "resume": "exchange.commands.snapshot:resume",
        "stop": "exchange.commands.snapshot:stop",
        "status": "exchange.commands.snapshot:status",
    },
    "contract": {
        "draft": "exchange.commands.contract:draft",
    },
    "request": {
        "new": "exchange.commands.request:new",
        "submit": "exchange.commands.request:submit",
        "list": "exchange.commands.request:list_requests",
        "show": "exchange.commands.request:show",
        "approve": "exchange.commands.request:approve",
        "return": "exchange.commands.request:return_request",
        "withdraw": "exchange.commands.request:withdraw",
        "renew": "exchange.commands.request:renew",
        "end": "exchange.commands.request:end",
        "certify": "exchange.commands.request:certify",
        "sweep": "exchange.commands.request:sweep",
    },
    "user": {
        "add": "exchange.commands.user:add",
        "password": "exchange.commands.user:password",
        "disable": "exchange.commands.user:disable",
        "enable": "exchange.commands.user:enable",
        "list": "exchange.commands.user:list_users",
    },
    "token": {
        "new": "exchange.commands.token:new",
        "list": "exchange.commands.token:list_tokens",
        "revoke": "exchange.commands.token:revoke",
    },
    "catalogue": {
        "new": "exchange.commands.catalogue:new",
        "edit": "exchange.commands.catalogue:edit",
        "submit": "exchange.commands.catalogue:submit",
        "withdraw": "exchange.commands.catalogue:withdraw",
        "publish": "exchange.commands.catalogue:publish",
        "return": "exchange.commands.catalogue:return_entry",
        "retire": "exchange.commands.catalogue:retire",
        "list": "exchange.commands.catalogue_read:list_entries",
        "search": "exchange.commands.catalogue_read:search",
        "show": "exchange.commands.catalogue_read:show",
        "check": "exchange.commands.catalogue_read:check",
        "sources": "exchange.commands.catalogue_read:sources",
        "settle": "exchange.commands.catalogue:settle",
        "sweep": "exchange.commands.catalogue:sweep",
        "export": "exchange.commands.catalogue_files:export",
        "import": "exchange.commands.catalogue_files:import_entries",
    },
    "objection": {
        "new": "exchange.commands.objection:new",
        "list": "exchange.commands.objection:list_objections",
        "show": "exchange.commands.objection:show",
        "answer": "exchange.commands.objection:answer",
        "reject": "exchange.commands.objection:reject",
        "correct": "exchange.commands.objection:correct",
        "withdraw": "exchange.commands.objection:withdraw",
        "corrections": "exchange.commands.objection:corrections",
        "sweep": "exchange.commands.objection:sweep",
    },
    "quarantine": {
        "list": "exchange.commands.quarantine:list_refused",
        "show": "exchange.commands.quarantine:show",
        "redrive": "exchange.commands.quarantine:redrive",
    },
    "alert": {
        "list": "exchange.commands.alert:list_alerts",
        "ack": "exchange.commands.alert:ack",
        "silence": "exchange.commands.alert:silence",
        "key": "exchange.commands.alert:key",
    },
    "lineage": {
        "export": "exchange.commands.lineage:export",
    },
    "parked": {
        "list": "exchange.commands.parked:list_parked",
        "redrive": "exchange.commands.parked:redrive",
    },
    "ca": {
        "init": "exchange.commands.ca:init",
        "issue": "exchange.commands.ca:issue",
        "renew": "exchange.commands.ca:renew",
        "show": "exchange.commands.ca:show",
    },
    "keys": {
        "create": "exchange.commands.keys:create",
        "list": "exchange.commands.keys:list_keys",
        "rotate": "exchange.commands.raw_keys:rotate",
        "forget": "exchange.commands.raw_keys:forget",
    },
    "bench": {
        "pipeline": "exchange.commands.bench:pipeline",
        "fanout": "exchange.commands.bench:fanout",
        "subscribers": "exchange.commands.bench:subscribers",
        "latency": "exchange.commands.bench:latency",
        "capture": "exchange.commands.bench:capture",
        "memory": "exchange.commands.bench:memory",
        "monitor": "exchange.commands.bench:monitor",
        "revoke": "exchange.commands.bench:revoke",
        "report": "exchange.commands.bench:report",
    },
}

TRACED: Final = frozenset(
    {
        (None, "plan"),
        (None, "apply"),
        (None, "revoke"),
        (None, "restore"),
        ("request", "approve"),
        ("request", "return"),
        ("request", "end"),
        ("request", "certify"),
    }
)
"""Control operations; see exchange/tracing.py."""

_GROUP_HELP: Final = {
    "connector": """A source's connector paused, so that it writes nothing, and resumed where it stopped.

    Examples:
      exchange connector pause population --as chen-hao --reason "storage is moved tonight"
      exchange connector status population
      exchange connector resume population --as chen-hao
    """,
    "snapshot": """One table of a PostgreSQL source read again beside its stream, for all views or for one.

    Examples:
      exchange snapshot start population --table public.person --view school
      exchange snapshot status population
      exchange snapshot pause population
    """,
    "contract": """Contracts of resources: what their fields are, and who may see them.

    Examples:
      exchange contract draft population public.person -o avro/population/person.avsc
    """,
    "request": """Requests for views: asked for, decided by those who may, granted, renewed and ended.

    Examples:
      exchange request new tax population.person.school --as li-na --purpose 核验 --legal-basis 第六条
      exchange request approve 7 --as wang-wei --version 2
      exchange request list --state submitted
    """,
    "user": """Who may log in at the API and the console.

    Examples:
      exchange user add li-na
      exchange user list
      exchange user disable li-na
    """,
    "token": """Tokens of people, for programs that call the API and for commands in somebody's name.

    Examples:
      exchange token new li-na --note "nightly report"
      exchange token list
      exchange token revoke 4
    """,
    "catalogue": """The catalogue of resources: written by stewards, published by the share authority.

    Examples:
      exchange catalogue new population.person --as wang-wei --library-kind base --library 人口
      exchange catalogue search 身份号码
      exchange catalogue check
    """,
    "objection": """Objections to delivered values: filed by subscribers, answered by the source's steward.

    Examples:
      exchange objection new tax population.person.tax 2:1500 --as li-na --field status --claim-file claim.txt
      exchange objection correct 7 --as wang-wei --version 2
      exchange objection corrections tax
    """,
    "quarantine": """Refused records: what was refused and why, and sending them again after a fix.

    Examples:
      exchange quarantine list population.person
      exchange quarantine show population.person 2:17 --key-file public_security.key
      exchange quarantine redrive population.person --all --key-file public_security.key --dry-run
    """,
    "alert": """What is wrong now, since when, why most likely, and what to do about it.

    Examples:
      exchange alert list
      exchange alert ack 12
      exchange alert silence 12 --for 4h --reason "the source is being moved"
    """,
    "lineage": """Where each view comes from, field by field, for a catalogue that takes OpenLineage.

    Examples:
      exchange lineage export -o lineage.ndjson
      exchange lineage export --url https://marquez.example
    """,
    "parked": """What a subscriber's webhook refused for good: listing it, and sending it again after a fix.

    Examples:
      exchange parked list tax
      exchange parked redrive tax
    """,
    "ca": """TLS in Kafka: an authority of one's own, and the certificates that it issues.

    Examples:
      exchange ca init
      exchange ca issue --host kafka-1.example.org --out kafka-1.pem
      exchange ca renew
      exchange ca show
    """,
    "keys": """Key pairs of source stewards, for whom refused records are sealed; keys of sealed raw topics.

    Examples:
      exchange keys create public_security
      exchange keys list
      exchange keys rotate
    """,
    "bench": """The bus measured beside its limits and its peers, on parts of its own in a temporary home.

    Examples:
      exchange bench pipeline --records 100000 --rounds 1
      exchange bench latency --json
      exchange bench report --save results
    """,
}
_HELP: Final = """A data exchange bus: masked, validated, accounted change streams between departments.

Examples:
  exchange demo                    the whole bus at work, with invented data
  exchange up                      its parts in the background; `exchange down` stops them
  exchange check                   what is wrong in topology.yaml and the contracts
  exchange consume --help          every command explains itself
"""


def build() -> typer.Typer:
    """Return the command with all its sub-commands."""
    app = typer.Typer(
        help=_laid_out(_HELP),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for group, commands in COMMANDS.items():
        parent = app
        if group is not None:
            told = _GROUP_HELP[group]
            parent = typer.Typer(no_args_is_help=True)
            app.add_typer(parent, name=group, help=_laid_out(told), short_help=_first_line(told))
        for name, target in commands.items():
            module, _, function = target.partition(":")
            command = getattr(importlib.import_module(module), function)
            told = command.__doc__ or ""
            if (group, name) in TRACED:
                command = tracing.traced(command, f"exchange {group} {name}" if group else f"exchange {name}")
            parent.command(name, help=_laid_out(told), short_help=_first_line(told))(command)
    return app


def _laid_out(told: str) -> str:
    """Return a help text whose examples keep a line each: click fills every paragraph but a marked one."""
    return re.sub(r"^(?=Examples?:)", "\b\n", inspect.cleandoc(told), flags=re.MULTILINE)


def _first_line(told: str) -> str:
    return told.strip().partition("\n")[0]


def main() -> None:
    """Run the command line."""
    log.configure("INFO")
    log.silence_tracebacks()
    try:
        settings = read_settings()
        log.configure(settings.log_level, json_lines=settings.log_json)
        build()()
    except ExchangeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Caught here because typer puts a hook of its own in place, which prints the error's text.
        log.uncaught(error)
        sys.stderr.write(
            "error: not foreseen, and its text withheld as it may quote data; please report the line above\n"
        )
        sys.exit(1)
    finally:
        # The answer is out: a Ctrl-C while Python takes itself apart must not turn it into a death by signal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
