"""Warnings about a recipe's run: what ended well and may be worth nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from espnet_dice.checks import check_data, check_labels, check_results, check_training
from espnet_dice.checks.run_warning import RunWarning
from espnet_dice.io import texts
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DiceError
from espnet_dice.io.json_files import read_json
from espnet_dice.records import token_models
from espnet_dice.records import train_log as training
from espnet_dice.records.config_base import read_trained
from espnet_dice.records.experiment import of_recipe
from espnet_dice.results import model_selection, recognisers
from espnet_dice.results.table import JSON

MARKDOWN = "WARNINGS.md"
NONE = "No warnings."


def find(
    exp: Path,
    data: Path | None = None,
    dump: Path | None = None,
    read: recognisers.Recognisers | None = None,
) -> list[RunWarning]:
    """Everything that is worth a warning.

    Args:
        exp: experiments of either recipe; for paths in their records see
            :func:`experiment.of_recipe`.
        data, dump: data directories and features; default: beside ``exp``.
        read: the recognisers below ``exp``, where they were read already: their errors are counted
            once.
    """
    data, dump = data or of_recipe(exp, "data"), dump or of_recipe(exp, "dump")
    found: list[RunWarning] = []
    for directory in sorted(data.glob("*/")):
        found += _seen(directory, lambda d: [check_data.taken(d)])
    for directory in sorted(dump.glob("*/*/")):
        found += _seen(directory, lambda d: [check_data.kept(data / d.name, d)])
    for directory in sorted(exp.glob("labels/*/")):
        found += _seen(directory, check_labels.check)
    for one in training.read_all(exp):
        found += _seen(exp / f"{one.kind}_{one.name}", lambda d, t=one: _training(t, d))
    found += _seen(exp, lambda d: _decoded(d, read or recognisers.read(d)))
    for path in sorted(exp.glob("asr_*/export/export.json")):
        found += _seen(path, lambda p: [check_results.int8_worse(read_json(p), p.parts[-3])])
    return found + _seen(exp / JSON, _probed)


def _seen(path: Path, check: Callable[[Path], Iterable[RunWarning | None]]) -> list[RunWarning]:
    """What a check finds; that it cannot read a file is worth a warning as well."""
    try:
        return [found for found in check(path) if found]
    except (DiceError, OSError, ValueError, KeyError) as err:
        causes = ("a file of it is missing or damaged",)
        return [
            RunWarning(str(path), f"could not be checked: {err}", causes, "run its stage again")
        ]


def _training(one: training.Training, directory: Path) -> Iterator[RunWarning | None]:
    done, skipped = training.updates(directory / training.LOG)
    yield check_training.not_finite(one)
    yield check_training.skipped_updates(one, done, skipped)
    yield check_training.constant(one)
    path = directory / "config.yaml"
    if one.kind == "lm" or not path.is_file():
        return
    config, exp = read_trained(path), directory.parent
    warm = done > ((config.get("scheduler_conf") or {}).get("warmup_steps") or 0)
    if one.kind == "dice" and warm:
        stores = {part: _inputs(config, part, exp).get("labels") for part in check_training.PARTS}
        if all(path and path.is_dir() for path in stores.values()):
            # acc_m is the last head's
            heads = (config.get("model_conf") or {}).get("heads")
            number = heads[-1].get("codebook", 0) if isinstance(heads, list) else -1
            use = {part: check_labels.use_of(path)[number] for part, path in stores.items()}
            chance = {part: float(u.max() / u.sum()) for part, u in use.items()}
            yield check_training.at_chance(one, "acc_m", chance, "the most frequent label")
    elif one.kind == "asr":
        written = [_inputs(config, part, exp).get("text") for part in check_training.PARTS]
        if not all(path and path.is_file() for path in written):
            return
        train, valid = map(texts.words, written)
        pieces = _pieces(config, exp)
        if warm:
            most = (islice(said.values(), check_training.LINES) for said in (train, valid))
            written = [[pieces.encode(text, out_type=str) for text in said] for said in most]
            rate = check_training.tokens_guess(*written)
            guess = "the token that most often follows the last one"
            yield check_training.at_chance(one, "acc", {"valid": rate}, guess)
        shapes = directory / "shapes/train/speech_shape"
        if config.get("input_size") and shapes.is_file():
            layer = (config.get("encoder_conf") or {}).get("input_layer", "conv2d")
            lengths = check_data.read_lengths(shapes)
            if layer in check_data.KERNELS:
                ids = {utt: pieces.encode(text) for utt, text in train.items()}
                yield check_data.too_long(lengths, ids, layer, directory.name)


def _pieces(config: Mapping[str, Any], exp: Path) -> Any:
    """What cut the transcripts into tokens."""
    named = config.get("bpemodel")
    model = of_recipe(exp, named).read_bytes() if named else token_models.char_model()
    return token_models.processor(model)


def _inputs(config: Mapping[str, Any], part: str, exp: Path) -> dict[str, Path]:
    """Name → path of what ESPnet read in training."""
    entries = config.get(f"{part}_data_path_and_name_and_type") or ()
    return {name: of_recipe(exp, path) for path, name, _ in entries}


def _decoded(exp: Path, found: recognisers.Recognisers) -> Iterator[RunWarning | None]:
    for d in found.decoded:
        where = str(d.directory.relative_to(exp))
        yield check_results.empty(d.reference, d.hypothesis, where)
        yield check_results.alike(d.reference, d.hypothesis, where)
    students = model_selection.candidates(found, teachers=False)
    untaught = [c for c in students if not c.system.is_taught]
    taught = [c for c in students if c.system.is_taught]
    teachers = model_selection.candidates(found, teachers=True)
    yield from check_results.hopeless(students, teachers)
    yield from check_results.worse_than_untaught(teachers, untaught, check_results.TEACHER)
    yield from check_results.worse_than_untaught(taught, untaught, check_results.STUDENT)


def _probed(path: Path) -> list[RunWarning]:
    results = read_json(path)
    return check_results.probes(results) if isinstance(results, dict) else []


def write(found: Sequence[RunWarning], exp: Path) -> None:
    """Write ``WARNINGS.md``."""
    said = "\n".join(f.markdown for f in found) or NONE
    write_text(exp / MARKDOWN, f"# Warnings\n\n{said}\n")
