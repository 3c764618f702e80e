"""`exchange revoke` and `exchange restore`: a grant taken away at once, with a certificate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.errors import ConfigError

if TYPE_CHECKING:
    from exchange.settings import Settings

Subscriber = Annotated[str, typer.Argument(help="Whose grant, as topology.yaml names it.")]
View = Annotated[str, typer.Argument(help="<domain>.<resource>.<view>.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the certificate.")]
Actor = Annotated[str, typer.Option("--as", help="Who decides; it stands in the certificate.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def revoke(
    subscriber: Subscriber,
    view: View,
    reason: Reason,
    actor: Actor,
    suspend: Annotated[
        bool, typer.Option("--suspend", help="Only for now: `exchange restore` lifts it as is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a grant away at once, and certify it.

    Kafka refuses the subscriber from then on, and so HTTP pull and deliveries of this view; a login that the
    bus made goes with the last of its views. No `exchange apply` gives the grant again until `exchange
    restore`, whatever topology.yaml says. What broke off is finished by running it again.

    The certificate says who, why, when the access was seen to be gone, and where the topic ended then; it is
    kept in <home>/certificates and printed with --json. `exchange revoke-verify` checks it.

    Examples:
      exchange revoke tax population.person.tax --reason "breach of contract" --as "Li Wei"
      exchange revoke tax population.person.tax --suspend --reason "key leaked" --as "Li Wei" --json
    """
    from exchange.apply.revoke import Wish
    from exchange.apply.revoke import revoke as carry_out
    from exchange.settings import Settings

    settings = Settings()
    wish = Wish(subscriber, view, actor, reason, "suspended" if suspend else "revoked")
    certificate = carry_out(settings, wish, lambda step: sys.stderr.write(f"{step}\n"))
    file = _keep(settings, certificate)
    if as_json:
        sys.stdout.write(json.dumps(certificate, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{_as_text(certificate)}\n  certificate: {file}\n")


def restore(
    subscriber: Subscriber,
    view: View,
    reason: Reason,
    actor: Actor,
    revoked: Annotated[
        bool, typer.Option("--revoked", help="Also where it was revoked for good, not suspended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Lift a suspension; the next `exchange apply` gives the grant again, if topology.yaml still has it.

    Examples:
      exchange restore tax population.person.tax --reason "new key" --as "Li Wei" && exchange apply
    """
    from exchange.apply.revoke import Wish
    from exchange.apply.revoke import restore as carry_out
    from exchange.settings import Settings

    lifted = carry_out(Settings(), Wish(subscriber, view, actor, reason), for_good=revoked)
    if as_json:
        sys.stdout.write(lifted.model_dump_json(exclude={"certificate"}) + "\n")
    else:
        sys.stdout.write(
            f"{view} is no longer {lifted.kind} for {subscriber}; `exchange apply` gives the grant again\n"
        )


def revoke_verify(
    file: Annotated[Path, typer.Argument(help="Certificate that `exchange revoke` wrote.")],
    key: Annotated[
        str, typer.Option("--key", help="Public key of the bus, base64; not given: this installation's.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Check that a certificate of a revocation is this bus's, and is as it was signed. Exit code 1 if not.

    Examples:
      exchange revoke-verify .exchange/certificates/tax.population.person.tax.20260301T080000Z.json
      exchange revoke-verify certificate.json --key nyNqRC5w0kVfUg3OOa4JDO0hM2TC0Sl4bBnFyp2w6VY=
    """
    from exchange.certificate import Signer, verify
    from exchange.settings import Settings

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file}: the certificate cannot be read ({type(error).__name__})"
        raise ConfigError(msg) from None
    told = verify(text, key or Signer(Settings().secrets).public_key, str(file))
    if as_json:
        sys.stdout.write(json.dumps({"valid": True, **told}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"valid, signed by {told['public_key']}\n{_as_text(told)}\n")


def _keep(settings: Settings, certificate: dict[str, Any]) -> Path:
    """Write a certificate to a file of its own, and return it."""
    from exchange.certificate import as_text

    when = str(certificate["access_gone_at"]).partition(".")[0].partition("+")[0]
    stamp = when.replace("-", "").replace(":", "")
    file = settings.root / "certificates" / f"{certificate['subscriber']}.{certificate['view']}.{stamp}Z.json"
    draft = file.with_suffix(".draft")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(as_text(certificate), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        msg = (
            f"{file}: the certificate cannot be written ({error.strerror}); the access is gone. "
            "Make room or write access there, and run the same command again"
        )
        raise ConfigError(msg) from None
    return file


def _as_text(told: dict[str, Any]) -> str:
    ends = ", ".join(f"{one['partition']}: {one['high_watermark']}" for one in told["partitions"])
    login = "its login is gone too" if told["login_removed"] else "its login stays"
    return (
        f"{told['view']} is {told['kind']} from {told['subscriber']} ({login})\n"
        f"  by {told['actor']}: {told['reason']}\n"
        f"  ordered {told['ordered_at']}, access seen to be gone {told['access_gone_at']}, "
        f"plan version {told['plan_version']}\n"
        f"  {told['topic']} ended then at (partition: offset) {ends}"
    )
