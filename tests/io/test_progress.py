"""Progress passes everything on and says how long it will take."""

import logging

from espnet_dice.io import progress


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
