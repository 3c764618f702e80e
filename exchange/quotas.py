"""Kafka's client quotas of users, by two requests that librdkafka lacks.

The requests are written in the protocol's types of aiokafka, whose client sends them; it reads or writes no
record. Brokers pass a change on to the controller.

Source: Apache Kafka, DescribeClientQuotasRequest.json and AlterClientQuotasRequest.json, version 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.admin import DescribeClientQuotasRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

from exchange.cluster import ADMIN
from exchange.errors import PartError
from exchange.settings import Settings

_ANY_NAME: Final = 2
"""Match type of a component: every user that has quotas of its own."""
_TIMEOUT_S: Final = 30.0
_TEXT: Final = String("utf-8")
_ENTITY: Final = Array(("entity_type", _TEXT), ("entity_name", _TEXT))

Quotas = Mapping[str, Mapping[str, float]]
"""User → Kafka's name of a quota → its value."""


class _AlterResponse(Response):
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", _TEXT), ("entity", _ENTITY))),
    )


class _AlterStruct(RequestStruct):
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "entries",
            Array(
                ("entity", _ENTITY),
                ("ops", Array(("key", _TEXT), ("value", Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _AlterRequest(Request[_AlterStruct]):
    API_KEY = 49

    def __init__(self, entries: list[Any]) -> None:
        self._entries = entries

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        return request_struct_class(self._entries, False)


def client_quotas(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the quotas of all users that have some for themselves, whatever client they use.

    Raises: PartError when Kafka refuses or does not answer.
    """
    answer = _ask(settings, DescribeClientQuotasRequest([("user", _ANY_NAME, None)], True))
    _refuse(answer.error_code, "list of client quotas")
    return {
        entity[0][1]: dict(values)
        for entity, values in answer.entries or ()
        if len(entity) == 1 and entity[0][1] is not None
    }


def set_client_quotas(settings: Settings, changes: Mapping[str, Mapping[str, float | None]]) -> None:
    """Set quotas of users, or take them away (None); others that a user has stay as they are.

    Raises: PartError naming the user whose quotas Kafka refuses.
    """
    entries = [
        (
            [("user", user)],
            [(name, 0.0 if value is None else value, value is None) for name, value in quotas.items()],
        )
        for user, quotas in changes.items()
    ]
    answer = _ask(settings, _AlterRequest(entries))
    for code, _message, entity in answer.entries:
        _refuse(code, f"quotas of user {entity[0][1]}")


def _refuse(code: int, what: str) -> None:
    if code:
        msg = f"Kafka: {what}: {for_code(code).__name__}"
        raise PartError(msg)


def _ask(settings: Settings, request: Any) -> Any:
    try:
        return asyncio.run(asyncio.wait_for(_sent(settings, request), _TIMEOUT_S))
    except (KafkaError, OSError, TimeoutError, NotImplementedError) as error:
        msg = (
            f"Kafka: client quotas: no answer as wanted ({type(error).__name__}); wanted is a broker of "
            "version 2.6 or newer that lets user admin describe and alter its cluster's settings"
        )
        raise PartError(msg) from None


async def _sent(settings: Settings, request: Any) -> Any:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what goes wrong comes back as an error
    given = settings.kafka_client(ADMIN)
    secured = given["security.protocol"] == "SASL_SSL"
    client = AIOKafkaClient(
        bootstrap_servers=given["bootstrap.servers"],
        client_id="exchange-apply",
        security_protocol=given["security.protocol"],
        ssl_context=create_ssl_context(cafile=given.get("ssl.ca.location")) if secured else None,
        sasl_mechanism=given["sasl.mechanism"],
        sasl_plain_username=given["sasl.username"],
        sasl_plain_password=given["sasl.password"],
    )
    try:
        await client.bootstrap()
        return await client.send(client.get_random_node(), request)
    finally:
        await client.close()
