"""Traces at a real OTLP receiver: what was done, and no value."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import typer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exchange import cli, tracing
from exchange.errors import PlanError

CANARY = "110101199003078515"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [
            scope for request in requests for one in request.resource_spans for scope in one.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(tracing, "_provider", None)
    started = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started.url)
    yield started
    started.close()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_an_operation_and_its_stages_are_one_trace_with_names_alone(collector: Collector) -> None:
    def revoke(subscriber: str, view: str, reason: str) -> str:
        with tracing.span("apply stage", kind="ACL"):
            return subscriber

    run = tracing.traced(revoke, "exchange revoke")

    assert run("tax", view="population.person.tax", reason=CANARY) == "tax"
    stage, operation = collector.spans
    assert (operation.name, stage.name) == ("exchange revoke", "apply stage")
    assert (stage.trace_id, stage.parent_span_id) == (operation.trace_id, operation.span_id)
    assert attributes(operation) == {
        "exchange.subscriber": "tax",
        "exchange.view": "population.person.tax",
    }
    assert attributes(stage) == {"exchange.kind": "ACL"}
    assert not any(CANARY.encode() in body for body in collector.bodies)


def test_what_is_no_name_is_left_out(collector: Collector) -> None:
    tracing.traced(lambda subscriber: None, "exchange revoke")(CANARY)

    [span] = collector.spans
    assert attributes(span) == {}


def test_a_failure_is_told_by_its_class_and_differences_are_none(collector: Collector) -> None:
    def fail(error: Exception) -> None:
        raise error

    run = tracing.traced(fail, "exchange plan")
    for error in (PlanError(CANARY), typer.Exit(2)):
        with pytest.raises(type(error)):
            run(error)

    failed, differs = collector.spans
    assert (failed.status.code, attributes(failed)) == (2, {"error.type": "PlanError"})
    assert (differs.status.code, attributes(differs)) == (0, {"exchange.exit_code": 2})
    assert not any(CANARY.encode() in body for body in collector.bodies)


def test_nothing_is_traced_unless_a_receiver_is_named(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")

    assert tracing.traced(lambda: 7, "exchange plan")() == 7

    assert collector.bodies == []
    assert tracing._provider is None


def test_a_receiver_that_is_away_fails_no_operation(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    assert tracing.traced(lambda: 7, "exchange plan")() == 7


def test_every_traced_command_is_one() -> None:
    for group, name in cli.TRACED:
        assert name in cli.COMMANDS[group]
