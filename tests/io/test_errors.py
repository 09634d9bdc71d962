"""One message and an exit code; a traceback only for those who ask."""

import os
import subprocess
import sys

import pytest

from espnet_dice.io.errors import ConfigError, ProblemList, describe

SCRIPT = """if 1:
    import sys
    from espnet_dice.io.errors import DataError, cli
    def main():
        assert "--debug" not in sys.argv
        {body}
    cli(main)
"""


def run(body, *args, **env):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body), *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("pass", 0, ""),
        ("return 3", 3, ""),
        ("raise DataError('a.wav: u1: bad; fix it')", 2, "error: a.wav: u1: bad; fix it\n"),
        ("open('/nix/x')", 2, "error: /nix/x: No such file or directory\n"),
        ("raise OSError(28, 'full', 'x.ark')", 2, "error: no space left while writing x.ark: "),
        ("open('x' * 256, 'w')", 2, f"error: {'x' * 256}: File name too long; a name has at most"),
        ("raise KeyboardInterrupt", 130, "interrupted: run the same command again"),
    ],
)
def test_exit_code_and_message(body, code, message):
    done = run(body)
    assert done.returncode == code and done.stderr.startswith(message), done.stderr
    assert "Traceback" not in done.stderr and (message or not done.stderr)


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    refused = PermissionError(13, "Permission denied", str(tmp_path / "a"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "a: Permission denied; only others may read it: ask its owner" in describe(refused)
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert "choose a directory that you may write to" in describe(refused)
    with pytest.raises(IsADirectoryError) as err:
        tmp_path.read_text()
    assert f"{tmp_path}: a directory is where a file has to be" in describe(err.value)


def test_traceback_on_request_and_for_our_own_mistakes():
    body = "raise DataError('bad')"
    for done in (run(body, "--debug"), run(body, ESPNET_DICE_DEBUG="1"), run("1 / 0")):
        assert done.returncode == 1 and "Traceback" in done.stderr


def test_problem_list_counts_what_it_does_not_print():
    err = ProblemList("data/x", [f"p{i}" for i in range(5)], limit=3)
    assert str(err).splitlines() == ["data/x: 5 problems", "  p0", "  p1", "  p2", "  … and 2 more"]
    assert str(ProblemList("d", ["p"])) == "d: 1 problem\n  p"
    assert len(err.problems) == 5 and not isinstance(err, ConfigError)
