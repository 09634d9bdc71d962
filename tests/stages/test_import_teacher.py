"""A teacher of another recipe: taken whole, says the same, and is refused where it does not fit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from espnet_dice.io.arks import ArkReader
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.records import experiment, feature_dir, tokens
from espnet_dice.stages import decode, import_teacher, teacher_outputs
from tests.stages import tiny

NAME = tiny.EXP / "asr_teacher_libri"


@pytest.fixture
def student(trained, fresh):
    """Another recipe's directory with the same features, and the teacher as it names it."""
    source = Path(os.path.relpath(trained.root / "exp/asr_teacher_t", fresh))
    return fresh, source


def test_it_says_what_it_said_where_it_was_trained(trained, student):
    here, source = student
    assert (
        import_teacher.import_teachers(
            {"libri": source}, tiny.EXP, tiny.TOKENS, tiny.DUMP / "train"
        )
        == 1
    )
    assert (
        import_teacher.import_teachers(
            {"libri": source}, tiny.EXP, tiny.TOKENS, tiny.DUMP / "train"
        )
        == 0
    )
    theirs, ours = experiment.load(source), experiment.load(NAME)
    assert (ours.sha256, ours.parameters, ours.averaged) == (
        theirs.sha256,
        theirs.parameters,
        theirs.averaged,
    )
    config = yaml.safe_load(ours.config.read_text())
    assert config["normalize_conf"]["stats_file"] == str(NAME / import_teacher.STATS)
    assert config["bpemodel"] == str(tiny.TOKENS / tokens.MODEL)
    assert "dump" not in ours.config.read_text(), "a path of the other recipe is left"
    # its mean and deviation are in the parameters, and the file of the training says the same
    told = dict(np.load(NAME / import_teacher.STATS))
    wanted = dict(np.load(tiny.DUMP / "train/feats_stats.npz"))
    mean = wanted["sum"] / wanted["count"]
    deviation = np.sqrt(wanted["sum_square"] / wanted["count"] - mean**2)
    np.testing.assert_allclose(told["sum"], mean, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(told["sum_square"] - mean**2), deviation, rtol=1e-5)
    dev = [feature_dir.load(tiny.DUMP / "dev")]
    options = {"n_samples": 0, "nj": 1}
    teacher_outputs.make_outputs({"t": NAME}, dev, tiny.TOKENS, Path("exp/here"), **options)
    said = _matrices(Path("exp/here"))
    assert len(said) == tiny.SIZES["dev"]
    with tiny.inside(trained.root):
        out = here / "exp/there"
        there = {"t": tiny.EXP / "asr_teacher_t"}
        teacher_outputs.make_outputs(there, dev, tiny.TOKENS, out, **options)
    for utt, matrix in _matrices(here / "exp/there").items():
        assert np.array_equal(said[utt], matrix)
    (plan,) = decode.plan([NAME], [tiny.DUMP / "test"], None, [False], _decoding())
    assert decode.run([plan], nj=1) == 1 and NAME in plan.out.parents
    assert not list(trained.root.glob("exp/asr_teacher_t/decode_here*")), "written elsewhere"


def _matrices(outputs: Path) -> dict[str, np.ndarray]:
    reader = ArkReader(outputs / "t/dev/teacher.scp")
    return {utt: np.array(reader[utt]) for utt in feature_dir.load(tiny.DUMP / "dev").lengths}


def _decoding() -> Path:
    return tiny.write_config("conf/decode_here.yaml", tiny.DECODE)


def test_what_does_not_fit_is_refused(trained, student, tmp_path_factory):
    _, source = student
    with pytest.raises(StaleError, match=r"gone is missing: run that recipe first"):
        import_teacher.import_teachers({"libri": source.parent / "gone"}, tiny.EXP, tiny.TOKENS)
    other = tmp_path_factory.mktemp("other") / "asr_x"
    shutil.copytree(source, other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(config | {"input_size": 80}))
    with pytest.raises(ConfigError, match=r"on features of 80 dimensions, here are features of 20"):
        import_teacher.import_teachers({"libri": other}, tiny.EXP, tiny.TOKENS, tiny.DUMP / "train")
    (other / "config.yaml").write_text(yaml.safe_dump(config | {"input_size": 1}))
    with pytest.raises(ConfigError, match=r"trained on waveforms, here are features of 20"):
        import_teacher.import_teachers({"libri": other}, tiny.EXP, tiny.TOKENS, tiny.DUMP / "train")
    shorter = config | {"token_list": config["token_list"][:-1]}
    (other / "config.yaml").write_text(yaml.safe_dump(shorter))
    with pytest.raises(ConfigError, match=r"config\.yaml: token_list is not that of data/token"):
        import_teacher.import_teachers({"libri": other}, tiny.EXP, tiny.TOKENS)
    assert not NAME.exists()
    NAME.mkdir(parents=True)
    with pytest.raises(StaleError, match=r"asr_teacher_libri is there and was not taken"):
        import_teacher.import_teachers({"libri": source}, tiny.EXP, tiny.TOKENS)


def test_an_ssl_encoder_is_found_from_here(trained, student, tmp_path_factory):
    _, source = student
    recipe = tmp_path_factory.mktemp("other")
    shutil.copytree(source, recipe / "exp/asr_x")
    (recipe / "hubert").mkdir()
    config = yaml.safe_load((recipe / "exp/asr_x/config.yaml").read_text())
    for given, wanted in (("hubert", str(recipe / "hubert")), ("owner/name", "owner/name")):
        config["encoder_conf"] = {"source": given}
        (recipe / "exp/asr_x/config.yaml").write_text(yaml.safe_dump(config))
        shutil.rmtree(NAME, ignore_errors=True)
        import_teacher.import_teachers({"libri": recipe / "exp/asr_x"}, tiny.EXP, tiny.TOKENS)
        assert (
            yaml.safe_load((NAME / "config.yaml").read_text())["encoder_conf"]["source"] == wanted
        )


def test_the_recipe_takes_it_in_stage_5(trained, student):
    here, source = student
    script = Path(__file__).parents[2] / "egs2/TEMPLATE/kd1/kd.sh"
    options = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]
    options += ["--stage", "5", "--stop_stage", "5", "--use_lm", "false"]
    options += ["--teachers", f"libri=exp:{source}", "--python", sys.executable]
    done = subprocess.run([str(script), *options], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 taken, 0 unchanged" in done.stdout
    assert experiment.load(NAME).sha256 == experiment.load(source).sha256
