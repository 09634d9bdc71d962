"""Progress passes everything on and says how long it will take."""

import logging

import pytest

from espnet_dice.io import options, progress


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch):
    monkeypatch.setenv(progress.LOG, "")
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_items_pass_and_the_time_left_is_logged(monkeypatch, caplog):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO)
    assert list(progress.track("abcd", 4, "features")) == list("abcd")
    assert caplog.messages == [
        "features: 2/4 utt, 0.1/s, 20 s left",
        "features: 4 utt in 50.0 s",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["INFO 2", "INFO items: 1 utt", "WARNING 3"]),
        (["--quiet"], ["WARNING 3"]),
        (["--verbose"], ["DEBUG 1", "INFO 2", "INFO items: 1 utt", "WARNING 3"]),
    ],
)
def test_how_much_is_said(arguments, said, capsys, monkeypatch):
    parser = options.parser("A command.")
    assert vars(parser.parse_args(arguments)) == {}
    progress.setup_logging()
    logging.debug("1")
    logging.getLogger("matplotlib").debug("not ours")
    logging.info("2")
    assert list(progress.track("a", 1, "items")) == ["a"]
    logging.warning("3")
    lines = capsys.readouterr().err.splitlines()
    assert [line[9:].split(" in ")[0] for line in lines] == said


def test_a_quiet_command_has_no_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    options.parser("A command.").parse_args(["--quiet"])
    progress.setup_logging()
    assert list(progress.track("ab", 2, "items")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        options.parser("A command.").parse_args(["--quiet", "--verbose"])
    assert "not allowed with" in capsys.readouterr().err
