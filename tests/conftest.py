import os
import shutil
import signal

import filelock
import pytest

# BLAS threads of several processes fight for two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell lets its background jobs ignore Ctrl-C, and so would the commands that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _autograd_without_threads():
    """The first backward counts the GPUs and starts threads for them; no fork can train after that.

    torch's fake tensors (``torch.compile``, ``torch.export``) leave a GPU to be counted where there
    is none, so the count comes before them.
    """
    import torch

    torch.ones(1, requires_grad=True).sum().backward()


def pytest_collection_modifyitems(items):
    """Trainings come first: a file of minutes at the end would leave the other process idle."""
    items.sort(key=lambda item: item.path.parent.name != "training")


def built_once(tmp_path_factory, name, build):
    """A directory of this process, a copy of what the first of pytest-xdist's has built."""
    mine = tmp_path_factory.mktemp(name)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        build(mine)
        return mine
    session = tmp_path_factory.getbasetemp().parent
    made = session / name
    with filelock.FileLock(session / f"{name}.lock"):
        if not made.exists():
            build(mine)
            shutil.copytree(mine, made, symlinks=True)
            return mine
    return shutil.copytree(made, mine, symlinks=True, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recipe directory with everything trained; tests must not change what is in it."""
    from tests.stages import tiny

    return tiny.Recipe(built_once(tmp_path_factory, "recipe", tiny.build))


@pytest.fixture(scope="session")
def trained_dice(tmp_path_factory):
    """A recipe directory with teacher and students; tests must not change what is in it."""
    from tests.stages import tiny_dice

    return built_once(tmp_path_factory, "dice", tiny_dice.build)


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
