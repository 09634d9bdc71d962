"""Stage 4 of DiceHuBERT: label the speech of some sets, hard and soft, in one pass of the teacher.

    python -m espnet_dice.stages.labels --source exp/dice_teacher --layer 9 \\
        --quantizer exp/quantizer/teacher_l9_k500 --dump dump/raw --sets train dev \\
        --out exp/labels/teacher_l9_k500

makes ``exp/labels/teacher_l9_k500/<set>``, label stores (:mod:`espnet_dice.dice.store`). Features
stream through and are never on disk. The code of soft labels is fitted once, to the first set, and
serves all. A killed run goes on with the shards that are missing, and gives the same bytes.
"""

import logging
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.dice import quality, quantizer, sources, store
from espnet_dice.dice.codebook import Codebook
from espnet_dice.dice.frames import RECEPTIVE, n_frames
from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_dir, only_writer
from espnet_dice.io.errors import DataError, ProblemList, StaleError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.io.progress import setup_logging
from espnet_dice.stages import dumps
from espnet_dice.stages.label_shards import Labelling, LabelShard, cut
from espnet_dice.stages.pool import Pool
from espnet_dice.stages.shards import RECORDS

CODEBOOK_DIR = ".codebook"
SAMPLE_FRAMES = 8192
"""Frames that the code is fitted to."""


@dataclass(frozen=True)
class Coding:
    """What the code of soft labels must be.

    Attributes:
        soft: False: hard labels only, two bytes a frame.
        tau, max_kl, max_bytes: see :func:`codec.fit`.
        seed: of the frames that it is fitted to.
    """

    soft: bool = True
    tau: float = 1.0
    max_kl: float = 1e-3
    max_bytes: int = 128
    seed: int = 0


def label_sets(
    source: str,
    layer: int,
    quantizer_dir: Path,
    sets: Sequence[dumps.Dump],
    out: Path,
    nj: int = 1,
    coding: Coding | None = None,
    device: str = "cpu",
    batch_frames: int = 0,
    trust_pickle: bool = False,
    pool: Pool | None = None,
) -> int:
    """Label some sets.

    Args:
        source: ``mfcc`` or a teacher, see :mod:`espnet_dice.dice.sources`.
        layer: of the teacher, 1-based.
        quantizer_dir: made by the k-means stage from the same layer.
        sets: speech (dump/raw), the training set first.
        out: where ``<set>`` goes.
        nj: processes; the labels do not depend on it.
        coding: of soft labels.
        device: where the teacher computes.
        batch_frames: frames of a forward pass; 0: one utterance each. Hard labels do not depend on
            it, the last bit of a code may.
        trust_pickle: see :func:`teacher.load`.
        pool: processes to use instead of ``nj`` new ones.

    Returns:
        How many sets were labelled; the others were there already.

    Raises:
        StaleError: the quantizer was made from another teacher or layer.
        ProblemList: everything that is wrong with the speech of a set.
        DataError: the labels say nothing, as those of silence do.
    """
    coding = coding or Coding()
    found = quantizer.load(quantizer_dir)
    source_key = sources.key_of(source, layer)
    if found.source_key != source_key:
        raise StaleError(
            f"{quantizer_dir} was not made from layer {layer} of {source} as it is now: run "
            "k-means again (stage 3)"
        )
    codebook = make_codebook(source, layer, found, sets[0], out, coding, device, trust_pickle)
    labelling = Labelling(
        str(source), layer, source_key, codebook, device, trust_pickle, batch_frames
    )
    settings = {"layer": layer, "clusters": len(found.centroids), **asdict(coding)}
    made = 0
    with nullcontext(pool) if pool else Pool(nj) as workers:
        for dump in sets:
            inputs = {
                "source": source_key,
                "quantizer": found.key,
                "codebook": digest_files([codebook]),
                "data": dump.key,
            }
            made_from = Fingerprint("labels", settings, inputs)
            made += _label_set(dump, out / dump.name, labelling, made_from, workers)
    return made


def make_codebook(
    source: str,
    layer: int,
    found: quantizer.Quantizer,
    train: dumps.Dump,
    out: Path,
    coding: Coding,
    device: str = "cpu",
    trust_pickle: bool = False,
) -> Path:
    """The file of the codebook that all sets below ``out`` share, made if it is not there.

    It is kept, because another machine could fit another one to the same frames.
    """
    inputs = {"quantizer": found.key, "train": train.key if coding.soft else ""}
    made_from = Fingerprint("codebook", asdict(coding), inputs)
    directory = out / CODEBOOK_DIR
    path = directory / store.CODEBOOK
    if made_from.is_done(directory) and path.is_file():
        return path
    if coding.soft:
        from threadpoolctl import threadpool_limits

        from espnet_dice.dice import codec
        from espnet_dice.stages.kmeans import collect

        features = sources.load(source, layer, trust_pickle, device)
        frames = collect(features, [train], SAMPLE_FRAMES, coding.seed)
        # collected in the order of the ids: the codec keeps the first part for measuring
        frames = np.random.default_rng(coding.seed).permutation(frames)
        with threadpool_limits(1):
            codebook = codec.fit(
                found.centroids, frames, coding.tau, coding.max_kl, coding.max_bytes
            )
        said = ", ".join(f"{kl:.1e} at τ = {tau:g}" for tau, kl in codebook.kl.items())
        logging.info("label code: %d bytes a frame, KL %s", codebook.bytes_per_frame, said)
    else:
        codebook = Codebook.hard(found.centroids)
    with atomic_dir(directory) as tmp:
        codebook.save(tmp / store.CODEBOOK)
        made_from.finish(tmp)
    return path


def _label_set(
    dump: dumps.Dump, out: Path, labelling: Labelling, made_from: Fingerprint, workers: Pool
) -> bool:
    short = [utt for utt, samples in dump.lengths.items() if n_frames(samples) == 0]
    if short:
        why = f"shorter than one frame ({RECEPTIVE} samples, 25 ms): remove it"
        raise ProblemList(str(dump.path), [f"{dump.path}: {utt}: {why}" for utt in short])
    shards = cut(out, dump, labelling, made_from.key)
    todo = [shard for shard in shards if shard.finished() is None]
    if made_from.is_done(out) and not todo:
        logging.info("%s: up to date (%d utterances)", out, len(dump.lengths))
        return False
    logging.info("%s: %s", out, made_from.why(out))
    with only_writer(out):
        made_from.begin(out)
        _sweep(out, shards)
        if len(todo) < len(shards):
            logging.info("%s: %d of %d shards kept", out, len(shards) - len(todo), len(shards))
        problems = workers.make(todo, str(out))
        if problems:
            raise ProblemList(str(dump.path), problems)
        _assemble(out, shards, labelling)
        made_from.finish(out)
    return True


def _sweep(out: Path, shards: list[LabelShard]) -> None:
    """Remove what other settings or killed runs left; shards that may be kept stay."""
    wanted = {shard.target.name for shard in shards} | {RECORDS, ".fingerprint.json"}
    for path in out.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _assemble(out: Path, shards: list[LabelShard], labelling: Labelling) -> None:
    codebook = Codebook.load(labelling.codebook)
    index: dict[str, store.Entry] = {}
    uses = np.zeros(codebook.clusters, np.int64)
    for shard in shards:
        record = shard.finished()
        if record is None:
            raise DataError(f"{shard.target}: changed meanwhile; run the stage again")
        index |= {utt: store.Entry(*entry) for utt, entry in record["index"].items()}
        uses += record["uses"]
    used = int((uses > 0).sum())
    if used == 1 and codebook.clusters > 1 and uses.sum() > 1:
        raise DataError(
            f"{shards[0].dump}: all {uses.sum()} frames have label {int(uses.argmax())}: is "
            "the speech silent, or was the quantizer made for other features?"
        )
    more = {
        "source": labelling.source,
        "layer": labelling.layer,
        "clusters_used": used,
        "perplexity": round(quality.perplexity(uses), 2),
    }
    store.write_index(out, codebook, index, more)


def compare(reader: store.Reader, alignment: Path) -> dict[str, Any]:
    """Purity and PNMI of hard labels against a frame alignment.

    Args:
        reader: the labels.
        alignment: a line an utterance, ``utt label label …`` at 50 Hz; of utterances whose length
            differs from the labels' by up to two frames the common part is taken.

    Returns:
        See :func:`quality.agreement`; and ``frames`` and ``utterances`` that were compared.

    Raises:
        DataError: missing, nothing in common with the labels, or of another frame rate.
    """
    try:
        lines = alignment.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{alignment}: no such alignment") from None
    names: dict[str, int] = {}
    counts: dict[int, np.ndarray] = {}
    frames = utterances = 0
    for number, line in enumerate(lines, 1):
        utt, *labels = line.split()
        if utt not in reader:
            continue
        ids = reader.ids(utt)
        if abs(len(ids) - len(labels)) > 2:
            raise DataError(
                f"{alignment}:{number}: {utt}: {len(labels)} labels, {len(ids)} frames: an "
                "alignment has one label every 20 ms"
            )
        common = min(len(ids), len(labels))
        phones = np.array([names.setdefault(name, len(names)) for name in labels[:common]])
        for phone in np.unique(phones):
            row = counts.setdefault(int(phone), np.zeros(reader.meta["clusters"], np.int64))
            row += np.bincount(ids[:common][phones == phone], minlength=len(row))
        frames, utterances = frames + common, utterances + 1
    if not frames:
        raise DataError(f"{alignment}: none of the utterances of {reader.directory}")
    joint = np.stack(list(counts.values()))
    return {**quality.agreement(joint), "frames": frames, "utterances": utterances}


def describe(directory: Path, alignment: Path | None = None) -> str:
    """One line about a store: size, cluster use, and agreement with an alignment."""
    reader = store.Reader(directory)
    meta = reader.meta
    line = (
        f"{directory}: {meta['utterances']} utterances, {meta['frames']} frames, "
        f"{meta['bytes_per_frame']} bytes each; {meta['clusters_used']} of {meta['clusters']} "
        f"clusters used, perplexity {meta['perplexity']:.1f}"
    )
    if meta["kl"]:
        line += "; KL " + ", ".join(f"{kl:.1e} (τ {tau})" for tau, kl in meta["kl"].items())
    if alignment is not None:
        a = compare(reader, alignment)
        line += (
            f"; purity {a['phone_purity']:.3f}, cluster purity {a['cluster_purity']:.3f}, PNMI "
            f"{a['pnmi']:.3f} on {a['frames']} frames"
        )
    return line


def main(argv: list[str] | None = None) -> None:
    """Label: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--source", required=True, help="'mfcc', a checkpoint or an experiment")
    parser.add_argument("--layer", type=int, default=9, help="from 1, after the whole block")
    parser.add_argument("--quantizer", required=True, type=Path, help="made by stage 3")
    parser.add_argument("--dump", required=True, type=Path, help="dump/raw")
    parser.add_argument("--sets", required=True, nargs="+", help="sets; the training set first")
    parser.add_argument("--out", required=True, type=Path, help="where the stores go")
    parser.add_argument(
        "--soft",
        type=options.true_false,
        default=Coding.soft,
        metavar="BOOL",
        help="false: hard labels only, two bytes a frame",
    )
    parser.add_argument(
        "--tau", type=float, default=Coding.tau, help="smallest temperature of training"
    )
    parser.add_argument(
        "--max_kl", type=float, default=Coding.max_kl, help="error of soft labels, nats"
    )
    parser.add_argument("--max_bytes", type=int, default=Coding.max_bytes, help="bytes a frame")
    parser.add_argument("--seed", type=int, default=Coding.seed, help="of the frames coded for")
    parser.add_argument("--alignment", type=Path, help="'utt label label …' at 50 Hz, for purity")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--batch_frames", type=int, default=0, help="frames of a forward pass; 0: an utterance"
    )
    parser.add_argument(
        "--trust_pickle",
        type=options.true_false,
        default=False,
        metavar="BOOL",
        help="unpickle checkpoints that have to run, which can be any code",
    )
    parser.add_argument("--nj", type=int, default=options.cores(), help="processes")
    args = parser.parse_args(argv)
    setup_logging()
    sets = [dumps.load(args.dump / name) for name in args.sets]
    coding = Coding(args.soft, args.tau, args.max_kl, args.max_bytes, args.seed)
    label_sets(
        args.source,
        args.layer,
        args.quantizer,
        sets,
        args.out,
        args.nj if args.device == "cpu" else 1,
        coding,
        args.device,
        args.batch_frames,
        args.trust_pickle,
    )
    for dump in sets:
        print(describe(args.out / dump.name, args.alignment))


if __name__ == "__main__":
    cli(main)
