from dataclasses import dataclass

from training.spoof.tables import read_rows, write_rows


@dataclass(frozen=True, kw_only=True)
class Row:
    line: str
    net_s: float
    system: str
    source: int = 7
    trains: bool = True


def test_records_come_back_as_they_were_written(tmp_path):
    rows = [
        Row(line="µ-law", net_s=9.875, system=""),
        Row(line="1.5", net_s=-2e-7, system="a, b", source=-1, trains=False),
    ]
    assert write_rows(tmp_path / "rows.csv", Row, iter(rows)) == 2
    assert read_rows(tmp_path / "rows.csv", Row) == rows


def test_a_table_without_records_has_none(tmp_path):
    assert write_rows(tmp_path / "rows.csv", Row, []) == 0
    assert read_rows(tmp_path / "rows.csv", Row) == []
