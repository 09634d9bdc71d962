"""Write the hidden states of audio files: OUT/<name>.npz with layer_0 (the input of block 1) …

    python -m espnet_dice.extract exp/dice_<tag> a.wav b.flac --out features

Each is (frames, D) float32, a frame every 20 ms.
"""

from pathlib import Path

import numpy as np

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import ConfigError, cli


def write(path: Path, hidden: list[np.ndarray], layers: list[int] | None = None) -> None:
    """Write hidden states, all or some of the layers.

    Raises:
        ConfigError: there is no such layer.
    """
    chosen = list(range(len(hidden))) if layers is None else layers
    for layer in chosen:
        if not 0 <= layer < len(hidden):
            raise ConfigError(f"--layers {layer}: the model has layers 0 to {len(hidden) - 1}")
    with atomic_file(path, "wb") as f:
        np.savez(f, **{f"layer_{layer}": hidden[layer] for layer in chosen})


def main(argv: list[str] | None = None) -> None:
    """Extract: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("model", type=Path, help="exp/dice_<tag>, its export, hf or .onnx")
    parser.add_argument("files", nargs="+", type=Path, help="mono audio files")
    parser.add_argument("--out", required=True, type=Path, help="where the .npz files go")
    parser.add_argument("--layers", type=int, nargs="+", default=None, help="default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    options.add_conversions(parser)
    args = parser.parse_args(argv)
    names = [file.stem for file in args.files]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two files are called {name}: extract them into two directories")
    from espnet_dice.inference.extractor import Extractor

    model = Extractor(args.model, args.device, args.resample, args.channel)
    for file, name in zip(args.files, names, strict=True):
        write(args.out / f"{name}.npz", model.extract(file), args.layers)
    print(f"{len(names)} files in {args.out}")


if __name__ == "__main__":
    cli(main)
