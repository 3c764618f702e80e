"""Lineage of a plan, held against the models that OpenLineage publishes."""

from __future__ import annotations

import datetime as dt
import json
import threading
import types
import typing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import attr
import pytest
from openlineage.client.generated.base import RunEvent
from openlineage.client.generated.column_lineage_dataset import ColumnLineageDatasetFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.ownership_dataset import OwnershipDatasetFacet
from openlineage.client.generated.ownership_job import OwnershipJobFacet
from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet

from exchange.errors import ConfigError, TransientError
from exchange.lineage.events import events
from exchange.lineage.send import API_KEY, send
from exchange.settings import Settings
from tests.unit.exchange.test_plan import plan

NOW = dt.datetime(2026, 11, 28, 8, 30, tzinfo=dt.UTC)
FACETS: dict[tuple[str, str], Any] = {
    ("dataset", "schema"): SchemaDatasetFacet,
    ("dataset", "ownership"): OwnershipDatasetFacet,
    ("dataset", "columnLineage"): ColumnLineageDatasetFacet,
    ("job", "jobType"): JobTypeJobFacet,
    ("job", "ownership"): OwnershipJobFacet,
    ("run", "processing_engine"): ProcessingEngineRunFacet,
}


def found() -> list[dict[str, Any]]:
    return list(events(plan(), "kafka-1:9093,kafka-2:9093", NOW))


def misfits(cls: Any, given: Any, place: str = "event") -> list[str]:
    """Return where a document is not what a class of the models takes: names, what is required, and types."""
    if not attr.has(cls):
        return _misfits_of_type(cls, given, place)
    if not isinstance(given, dict):
        return [f"{place}: no object"]
    attr.resolve_types(cls)
    fields = {field.name: field for field in attr.fields(cls)}
    wrong = [f"{place}.{name}: unknown" for name in given if name not in fields]
    for name, field in fields.items():
        if name in given and name != "facets":
            wrong += misfits(field.type, given[name], f"{place}.{name}")
        elif name not in given and field.default is attr.NOTHING and field.init:
            wrong.append(f"{place}.{name}: missing")
    return wrong


def _misfits_of_type(type_: Any, given: Any, place: str) -> list[str]:
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        tried = [misfits(one, given, place) for one in arguments if one is not type(None)]
        return min(tried, key=len) if given is not None else []
    if origin is list:
        return [one for at, item in enumerate(given) for one in misfits(arguments[0], item, f"{place}[{at}]")]
    if origin is dict:
        return [one for name, item in given.items() for one in misfits(arguments[1], item, f"{place}.{name}")]
    wanted = str if isinstance(type_, type) and issubclass(type_, str) else type_
    fits = wanted is Any or not isinstance(wanted, type) or isinstance(given, wanted)
    if isinstance(type_, type) and hasattr(type_, "__members__"):
        fits = given in [member.value for member in type_.__members__.values()]
    return [] if fits else [f"{place}: {type(given).__name__}"]


def facet_misfits(event: dict[str, Any]) -> list[str]:
    """Return where facets are not what their models take, and where a schema's address is another's."""
    holders = [("run", event["run"]), ("job", event["job"])]
    holders += [("dataset", dataset) for dataset in [*event["inputs"], *event["outputs"]]]
    wrong = []
    for kind, holder in holders:
        for name, facet in holder["facets"].items():
            model = FACETS[(kind, name)]
            content = {key: value for key, value in facet.items() if not key.startswith("_")}
            wrong += misfits(model, content | {"_producer": "", "_schemaURL": ""}, name)
            if facet["_schemaURL"] != model._get_schema():
                wrong.append(f"{name}: {facet['_schemaURL']}")
    return [one for one in wrong if "._producer" not in one and "._schemaURL" not in one]


def test_every_event_is_what_the_models_of_openlineage_take() -> None:
    assert found()
    for event in found():
        assert misfits(RunEvent, event) == []
        assert facet_misfits(event) == []


def test_the_check_sees_a_missing_an_unknown_and_a_wrong_member() -> None:
    event = found()[0]
    faults: tuple[dict[str, Any], ...] = (
        {"eventTime": None},
        {"eventType": "BEGUN"},
        {"colour": "red"},
        {"run": {}},
    )
    for planted in faults:
        broken = {name: value for name, value in (event | planted).items() if value is not None}
        assert misfits(RunEvent, broken)
    facet = event["outputs"][0]["facets"]["columnLineage"]
    facet["fields"]["id_number"]["inputFields"][0].pop("field")
    assert facet_misfits(event)


def test_each_route_is_a_start_and_a_complete_of_one_run_that_stays_the_same() -> None:
    runs: dict[str, list[str]] = {}
    for event in found():
        runs.setdefault(f"{event['job']['name']} {event['run']['runId']}", []).append(event["eventType"])

    assert set(map(tuple, runs.values())) == {("START", "COMPLETE")}
    assert any(name.startswith("capture.population.public.person ") for name in runs)
    assert any(name.startswith("process.population.person.basic ") for name in runs)
    assert [event["run"] for event in found()] == [event["run"] for event in found()]


def test_a_views_fields_name_their_mask_and_what_is_not_shown_is_not_there() -> None:
    spec = plan().by_raw_topic()["raw.population.public.person"].views[0].spec
    [event] = [
        one for one in found()
        if one["job"]["name"] == "process.population.person.basic" and one["eventType"] == "COMPLETE"
    ]  # fmt: skip
    [output], [source] = event["outputs"], event["inputs"]
    lineage = output["facets"]["columnLineage"]["fields"]

    assert (output["namespace"], output["name"]) == ("kafka://kafka-1:9093", "share.population.person.basic")
    assert source["name"] == "raw.population.public.person"
    shown = {path: mask.kind for path, mask in spec.fields.items() if mask.kind != "omit"}
    assert lineage.keys() == shown.keys()
    for path, kind in shown.items():
        [how] = lineage[path]["inputFields"][0]["transformations"]
        assert (how["masking"], kind in how["description"]) == (kind != "clear", True)


class Catalogue:
    """Takes events and answers with one status."""

    def __init__(self, status: int) -> None:
        self.taken: list[tuple[str, str, Any]] = []
        catalogue = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                catalogue.taken.append((self.path, self.headers["Authorization"], body))
                self.send_response(status)
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


@pytest.mark.parametrize(("status", "error"), [(201, None), (503, TransientError), (401, ConfigError)])
def test_events_are_posted_with_the_key_and_a_refusal_says_where(
    tmp_path: Path, status: int, error: type[Exception] | None
) -> None:
    settings, catalogue = Settings(home=tmp_path), Catalogue(status)
    settings.secrets.put(API_KEY, "a-key")
    try:
        if error is None:
            assert send(settings, f"{catalogue.url}/", found()) == len(catalogue.taken) == len(found())
        else:
            with pytest.raises(error, match=r"OpenLineage at 127\.0\.0\.1: it"):
                send(settings, catalogue.url, found())
    finally:
        catalogue.close()
    assert {taken[:2] for taken in catalogue.taken} == {("/api/v1/lineage", "Bearer a-key")}
