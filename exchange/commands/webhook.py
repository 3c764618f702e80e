"""`exchange webhook-key`: keys that sign webhooks."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def webhook_key(
    subscriber: Annotated[str, typer.Argument(help="Subscriber whose delivery is of kind webhook.")],
    only: Annotated[
        bool, typer.Option("--only", help="Sign with the new key alone at once, not with the one before too.")
    ] = False,
) -> None:
    """Make a key that signs a subscriber's webhooks, and print what its receiver needs to verify them.

    For `signature: hmac` that is the key itself, for `ed25519` the public one. Requests are signed with the
    newest key before as well, so that the receiver can change over; a second run, or --only, ends that. What
    runs reads the keys anew for each request.

    Examples:
      exchange webhook-key tax
      exchange webhook-key tax --only
    """
    from connectors.sinks.webhook.signing import make_key
    from exchange.errors import ConfigError
    from exchange.files import yaml_source
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean
    from exchange.topology import check, today
    from exchange.topology.model import WebhookDelivery

    settings = Settings()
    declared = check(yaml_source.read(settings.topology), None, today()).topology.subscribers
    deliveries = {
        name: one.delivery for name, one in declared.items() if isinstance(one.delivery, WebhookDelivery)
    }
    if subscriber not in deliveries:
        msg = f"{settings.topology}: no subscriber with a delivery of kind webhook "
        raise ConfigError(msg + did_you_mean(subscriber, deliveries))
    delivery = deliveries[subscriber]
    key = make_key(settings.secrets, delivery.keys_env, delivery.signature, only=only)
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(f"Give it to whoever runs the receiver of {subscriber}.\n")
