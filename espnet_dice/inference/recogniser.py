"""A recogniser from waveform to text, as the recipe's features and decoding stages do it."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from espnet_dice.inference import archive
from espnet_dice.inference.files import Files, check_weights, find
from espnet_dice.inference.waves import name_of, samples_of
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.records import experiment

LM_WEIGHT = 0.3
"""Where a language model is given and no weight: that of conf/decode.yaml."""


class Recogniser:
    """Speech in, text out. Building one imports espnet2 (6 s).

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
        from espnet_dice.decoding.decoder import check_options

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
        from espnet_dice.training import trainer

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
            audio: a file's name, its bytes, or the file, opened in binary mode; (samples,) or
                (1, samples), an array or a tensor: floats in [-1, 1], or integers in the scale of
                files (int16 is divided by 2^15, int32 by 2^31); (samples, rate); or a mapping with
                ``array`` and ``sampling_rate``.
            rate: sampling rate of an array, in Hz; a file knows its own.
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
            raise DataError(f"{name_of(audio) or 'the audio'}: too short for one frame")
        return made

    def decode(self, features: np.ndarray) -> str:
        """The text of an utterance's features (frames, dim), or samples."""
        from espnet_dice.decoding.decoder import decode_one

        return decode_one(self.model, np.array(features, np.float32))["text"].strip()
