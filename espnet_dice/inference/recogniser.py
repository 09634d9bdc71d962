"""A recogniser from waveform to text, as the recipe's features and decoding stages do it."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from espnet_dice.features.wave import as_array, as_mono
from espnet_dice.inference import archive
from espnet_dice.inference.arguments import audio_options, check_device
from espnet_dice.inference.files import CONFIG, Files, find, read_weights
from espnet_dice.inference.level import measure
from espnet_dice.inference.transcription import (
    Transcription,
    forced_probabilities,
    geometric_mean,
)
from espnet_dice.inference.waves import name_of, samples_of
from espnet_dice.io.errors import ConfigError, DataError, describe_memory
from espnet_dice.records import experiment, of_espnet
from espnet_dice.records.config_base import read_trained

LM_WEIGHT = 0.3
"""Where a language model is given and no weight: that of conf/decode.yaml."""


class Recogniser:
    """Speech in, text out. Building one imports espnet2 (6 s).

    Args:
        source: ``exp/asr_<tag>``, its ``export``, or what ``espnet2.bin.pack`` made of a recogniser
            of any recipe: the ``.zip``, or the directory that it was unpacked to.
        lm: ``exp/lm_<tag>``, of a recipe of ours or of ESPnet's, for shallow fusion; None: the one
            in the pack, if there is one.
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
        from espnet_dice.decoding.decoder import check_options

        source = Path(source)
        with tempfile.TemporaryDirectory() as tmp, archive.named(source, Path(tmp) / "pack"):
            directory = source
            if source.is_file():
                directory = Path(tmp) / "pack"
                archive.check_task(source, archive.unpack(source, directory))
            files = find(directory)
            self.name = source.stem if source.is_file() else files.name
            language = _language_model(lm, files)
            if language:
                decode = {"lm_weight": LM_WEIGHT, **decode}
            elif decode.get("lm_weight"):
                raise ConfigError("lm_weight: give lm=exp/lm_<tag> too")
            self.options = check_options(decode, source)
            self.frontend = files.frontend
            rate = self.frontend.rate if self.frontend else 16000
            self.audio = audio_options(rate, resample, channel)
            size = files.config.get("input_size")
            self._dim = None if size == 1 else size
            self.model = self._build(files, language, check_device(device), Path(tmp), source)

    def _build(
        self, files: Files, language: dict[str, str], device: str, tmp: Path, source: Path
    ) -> Any:
        from espnet_dice.training import trainer

        config = tmp / "absolute.yaml"
        config.write_text(yaml.safe_dump(files.config), encoding="utf-8")
        if language:
            read_weights(Path(language["lm_file"]))
        state = read_weights(files.model)
        build = trainer.inference_class()
        try:
            speech_to_text = build(
                asr_train_config=str(config),
                asr_model_file=str(files.model),
                device=device,
                batch_size=1,
                nbest=1,
                **language,
                **self.options,
            )
            self._try(speech_to_text.asr_model, device)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
                AssertionError, ImportError, OSError) as err:  # fmt: skip
            if describe_memory(err):
                raise
            said = f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
            raise ConfigError(f"{source}: this version of ESPnet does not run it ({said})") from err
        # ESPnet loads with strict=False, and would leave these as they were drawn
        drawn = [k for k, _ in speech_to_text.asr_model.named_parameters() if k not in state]
        if drawn:
            raise ConfigError(
                f"{files.model}: {len(drawn)} parameters of the model are missing, such as "
                f"{drawn[0]}: they are not of {source}, or of another version of ESPnet"
            )
        if speech_to_text.tokenizer is not None:
            speech_to_text.tokenizer.tokens2text([])  # reads its file, which may go, only now
        return speech_to_text

    def _try(self, model: Any, device: str) -> None:
        """Encode a second of silence: some configurations are built, and fail on any speech."""
        import torch

        shape = (1, 100, self._dim) if self._dim else (1, self.audio.rate)
        with torch.no_grad():
            model.encode(torch.zeros(shape, device=device), torch.tensor([shape[1]], device=device))

    def transcribe(
        self,
        audio: Any,
        rate: int | None = None,
        name: str | None = None,
        detail: bool = False,
    ) -> str | Transcription:
        """The text of an utterance.

        Args:
            audio: a file's name, its bytes, or the file, opened in binary mode; (samples,) or
                (1, samples), an array or a tensor: floats in [-1, 1], or integers in the scale of
                files (int16 is divided by 2^15, int32 by 2^31); (samples, rate); or a mapping with
                ``array`` and ``sampling_rate``.
            rate: sampling rate of an array, in Hz; a file knows its own.
            name: the utterance's id in the recipe, if its text must be the recipe's to the letter:
                it seeds the little noise that Kaldi adds to the pitch. Default: the file's name
                without its ending.
            detail: also how sure the model is of each token, and whether there was speech.

        Returns:
            The text; with ``detail`` a :class:`Transcription`.

        Raises:
            ConfigError: it was trained on features that were not made here.
            DataError: the audio is not usable.
        """
        samples = self._samples(audio, rate)
        features = self._features(samples, audio, name)
        if not detail:
            return self.decode(features)
        found, level = self._decode(features), measure(samples, self.audio.rate)
        tokens = tuple(found["token"].split())
        ids = self.model.converter.tokens2ids(tokens)
        probabilities = forced_probabilities(self.model.asr_model, features, ids)
        return Transcription(
            text=found["text"].strip(),
            tokens=tokens,
            probabilities=probabilities and probabilities[:-1],
            confidence=probabilities and geometric_mean(probabilities),
            speech=level.is_speech,
            level_db=level.level_db,
            range_db=level.range_db,
        )

    def features(self, audio: Any, rate: int | None = None, name: str | None = None) -> np.ndarray:
        """What the model hears, (frames, dim) float32, or (samples,) if it takes waveforms.

        Raises:
            ConfigError: it was trained on features that were not made here.
            DataError: the audio is not usable.
        """
        return self._features(self._samples(audio, rate), audio, name)

    def _samples(self, audio: Any, rate: int | None) -> np.ndarray:
        if self.frontend is None:
            raise ConfigError(
                f"{self.name} was trained on features that were not made by the features stage: "
                "compute them, and call decode(features)"
            )
        return samples_of(audio, rate, self.audio)

    def _features(self, samples: np.ndarray, audio: Any, name: str | None) -> np.ndarray:
        made = self.frontend.features(samples, name_of(audio) if name is None else name)
        if not len(made):
            raise DataError(f"{name_of(audio) or 'the audio'}: too short for one frame")
        return made

    def decode(self, features: Any) -> str:
        """The text of an utterance's features (frames, dim), or samples.

        Raises:
            DataError: features of another shape, or NaN.
        """
        return self._decode(self._checked(features))["text"].strip()

    def _decode(self, features: np.ndarray) -> dict[str, str]:
        from espnet_dice.decoding.decoder import decode_one

        return decode_one(self.model, features)

    def _checked(self, features: Any) -> np.ndarray:
        try:
            if self._dim is None:
                return as_mono(features).astype(np.float32)
            array = as_array(features)
        except ValueError as err:
            raise DataError(str(err)) from err
        if array.ndim != 2 or array.shape[1] != self._dim or array.dtype.kind not in "fiu":
            raise DataError(
                f"features must be numbers of shape (frames, {self._dim}): got {array.dtype} "
                f"{array.shape}"
            )
        if not np.isfinite(array).all():
            raise DataError("the features have NaN or infinite values")
        return array.astype(np.float32)


def _language_model(lm: str | Path | None, files: Files) -> dict[str, str]:
    """What ESPnet is told of the language model that was given, or that is in the pack."""
    if lm is None:
        if files.lm is None:
            return {}
        config, parameters = files.lm
    else:
        directory = Path(lm)
        if directory.name == CONFIG and directory.is_file():
            directory = directory.parent
        config = directory / CONFIG
        told = read_trained(config) if config.is_file() else {}
        if directory.exists() and "lm" not in told:
            raise ConfigError(
                f"{directory}: no language model; give exp/lm_<tag>, whose {CONFIG} has lm"
            )
        if of_espnet.is_espnets(directory):
            parameters = of_espnet.averaged(directory, of_espnet.LM)
        else:
            parameters = experiment.load(directory, "stage 4").model_file
    return {"lm_train_config": str(config), "lm_file": str(parameters)}
