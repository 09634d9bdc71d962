"""The table of dicekd1: size, speed and error rate of everything between two distillations.

    python -m espnet_dice.stages.step_results --encoders ../dice1/exp --features ../kd1/exp

reads the results of the recipes, and writes ``exp/STEPS.md`` and ``exp/steps.json``.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_dice.io import options
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.json_files import read_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.kd.weights import weights
from espnet_dice.records.config_base import read_trained
from espnet_dice.results.table import JSON, layout
from espnet_dice.training.ssl_encoder import NAME

MARKDOWN, STEPS = "STEPS.md", "steps.json"
ENCODER, FEATURES, RECOGNISER = "encoder", "recogniser on features", "recogniser on an encoder"


@dataclass(frozen=True)
class Step:
    """One model.

    Attributes:
        step: :data:`ENCODER`, :data:`FEATURES` or :data:`RECOGNISER`.
        system: its tag.
        encoder: what a recogniser's encoder was before its training: a tag, ``new``, or a class of
            ESPnet; of an encoder, the loss that it learned.
        taught: what its loss took from teachers.
        parameters: all of them; an encoder's without the head of its pre-training.
        cpu_s_per_audio_s: of the forward pass of an encoder, of the decoding of a recogniser.
        set: a recogniser's test set.
        probe_cer: in %, a light CTC head on the frozen encoder.
        wer: in %, without a language model.
        seed: of its training.
    """

    step: str
    system: str
    encoder: str
    taught: str
    parameters: int
    cpu_s_per_audio_s: float | None
    set: str | None = None
    probe_cer: float | None = None
    wer: float | None = None
    seed: int | None = None


def collect(encoders: Path, features: Path | None, exp: Path) -> list[Step]:
    """The models of the recipes, in the order in which they are made.

    Args:
        encoders: experiments of dice1.
        features: experiments of kd1, for comparison, or None.
        exp: experiments of the recognisers on encoders.

    Raises:
        DataError: a recipe has no results.
    """
    steps = of_encoders(encoders)
    if features is not None:
        steps += of_recognisers(features, FEATURES)
    return steps + of_recognisers(exp, RECOGNISER)


def of_encoders(exp: Path) -> list[Step]:
    """The models that dice1 probed."""
    found = []
    for row in _results(exp, "the encoder recipe (dice1)")["systems"]:
        scores = row["scores"].get("char")
        found.append(
            Step(
                step=ENCODER,
                system=row["system"],
                encoder=row["loss"] or "–",
                taught=row["labels"] or "–",
                parameters=row["parameters"],
                cpu_s_per_audio_s=row["cpu_s_per_audio_s"],
                probe_cer=statistics.mean(scores.values()) if scores else None,
                seed=row["seed"],
            )
        )
    return found


def of_recognisers(exp: Path, step: str) -> list[Step]:
    """The recognisers that kd1's stages decoded, without the language model; teachers first."""
    found = []
    for row in _results(exp, "the stages of the recognisers (kd1)"):
        if row["lm"] is not None:
            continue
        path = exp / f"asr_{row['system']}" / "config.yaml"
        if not path.exists():
            raise DataError(f"{path} is missing, though {exp / JSON} names it: score again")
        config = read_trained(path)
        shared = ("system", "parameters", "cpu_s_per_audio_s", "set", "wer", "seed")
        found.append(
            Step(
                step=step,
                encoder=_encoder(config),
                taught=_taught(config.get("model_conf") or {}),
                **{k: row[k] for k in shared},
            )
        )
    return sorted(found, key=lambda s: -s.parameters)


def table(steps: Sequence[Step]) -> str:
    """Markdown, one line a model."""
    lines = [["step", "system", "encoder", "taught by", "set"]]
    lines[0] += ["M param", "CPU-s/audio-s", "probe CER %", "WER %", "seed"]
    for s in steps:
        cells = [s.step, s.system, s.encoder, s.taught, s.set or "–", f"{s.parameters / 1e6:.2f}"]
        cells += [_number(s.cpu_s_per_audio_s, ".4f"), _number(s.probe_cer, ".1f")]
        lines.append([*cells, _number(s.wer, ".1f"), _number(s.seed, "d")])
    return layout(lines, left=5)


def write(steps: Sequence[Step], exp: Path) -> None:
    """Write ``STEPS.md`` and ``steps.json``."""
    said = (
        "Of an encoder: CPU-seconds of its forward pass on one thread, and the CER of a light CTC "
        "head on the frozen model. Of a recogniser: CPU-seconds of decoding, beam search included, "
        "as many at a time as there were workers, and the WER without a language model. The "
        "recipes were run one after another: speeds of different steps are comparable only as far "
        "as the machine was."
    )
    write_text(exp / MARKDOWN, "\n\n".join(["# Step by step", table(steps), said]) + "\n")
    text = json.dumps([asdict(s) for s in steps], indent=1, ensure_ascii=False)
    write_text(exp / STEPS, text + "\n")


def _results(exp: Path, recipe: str) -> Any:
    found = read_json(exp / JSON)
    if not found:
        raise DataError(f"{exp / JSON} is missing: run {recipe} first, to its table")
    return found


def _encoder(config: dict[str, Any]) -> str:
    if config.get("encoder") != NAME:
        return str(config.get("encoder"))
    source = (config.get("encoder_conf") or {}).get("source")
    return "new" if source is None else Path(source).name.removeprefix("dice_")


def _taught(conf: dict[str, Any]) -> str:
    """``tokens, CTC, uncertainty of a, b``."""
    alpha, beta, ctc = weights(conf).values()
    if not alpha.most and not ctc.most:
        return "–"
    names = ", ".join(t["name"] for t in conf.get("teachers") or ())
    what = ["tokens"] if alpha.most and (beta.least < 1 or conf.get("kd_beta_added")) else []
    what += ["CTC"] if ctc.most else []
    what += ["uncertainty"] if alpha.most and beta.most else []
    return f"{', '.join(what)} of {names}"


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def main(argv: list[str] | None = None) -> None:
    """Collect and print the table: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--encoders", type=Path, required=True, help="experiments of dice1")
    parser.add_argument("--features", type=Path, default=None, help="experiments of kd1")
    parser.add_argument("--exp", type=Path, default=Path("exp"), help="experiments on encoders")
    args = parser.parse_args(argv)
    setup_logging()
    steps = collect(args.encoders, args.features, args.exp)
    write(steps, args.exp)
    print(table(steps))
    print(f"\nin {args.exp / MARKDOWN} and {args.exp / STEPS}")


if __name__ == "__main__":
    cli(main)
