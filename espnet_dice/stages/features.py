"""Stage 2: features (or checked audio) of a data directory, as ESPnet reads them.

An output directory holds ``feats.scp`` (or ``wav.scp`` for ``raw``), ``text``, ``utt2spk``,
``utt2num_frames``, ``feats_shape``, ``feats_type`` and ``feats_stats.npz``, the sums for global
mean and variance normalisation. Shards that are whole and still right are kept. Utterances that are
shorter or longer than asked for are left out, as speed perturbation leaves them.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from espnet_dice.features.cmvn import GlobalStats
from espnet_dice.io import espnet_options, options
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.audio import AudioOptions, add_audio_options, audio_options
from espnet_dice.io.datadir import DataDir, Utterance, read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, cli
from espnet_dice.io.fingerprint import Fingerprint, read
from espnet_dice.io.progress import setup_logging
from espnet_dice.records.feature_shards import ALGORITHM, ANY_LENGTH, RAW, FeatureShard, cut
from espnet_dice.work import job_array
from espnet_dice.work.pool import Pool
from espnet_dice.work.sharded import Part, Sharded

FEATS_TYPES = ("fbank_pitch", "fbank", RAW)
NO_SPEEDS = (1.0,)
SPEEDS = (0.1, 10.0)
"""The lowest and the highest factor of a speed that leave speech."""


def make_features(
    data_dir: str | Path,
    out_dir: str | Path,
    feats_type: str = "fbank_pitch",
    nj: int = 1,
    audio: AudioOptions | None = None,
    speeds: Sequence[float] = NO_SPEEDS,
    pool: Pool | None = None,
    part: Part | None = None,
    durations: tuple[float, float] = ANY_LENGTH,
) -> bool:
    """Make the features of one data directory.

    Args:
        data_dir: Kaldi-style directory.
        out_dir: made or brought up to date; paths in its scp start with it as it is given.
        feats_type: ``fbank_pitch`` (83 dimensions), ``fbank`` (80) or ``raw``.
        nj: processes; the files do not depend on it.
        audio: what audio to accept.
        speeds: speed factors; every utterance is made once for each, 1.0 under its own id and
            others as ``sp0.9-ID`` of speaker ``sp0.9-SPEAKER``.
        pool: processes to use instead of ``nj`` new ones.
        part: make only this part, see :mod:`sharded`.
        durations: shortest and longest utterance in seconds, at its speed; others are left out.

    Returns:
        False if everything was there already.

    Raises:
        ProblemList: everything that is wrong with the directory, or with its audio.
    """
    out_dir, audio = Path(out_dir), audio or AudioOptions()
    if feats_type not in FEATS_TYPES:
        raise ConfigError(f"feats_type {feats_type!r}: choose one of {', '.join(FEATS_TYPES)}")
    if not 0 <= durations[0] < durations[1]:
        low, high = durations
        raise ConfigError(
            f"--min_wav_duration {low:g} and --max_wav_duration {high:g} leave nothing: give a "
            "shortest and a longer one"
        )
    data = read_data_dir(data_dir, audio.allow_pipes, transcripts=False)
    settings = {k: v for k, v in asdict(audio).items() if k != "allow_pipes"}
    settings |= {"feats_type": feats_type, "speeds": list(speeds), "algorithm": ALGORITHM}
    if durations != ANY_LENGTH:
        settings["durations"] = list(durations)
    utterances = perturbed(data, speeds)
    espnet_options.check(out_dir)
    _check_ours(out_dir)
    shards = cut(out_dir, feats_type, audio, utterances, durations)
    made = Sharded(
        out_dir,
        Path(data_dir),
        Fingerprint("features", settings, {"data": data.key()}),
        shards,
        lambda records: _assemble(out_dir, shards, records, utterances, feats_type),
    )
    with nullcontext(pool) if pool else Pool(nj) as workers:
        return made.make(workers, part)


def perturbed(data: DataDir, speeds: Sequence[float]) -> tuple[Utterance, ...]:
    """The utterances at every speed, sorted by id."""
    slowest, fastest = SPEEDS
    in_range = all(slowest <= speed <= fastest for speed in speeds)  # NaN is not
    if not speeds or not in_range or len(set(speeds)) < len(speeds):
        raise ConfigError(
            f"speed factors {list(speeds)}: give different ones, from {slowest:g} to {fastest:g}"
        )
    made = []
    for speed in speeds:
        prefix = "" if speed == 1 else f"sp{speed:g}-"
        made += [
            replace(u, id=prefix + u.id, speaker=prefix + u.speaker, speed=speed) for u in data
        ]
    made.sort(key=lambda u: u.id)
    for one, other in pairwise(made):
        if one.id == other.id:
            raise DataError(
                f"{other.where}: {other.id}: the id of a speed-perturbed utterance "
                "too; rename it, or leave --speed_perturb out (of a "
                "recipe: --speed_perturb_factors)"
            )
    return tuple(made)


def _check_ours(out_dir: Path) -> None:
    if not out_dir.exists() or not any(out_dir.iterdir()):
        return
    found = read(out_dir)
    if found is None or found.get("stage") != "features":
        raise DataError(
            f"{out_dir}: not empty, and not made by this stage; choose another --out_dir "
            "(of a recipe: --dumpdir)"
        )


def _assemble(
    out_dir: Path,
    shards: list[FeatureShard],
    records: list[dict],
    utterances: Sequence[Utterance],
    feats_type: str,
) -> None:
    kept = {row[0] for record in records for row in record["rows"]}
    if len(kept) < len(utterances):
        limits = "shorter than {:g} s or longer than {:g} s".format(*shards[0].durations)
        if not kept:
            way = "choose another --min_wav_duration or --max_wav_duration"
            raise DataError(f"{out_dir}: all utterances are {limits}; {way}")
        left = len(utterances) - len(kept)
        logging.info("%s: %d of %d utterances left out: %s", out_dir, left, len(utterances), limits)
    spoken = [utt for utt in utterances if utt.id in kept]
    tables: dict[str, Iterable[str]] = {
        "text": (f"{utt.id} {utt.text}".rstrip() for utt in spoken),
        "utt2spk": (f"{utt.id} {utt.speaker}" for utt in spoken),
        "feats_type": [feats_type],
    }
    if feats_type == RAW:
        rows = [row for record in records for row in record["rows"]]
        for name in ("utt2num_samples", "feats_shape"):
            tables[name] = (f"{utt} {samples}" for utt, _, samples in rows)
        tables["wav.scp"] = (f"{utt} {path}" for utt, path, _ in rows)
    else:
        rows = [
            (shard.target, *row)
            for shard, record in zip(shards, records, strict=True)
            for row in record["rows"]
        ]
        tables["utt2num_frames"] = (f"{utt} {frames}" for _, utt, _, frames, _ in rows)
        tables["feats_shape"] = (f"{utt} {frames},{dim}" for _, utt, _, frames, dim in rows)
        tables["feats.scp"] = (f"{utt} {ark}:{offset}" for ark, utt, offset, _, _ in rows)
        _stats(records).save(out_dir / "feats_stats.npz")
    for name, lines in tables.items():
        with atomic_file(out_dir / name) as f:
            f.writelines(f"{line}\n" for line in lines)


def _stats(records: list[dict]) -> GlobalStats:
    whole = GlobalStats()
    for record in records:
        part = GlobalStats()
        if not record["count"]:
            continue
        part.count = record["count"]
        part.sum, part.sum_square = np.array(record["sum"]), np.array(record["sum_square"])
        whole.merge(part)
    return whole


def main(argv: list[str] | None = None) -> None:
    """The command; see ``--help``."""
    p = options.parser(__doc__)
    p.add_argument("--data_dir", nargs="+", help="data directories, one for each --out_dir")
    p.add_argument("--out_dir", nargs="+", help="feature directories")
    p.add_argument("--sets", nargs="+", help="names under --data; instead of the two above")
    p.add_argument("--data", default="data", help="where --sets are read from")
    p.add_argument("--dump", default="dump", help="where --sets go: DUMP/FEATS_TYPE/SET")
    p.add_argument("--feats_type", default="fbank_pitch", choices=FEATS_TYPES)
    p.add_argument("--nj", type=int, default=options.cores(), help="processes")
    p.add_argument(
        "--speed_perturb", default="1.0", help='speed factors, such as "0.9 1.0 1.1"; sets get _sp'
    )
    p.add_argument(
        "--min_wav_duration", type=float, default=ANY_LENGTH[0], metavar="SECONDS",
        help="leave out shorter utterances",
    )  # fmt: skip
    p.add_argument(
        "--max_wav_duration", type=float, default=ANY_LENGTH[1], metavar="SECONDS",
        help="leave out longer utterances",
    )  # fmt: skip
    job_array.add_options(p)
    add_audio_options(p)
    args = p.parse_args(argv)
    setup_logging()
    try:
        speeds = [float(s) for s in args.speed_perturb.split()]
    except ValueError as err:
        raise ConfigError(f"--speed_perturb {args.speed_perturb!r}: expected numbers") from err
    if args.sets:
        if args.data_dir or args.out_dir:
            raise ConfigError("give --sets, or --data_dir and --out_dir")
        suffix = "" if speeds == [1.0] else "_sp"
        dump = Path(args.dump) / args.feats_type
        pairs = [(Path(args.data) / name, dump / (name + suffix)) for name in args.sets]
    else:
        ins, outs = args.data_dir or [], args.out_dir or []
        if not ins or len(ins) != len(outs):
            raise ConfigError("give --sets, or as many --data_dir as --out_dir")
        pairs = [(Path(i), Path(o)) for i, o in zip(ins, outs, strict=True)]

    pairs = list(dict.fromkeys(pairs))  # a validation set may be a test set, too

    def do(part: Part | None) -> int:
        how = (args.feats_type, args.nj, audio_options(args), speeds)
        limits = (args.min_wav_duration, args.max_wav_duration)
        with Pool(args.nj) as pool:
            return sum(make_features(one, other, *how, pool, part, limits) for one, other in pairs)

    job_array.make(do, args, "features", argv, pairs[0][1].parent / "log")


if __name__ == "__main__":
    cli(main)
