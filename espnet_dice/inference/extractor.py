"""Hidden states of a HuBERT student, from its parameters or from its ONNX graph."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE
from espnet_dice.inference.arguments import audio_options, check_device
from espnet_dice.inference.waves import name_of, samples_of
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.json_files import read_settings
from espnet_dice.io.sound import beginnings

HF, ONNX = "hf", "model.onnx"


class Extractor:
    """Speech in, hidden states out.

    Args:
        source: ``exp/dice_<tag>``, its ``export``, an ``.onnx`` file in that, or whatever
            :func:`espnet_dice.hubert.frozen.load` takes.
        device: ``cpu`` or ``cuda:N``; ONNX runs on the CPU.
        resample, channel: see :class:`AudioOptions`.

    Attributes:
        name: of the model.

    Raises:
        DiceError: there is no model, or it is not whole.
    """

    def __init__(
        self,
        source: str | Path,
        device: str = "cpu",
        resample: bool = False,
        channel: int | None = None,
    ):
        source = Path(source)
        self.name = source.resolve().name
        self.audio = audio_options(SAMPLE_RATE, resample, channel)
        if (source / HF).is_dir():
            source = source / HF
        elif (source / ONNX).is_file() and not _is_hugging_faces(source):
            source = source / ONNX
        self._run = _onnx(source) if source.suffix == ".onnx" else _torch(source, device)

    def extract(self, audio: Any, rate: int | None = None) -> list[np.ndarray]:
        """Hidden states of an utterance.

        Args:
            audio: a file's name, its bytes, or the file, opened in binary mode; (samples,) or
                (1, samples), an array or a tensor: floats in [-1, 1], or integers in the scale of
                files (int16 is divided by 2^15, int32 by 2^31); (samples, rate); or a mapping with
                ``array`` and ``sampling_rate``.
            rate: sampling rate of an array, in Hz; a file knows its own.

        Returns:
            (frames, D) float32 each: the input of block 1, then the output of every block; frame t
            hears the samples 320 t … 320 t + 399 at 16 kHz (before the blocks mix them).

        Raises:
            DataError: the audio is not usable.
        """
        samples = samples_of(audio, rate, self.audio)
        if len(samples) < RECEPTIVE:
            raise DataError(
                f"{name_of(audio) or 'the audio'}: {len(samples)} samples are less than one frame "
                f"({RECEPTIVE})"
            )
        return self._run(samples)


def _is_hugging_faces(directory: Path) -> bool:
    """Whether its parameters are read; of a student without a class there its graph is all."""
    settings = read_settings(directory / "config.json")
    return isinstance(settings, dict) and "model_type" in settings


def _torch(source: Path, device: str):
    from espnet_dice.hubert import frozen

    device = check_device(device)
    model = frozen.load(source).to(device)
    return lambda samples: [x.cpu().numpy() for x in model.hidden([samples])[0]]


def _onnx(path: Path):
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError(f"{path}: needs onnxruntime: pip install 'espnet-dice[onnx]'")
    from espnet_dice.export.onnx import graphs, student

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        graph = graphs.running(path)
    except Exception as err:  # onnxruntime has classes of its own
        said = " ".join(str(err).split())[:200] + beginnings.seems(path)
        raise ConfigError(f"{path}: no ONNX graph that runs here ({said}); copy it again") from err
    outputs, wanted = tuple(output.name for output in graph.get_outputs()), student.OUTPUTS
    if outputs != wanted:
        raise ConfigError(
            f"{path}: gives {', '.join(outputs)}; a HuBERT student gives {', '.join(wanted)}; "
            "of a recogniser load exp/asr_<tag>/export, or run infer.py in its ship"
        )
    return lambda samples: list(graph.run(None, {graphs.INPUT: samples[None]})[1][:, 0])
