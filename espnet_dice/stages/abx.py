"""Triphone ABX of any layer of any system: how well its frames tell phones apart, in minutes.

    python -m espnet_dice.stages.abx --system mfcc=mfcc --system teacher=exp/dice_teacher \\
        --dump dump/raw --sets dev test --alignment data/dev/phones.item data/test/phones.item

makes ``exp/abx/<system>.json`` and prints a table. All systems hear the same utterances and are
scored on the same cells (:mod:`espnet_dice.probes.abx`); what is there and was made from the same
model, speech, alignment and settings is kept. The error falls with what is learnt, 50 % is chance.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_dice.io import options
from espnet_dice.io.atomic import write_text
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError, DiceError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.probes.systems import add_options, parse_systems
from espnet_dice.records import feature_dir, phones
from espnet_dice.results.abx import OUT, best
from espnet_dice.results.table import layout

ALGORITHM = 1
"""Raise it when the same model and data give another figure."""


@dataclass(frozen=True)
class Settings:
    """What is scored.

    Attributes:
        cells: of either mode at most, chosen at random; 0: all.
        seed: of that choice.
        seconds: of aligned speech at most, chosen by hash of the id; 0: all.
        layers: 0 is the input of block 1; empty: all.
    """

    cells: int = 1500
    seed: int = 0
    seconds: float = 0.0
    layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Speech:
    """Sets and their alignment.

    Attributes:
        sets: checked speech (dump/raw).
        alignments: files, see :mod:`espnet_dice.records.phones`.
    """

    sets: Sequence[feature_dir.FeatureDir]
    alignments: Sequence[Path]

    @property
    def lengths(self) -> dict[str, int]:
        """utterance → samples."""
        return {utt: n for dump in self.sets for utt, n in dump.lengths.items()}

    def keys(self) -> dict[str, str]:
        """What is read → its key."""
        files = [f for a in self.alignments for f in sorted(a.rglob("*.TextGrid")) or [a]]
        return {dump.name: dump.key for dump in self.sets} | {"alignment": digest_files(files)}

    def aligned(self, seconds: float) -> phones.Alignment:
        """The alignment of some utterances.

        Args:
            seconds: of speech at most, chosen by hash; 0: all.

        Raises:
            DataError: see :func:`phones.read`.
        """
        from espnet_dice.probes.probe_data import up_to

        lengths = feature_dir.seconds(self.sets)
        data = [u for dump in self.sets for u in read_data_dir(dump.path, transcripts=False)]
        found = phones.read(self.alignments, lengths, {utt.id: utt.speaker for utt in data})
        chosen = up_to([utt for utt in data if utt.id in found], lengths, seconds)
        return {utt.id: found[utt.id] for utt in chosen}


def score_systems(
    systems: Mapping[str, str],
    speech: Speech,
    out: Path,
    settings: Settings | None = None,
    device: str = "cpu",
    trust_pickle: bool = False,
    nj: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Score systems, or read the scores that are there.

    Args:
        systems: name → source: whatever :func:`espnet_dice.hubert.upstreams.load` takes.
        speech: what is heard.
        out: directory of the records.
        settings: what is scored.
        device: where models compute.
        trust_pickle: see :func:`espnet_dice.hubert.frozen.load`.
        nj: threads; None: as many as torch has.

    Returns:
        System → its record: ``layers`` has the errors of each layer, in %, by its number as text;
        ``cells``, ``found`` and ``utterances`` say what they stand on.

    Raises:
        DiceError: a source holds no model, or no such layer; the alignment does not go with the
            speech, or has no cell.
    """
    from espnet_dice.hubert import upstreams
    from espnet_dice.hubert.models.frames import n_frames

    settings = settings or Settings()
    for dump in speech.sets:
        feature_dir.check_rate(dump)
    alignment = speech.aligned(settings.seconds)  # what is wrong with it is told first
    made_from = {
        name: Fingerprint(
            "abx",
            {"algorithm": ALGORITHM, **asdict(settings)},
            {"upstream": upstreams.key_of(source), **speech.keys()},
        )
        for name, source in systems.items()
    }
    found = {name: read_json(out / f"{name}.json") or {} for name in systems}
    todo = {n: s for n, s in systems.items() if found[n].get("key") != made_from[n].key}
    if todo:
        import torch  # 3 s, which a run with nothing to do is spared

        from espnet_dice.probes import abx

        torch.set_num_threads(nj or torch.get_num_threads())
        frames = {utt: n_frames(speech.lengths[utt]) for utt in alignment}
        cells = abx.choose(alignment, frames, settings.cells, settings.seed)
        logging.info("ABX: %s cells of %s", settings.cells or "all", cells.found)
    for name, source in todo.items():
        upstream = upstreams.load(source, device, trust_pickle)
        out.mkdir(parents=True, exist_ok=True)
        about = {
            "cells": {mode: len(chosen) for mode, chosen in cells.chosen.items()},
            "found": cells.found,
            "utterances": len({token.utt for token in cells.tokens}),
        }
        spectral = source in upstreams.SPECTRAL
        try:
            scores = _score(upstream, spectral, cells, frames, speech, out, settings)
        except DiceError as err:
            raise ConfigError(f"{name} ({source}): {err}") from err
        found[name] = {
            "key": made_from[name].key,
            "system": name,
            "source": source,
            "layers": {str(layer): errors for layer, errors in scores.items()},
            **about,
            "made_from": made_from[name].record,
        }
        write_json(out / f"{name}.json", found[name])
    return found


def _score(upstream, cmvn, cells, frames, speech, out, settings) -> dict[int, dict[str, float]]:
    from espnet_dice.probes import abx, abx_frames

    waves = {utt: of for dump in speech.sets for of in [feature_dir.Waves(dump)] for utt in of}
    heard = abx_frames.hear(
        upstream,
        cells.tokens,
        lambda utt: waves[utt][utt],
        frames,
        settings.layers,
        out,
        cmvn,
    )
    return {
        layer: {
            mode: abx.average(chosen, abx.errors(chosen, store, mode))
            for mode, chosen in cells.chosen.items()
        }
        for layer, store in heard.items()
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line a system and layer."""
    lines = [["system", "layer", "within %", "across %"]]
    for name, record in found.items():
        for layer, scores in record["layers"].items():
            shown = layer if len(record["layers"]) > 1 else "–"
            lines.append([name, shown, f"{scores['within']:.2f}", f"{scores['across']:.2f}"])
    return layout(lines, left=1)


def best_layer(record: Mapping[str, Any]) -> int:
    """The layer with the lowest mean of both errors; the lowest of equal ones.

    Raises:
        ConfigError: the system has no block.
    """
    if not any(map(int, record["layers"])):
        raise ConfigError(f"{record['source']} has no layer to choose: name a model")
    return best(record["layers"])


def main(argv: list[str] | None = None) -> None:
    """Score systems: a command."""
    parser = options.parser(__doc__)
    add_options(parser)
    parser.add_argument("--sets", required=True, nargs="+", help="what is heard")
    phones.add_option(parser, "of all that is scored", required=True)
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    parser.add_argument(
        "--layers", nargs="*", type=int, default=[], help="0: the input of block 1; none: all"
    )
    parser.add_argument("--cells", type=int, default=Settings.cells, help="a mode; 0: all")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="of the choice of cells")
    parser.add_argument(
        "--seconds", type=float, default=Settings.seconds, help="of aligned speech; 0: all"
    )
    parser.add_argument(
        "--choose", type=Path, metavar="FILE",
        help="write the first system's best layer there, and what it stands on beside it",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--nj", type=int, default=options.cores(), help="threads")
    args = parser.parse_args(argv)
    setup_logging()
    settings = Settings(args.cells, args.seed, args.seconds, tuple(args.layers))
    speech = Speech([feature_dir.load(args.dump / name) for name in args.sets], args.alignment)
    systems = parse_systems(args.system)
    out = args.choose.parent if args.choose else args.exp / OUT
    how = (args.device, args.trust_pickle, args.nj)
    found = score_systems(systems, speech, out, settings, *how)
    print(table(found))
    if args.choose:
        layer = best_layer(next(iter(found.values())))
        write_text(args.choose, f"{layer}\n")
        print(f"{next(iter(found))}: layer {layer} has the lowest ABX, {args.choose}")


if __name__ == "__main__":
    cli(main)
