"""Stage 4 of DiceHuBERT: label the speech of some sets, hard and soft, in one pass of the teacher.

    python -m espnet_dice.stages.labels --source exp/dice_teacher --layer 9 \\
        --quantizer exp/quantizer/teacher_l9_k500 --dump dump/raw --sets train dev \\
        --out exp/labels/teacher_l9_k500

makes ``exp/labels/teacher_l9_k500/<set>``, label stores (:mod:`espnet_dice.labels.store`). Features
stream through and are never on disk. The code of soft labels is fitted once, to the first set, and
serves all. A killed run goes on with the shards that are missing, and gives the same bytes. With a
quantizer of several codebooks ``--layer`` names its layers, and one pass makes the labels of all.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np

from espnet_dice.hubert import upstreams
from espnet_dice.hubert.models.frames import RECEPTIVE, n_frames
from espnet_dice.io import options
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, ProblemList, StaleError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.io.progress import setup_logging
from espnet_dice.labels import codebooks, label_report, quality, quantizer, store
from espnet_dice.labels.label_codebook import Coding, begun_codebook, make_codebook
from espnet_dice.labels.label_shards import Labelling, cut
from espnet_dice.records import feature_dir, phones
from espnet_dice.work import job_array
from espnet_dice.work.pool import Pool
from espnet_dice.work.sharded import Part, Sharded


def label_sets(
    source: str,
    layer: int | tuple[int, ...],
    quantizer_dir: Path,
    sets: Sequence[feature_dir.FeatureDir],
    out: Path,
    nj: int = 1,
    coding: Coding | None = None,
    device: str = "cpu",
    batch_frames: int = 0,
    trust_pickle: bool = False,
    pool: Pool | None = None,
    part: Part | None = None,
) -> int:
    """Label some sets.

    Args:
        source: ``mfcc`` or a teacher, see :func:`upstreams.load_layer`.
        layer: of the teacher, 1-based, 0 being the input of block 1; or several.
        quantizer_dir: made by the k-means stage from the same layers.
        sets: speech (dump/raw), the training set first.
        out: where ``<set>`` goes.
        nj: processes; the labels do not depend on it.
        coding: of soft labels.
        device: where the teacher computes.
        batch_frames: frames of a forward pass; 0: one utterance each. Hard labels do not depend on
            it, the last bit of a code may.
        trust_pickle: see :func:`frozen.load`.
        pool: processes to use instead of ``nj`` new ones.
        part: make only this part of every set, see :mod:`sharded`.

    Returns:
        How many sets were labelled; the others were there already.

    Raises:
        StaleError: the quantizer was made from another teacher or layer; a part of something else
            than was begun.
        ProblemList: everything that is wrong with the speech of a set.
        DataError: the labels say nothing, as those of silence do.
    """
    coding = coding or Coding()
    found = quantizer.load(quantizer_dir)
    source_key = upstreams.layer_key_of(source, layer)
    if found.source_key != source_key:
        named = " ".join(map(str, quantizer.all_of(layer)))
        raise StaleError(
            f"{quantizer_dir} was not made from layer {named} of {source} as it is now: run "
            f"{quantizer.STAGE} again"
        )
    if part is not None and part.index:
        codebook = begun_codebook(found, sets[0], out, coding)
    else:
        codebook = make_codebook(source, layer, found, sets[0], out, coding, device, trust_pickle)
    labelling = Labelling(
        str(source), layer, source_key, codebook, device, trust_pickle, batch_frames
    )
    clusters = options.one_or_all([len(centroids) for centroids in found.codebooks])
    settings = {"layer": layer, "clusters": clusters, **asdict(coding)}
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
            made += _label_set(
                dump, out / dump.name, labelling, found.layers, made_from, workers, part
            )
    return made


def _label_set(
    dump: feature_dir.FeatureDir,
    out: Path,
    labelling: Labelling,
    layers: tuple[int, ...],
    made_from: Fingerprint,
    workers: Pool,
    part: Part | None,
) -> bool:
    short = [utt for utt, samples in dump.lengths.items() if n_frames(samples) == 0]
    if short:
        why = f"shorter than one frame ({RECEPTIVE} samples, 25 ms): remove it"
        raise ProblemList(str(dump.path), [f"{dump.path}: {utt}: {why}" for utt in short])
    shards = cut(out, dump, labelling, made_from.key)
    made = Sharded(
        out,
        dump.path,
        made_from,
        shards,
        lambda records: _assemble(out, dump, records, labelling, layers),
    )
    return made.make(workers, part)


def _assemble(
    out: Path,
    dump: feature_dir.FeatureDir,
    records: list[dict],
    labelling: Labelling,
    layers: tuple[int, ...],
) -> None:
    codebook = codebooks.load(labelling.codebook)
    index: dict[str, store.Entry] = {}
    ends = np.cumsum([book.clusters for book in codebook.books])
    uses = np.zeros(ends[-1], np.int64)
    for record in records:
        index |= {utt: store.Entry(*entry) for utt, entry in record["index"].items()}
        uses += record["uses"]
    of_each = np.split(uses, ends[:-1])
    for counts in of_each:
        if (counts > 0).sum() == 1 and len(counts) > 1 and counts.sum() > 1:
            raise DataError(
                f"{dump.path}: all {counts.sum()} frames have label {int(counts.argmax())}: is "
                "the speech silent, or was the quantizer made for other features?"
            )
    more = {
        "source": labelling.source,
        "layer": options.one_or_all(layers),
        "clusters_used": options.one_or_all([int((counts > 0).sum()) for counts in of_each]),
        "perplexity": options.one_or_all([round(quality.perplexity(c), 2) for c in of_each]),
    }
    if len(layers) > 1:
        heights = dict(zip(dict.fromkeys(layers), records[0]["heights"], strict=True))
        more["height"] = [heights[layer] for layer in layers]
    store.write_index(out, codebook, index, more)


def main(argv: list[str] | None = None) -> None:
    """Label: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--source", required=True, help="'mfcc', a checkpoint or an experiment")
    parser.add_argument(
        "--layer", type=int, nargs="+", default=[9], help="from 1, after the whole block; several"
    )
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
    phones.add_option(parser, "for PNMI, purity and speakers")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--batch_frames", type=int, default=0, help="frames of a forward pass; 0: an utterance"
    )
    options.add_trust_pickle(parser, "unpickle checkpoints that have to run")
    parser.add_argument("--nj", type=int, default=options.cores(), help="processes")
    job_array.add_options(parser)
    args = parser.parse_args(argv)
    setup_logging()
    sets = [feature_dir.load(args.dump / name) for name in args.sets]
    for dump in sets:
        feature_dir.check_rate(dump)
    coding = Coding(args.soft, args.tau, args.max_kl, args.max_bytes, args.seed)
    alignment: phones.Alignment = {}
    if args.alignment and not args.shard:  # what is wrong with it is told first
        data = [utt for dump in sets for utt in read_data_dir(dump.path, transcripts=False)]
        speakers = {utt.id: utt.speaker for utt in data}
        alignment = phones.read(args.alignment, feature_dir.seconds(sets), speakers)
        for dump in sets:
            frames = {u: n_frames(dump.lengths[u]) for u in alignment if u in dump.lengths}
            if frames:
                phones.check_frames({u: alignment[u] for u in frames}, frames)

    def do(part: Part | None) -> int:
        return label_sets(
            args.source,
            options.one_or_all(args.layer),
            args.quantizer,
            sets,
            args.out,
            args.nj if args.device == "cpu" else 1,
            coding,
            args.device,
            args.batch_frames,
            args.trust_pickle,
            part=part,
        )

    job_array.make(do, args, "labels", argv, args.out / "log")
    if args.shard:
        return
    for dump in sets:
        made = args.out / dump.name
        print(label_report.describe(made, label_report.measure(made, alignment)))


if __name__ == "__main__":
    cli(main)
