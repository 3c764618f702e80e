"""The compiled engines of one resource, by the schemas its records were written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from exchange.engine.flat import compile_layout
from exchange.engine.memory import Memory
from exchange.errors import ContractError, TransientError
from exchange.kernel import Kernel
from exchange.keys import ViewKeys
from exchange.native.gate import Gate
from exchange.plan import PlannedResource
from exchange.reference import MAX_RECORD_BYTES, Program, compile_program

SchemaOf = Callable[[int], dict[str, Any]]
"""Schema id → schema; raises LookupError when there is none, TransientError when nobody answers."""


class Engine(NamedTuple):
    """What judges the records of one pair of schemas.

    kernel: takes all records in which nothing is amiss; None where a schema is beyond it.
    """

    reference: Program
    kernel: Kernel | None


class Shared:
    """What all kernels of one thread have in common."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.memory = Memory()


class Programs:
    """Compiles a program on first sight of a pair of schema ids and keeps it; failures are not kept."""

    def __init__(
        self,
        resource: PlannedResource,
        view_keys: ViewKeys,
        schema_of: SchemaOf,
        shared: Shared | None = None,
    ) -> None:
        self._shared = shared or Shared()
        self._resource = resource
        self._view_keys = view_keys
        self._schema_of = schema_of
        self._engines: dict[tuple[int, int | None], Engine] = {}

    def get(self, value_schema_id: int, key_schema_id: int | None) -> Engine:
        """Return the engine for records with these schemas; key_schema_id is None for records without key.

        Raises: ContractError when an id is not in the registry or the table no longer fits the contract;
        ConfigError when a view no longer fits; TransientError when the registry does not answer.
        """
        ids = (value_schema_id, key_schema_id)
        if ids not in self._engines:
            self._engines[ids] = self._compile(*ids)
        return self._engines[ids]

    def _compile(self, value_schema_id: int, key_schema_id: int | None) -> Engine:
        value_schema = self._schema(value_schema_id)
        key_schema = None if key_schema_id is None else self._schema(key_schema_id)
        reference = compile_program(self._resource, value_schema, key_schema, self._view_keys)
        ids = (value_schema_id, key_schema_id)
        layout = compile_layout(
            self._resource,
            value_schema,
            key_schema,
            ids,
            self._view_keys,
            MAX_RECORD_BYTES,
            self._shared.memory,
        )
        return Engine(reference, None if layout is None else Kernel(layout, self._shared.gate))

    def _schema(self, schema_id: int) -> dict[str, Any]:
        try:
            return self._schema_of(schema_id)
        except TransientError:
            raise
        except LookupError:
            msg = (
                f"{self._resource.raw_topic}: schema id {schema_id} is not in the registry; "
                "restore the registry's topic _schemas, or find out who wrote this record"
            )
            raise ContractError(msg) from None
