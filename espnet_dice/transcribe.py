"""Transcribe audio files with a trained recogniser: FILE, a tab, TEXT, a line each.

    python -m espnet_dice.transcribe exp/asr_<tag> a.wav b.flac

With --detail a JSON object a line: file, and what
:class:`espnet_dice.inference.transcription.Transcription` has.
"""

import json
from dataclasses import asdict
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import cli


def main(argv: list[str] | None = None) -> None:
    """Transcribe: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("model", type=Path, help="exp/asr_<tag>, its export, or a packed .zip")
    parser.add_argument("files", nargs="+", help="mono audio files")
    parser.add_argument("--lm", type=Path, default=None, help="exp/lm_<tag>")
    parser.add_argument("--config", type=Path, default=None, help="beam search: conf/decode.yaml")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    options.add_conversions(parser)
    parser.add_argument(
        "--detail",
        action="store_true",
        help="JSON lines, with the probability of each token and whether there was any speech",
    )
    args = parser.parse_args(argv)
    from espnet_dice.inference.recogniser import Recogniser
    from espnet_dice.records.configs import read_config

    decode = read_config(args.config) if args.config else {}
    if args.lm is None:
        decode.pop("lm_weight", None)  # as the recipes do where a system is decoded without
    audio = {"resample": args.resample, "channel": args.channel}
    model = Recogniser(args.model, args.lm, args.device, **audio, **decode)
    for file in args.files:
        said = model.transcribe(file, detail=args.detail)
        if args.detail:
            print(json.dumps({"file": file, **asdict(said)}, ensure_ascii=False), flush=True)
        else:
            print(f"{file}\t{said}", flush=True)


if __name__ == "__main__":
    cli(main)
