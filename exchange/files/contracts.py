"""Load contracts from their files: read them, judge them all, report every problem with its line at once.

avro/population/person.avsc:88:22: fields[6] 'mobile': unknown sensitivity 'mobil' …
   87 |       "classification": 3,
   88 |       "sensitivity": "mobil",
      |                      ^^^^^^^
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from exchange.contract import NAME, Contract, Finding, Reader
from exchange.errors import ConfigError, ContractError
from exchange.files import json_source
from exchange.files.json_source import JsonSource
from exchange.files.problem import Problem


def load_contracts(directory: Path) -> dict[str, Contract]:
    """Return all contracts of `<directory>/<domain>/<resource>.avsc` by name.

    Raises: ContractError whose text is the report of every problem of every file, each with its line; a file
    whose place contradicts its contract's name is one too.
    """
    contracts: dict[str, Contract] = {}
    reports: list[str] = []
    problems: list[Problem] = []
    for file in sorted(directory.glob("*/*.avsc")):
        try:
            contract = _load(file)
        except (ConfigError, ContractError) as error:
            reports.append(str(error))
            problems += error.problems
            continue
        contracts[contract.name] = contract
    if reports:
        raise ContractError("\n".join(reports), problems)
    if not contracts:
        message = f"no contracts; expected files like {directory}/population/person.avsc"
        problem = Problem(str(directory), 0, 0, message)
        raise ContractError(str(problem), [problem])
    return contracts


def _load(file: Path) -> Contract:
    """Return the contract of a file.

    Raises: ConfigError where the file is not JSON, ContractError where it holds no contract of that name.
    """
    source = json_source.read(file)
    problems = list(source.problems)
    if not isinstance(source.data, dict):
        problems.append(source.at((), "a contract is an Avro record: a JSON object is wanted"))
        raise ContractError(source.report(problems), problems)
    reader = Reader()
    contract = reader.contract(source.data)
    passed_over = {(problem.line, problem.column) for problem in problems}
    for finding in [*reader.findings, *_misplaced(source, file)]:
        problem = source.at(finding.steps, finding.told, key=finding.key)
        if (problem.line, problem.column) not in passed_over:
            problems.append(problem)
    if problems or contract is None:
        raise ContractError(source.report(problems), problems)
    return contract


def _misplaced(source: JsonSource, file: Path) -> Iterator[Finding]:
    """Yield where the contract's name is not that of its file."""
    for attribute, expected in (("namespace", file.parent.name), ("name", file.stem)):
        name = source.data.get(attribute)
        if isinstance(name, str) and NAME.fullmatch(name) and name != expected:
            yield Finding(
                (attribute,),
                f"{attribute}: {name!r} stands in {file.parent.name}/{file.name}; "
                f"a contract in this place must be '{file.parent.name}.{file.stem}'",
            )
