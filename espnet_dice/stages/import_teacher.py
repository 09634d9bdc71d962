"""Stage 5: take a teacher that another recipe trained, instead of training it here.

    python -m espnet_dice.stages.import_teacher --teacher libri=../../ls/kd1/exp/asr_base \\
        --token_list data/token_list/char31

makes ``exp/asr_teacher_libri``: its parameters, its config with this recipe's paths, and its
feature statistics, so that later stages use it as one of their own. The other recipe is not
changed, and may move or go afterwards (not an SSL model that the teacher's encoder is).
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, StaleError, cli
from espnet_dice.io.fingerprint import Fingerprint, read
from espnet_dice.io.progress import setup_logging
from espnet_dice.kd.distillation_options import parse_teachers
from espnet_dice.records import experiment, feature_dir, tokens
from espnet_dice.records.config_base import read_trained

STAGE = "adopt"
STATS = "feats_stats.npz"


def directory_of(exp: Path, name: str) -> Path:
    """Where a teacher of another recipe goes."""
    return exp / f"asr_teacher_{name}"


def import_teachers(
    teachers: dict[str, Path], exp: Path, token_list: Path, dump: Path | None = None
) -> int:
    """Take the teachers that are not there yet, or have been trained anew since.

    Args:
        teachers: name → experiment directory.
        exp: this recipe's experiments.
        token_list: this recipe's token list.
        dump: a set of this recipe, whose features the teachers must fit.

    Returns:
        How many were taken.

    Raises:
        StaleError: a teacher is missing or unfinished, or something else is in its place.
        ConfigError: it has other tokens or other features.
    """
    token_key = tokens.key_of(token_list)
    dim = feature_dir.load(dump).dim if dump else None
    taken = 0
    for name, source in teachers.items():
        teacher = experiment.load(source, "that recipe")
        out = directory_of(exp, name)
        held = {"source": str(source.resolve()), "out": str(out)}
        mark = Fingerprint(STAGE, held, {"model": teacher.sha256, "tokens": token_key})
        if mark.is_done(out):
            logging.info("teacher %s: unchanged, skipped", name)
            continue
        found = read(out)
        if out.exists() and (found is None or found.get("stage") != STAGE):
            raise StaleError(f"{out} is there and was not taken from another recipe: remove it")
        _take(teacher, out, token_list, dim, mark)
        taken += 1
        logging.info("teacher %s: %s", name, experiment.summary(out))
    return taken


def _take(
    teacher: experiment.Experiment, out: Path, token_list: Path, dim: int | None, mark: Fingerprint
) -> None:
    config = read_trained(teacher.config)
    ours = tokens.entries(token_list)
    if list(config.get("token_list") or ()) != ours:
        raise ConfigError(
            f"{teacher.config}: token_list is not that of {token_list}: a teacher and its student "
            "need one list (stage 3)"
        )
    _check_pieces(config.get("bpemodel"), teacher, token_list)
    theirs = config.get("input_size") or 0
    theirs = 0 if theirs == 1 else theirs  # waveforms
    if dim is not None and theirs != dim:
        told = [f"features of {n} dimensions" if n else "waveforms" for n in (theirs, dim)]
        raise ConfigError(
            f"{teacher.config}: trained on {told[0]}, here are {told[1]}: choose the --feats_type "
            "of that recipe, or --teacher_feats_type"
        )
    with atomic_dir(out) as tmp:
        shutil.copyfile(teacher.model_file, tmp / teacher.model)
        if "stats_file" in (config.get("normalize_conf") or {}):
            write_stats(teacher, tmp / STATS)
            config["normalize_conf"]["stats_file"] = str(out / STATS)
        _keep_encoder(config, teacher.directory)
        config["bpemodel"] = str(token_list / tokens.MODEL)
        config |= _without_data(config)
        (tmp / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        same = ("task", "model", "parameters", "seed", "max_epoch", "averaged")
        more = ("train_set", "valid_set", "seconds")
        kept = {key: getattr(teacher, key) for key in same + more}
        experiment.write(tmp, **kept, role="teacher")
        mark.finish(tmp)


def _check_pieces(named: str | None, teacher: experiment.Experiment, token_list: Path) -> None:
    """The same learnt pieces may cut words otherwise: their model has to be the same."""
    ours = tokens.load(token_list)
    if not ours.learnt:
        return
    theirs = teacher.directory.resolve().parents[1] / (named or tokens.MODEL)
    if not theirs.is_file():
        raise ConfigError(
            f"{teacher.config}: bpemodel {theirs} is not there: whether it cuts words as "
            f"{token_list} does cannot be told; copy it back"
        )
    if theirs.read_bytes() != ours.model:
        raise ConfigError(
            f"{theirs}: cuts words otherwise than {token_list / tokens.MODEL}: let the list be "
            "learnt from that recipe's text (--bpe_train_text)"
        )


def _keep_encoder(config: dict[str, Any], directory: Path) -> None:
    """Let an SSL encoder that was named from the other recipe be found from here."""
    conf = config.get("encoder_conf") or {}
    place = directory.resolve().parents[1] / str(conf.get("source"))
    if conf.get("source") and place.exists():
        conf["source"] = str(place)


def _without_data(config: dict[str, Any]) -> dict[str, Any]:
    """Keys that name what the training read, emptied."""
    ends = ("_data_path_and_name_and_type", "_shape_file")
    return {key: [] for key in config if key.endswith(ends)} | {"output_dir": None}


def write_stats(teacher: experiment.Experiment, path: Path) -> None:
    """Write the feature statistics that a trained model holds, as ESPnet's GlobalMVN reads them.

    The file that they came from is in the other recipe's dump, which may be gone.

    Raises:
        ConfigError: the model holds none.
    """
    import numpy as np
    import torch

    state = torch.load(teacher.model_file, map_location="cpu", weights_only=True)
    try:
        mean, std = (state[f"normalize.{key}"].double().numpy() for key in ("mean", "std"))
    except KeyError as err:
        raise ConfigError(f"{teacher.model_file}: holds no {err}: not a model of stage 5") from None
    np.savez(path, count=1, sum=mean, sum_square=std**2 + mean**2)


def main(argv: list[str] | None = None) -> None:
    """Take teachers: a command."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--teacher", action="append", required=True, metavar="NAME=EXPDIR", help="repeatable"
    )
    parser.add_argument("--token_list", required=True, type=Path, help="token list directory")
    parser.add_argument("--dump", type=Path, help="a set whose features they must fit")
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    args = parser.parse_args(argv)
    setup_logging()
    n = import_teachers(parse_teachers(args.teacher), args.exp, args.token_list, args.dump)
    print(f"{n} taken, {len(args.teacher) - n} unchanged")


if __name__ == "__main__":
    cli(main)
