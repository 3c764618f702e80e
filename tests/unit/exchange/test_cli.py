"""What the command line does with what nobody foresaw, with wrong settings, and with a call for help."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from exchange import cli, log
from exchange.errors import ConfigError
from exchange.settings import Settings

CANARY = "110101199003078515"


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command sets for its whole process: the hooks and the log."""
    for holder, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    at_interrupt = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, at_interrupt)
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["exchange", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_an_error_nobody_foresaw_is_told_by_class_and_place_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        msg = f"Key (id_number)=({CANARY}) already exists."
        raise LookupError(msg)

    monkeypatch.setattr("exchange.commands.keys.list_keys", broken)
    code = run(monkeypatch, "keys", "list")
    told = capsys.readouterr()
    assert code == 1
    assert "uncaught_exception" in told.err
    assert "LookupError" in told.err
    assert "test_cli.py:" in told.err
    assert "Traceback" not in told.err
    assert CANARY not in told.out + told.err


@pytest.mark.parametrize(("main", "code"), [("cli.main()", 2), ("sys.exit(2)", -signal.SIGINT)])
def test_an_interrupt_after_the_work_does_not_change_the_exit_code(main: str, code: int) -> None:
    """Python is gone when the C library runs on_exit: `raise` gets the exit code 2, which is SIGINT's number.

    Control: without the command's own end, the same interrupt kills.
    """
    program = (
        "import ctypes, signal, sys; from exchange import cli; libc = ctypes.CDLL(None);"
        " signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored in jobs of the background
        f" libc.on_exit(getattr(libc, 'raise'), None); sys.argv = ['exchange', 'no-such-command']; {main}"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == code


def test_an_error_in_a_thread_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    log.silence_tracebacks()

    thread = threading.Thread(target=int, args=[f"no number: {CANARY}"])
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "ValueError" in told
    assert CANARY not in told


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("EXCHANGE_LOG_LEVEL", "loud", "wanted is one of DEBUG, INFO, WARNING, ERROR"),
        ("EXCHANGE_LOG_JSON", "perhaps", "valid boolean"),
        ("EXCHANGE_KAFKA_SECURITY_PROTOCOL", "PLAIN", "'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("EXCHANGE_REDIS_URL", "localhost", "begins with redis:// or rediss:// or unix://"),
        ("EXCHANGE_CLICKHOUSE_URL", "ftp:x", "begins with http:// or https:// or chdb:"),
        ("EXCHANGE_API_URL", "localhost:80", "begins with http:// or https://"),
        ("EXCHANGE_REGISTRY_URL", "localhost:81", "begins with http:// or https://"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    wanted: str,
) -> None:
    monkeypatch.setenv(variable, value)
    code = run(monkeypatch, "keys", "list")
    told = capsys.readouterr().err
    assert code == 1
    assert told.startswith(f"error: {variable}: ")
    assert wanted in told
    assert value not in told.replace("SASL_PLAINTEXT", "")


def test_a_ca_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka_ca_file=tmp_path / "ca.pem")
    addresses = dict.fromkeys(("kafka", "registry", "api", "redis", "clickhouse"), "anywhere:1")
    settings.endpoints_file.write_text(json.dumps(addresses))
    settings.secrets.put("EXCHANGE_KAFKA_PASSWORD_TAX", "secret")
    with pytest.raises(ConfigError, match=r"EXCHANGE_KAFKA_CA_FILE: .*ca\.pem is no file"):
        settings.kafka_client("tax")


@pytest.mark.parametrize("content", ["{half", "[]", ""])
def test_addresses_that_cannot_be_read_are_a_clear_error(tmp_path: Path, content: str) -> None:
    settings = Settings(home=tmp_path)
    settings.endpoints_file.write_text(content)
    with pytest.raises(ConfigError, match=r"endpoints\.json: cannot be read as a JSON object; delete it"):
        settings.endpoints()


COMMANDS = [
    [name] if group is None else [group, name] for group, names in cli.COMMANDS.items() for name in names
]


@pytest.mark.parametrize("words", [[], ["quarantine"], ["keys"], *COMMANDS], ids=" ".join)
def test_help_has_examples_each_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(monkeypatch, *words, "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = next(number for number, line in enumerate(lines) if line in ("Example:", "Examples:"))
    examples = lines[at + 1 : lines.index("", at)]
    assert examples
    assert all(
        re.search(rf"\bexchange {' '.join(words)}", example) for example in examples if "kcat" not in example
    )


def test_the_list_of_commands_shows_whole_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_check_answers_with_an_object_whether_or_not_there_are_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    repository = Path(__file__).parents[3]
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(repository / "avro"))
    broken = tmp_path / "broken.yaml"
    broken.write_text((repository / "topology.yaml").read_text().replace("kind: postgres", "kinds: postgres"))

    assert run(monkeypatch, "check", "--json", str(repository / "topology.yaml")) == 0
    good = json.loads(capsys.readouterr().out)
    assert run(monkeypatch, "check", "--json", str(broken)) == 1
    told = capsys.readouterr()
    bad = json.loads(told.out)

    assert (good["ok"], good["contracts"], good["problems"]) == (True, 3, [])
    assert (bad["ok"], bad["file"]) == (False, str(broken))
    assert "Did you mean 'kind'?" in bad["report"]
    assert told.err == ""


def test_check_lists_the_problems_of_contracts_and_topology_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    contract, topology = tmp_path / "avro" / "shop" / "item.avsc", tmp_path / "topology.yaml"
    contract.parent.mkdir(parents=True)
    contract.write_text('{\n "type": "enum",\n "type": "record"\n')
    topology.write_text("departments: {}\nsystms: {}\n")
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))

    assert run(monkeypatch, "check", "--json", str(topology)) == 1
    answer = json.loads(capsys.readouterr().out)

    first, *_, last = answer["problems"]
    message = "not JSON: the { that opens here is not closed before the file ends"
    assert first == {"file": str(contract), "line": 1, "column": 1, "message": message}
    assert (last["file"], last["line"], last["column"]) == (str(topology), 2, 1)
    assert "unknown key 'systms'" in last["message"]
    assert all(problem["message"] in answer["report"] for problem in answer["problems"])


def test_check_lists_a_file_that_is_not_there_without_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(Path(__file__).parents[3] / "avro"))
    missing = str(tmp_path / "none.yaml")
    assert run(monkeypatch, "check", "--json", missing) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        {"file": missing, "line": None, "column": None, "message": "there is no such file"}
    ]


def test_down_where_nothing_runs_says_so_as_an_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("EXCHANGE_HOME", str(tmp_path))
    assert run(monkeypatch, "down", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": []}


@pytest.mark.parametrize(
    ("topology", "warning"),
    [
        (
            "departments: {tax: {}, police: {}}",
            "not among the departments of {file} (police, tax). Did you mean 'tax'?",
        ),
        ("departments: {taxes: {}}", ""),
        ("departments: [", ""),
        ("- departments", ""),
        (None, ""),
    ],
)
def test_a_key_for_a_department_that_is_not_declared_is_made_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    topology: str | None,
    warning: str,
) -> None:
    file = tmp_path / "topology.yaml"
    if topology is not None:
        file.write_text(topology)
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(file))

    assert run(monkeypatch, "keys", "create", "taxes", "--out", str(tmp_path)) == 0

    told = capsys.readouterr().err
    assert (tmp_path / "taxes.key").exists()
    assert ("warning" in told) == bool(warning)
    assert warning.format(file=file) in told
