"""Every error this project raises for a person to read.

ExchangeError                 something that a person can act on; the CLI prints it and exits 1
├── ConfigError               settings, topology.yaml, secrets: mend a file or a variable
├── ContractError             a contract in avro/ is wrong or does not fit its table
├── GovernanceError           a request is refused as it stands: wrong person, state, version or content
│   ├── NotAllowedError       wrong person: a role is missing, or it is a request of their own
│   ├── NoRequestError        there is no such request, objection or entry
│   ├── NoEntryError          nothing is at this place of a quarantine
│   └── StaleError            another version was looked at than there is now
├── LoginError                who somebody is could not be made sure of, or what was given does not fit
│   └── NoRoleError           it is known who it is, and no role is theirs
├── PlanError                 the published plan is missing, unreadable or contradicts what is running
├── SourceError               a source database cannot be captured as asked
│   └── GapError              changes are missing between the stored position and the source
├── SinkError                 a subscriber's store refuses what is delivered to it
├── PartError                 an embedded or external part (Kafka, Redis, ...) is not answering
├── FencedError               another process has taken over this one's stream
├── RestartError              this process must end and be started again (exit code 3)
├── SealError                 a sealed payload or token cannot be made or opened
└── TransientError            worth another try; `retry_after_s` says when

A bad *record* is not an error: it is a `Rejected` value (exchange/change.py) and goes to quarantine.
No message holds a field's value: the bus exists because not everyone may read them.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchange.files.problem import Problem


class ExchangeError(Exception):
    """Root of all errors meant for people: where, what was seen, what was wanted, what to do.

    problems: the things to mend one by one, in order, where the text is a report of problems in files.
    """

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(sorted(set(problems)))


class ConfigError(ExchangeError):
    """Settings, topology.yaml or a secret is missing or wrong."""


class ContractError(ExchangeError):
    """A contract is wrong in itself, or the table does not fit it."""


class GovernanceError(ExchangeError):
    """What was asked of a request is refused: wrong person, state, version or content."""


class NotAllowedError(GovernanceError):
    """It is not for this person to do."""


class NoRequestError(GovernanceError):
    """There is no such request, objection or entry."""


class NoEntryError(GovernanceError):
    """Nothing is at this place of a quarantine: it was deleted by age, or never was there."""


class StaleError(GovernanceError):
    """Another version was looked at than there is now."""


class LoginError(ExchangeError):
    """A password, session or token is not valid."""


class NoRoleError(LoginError):
    """Somebody is known, and has no role here."""


class PlanError(ExchangeError):
    """The published plan is missing, unreadable, or contradicts what is running."""


class SourceError(ExchangeError):
    """A source database cannot be captured as asked."""


class GapError(SourceError):
    """Changes are missing between the position stored in Kafka and what the source can still give."""


class SinkError(ExchangeError):
    """A subscriber's store refuses what is delivered to it; its other views go on."""


class PartError(ExchangeError):
    """A part the bus stands on (Kafka, registry, Redis, PostgreSQL, ClickHouse) is not answering."""


class FencedError(ExchangeError):
    """Another process with the same transactional.id has taken over; this one must not write any more."""


class RestartError(ExchangeError):
    """Nothing is wrong with the data, but this process must end and be started again: exit code 3."""


class SealError(ExchangeError):
    """A payload cannot be sealed or opened, or a masking key is missing."""


class TransientError(ExchangeError):
    """Worth another try after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
