"""Which kind of model a path holds."""

from pathlib import Path
from typing import Any

from espnet_dice.inference.archive import META
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.json_files import is_there


def load(path: str | Path, **options: Any) -> Any:
    """Load a recogniser or a HuBERT student, told apart by its files.

    Args:
        path: ``exp/asr_<tag>``, its ``export`` or its ``asr_<tag>.zip``; the zip of any ESPnet
            recipe, or the directory that it was unpacked to; ``exp/dice_<tag>``, its ``export``,
            the ``hf`` or an ``.onnx`` in that; a Hugging Face directory; a checkpoint of
            fairseq, torchaudio, s3prl or ESPnet, as ``--teacher`` takes it.
        options: of :class:`recogniser.Recogniser` (lm, beam_size, ctc_weight …) or of
            :class:`extractor.Extractor`; both have device, resample and channel.

    Returns:
        A ``Recogniser`` with ``transcribe``, or an ``Extractor`` with ``extract``.

    Raises:
        ConfigError: there is neither, or an option is unknown.
        StaleError: the training is not finished.
    """
    path = Path(path)
    if path.name in ("config.yaml", "config.json", META) and path.is_file():
        path = path.parent
    if is_recogniser(path):
        from espnet_dice.inference.recogniser import Recogniser

        return Recogniser(path, **options)
    known = {"device", "resample", "channel"}
    for key in options:
        if key not in known:
            raise ConfigError(
                f"{path}: a HuBERT student has no option {key!r}; it has {', '.join(sorted(known))}"
            )
    from espnet_dice.inference.extractor import Extractor

    return Extractor(path, **options)


def is_recogniser(path: Path) -> bool:
    """Whether a path holds a recogniser; if not, it holds a HuBERT student.

    Raises:
        ConfigError: it holds neither.
    """
    if path.is_file():
        if path.suffix == ".pth" and _is_recogniser(path.parent / "config.yaml"):
            raise ConfigError(f"{path}: parameters of a recogniser: give its directory")
        return path.suffix == ".zip"
    config = path / "config.yaml"
    if is_there(path / META):
        return True
    if is_there(config) and (kind := _is_recogniser(config)) is not None:
        return kind
    if any(is_there(path / name) for name in ("config.json", "hf", "model.onnx")):
        return False
    what = "neither a recogniser nor a HuBERT student" if path.exists() else "no such directory"
    raise ConfigError(
        f"{path}: {what}: give exp/asr_<tag> or exp/dice_<tag>, its export directory, a packed "
        ".zip, a Hugging Face directory, an .onnx file or a checkpoint's file"
    )


def _is_recogniser(config: Path) -> bool | None:
    """What a ``config.yaml`` is of; None where it is of neither, or missing."""
    from espnet_dice.records.config_base import read_trained

    keys = read_trained(config) if config.is_file() else {}
    if "decoder" in keys:
        return True
    return False if "student" in keys or "encoder" in keys else None  # ours, or ESPnet's SSL
