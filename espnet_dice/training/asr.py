"""The training of a recogniser: what ESPnet is given, and what the model depends on."""

from functools import partial
from pathlib import Path

from espnet_dice.io import espnet_options
from espnet_dice.io.errors import ConfigError
from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records import experiment, feature_dir, tokens, transcripts
from espnet_dice.records.configs import model_conf, read_config
from espnet_dice.training import ssl_encoder
from espnet_dice.training.jobs import Job

CRITERION, NBEST = ("valid", "acc", "max"), 5


def make_job(
    tag: str,
    config: Path,
    train: feature_dir.FeatureDir,
    valid: feature_dir.FeatureDir,
    token_list: Path,
    token_key: str,
    exp: Path,
    seed: int,
    extra: str = "",
    teaching: DistillationOptions | None = None,
) -> Job:
    """The job that makes ``exp/asr_<tag>``.

    Args:
        tag: names the directory.
        config: YAML of ESPnet's ASR training.
        train, valid: features and texts.
        token_list: directory with ``bpe.model`` and ``tokens.txt``.
        token_key: its fingerprint.
        exp: where experiments are.
        seed: of the training.
        extra: options that win over the config.
        teaching: where teachers and their cached outputs are.

    Raises:
        DiceError: a text, a teacher, a cache or an SSL model does not fit.
    """
    out = experiment.directory_of(exp, "asr", tag)
    if train.dim != valid.dim:
        raise ConfigError(
            f"{train.path} has {train.dim}-dimensional features, {valid.path} {valid.dim}"
        )
    inputs = {"train": train.key, "valid": valid.key, "tokens": token_key}
    data = [
        *("--use_preprocessor", "true", "--token_type", "bpe"),
        *("--bpemodel", str(token_list / tokens.MODEL)),
        *("--token_list", str(token_list / tokens.LIST)),
        *("--train_data_path_and_name_and_type", train.speech),
        *("--train_data_path_and_name_and_type", espnet_options.triple(train.text, "text", "text")),
        *("--valid_data_path_and_name_and_type", valid.speech),
        *("--valid_data_path_and_name_and_type", espnet_options.triple(valid.text, "text", "text")),
        *("--train_shape_file", str(out / "shapes/train/speech_shape")),
        *("--train_shape_file", str(out / "shapes/train/text_shape")),
        *("--valid_shape_file", str(out / "shapes/valid/speech_shape")),
        *("--valid_shape_file", str(out / "shapes/valid/text_shape")),
        *("--fold_length", "800" if train.dim else "80000", "--fold_length", "150"),
    ]
    if ssl_encoder.chosen(config, extra):
        inputs |= ssl_encoder.inputs(config, extra, (train, valid))
        data += ssl_encoder.OPTIONS
    elif train.dim:
        data += ["--input_size", str(train.dim), "--normalize", "global_mvn"]
        data += ["--normalize_conf", f"stats_file={espnet_options.value(train.stats)}"]
    elif "normalize" not in read_config(config):
        data += ["--normalize", "utterance_mvn"]  # the model's own frontend has no statistics
    names: dict = {"dim": train.dim}
    conf = model_conf(config, extra)
    if teaching is not None:
        try:
            wanted = teaching.wanted(conf)
            found = teaching.options(conf, train, valid, token_key) if wanted else None
        except ConfigError as err:
            raise ConfigError(f"{config}: {err}") from err
        if found:
            more, more_inputs, names["teaching"] = found
            data += more
            inputs |= more_inputs
    return Job(
        task="asr",
        out=out,
        config=config,
        data=data,
        inputs=inputs,
        criterion=CRITERION,
        nbest=NBEST,
        seed=seed,
        extra=extra,
        train_set=train.name,
        valid_set=valid.name,
        prepare=partial(write_shapes, out / "shapes", train, valid, token_list),
        names=names,
    )


def write_shapes(
    out: Path, train: feature_dir.FeatureDir, valid: feature_dir.FeatureDir, token_list: Path
) -> None:
    """Write the shape files of ESPnet's batching: the utterances are those that have a text.

    Raises:
        DataError: a set has a text that the tokens cannot write, or no utterance in common.
    """
    known = tokens.load(token_list)
    for part, dump, unseen in (("train", train, None), ("valid", valid, transcripts.Unseen())):
        texts = transcripts.check_text(dump.text, known, unseen)
        if set(texts) != set(dump.lengths):
            missing = sorted(set(texts) ^ set(dump.lengths))
            raise ConfigError(
                f"{dump.path}: text and features hold different utterances, {missing[0]} for one: "
                "run stage 2 again"
            )
        (out / part).mkdir(parents=True, exist_ok=True)
        (out / part / "speech_shape").write_bytes(dump.shape.read_bytes())
        known.write_text_shape(out / part / "text_shape", texts)
