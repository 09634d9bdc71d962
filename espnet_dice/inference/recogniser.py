"""A recogniser from waveform to text, as the recipe's features and decoding stages do it."""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from espnet_dice.inference import archive
from espnet_dice.inference.waves import name_of, samples_of
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.stages import experiment, frontend
from espnet_dice.stages.shards import RAW

CONFIG, MODEL = "config.yaml", "model.pth"
LEVELS = 4
"""How far above a model's directory the recipe may be from which its paths start."""
LM_WEIGHT = 0.3
"""Where a language model is given and no weight: that of conf/decode.yaml."""


@dataclass(frozen=True)
class Files:
    """A recogniser's files.

    Attributes:
        name: of the directory or the archive.
        config: ESPnet's ``config.yaml``, all paths in it absolute.
        model: parameters.
        frontend: its features, None where that is not told.
    """

    name: str
    config: dict[str, Any]
    model: Path
    frontend: frontend.Frontend | None


def find(directory: Path) -> Files:
    """The files of an experiment (``exp/asr_<tag>``), of its export, or of an unpacked archive.

    Raises:
        ConfigError: a file is missing.
        StaleError: the experiment is not finished.
    """
    if (directory / experiment.NAME).exists():
        found = experiment.load(directory, "its training")
        config, model, name = found.config, found.model_file, found.name
    else:
        config, model = directory / CONFIG, directory / MODEL
        name = directory.resolve().name
    if not model.is_file():
        raise StaleError(f"{directory}: {model.name} is missing: train it, or export it again")
    values = read_config(config)
    said = directory / frontend.NAME
    features = frontend.load(said) if said.exists() else _trained_on(values, directory)
    return Files(name, with_paths(values, directory), model, features)


def read_config(path: Path) -> dict[str, Any]:
    """ESPnet's ``config.yaml``.

    Raises:
        ConfigError: it is missing, or no configuration.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(err).split())})") from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: no configuration of a model")
    return values


def with_paths(config: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The config with absolute paths: ESPnet looks for relative ones from the working directory."""
    config = dict(config)
    if config.get("bpemodel"):
        config["bpemodel"] = str(locate(config["bpemodel"], directory))
    normalize = config.get("normalize_conf") or {}
    if normalize.get("stats_file"):
        stats = str(locate(normalize["stats_file"], directory))
        config["normalize_conf"] = {**normalize, "stats_file": stats}
    encoder = config.get("encoder_conf") or {}
    if encoder.get("source"):  # of an SSL encoder; perhaps a name on a hub
        with contextlib.suppress(ConfigError):
            source = str(locate(encoder["source"], directory))
            config["encoder_conf"] = {**encoder, "source": source}
    return config


def locate(name: str, directory: Path) -> Path:
    """What a config names: beside it, or from one of the directories above it.

    Raises:
        ConfigError: it is nowhere there.
    """
    directory = directory.resolve()
    above = [directory, *directory.parents][: LEVELS + 1]
    parts = Path(name).parts
    inside = (directory.joinpath(*parts[i:]) for i in range(1, len(parts)))  # it was moved
    for place in (*(d / name for d in above), *inside):
        if place.exists():
            return place
    raise ConfigError(f"{directory / CONFIG}: {name}: not found from {directory} or above it")


def _trained_on(config: dict[str, Any], directory: Path) -> frontend.Frontend | None:
    directory = directory.resolve()
    for root in [directory, *directory.parents][: LEVELS + 1]:
        found = frontend.of_training(config, root)
        if found is not None:
            return found
    if config.get("input_size") in (None, 1):  # the model has a frontend of its own
        return frontend.Frontend(RAW, rate_of(config.get("frontend_conf") or {}))
    return None


def rate_of(conf: dict[str, Any]) -> int:
    """Hz of an ESPnet frontend, which may write ``16k``."""
    text = str(conf.get("fs", 16000))
    return round(1000 * float(text[:-1])) if text.endswith("k") else int(text)


class Recogniser:
    """Speech in, text out. Building one imports espnet2 (12 s).

    Args:
        source: ``exp/asr_<tag>``, its ``export``, an unpacked archive, or the ``.zip`` itself.
        lm: ``exp/lm_<tag>``, for shallow fusion.
        device: ``cpu`` or ``cuda:N``.
        audio: what audio to accept; None: what the model was trained with.
        resample, channel: see :class:`AudioOptions`.
        decode: options of beam search: beam_size, ctc_weight, lm_weight, penalty, maxlenratio,
            minlenratio, normalize_length, with the recipes' defaults.

    Attributes:
        name: of the model.
        model: ESPnet's ``Speech2Text``.
        options: of beam search.

    Raises:
        ConfigError: files are missing, or an option is wrong.
        StaleError: the training is not finished.
    """

    def __init__(
        self,
        source: str | Path,
        lm: str | Path | None = None,
        device: str = "cpu",
        resample: bool = False,
        channel: int | None = None,
        **decode: Any,
    ):
        from espnet_dice.stages.decoder import check_options

        source = Path(source)
        if lm is not None:
            decode = {"lm_weight": LM_WEIGHT, **decode}
        elif decode.get("lm_weight"):
            raise ConfigError("lm_weight: give lm=exp/lm_<tag> too")
        self.options = check_options(decode, source)
        with tempfile.TemporaryDirectory() as tmp:
            if source.is_file():
                archive.unpack(source, Path(tmp))
                files = find(Path(tmp))
                self.name = source.stem
            else:
                files = find(source)
                self.name = files.name
            self.frontend = files.frontend
            rate = self.frontend.rate if self.frontend else 16000
            self.audio = AudioOptions(rate, resample, channel)
            self.model = self._build(files, lm and experiment.load(lm, "stage 4"), device, tmp)

    def _build(self, files: Files, lm: experiment.Experiment | None, device: str, tmp: str) -> Any:
        from espnet_dice.stages import trainer

        config = Path(tmp) / "absolute.yaml"
        config.write_text(yaml.safe_dump(files.config), encoding="utf-8")
        language = {}
        if lm is not None:
            check_weights(lm.model_file)
            language = {"lm_train_config": str(lm.config), "lm_file": str(lm.model_file)}
        check_weights(files.model)
        speech_to_text = trainer.inference_class()(
            asr_train_config=str(config),
            asr_model_file=str(files.model),
            device=device,
            batch_size=1,
            nbest=1,
            **language,
            **self.options,
        )
        if speech_to_text.tokenizer is not None:
            speech_to_text.tokenizer.tokens2text([])  # reads its file, which may go, only now
        return speech_to_text

    def transcribe(self, audio: Any, rate: int | None = None, name: str | None = None) -> str:
        """The text of an utterance.

        Args:
            audio: a file's name; or (samples,) int16, or float in [-1, 1].
            rate: sampling rate of an array, in Hz.
            name: the utterance's id in the recipe, if its text must be the recipe's to the letter:
                it seeds the little noise that Kaldi adds to the pitch. Default: the file's name
                without its ending.

        Raises:
            DataError: the audio is not usable.
        """
        return self.decode(self.features(audio, rate, name))

    def features(self, audio: Any, rate: int | None = None, name: str | None = None) -> np.ndarray:
        """What the model hears, (frames, dim) float32, or (samples,) if it takes waveforms.

        Raises:
            ConfigError: it was trained on features that were not made here.
            DataError: the audio is not usable.
        """
        if self.frontend is None:
            raise ConfigError(
                f"{self.name} was trained on features that were not made by the features stage: "
                "compute them, and call decode(features)"
            )
        samples = samples_of(audio, rate, self.audio)
        made = self.frontend.features(samples, name_of(audio) if name is None else name)
        if not len(made):
            raise DataError(f"{name_of(audio) or 'the array'}: too short for one frame")
        return made

    def decode(self, features: np.ndarray) -> str:
        """The text of an utterance's features (frames, dim), or samples."""
        from espnet_dice.stages.decoder import decode_one

        return decode_one(self.model, np.array(features, np.float32))["text"].strip()


def check_weights(path: Path) -> None:
    """Refuse a file that holds more than tensors: ESPnet 202511 would run what is pickled in it.

    Raises:
        ConfigError: it does, or is damaged.
    """
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # pickle, zipfile and torch have their own classes
        raise ConfigError(
            f"{path}: damaged, or a pickle that holds more than tensors and can run any code "
            f"({' '.join(str(err).split())[:150]})"
        ) from err
