"""Load topology.yaml: read it, validate its models, check them against one another, report it all at once.

topology.yaml:12:7: views.population.person.school.fields.nmae: 'nmae' is not in contract population.person …
   11 |     fields:
   12 |       nmae: clear
      |       ^^^^
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.files import yaml_source
from exchange.files.problem import Problem, Steps
from exchange.files.yaml_source import YamlSource
from exchange.suggest import hint, listing
from exchange.topology.model import Topology
from exchange.topology.references import Finding, Given, findings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid topology, and a text of what its owner should know all the same, with lines like an error's."""

    topology: Topology
    warnings: str


def load(path: Path, contracts: Mapping[str, Contract]) -> Topology:
    """Return the topology of a file.

    Raises: ConfigError whose text is the report of every problem.
    """
    return read(path, contracts, today()).topology


def today() -> dt.date:
    """Return the day by which grants are judged: that of the machine's own time zone."""
    return dt.datetime.now().astimezone().date()


def read(path: Path, contracts: Mapping[str, Contract] | None, today: dt.date) -> Loaded:
    """Return the topology of a file with its warnings; without contracts nothing is checked against them.

    Raises: ConfigError whose text is the report of every problem.
    """
    return check(yaml_source.read(path), contracts, today)


def check(source: YamlSource, contracts: Mapping[str, Contract] | None, today: dt.date) -> Loaded:
    """Return the topology that a YAML source declares.

    1. validate the models; 2. leave out the entries that failed; 3. check the others against one another.

    Raises: ConfigError whose text is the report of every problem.
    """
    problems = list(source.problems)
    if not isinstance(source.data, dict):
        problems.append(source.at((), "a mapping with departments, systems, resources, … is wanted"))
        raise ConfigError(source.report(problems), problems)
    topology, refused = _validate(source)
    problems += refused
    found: list[Finding] = []
    if topology is not None:
        found = list(findings(Given(topology, source.data, contracts, today)))
    problems += [_problem(source, finding) for finding in found if not finding.warning]
    if problems:
        raise ConfigError(source.report(problems), problems)
    if topology is None:
        problem = Problem(source.name, 0, 0, "refused without a reason; please report this file")
        raise ConfigError(str(problem), [problem])
    warnings = [_problem(source, finding) for finding in found if finding.warning]
    return Loaded(topology, source.report(warnings))


_SECTIONS: Final = tuple(Topology.model_fields)


def _validate(source: YamlSource) -> tuple[Topology | None, list[Problem]]:
    """Return the models of all well-formed entries, and a problem for each thing wrong in the others.

    Positions of grants are kept: a malformed grant is replaced by nothing only after the last good one, so
    cross-checks of grants run only when the list itself is well formed.
    """
    try:
        return Topology.model_validate(source.data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    broken = {(problem.line, problem.column) for problem in source.problems}
    problems = [_explain(source, detail) for detail in details]
    problems = [p for p in problems if (p.line, p.column) not in broken]
    try:
        return Topology.model_validate(_without(source.data, details)), problems
    except ValidationError:
        return None, problems


def _without(data: dict[str, Any], details: Iterable[ErrorDetails]) -> dict[str, Any]:
    """Return the data without the entries that failed; sections of the wrong shape become empty."""
    kept: dict[str, Any] = {section: data.get(section, {}) for section in _SECTIONS}
    failed = {detail["loc"][:2] for detail in details}
    for section, value in kept.items():
        if isinstance(value, dict):
            kept[section] = {name: entry for name, entry in value.items() if (section, name) not in failed}
        elif not isinstance(value, list) or any(loc[:1] == (section,) for loc in failed):
            kept[section] = {}
    if not isinstance(kept["grants"], list):
        kept["grants"] = []
    return kept


def _problem(source: YamlSource, finding: Finding) -> Problem:
    return source.at(finding.steps, f"{_path(finding.steps)}: {finding.message}", key=finding.key)


def _path(steps: Steps) -> str:
    """Return steps as people write them: `grants[2].view`."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") or "the file"


def _explain(source: YamlSource, detail: ErrorDetails) -> Problem:
    """Return a pydantic error in words, at its place in the file."""
    steps, kind = _in_the_file(detail), detail["type"]
    if kind == "missing":
        message = f"{_path(steps[:-1])}: '{steps[-1]}' is missing"
        return source.at(steps[:-1], message, key=True)
    if kind == "extra_forbidden":
        allowed = _allowed_keys(detail["loc"][:-1])
        message = f"unknown key '{steps[-1]}' (allowed: {listing(allowed)}).{hint(steps[-1], allowed)}"
        return source.at(steps, f"{_path(steps[:-1])}: {message}", key=True)
    if steps and steps[-1] == "[key]":
        return source.at(steps[:-1], f"{_path(steps[:-2])}: {_words(detail)}", key=True)
    return source.at(steps, f"{_path(steps)}: {_words(detail)}")


def _in_the_file(detail: ErrorDetails) -> Steps:
    """Return the steps to an error as they are in the file: pydantic's name an entry's kind on the way."""
    steps = detail["loc"]
    of_four = steps[2:3] == ("delivery",) or steps[:2] == ("alerts", "channels")
    place = 2 if steps[:1] == ("systems",) else 3 if of_four else None
    if place is None:
        return steps
    return (
        (*steps, "kind") if detail["type"] == "union_tag_invalid" else (*steps[:place], *steps[place + 1 :])
    )


def _words(detail: ErrorDetails) -> str:
    kind, seen, context = detail["type"], detail["input"], detail.get("ctx", {})
    if seen is None and "fields" in detail["loc"][2:3]:
        return "no mask stands here; for the mask that is always null write 'null' in quotes"
    if seen is None:
        return "nothing stands here; write a value or remove the line"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "union_tag_invalid"):
        expected = str(context.get("expected") or context["expected_tags"]).replace(" or ", ", ")
        if kind == "union_tag_invalid":
            seen = context["tag"]
        allowed = [word.strip(" '") for word in expected.split(",")]
        if len(allowed) == 1:
            return f"{_shown(seen)} is not taken here; the only value is '{allowed[0]}'"
        return f"{_shown(seen)} is not one of {listing(allowed)}.{hint(seen, allowed)}"
    if kind.startswith("date_"):
        return f"a date of the calendar is wanted, like 2027-12-31 (seen: {_shown(seen)})"
    if kind == "union_tag_not_found" and detail["loc"][:1] == ("systems",):
        meant = next((told for key in seen if (told := hint(key, ("kind",)))), "")
        kinds = "postgres, mariadb, mysql, debezium, http or files"
        return f"'kind' is missing; a system is of kind {kinds}.{meant}"
    if kind == "union_tag_not_found" and detail["loc"][2:3] == ("delivery",):
        meant = next((told for key in seen if (told := hint(key, ("kind",)))), "")
        return f"'kind' is missing; a delivery is of kind {listing(_delivery_kinds())}.{meant}"
    if kind == "union_tag_not_found" and detail["loc"][:1] == ("alerts",):
        return "'kind' is missing; a channel is of kind webhook or mail"
    if kind == "union_tag_not_found":
        return "'kind' is missing; write a mask like `clear`, or `{kind: partial, keep_first: 1}`"
    if kind == "string_type" and isinstance(seen, int | float | dt.date):
        return f"a text is wanted; put it in quotes: '{seen}'"
    if kind in ("tuple_type", "list_type"):
        return f"a list is wanted, like [a, b] (seen: {_shown(seen)})"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"a mapping is wanted (seen: {_shown(seen)})"
    return f"{_lower_first(detail['msg'])} (seen: {_shown(seen)})"


def _delivery_kinds() -> frozenset[str]:
    node = _next(_next(_next(_schema(), "subscribers"), ""), "delivery")
    return frozenset(_resolve(node)["discriminator"]["mapping"])


def _shown(seen: object) -> str:
    """Return what stands in the file, shortly."""
    if isinstance(seen, dict):
        return "a mapping"
    if isinstance(seen, list | tuple):
        return "a list"
    text = str(seen)
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


@cache
def _schema() -> dict[str, Any]:
    return Topology.model_json_schema()


def _allowed_keys(steps: Steps) -> frozenset[str]:
    """Return the keys that the model at `steps` takes, by walking the JSON schema of the topology."""
    node = _schema()
    for step in steps:
        node = _next(node, step)
    return frozenset(_resolve(node).get("properties", {}))


def _next(node: dict[str, Any], step: str | int) -> dict[str, Any]:
    node = _resolve(node)
    if mapping := node.get("discriminator", {}).get("mapping"):
        return {"$ref": mapping[step]} if step in mapping else {}
    if step in node.get("properties", {}):
        return dict(node["properties"][step])
    by_pattern = next(iter(node.get("patternProperties", {}).values()), None)
    inner = node.get("items") if isinstance(step, int) else node.get("additionalProperties") or by_pattern
    return inner if isinstance(inner, dict) else {}


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    node = next((one for one in node.get("anyOf", ()) if one.get("type") != "null"), node)
    if reference := node.get("$ref"):
        return dict(_schema()["$defs"][reference.rpartition("/")[2]])
    return node
