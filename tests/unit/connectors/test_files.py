"""What files hold and how they are read, without Kafka: formats, encodings, headers, cells, folders."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from pydantic import SecretStr
from python_calamine import CalamineError, CalamineWorkbook

from connectors.receipts import Digests
from connectors.rowrecord import RowRecords
from connectors.sources.files import sheet
from connectors.sources.files.encoding import GB18030, UTF_8, detect
from connectors.sources.files.folder import FileLock, Folder
from connectors.sources.files.header import read_mapping
from connectors.sources.files.load import FileRows, Refusal
from connectors.sources.files.problem import FileProblem
from connectors.sources.files.progress import ProgressStore
from connectors.sources.files.source import FilesSource
from exchange.errors import ConfigError, SourceError
from exchange.plan import PlannedResource
from tests.integration.push import CASE

FIELDS = ("case_id", "count", "name", "amount", "day", "at", "grade", "open", "tags", "place")
HEADER = ",".join(FIELDS)
ROWS = """\
a-1,1,张三,1.50,2026-01-31,2026-01-31T08:00:00Z,A,true,"[""x""]","{""street"": ""长街""}"
a-2,2,,,,,,,,
"""


def records() -> RowRecords:
    return RowRecords(
        "files",
        PlannedResource(
            name="health.paper", system="registry", table="health.paper", department="health",
            raw_topic="raw.registry.health.paper", quarantine_topic="quarantine.health.paper", partitions=3,
            contract=CASE, steward_public_key="", views=(),
        ),
    )  # fmt: skip


def judged(path: Path, mapping: dict[str, str | None] | None = None) -> tuple[int, list[Refusal]]:
    found = FileRows(records(), mapping or {}).judge(path)
    return found.rows, found.refusals


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def write_excel(path: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for rows in sheets:
            sheet = book.add_worksheet()
            for y, row in enumerate(rows):
                for x, cell in enumerate(row):
                    sheet.write_datetime(y, x, cell, day) if isinstance(cell, date) else sheet.write(
                        y, x, cell
                    )
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv_is_read_alike_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", f"{HEADER}\n{ROWS}", encoding)
    rows = [row for step in FileRows(records(), {}).steps(path, 0) for row in step]

    other = write(tmp_path / "b.csv", f"{HEADER}\r\n{ROWS}".replace("\n", "\r\n"))

    assert judged(path) == (2, [])
    assert rows == [row for step in FileRows(records(), {}).steps(other, 0) for row in step]
    assert [row.key for row in rows] == [b"\x06a-1", b"\x06a-2"]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", f"{HEADER}\n{ROWS}")
    tsv = write(tmp_path / "a.tsv", f"{HEADER}\na-2,2,,,,,,,,\n".replace(",", "\t"))
    lines = write(tmp_path / "a.jsonl", '{"case_id": "a-2", "count": 2, "name": null}\n')
    whole = [
        "a-1",
        1,
        "张三",
        1.5,
        date(2026, 1, 31),
        "2026-01-31T08:00:00Z",
        "A",
        True,
        '["x"]',
        '{"street": "长街"}',
    ]
    excel = write_excel(tmp_path / "a.xlsx", [FIELDS, whole, ["a-2", 2]])

    def rows(path: Path) -> list[Any]:
        return [row for step in FileRows(records(), {}).steps(path, 0) for row in step]

    assert rows(excel) == rows(csv)
    assert rows(tsv) == rows(lines) == rows(csv)[1:]


def test_a_started_file_goes_on_after_the_rows_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"{HEADER}\n{ROWS}")

    rest = [row for step in FileRows(records(), {}).steps(path, 1) for row in step]

    assert [row.key for row in rest] == [b"\x06a-2"]


def test_encodings_are_told_apart_by_proof(tmp_path: Path) -> None:
    good = "编号,姓名\na,张三\n"
    assert detect(write(tmp_path / "ascii", "a,b\n")) == UTF_8
    assert detect(write(tmp_path / "utf8", good)) == UTF_8
    assert detect(write(tmp_path / "gb", good, GB18030)) == GB18030
    broken = tmp_path / "broken"
    broken.write_bytes(good.encode()[:-2] + b"\n")
    neither = tmp_path / "neither"
    neither.write_bytes(b"a,b\nc,\xff\xff\n")

    with pytest.raises(FileProblem, match="line 2: bytes that are not UTF-8, in a file that is UTF-8 before"):
        detect(broken)
    with pytest.raises(FileProblem, match="line 2: bytes that are neither"):
        detect(neither)


def test_columns_are_named_by_field_label_or_mapping(tmp_path: Path) -> None:
    labels = "病例编号,次数,姓名,金额,日期,at,grade,open,tags,place,备注\n"
    path = write(tmp_path / "a.csv", labels + "a-1,1,,,,,,,,,x\n")

    with pytest.raises(FileProblem, match="column 11 is of no field"):
        judged(path)
    assert judged(path, {"备注": None}) == (1, [])
    assert judged(
        write(tmp_path / "b.csv", labels.replace("备注", "Nr") + "x,1,,,,,,,,,\n"), {"Nr": None}
    ) == (1, [])


def test_a_headless_file_is_refused_without_showing_what_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "110101199003078515,1,,,,,,,,\n")

    with pytest.raises(FileProblem) as refused:
        judged(path)

    assert "column 1" in str(refused.value)
    assert "110101199003078515" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("case_id,count", "no column for name, amount"),
        (f"{HEADER},姓名", "two columns for name"),
    ],
)
def test_a_field_has_one_column(tmp_path: Path, header: str, told: str) -> None:
    with pytest.raises(FileProblem, match=told):
        judged(write(tmp_path / "a.csv", f"{header}\n"))


def test_refusals_name_line_field_and_rule(tmp_path: Path) -> None:
    text = f'{HEADER}\na-1,1,"two\nlines",,,,,,,\na-2,x,,1.005,2026-02-30,,C,yes,[1],{{\n\na-3,1\n'

    rows, refusals = judged(write(tmp_path / "a.csv", text))

    assert rows == 3
    assert [(r.line, r.field, r.rule) for r in refusals] == [
        (4, "count", "type"),
        (4, "amount", "unrepresentable"),
        (4, "day", "type"),
        (4, "grade", "code"),
        (4, "open", "type"),
        (4, "tags[]", "type"),
        (4, "place", "type"),
        (6, "", "columns"),
    ]


def test_lines_that_are_no_objects_are_refused_one_by_one(tmp_path: Path) -> None:
    text = '{"case_id": "a", "count": 1}\n{"case_id": "a", "case_id": "b", "count": 1}\n[1]\n{"no": 1}\n{"cou'

    rows, refusals = judged(write(tmp_path / "a.jsonl", text))

    assert rows == 5
    assert [(r.line, r.rule) for r in refusals] == [
        (2, "json"), (3, "object"), (4, "unknown_field"), (5, "json"),
    ]  # fmt: skip


def test_numbers_in_text_cells_of_excel_are_refused(tmp_path: Path) -> None:
    path = write_excel(
        tmp_path / "a.xlsx", [FIELDS, [110101199003078515, 1], ["a", 1.5], [date(2026, 1, 1), 2]]
    )

    assert [(r.line, r.field, r.rule) for r in judged(path)[1]] == [
        (2, "case_id", "text_cell"), (3, "count", "type"), (4, "case_id", "text_cell"),
    ]  # fmt: skip


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    two = write_excel(tmp_path / "two.xlsx", [FIELDS, ["a", 1]], [["x"]])
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(two.read_bytes()[:400])
    cases = {
        two: "2 of its sheets hold data",
        broken: "not an Excel file",
        write(tmp_path / "a.pdf", "x"): "another kind is wanted",
        write(tmp_path / "empty.csv", ""): "it is empty",
        write(tmp_path / "head.csv", HEADER): "it holds no row",
        write(tmp_path / "quote.csv", f'{HEADER}\n"a'): "line 2: not CSV",
    }
    for path, told in cases.items():
        with pytest.raises(FileProblem, match=told):
            judged(path)


SHEET = "xl/worksheets/sheet1.xml"


def padded(path: Path, size_bytes: int) -> bytes:
    """Return an Excel file with so many spaces between its cells."""
    made = io.BytesIO()
    with zipfile.ZipFile(path) as packed, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in packed.namelist():
            content = packed.read(name)
            if name == SHEET:
                content = content.replace(b"</sheetData>", bytes(size_bytes) + b"</sheetData>")
                content = content.replace(b"\0", b" ")
            copy.writestr(name, content)
    return made.getvalue()


def lying(content: bytes, declared_bytes: int) -> bytes:
    """Return an Excel file that declares another size of its sheet, in both places where it does."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        local = packed.getinfo(SHEET).header_offset
    central = content.rindex(SHEET.encode()) - 46
    told = bytearray(content)
    for size in (local + 22, central + 24):
        told[size : size + 4] = declared_bytes.to_bytes(4, "little")
    return bytes(told)


def with_another_directory(content: bytes) -> bytes:
    """Return an Excel file in whose comment another ZIP file lies, which Python takes for the whole.

    Its end names a second disk, at which the other reader turns back to the first directory.
    """
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "x")
    inner = bytearray(other.getvalue())
    end = inner.rindex(b"PK\5\6")
    inner[end + 4 : end + 6] = b"\1\0"
    outer = bytearray(content)
    end = outer.rindex(b"PK\5\6")
    outer[end + 20 : end + 22] = len(inner).to_bytes(2, "little")
    return bytes(outer + inner)


def cells_of(content: bytes) -> list[list[Any]]:
    """Return what the reader of workbooks finds in a file that nobody has looked at."""
    return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()


def test_excel_files_unpack_to_no_more_than_is_taken_whatever_they_declare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_excel(tmp_path / "a.xlsx", [FIELDS, ["a-1", 1]])
    honest = padded(path, 2 * 1_048_576)
    path.write_bytes(honest)
    assert len(list(sheet.rows(path))) == 2
    monkeypatch.setattr(sheet, "MOST_SHEET_BYTES", 1_048_576)
    with pytest.raises(FileProblem, match="unpacks to more than 1 MiB"):
        list(sheet.rows(path))

    path.write_bytes(lying(honest, 1000))
    with zipfile.ZipFile(path) as packed:
        assert sum(part.file_size for part in packed.infolist()) < 1_048_576
    with pytest.raises(CalamineError, match="larger than its declared"):  # so this lie alone does not work
        cells_of(path.read_bytes())
    with pytest.raises(FileProblem, match="not an Excel file"):
        list(sheet.rows(path))

    path.write_bytes(with_another_directory(honest))
    with zipfile.ZipFile(path) as packed:
        assert packed.namelist() == ["a.txt"]
    assert len(cells_of(path.read_bytes())) == 2, "this one does: two readers, two directories"
    with pytest.raises(FileProblem, match="not an Excel file"):
        list(sheet.rows(path))


def test_cells_of_excel_that_stand_too_far_apart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, FIELDS)
        page.write(1_048_575, 16_383, "far")
    with pytest.raises(FileProblem, match="reach to row 1048576, column 16384"):
        judged(path)


def test_a_mapping_names_fields_of_the_contract(tmp_path: Path) -> None:
    contract = records().form.contract
    assert read_mapping(tmp_path / "none.json", contract) == {}
    assert read_mapping(write(tmp_path / "a.json", '{"Nr": "case_id", "x": null}'), contract) == {
        "Nr": "case_id", "x": None,
    }  # fmt: skip
    for wrong in ('{"Nr": "nr"}', '{"Nr": 1}', "[]", '{"a": null, "a": null}', "{"):
        with pytest.raises(ConfigError):
            read_mapping(write(tmp_path / "b.json", wrong), contract)


def test_a_file_is_taken_once_it_has_settled(tmp_path: Path) -> None:
    folder = Folder(tmp_path, settled_after_s=0.0)
    patient = Folder(tmp_path, settled_after_s=1000.0)
    for name in (".hidden.csv", "half.csv.part", "mapping.json"):
        write(tmp_path / name, "x")
    assert folder.take() is None
    write(tmp_path / "a.csv", "first")

    assert patient.take() is None
    taken = folder.take()

    assert taken == tmp_path / ".loading" / "a.csv"
    assert Folder(tmp_path, 0.0).take() == taken  # after a crash


def test_what_was_put_away_is_never_overwritten(tmp_path: Path) -> None:
    folder = Folder(tmp_path, settled_after_s=0.0)
    for text in ("one", "two"):
        write(tmp_path / "a.csv", text)
        taken = folder.take()
        assert taken is not None
        folder.done(taken)
    write(tmp_path / "a.csv", "bad")
    taken = folder.take()
    assert taken is not None
    place = folder.failed(taken, {"problem": "为什么"})

    assert [path.read_text() for path in sorted((tmp_path / "done").iterdir())] == ["two", "one"]
    assert json.loads(place.with_name("a.csv.report.json").read_text())["problem"] == "为什么"


def test_one_load_at_a_time(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path, "a"), FileLock(tmp_path, "a")

    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()


def test_decimals_keep_every_digit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"{HEADER}\na,1,,{Decimal('9999999999.99')},,,,,,\n")

    assert judged(path) == (1, [])


def test_a_folder_that_is_gone_is_an_error_for_people(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "papers", 0.0)
    store = ProgressStore({}, "registry", Digests("registry", SecretStr("s")))
    source = FilesSource("registry", [(records(), folder)], store, FileLock(tmp_path, "a"), lambda: False)
    source.open(None)
    shutil.rmtree(folder.path)

    with pytest.raises(SourceError, match="a folder of its files cannot be used"):
        source.read()
