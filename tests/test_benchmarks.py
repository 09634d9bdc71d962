"""The benchmarks' shared code; nothing here is timed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import measure, run
from benchmarks.measure import Cost, Goal, Row

ROOT = Path(__file__).resolve().parents[1]


def test_the_command_lists_its_paths():
    for option in ("--help", "--list"):
        command = [sys.executable, ROOT / "benchmarks/run.py", option]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert all(name in said for name in run.PATHS)
    files = {p.stem for p in (ROOT / "benchmarks/paths").glob("*.py")} - {"mixture"}
    assert files == set(run.PATHS)


def test_an_unknown_path_is_named(capsys):
    with pytest.raises(SystemExit):
        run.main(["decodign"])
    assert "no such path: decodign" in capsys.readouterr().err


def test_calls_take_turns_and_the_first_do_not_count():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: Cost(2.0, 5.0)}
    spent = measure.alternate(calls, 3, warm=2)
    assert order == ["a"] * 5
    assert {name: len(costs) for name, costs in spent.items()} == {"a": 3, "b": 3}
    assert spent["b"] == [Cost(2.0, 5.0)] * 3  # what another process says of itself


def test_ratios_are_of_one_turn():
    theirs = [Cost(8.0, 1.0), Cost(2.0, 1.0), Cost(60.0, 1.0)]
    ours = [Cost(2.0, 1.0), Cost(1.0, 1.0), Cost(10.0, 1.0)]
    row = measure.faster({"o": ours, "t": theirs}, "o", "t", "decoding", what="search")
    assert row.figure == (3.0, 4.0, 5.0)  # of 4, 2 and 6
    assert (row.what, row.beside, row.met) == ("search", "t", "yes")
    assert (row.ours, row.theirs) == (Cost(2.0, 1.0), Cost(8.0, 1.0))


@pytest.mark.parametrize(
    ("sign", "met"), [("≥", (False, True, True)), ("≤", (True, True, False)), ("<", (True, 0, 0))]
)
def test_goals(sign, met):
    assert [Goal(sign, 2.0).met(x) for x in (1.9, 2.0, 2.1)] == [bool(m) for m in met]


def test_the_table_says_what_is_met_and_what_was_not_measured():
    rows = [
        Row("a", "b", "times", (1.0, 2.0, 3.0), "decoding", Cost(1.0, 2.0), Cost(3.0, 4.0)),
        Row("c", "d", "of it", measure.fixed(0.5), "labelling features"),
        Row("e", "faiss", "", None, "kmeans faiss"),
        Row("f", "g", "s", measure.fixed(1.0)),
    ]
    again = [Row.of(json.loads(json.dumps(row.as_dict()))) for row in rows]
    assert again == rows
    lines = measure.table(again).splitlines()[2:]
    assert lines == [
        "| a | 1 (2) | b | 3 (4) | 2 (1–3) times | ≥ 3 | **no** |",
        "| c |  | d |  | 0.5 of it | ≤ 0 | **no** |",
        "| e |  | faiss |  | not measured | ≥ 1 |  |",
        "| f |  | g |  | 1 s |  |  |",
    ]


def test_a_rows_file_becomes_the_page(tmp_path):
    found = {
        "rows": [Row("x", "y", "times", measure.fixed(4.0), "decoding").as_dict()],
        "cpu_s": 3.0,
        "wall_s": 4.0,
        "peak_mb": 1500,
        "date": "2026-01-01",
        "commit": "abc",
    }
    page = run.markdown({"machine": "a machine; no GPU here", "decoding": found})
    assert page.startswith("a machine; no GPU here.")
    assert "| x |  | y |  | 4 times | ≥ 3 | yes |" in page
    assert "Commit abc, 2026-01-01; 3 CPU-s in all, peak memory 1.5 GB." in page
    assert "kmeans" not in page


def test_imports_of_a_run_are_read_from_its_log():
    from benchmarks.paths.startup import loading_of

    log = """[   0 s] set-up: ready
2026-11-21T23:59:50 (kd.sh) Stage 4: language model
23:59:51 INFO loading ESPnet (about 12 s)
00:00:01 INFO models to train: 1
00:00:10 INFO lm: 8 of 8 epochs
lm: 0.11 M parameters
"""
    assert loading_of(log) == (10.0, 20.0)


def test_imports_of_recipes_side_by_side_add_up():
    from benchmarks.paths.startup import loading_of

    log = """12:00:00 INFO data: whole
12:00:04 INFO done
kd1:   12:00:10 INFO loading ESPnet (about 6 s)
dice1: 2026-11-21T12:00:11 (dice.sh) Stage 2: teacher
kd1:   12:00:17 INFO models to train: 1
dice1: 12:00:20 INFO loading ESPnet (about 6 s)
dice1: 12:00:25 INFO models to train: 1
"""
    assert loading_of(log) == (7.0 + 5.0, 4.0 + 7.0 + 14.0)
