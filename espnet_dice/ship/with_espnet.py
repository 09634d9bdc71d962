"""Speech to text with ESPnet's recogniser beside this file, by ESPnet's own beam search.

It needs ESPnet and the files beside it, nothing else:

    python infer.py speech.wav
    python infer.py speech.wav --config decode.yaml     # arguments of ESPnet's Speech2Text

or in Python, from a file, an array, or chunks of samples in any iterable:

    infer.Model(beam_size=20).text("speech.wav")
"""

import argparse
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import yaml

HERE = Path(os.path.abspath(__file__)).parent
if not (HERE / "hearing.py").exists():  # in a hub's cache each file is a link, and this is a way
    HERE = Path(__file__).resolve().parent
OPTIONS = {"beam_size": 10, "ctc_weight": 0.3, "lm_weight": 0.0}
"""Of the beam search, where nothing else is given: what the recipes decode with."""


def _load(path: Path) -> Any:
    module = types.ModuleType(path.stem)  # without a cache: the directory may be read-only
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


hearing = _load(HERE / "hearing.py")


class Model:
    """The recogniser of a directory that ``espnet_dice`` exported.

    Args:
        directory: holds config.yaml, model.pth, features.json and ``data``.
        options: of ESPnet's ``Speech2Text``: beam_size, ctc_weight, device, lm_train_config …

    Attributes:
        recogniser: the ``Speech2Text``, which takes features.
    """

    def __init__(self, directory: str | Path = HERE, **options: Any):
        from espnet2.bin.asr_inference import Speech2Text

        directory = Path(directory).resolve()
        heard = json.loads((directory / "features.json").read_text(encoding="utf-8"))
        kind = heard["feats_type"]
        pitch = _load(directory / "pitch.py") if kind == "fbank_pitch" else None
        self.hearing = hearing.Hearing(kind, heard["rate"], pitch)
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
        # wherever the directory is now, and from whichever one this is called
        for key, name in (("bpemodel", "bpe.model"), ("non_linguistic_symbols", "nlsyms.txt")):
            if config.get(key):
                config[key] = str(directory / "data" / name)
        if "stats_file" in (config.get("normalize_conf") or {}):
            config["normalize_conf"]["stats_file"] = str(directory / "data/feats_stats.npz")
        with tempfile.TemporaryDirectory() as tmp:
            placed = Path(tmp) / "config.yaml"
            placed.write_text(yaml.safe_dump(config), encoding="utf-8")
            files = (str(placed), str(directory / "model.pth"))
            self.recogniser = Speech2Text(*files, **{**OPTIONS, **options})

    def text(self, audio: Any, name: str | None = None) -> str:
        """What was said.

        Args:
            audio: see :meth:`hearing.Hearing.samples`.
            name: of the utterance; the same gets the same noise on its pitch as in training.
        """
        samples = self.hearing.samples(audio)
        features = self.hearing.features(samples, hearing.name_of(audio) if name is None else name)
        if not len(features):
            few = f"{hearing.given(audio)}{len(samples)} samples"
            raise ValueError(f"{few} are too few for one frame")
        try:
            return self.recogniser(features)[0][0].strip()
        except Exception as err:
            if type(err).__name__ == "TooShortUttError":  # ESPnet's: no frame is left of so few
                return ""
            raise


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The text of WAV files.")
    parser.add_argument("audio", nargs="+", help="WAV")
    parser.add_argument("--config", help="YAML: arguments of ESPnet's Speech2Text")
    args = parser.parse_args()
    options = {}
    if args.config:
        options = yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))
    model = Model(**options)
    for given in args.audio:
        print(*[given] * (len(args.audio) > 1), model.text(given))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as err:
        sys.exit(f"infer.py: {err}")
