import os
import signal

import pytest

# BLAS threads of several processes fight for two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell lets its background jobs ignore Ctrl-C, and so would the commands that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recipe directory with everything trained; tests must not change what is in it."""
    from tests.stages import tiny

    return tiny.build(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def trained_dice(tmp_path_factory):
    """A recipe directory with teacher and students; tests must not change what is in it."""
    from tests.stages import tiny_dice

    return tiny_dice.build(tmp_path_factory.mktemp("dice"))


@pytest.fixture
def recipe(trained, monkeypatch):
    """The trained recipe, as the working directory."""
    monkeypatch.chdir(trained.root)
    return trained


@pytest.fixture
def fresh(trained, tmp_path, monkeypatch):
    """A directory with the trained recipe's data, and no experiments."""
    for name in ("data", "dump"):
        (tmp_path / name).symlink_to(trained.root / name)
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path
