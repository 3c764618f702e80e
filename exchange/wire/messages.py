"""The requests of a transactional producer and their answers, in the protocol's types of aiokafka.

Each is of the one version that is spoken; a broker that lacks one of them is left to librdkafka. All are
"flexible": texts and arrays are compact, and each structure ends in tagged fields.

Source: Apache Kafka 4.1, clients/src/main/resources/common/message/*.json; for the versions KIP-890, part 2
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

_TEXT: Final = CompactString("utf-8")
_TAGS: Final = ("tags", TaggedFields)
_NEXT_EPOCH: Final = Schema(
    ("throttle_time_ms", Int32),
    ("error_code", Int16),
    ("producer_id", Int64),
    ("producer_epoch", Int16),
    _TAGS,
)
"""As whom the next transaction is written."""

NO_TAGS: Final[dict[int, bytes]] = {}
"""Ends each structure that is sent."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One request of the protocol, in one version.

    is_tagged: its headers have tagged fields, which ApiVersions' answer and SaslHandshake's have not.
    """

    name: str
    key: int
    version: int
    request: Schema
    answer: Schema
    request_is_tagged: bool = True
    answer_is_tagged: bool = True

    def encode(self, correlation_id: int, client_id: str, fields: tuple[Any, ...]) -> bytes:
        """Return header and body, without the size that stands before them."""
        header = (self.key, self.version, correlation_id, client_id)
        return b"".join(
            (
                _HEADER.encode(header),
                TaggedFields.encode(NO_TAGS) if self.request_is_tagged else b"",
                self.request.encode(fields),
            )
        )

    def decode(self, frame: bytes) -> tuple[int, tuple[Any, ...]]:
        """Return the correlation id and the fields of an answer. Raises: ValueError, struct.error."""
        stream = BytesIO(frame)
        correlation_id = Int32.decode(stream)
        if self.answer_is_tagged:
            TaggedFields.decode(stream)
        return correlation_id, self.answer.decode(stream)


_HEADER: Final = Schema(
    ("api_key", Int16), ("api_version", Int16), ("correlation_id", Int32), ("client_id", String("utf-8"))
)

API_VERSIONS: Final = Kind(
    "ApiVersions",
    18,
    3,
    Schema(("client_software_name", _TEXT), ("client_software_version", _TEXT), _TAGS),
    Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("api_key", Int16), ("min", Int16), ("max", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    ),
    answer_is_tagged=False,
)
FINALIZED_FEATURES: Final = 2
"""Tag of ApiVersions' answer that holds `FEATURES`."""
FEATURES: Final = CompactArray(("name", _TEXT), ("max_level", Int16), ("min_level", Int16), _TAGS)

SASL_HANDSHAKE: Final = Kind(
    "SaslHandshake",
    17,
    1,
    Schema(("mechanism", String("utf-8"))),
    Schema(("error_code", Int16)),  # what follows is of no use
    request_is_tagged=False,
    answer_is_tagged=False,
)
SASL_AUTHENTICATE: Final = Kind(
    "SaslAuthenticate",
    36,
    2,
    Schema(("auth_bytes", CompactBytes), _TAGS),
    Schema(
        ("error_code", Int16),
        ("error_message", _TEXT),
        ("auth_bytes", CompactBytes),
        ("session_lifetime_ms", Int64),
        _TAGS,
    ),
)

METADATA: Final = Kind(
    "Metadata",
    3,
    12,
    Schema(
        ("topics", CompactArray(("id_high", Int64), ("id_low", Int64), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    ),
    Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("id_high", Int64),
                ("id_low", Int64),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    ),
)

FIND_COORDINATOR: Final = Kind(
    "FindCoordinator",
    10,
    4,
    Schema(("key_type", Int8), ("keys", CompactArray(_TEXT)), _TAGS),
    Schema(
        ("throttle_time_ms", Int32),
        (
            "coordinators",
            CompactArray(
                ("key", _TEXT),
                ("id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("error_code", Int16),
                ("error_message", _TEXT),
                _TAGS,
            ),
        ),
        _TAGS,
    ),
)

INIT_PRODUCER_ID: Final = Kind(
    "InitProducerId",
    22,
    4,
    Schema(
        ("transactional_id", _TEXT),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    ),
    _NEXT_EPOCH,
)

TXN_OFFSET_COMMIT: Final = Kind(
    "TxnOffsetCommit",
    28,
    5,
    Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _TEXT),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    ),
    Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    ),
)

PRODUCE: Final = Kind(
    "Produce",
    0,
    12,
    Schema(
        ("transactional_id", _TEXT),
        ("acks", Int16),
        ("timeout_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                ("partitions", CompactArray(("partition", Int32), ("records", CompactBytes), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    ),
    Schema(
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("base_offset", Int64),
                        ("log_append_time_ms", Int64),
                        ("log_start_offset", Int64),
                        ("record_errors", CompactArray(("number", Int32), ("message", _TEXT), _TAGS)),
                        ("error_message", _TEXT),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    ),
)

END_TXN: Final = Kind(
    "EndTxn",
    26,
    5,
    Schema(
        ("transactional_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("is_committed", Boolean),
        _TAGS,
    ),
    _NEXT_EPOCH,
)

SPOKEN: Final = (
    SASL_AUTHENTICATE,
    METADATA,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    TXN_OFFSET_COMMIT,
    PRODUCE,
    END_TXN,
)
"""What a broker has to speak, each in its version."""
