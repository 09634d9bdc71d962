"""The recipes of the published set-ups: stages 1 to 3 on look-alikes of their corpora."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.datadir import read_data_dir
from espnet_dice.records import feature_dir
from espnet_dice.records.tokens import TOKENS
from tests.corpus import write_tables
from tests.hubert.tiny_models import save
from tests.local import layouts

ROOT = Path(__file__).parents[2]


def checkout(place: Path, recipe: str) -> Path:
    """A checkout with one recipe, so that nothing is written into the real one."""
    place.mkdir()
    for name in ("espnet_dice", "conf", "local"):
        (place / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "egs2/TEMPLATE", place / "egs2/TEMPLATE")
    shutil.copytree(
        ROOT / "egs2" / recipe,
        place / "egs2" / recipe,
        symlinks=True,
        ignore=shutil.ignore_patterns("data", "dump", "exp", "log", "downloads"),
    )
    return place / "egs2" / recipe


def run(recipe: Path, *args: str, cwd: Path, path: str = "/usr/bin:/bin"):
    options = ["--python", sys.executable, "--nj", "1", "--stop_stage", "3"]
    return subprocess.run(
        [str(recipe / "run.sh"), *options, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )


def check_kd(recipe: Path, sizes: dict[str, int]) -> None:
    """Features of every set and the list of 31 are there."""
    for name, n in sizes.items():
        dump = feature_dir.load(recipe / "dump/fbank_pitch" / name)
        assert dump.dim == 83 and len(dump.lengths) == n
    tokens = (recipe / "data/token_list/char31/tokens.txt").read_text().split("\n")
    assert tokens[:-1] == list(TOKENS)


LIBRI = {**layouts.LIBRISPEECH, "test-other": {"1688/142285": 1}}


def test_librispeech_as_it_is_distributed(tmp_path):
    recipe = checkout(tmp_path / "checkout", "librispeech/kd1")
    layouts.librispeech(tmp_path, LIBRI)
    # a path that is relative to where the user is, not to the recipe
    done = run(recipe, "--corpus", "LibriSpeech", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_kd(recipe, {"train_960": 8, "dev": 3, "test_clean": 2, "test_other": 1})
    again = run(recipe, "--corpus", "LibriSpeech", cwd=tmp_path)
    assert again.returncode == 0 and "made already" in again.stdout
    assert "not made yet" not in again.stderr


def test_librispeech_for_dicehubert(tmp_path):
    recipe = checkout(tmp_path / "checkout", "librispeech/dice1")
    corpus = layouts.librispeech(tmp_path, LIBRI)
    teacher = tmp_path / "hubert"
    save(teacher, do_normalize=False)
    settings = ["--teacher", teacher, "--layer", "2", "--clusters", "5"]
    done = run(recipe, "--corpus", corpus, *settings, cwd=recipe)
    assert done.returncode == 0, done.stderr
    for name, n in {"train_960": 8, "dev": 3, "train_clean_100": 4, "test_clean": 2}.items():
        assert len(read_data_dir(recipe / "dump/raw" / name)) == n
    assert list((recipe / "exp/quantizer").iterdir()) == [
        recipe / "exp/quantizer/hubert_l2_k5_seed0"
    ]


def test_tedlium2_as_it_is_distributed(tmp_path):
    recipe = checkout(tmp_path / "checkout", "tedlium2/kd1")
    done = run(recipe, "--corpus", layouts.tedlium2(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_kd(recipe, {"train": 3, "dev": 1, "test": 1})


def test_wsj_as_ldc_distributes_it(tmp_path):
    recipe = checkout(tmp_path / "checkout", "wsj/kd1")
    corpus = layouts.wsj(tmp_path / "wsj", packed=True)
    tool = layouts.tool(tmp_path / "tools")
    path = f"{tool.parent}:/usr/bin:/bin"
    asked = run(recipe, "--corpus", corpus, cwd=tmp_path, path=path)
    assert asked.returncode == 2 and "give --allow_pipes true to run it" in asked.stderr
    done = run(recipe, "--corpus", corpus, "--allow_pipes", "true", cwd=tmp_path, path=path)
    assert done.returncode == 0, done.stderr
    check_kd(recipe, {"train_si284": 3, "test_dev93": 1, "test_eval92": 1})


def test_wsj_as_kaldi_prepared_it(tmp_path):
    recipe = checkout(tmp_path / "checkout", "wsj/kd1")
    disks = layouts.wsj(tmp_path / "wsj")
    audio = {p.stem: p for p in disks.rglob("*.wv1")}
    sets = {
        "train_si284": ["01ic0201", "01ic0202", "46hc0301"],
        "test_dev93": ["4k0c0301"],
        "test_eval92": ["440c0401"],
    }
    for name, utts in sets.items():
        write_tables(
            tmp_path / "kaldi/data" / name,
            wav_scp=[f"{u} sph2pipe -f wav {audio[u]} |" for u in utts],
            text=[f"{u} \"DOUBLE-QUOTE I. B. M. <NOISE> ISN'T -DASH" for u in utts],
            utt2spk=[f"{u} {u[:3]}" for u in utts],
        )
    done = run(recipe, "--data_dir", "kaldi/data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_kd(recipe, {name: len(utts) for name, utts in sets.items()})
    assert (recipe / "data/test_dev93/text").read_text() == (
        "4k0c0301 DOUBLE QUOTE I B M ISN'T DASH\n"
    )


def test_a_recipe_of_an_espnet_checkout(tmp_path):
    recipe = checkout(tmp_path / "checkout", "an4/kd1")
    layouts.espnet(tmp_path)
    fake = ["--espnet_root", "espnet", "--espnet_recipe", "fake", "--text_rules", "wsj"]
    names = ["--data_names", "train=train dev=test"]
    done = run(recipe, *fake, *names, "--allow_pipes", "true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_kd(recipe, {"train": 3, "dev": 1, "test": 1})
    wrong = run(recipe, *fake, "--data_names", "tran=train", cwd=tmp_path)
    assert wrong.returncode == 2 and "--data_names 'tran=train': write SET=NAME" in wrong.stderr


@pytest.mark.parametrize("recipe", ["librispeech/dice1", "librispeech/kd1", "wsj/kd1"])
def test_a_corpus_that_is_not_there(tmp_path, recipe):
    place = checkout(tmp_path / "checkout", recipe)
    done = run(place, "--stop_stage", "1", cwd=tmp_path)  # later ones need a teacher, too
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert f"{place}/downloads/" in last and "--corpus" in last and "--data_dir" in last
