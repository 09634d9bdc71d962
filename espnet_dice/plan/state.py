"""What a stage's directories are: whole, begun, to be made, or made from something else."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_dice.hubert import upstreams
from espnet_dice.io import fingerprint
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DiceError
from espnet_dice.io.json_files import read_json
from espnet_dice.plan.recipe import Recipe, Stage
from espnet_dice.records import configs, experiment

MARK = ".checked"
"""Where stage 1 says that it has checked a data directory."""
TRACKED = re.compile(
    r"(train|valid|test|data(_\d+)?|tokens|model|lm|quantizer|labels_\w+|teacher\d+(_\w+)?)"
)
"""Inputs in a record that are keys of other directories of the recipe."""
COMPARED = {
    "features": {"rate": "fs"},
    "teacher_outputs": {"n_samples": "teacher_samples"},
    "kmeans": {"sample_frames": "sample_frames"},
    "labels": {"tau": "tau"},
}
"""Stage in a record → its setting → the option that says what it is to be."""
DURATIONS = ("min_wav_duration", "max_wav_duration")
SEEDED = re.compile(r"_seed\d+$")
LM_TEXTS = {"train": "lm_train", "valid": "lm_dev"}
DONE, BEGUN, STALE, TO_DO = "done", "begun", "stale", "to do"


def is_whole(directory: Path) -> bool:
    """Whether a directory was finished, from whatever."""
    return bool((_record(directory) or {}).get("done"))


class States:
    """The states of all directories, in order of the stages.

    Args:
        recipe: whose.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self._keys: dict[str, Path] = {}
        for teacher in recipe.taken_teachers.values() if recipe.name == "kd1" else ():
            self._keys |= dict.fromkeys(_keys(teacher), teacher)
        self._found: dict[Path, tuple[str, str]] = {}
        self._made = {stage.number: [*map(_there, stage.made)] for stage in recipe.stages}
        for directories in self._made.values():
            for directory in directories:
                self._keys |= dict.fromkeys(_keys(directory), directory)
                self._found[directory] = self._look(directory)

    def is_done(self, directory: Path) -> bool:
        """Whether a directory is whole and made from what there is now."""
        return self._found.get(directory, ("", ""))[0] == DONE

    def of(self, stage: Stage) -> tuple[str, str]:
        """State of a stage, and why; that of the first directory that is not done."""
        found = [(d, *self._found[d]) for d in self._made[stage.number]]
        left = [entry for entry in found if entry[1] != DONE]
        if not left:
            return (DONE, "") if found else ("", "")
        directory, state, why = next((e for e in left if e[1] == STALE), left[0])
        if len(left) < len(found):
            why = "; ".join(
                filter(None, [why, f"{len(found) - len(left)} of {len(found)} are done"])
            )
        return state, f"{directory}{': ' + why if why else ''}"

    def _look(self, directory: Path) -> tuple[str, str]:
        try:
            record = _record(directory)
        except DiceError as err:
            return STALE, str(err)
        if record is None:
            return TO_DO, ""
        changed = [*self._changed(directory, record)]
        if changed:
            return STALE, ", ".join(changed)
        return (DONE, "") if record.get("done") else (BEGUN, "goes on where it was")

    def _changed(self, directory: Path, record: Mapping[str, Any]) -> Iterator[str]:
        stage, said = record.get("stage"), record["settings"]
        for name, value in record["inputs"].items():
            source = self._keys.get(value)
            if name == "source":
                yield from self._source_changed(value, said.get("layer", 0))
            elif stage == "train_lm" and name in LM_TEXTS:
                yield from self._text_changed(name, value)
            elif source is None and TRACKED.fullmatch(name):
                yield f"{name} is not what it was made from"
            elif self._found.get(source, (DONE,))[0] in (STALE, TO_DO):
                yield f"{source} is made anew"
        for name, option in COMPARED.get(stage, {}).items():
            if name in said and float(said[name]) != float(self.recipe[option] or 0):
                yield f"--{option} was {said[name]}"
        if stage == "features":
            yield from self._audio_changed(said)
        if stage == "decode":
            yield from self._search_changed(said)
        if str(stage).startswith("train_") and "seed" in said and not SEEDED.search(directory.name):
            asked = [*self.recipe.words("seeds"), self.recipe["seed"] or "0"]
            asked = asked[0] if directory.name == f"asr_{self.recipe['asr_tag']}" else asked[-1]
            if str(said["seed"]) != asked:
                yield f"--seed was {said['seed']}"
        if directory in self.recipe.configs:
            yield from _config_changed(self.recipe.configs[directory], said)

    def _audio_changed(self, said: Mapping[str, Any]) -> Iterator[str]:
        """Options of the features that are not those that they were made with."""
        channel, speeds = said.get("channel"), said.get("speeds", [1.0])
        if bool(said.get("resample")) != self.recipe.is_true("resample"):
            yield f"--resample was {str(bool(said.get('resample'))).lower()}"
        if ("" if channel is None else str(channel)) != self.recipe["channel"]:
            yield f"--channel was {'not given' if channel is None else channel}"
        wanted = [float(word) for word in self.recipe.words("speed_perturb_factors")]
        if len(speeds) > 1 and sorted(speeds) != sorted(wanted):
            yield f"--speed_perturb_factors was {' '.join(f'{s:g}' for s in speeds)}"
        for option, was in zip(DURATIONS, said.get("durations", ()), strict=False):
            if self.recipe[option] and float(self.recipe[option]) != float(was):
                yield f"--{option} was {was}"

    def _search_changed(self, said: Mapping[str, Any]) -> Iterator[str]:
        """Keys of the decoding's config that are not what was decoded with."""
        path = self.recipe["inference_config"]
        try:
            config = configs.read_config(path) if path else {}
            given = configs.split_args(self.recipe["inference_args"])
            now = configs.with_options(config, given)
        except DiceError:
            return  # told with the mistakes
        keys = [k for k in now if k in said and k != "lm_weight" and said[k] != now[k]]
        if keys:
            yield f"{path}: {', '.join(sorted(keys))} changed"

    def _text_changed(self, name: str, value: str) -> Iterator[str]:
        paths = [Path(path) for path in self.recipe.words(LM_TEXTS[name])]
        if not all(path.is_file() for path in paths):
            yield f"{name} text is made anew"
        elif fingerprint.digest_files(paths) != value:
            yield f"{name} text is not what it was made from"

    def _source_changed(self, value: str, layer: int | list[int]) -> Iterator[str]:
        """Whether a layer is still that of the teacher, which may be trained here."""
        if value in {features.key for features in upstreams.SPECTRAL.values()}:
            return
        given = self.recipe["teacher"]
        trained = [d for d in self._made[2] if d.name.startswith("dice_")]
        anew = [d for d in trained if self._found.get(d, (DONE,))[0] in (STALE, TO_DO)]
        if anew and not given:
            yield f"{anew[0]} is made anew"
            return
        try:
            keys = [upstreams.layer_key_of(one, layer) for one in ([given] if given else trained)]
        except DiceError:
            return  # told with the mistakes
        if value not in keys:
            yield "its teacher is not what it was made from"


def _there(path: Path) -> Path:
    """A directory by its pattern, such as ``decode*_no_lm``: the newest that is whole, if any."""
    if "*" not in str(path):
        return path
    top = Path(*path.parts[: next(i for i, part in enumerate(path.parts) if "*" in part)])
    found = [p for p in top.glob(str(path.relative_to(top))) if is_whole(p)]
    return max(found, key=lambda p: p.stat().st_mtime, default=path)


def _config_changed(path: Path, said: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a config that are not what a model was trained with."""
    try:
        now = configs.read_config(path)
    except DiceError:
        return  # told with the mistakes
    before = said.get("config", {})
    kept = {k: v for k, v in now.items() if k not in configs.FREE_KEYS}
    keys = sorted(k for k in {*kept, *before} if kept.get(k) != before.get(k))
    epochs = now.get("max_epoch", configs.ESPNET_MAX_EPOCH)
    given = any(k == "max_epoch" for k, _ in said.get("extra", ())) or "--max_epoch" in str(said)
    if not given and epochs < said.get("max_epoch", epochs):
        keys.append("max_epoch")
    if keys:
        yield f"{path}: {', '.join(keys)} changed"


def _record(directory: Path) -> dict[str, Any] | None:
    """A directory's fingerprint, or the mark that stage 1 left in a data directory."""
    if directory.suffix == ".json":  # a probe's result
        made_from = (read_json(directory) or {}).get("made_from")
        return made_from and {"key": "", "done": True, **made_from}
    if (directory / "wav.scp").exists() and not (directory / "feats_shape").exists():
        return fingerprint.read(directory / MARK)
    return fingerprint.read(directory)


def _keys(directory: Path) -> Iterator[str]:
    """What other records call a directory by: its key, its model's digest, its data's key."""
    record = _record(directory)
    if record:
        yield record["key"]
    model = read_json(directory / experiment.NAME)
    if isinstance(model, dict) and "sha256" in model:
        yield model["sha256"]
    if (directory / MARK).exists():
        try:
            yield read_data_dir(directory, allow_pipes=True, transcripts=False).key()
        except DiceError:
            return  # stage 1 says what is wrong
