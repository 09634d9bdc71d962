"""Stage 3 of DiceHuBERT: k-means on a layer of a teacher, from a bounded random sample of frames.

    python -m espnet_dice.stages.kmeans --source exp/dice_teacher --layer 9 --clusters 500 \\
        --dump dump/raw --sets train --out exp/quantizer/teacher_l9_k500

The teacher streams: nothing but the sample is kept, in memory. ``--source mfcc`` clusters MFCC,
``mfcc_cmvn`` those with mean 0 and deviation 1 over the utterance, ``mfcc_mel`` those and 80
log-mel energies. Several layers or numbers of clusters make several codebooks, each layer with each
number, from one pass over the sample: ``--layer 6 9 12 --clusters 100 500`` makes six.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espnet_dice.hubert import upstreams
from espnet_dice.io import checksums, options
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import ConfigError, DataError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from espnet_dice.io.progress import setup_logging
from espnet_dice.labels import kmeans, pca, quantizer, sample
from espnet_dice.labels.sample import collect
from espnet_dice.records import feature_dir

SAMPLE_FRAMES, CLUSTERS = 200_000, 500


def make_quantizer(
    source: str,
    layer: int | Sequence[int],
    n_clusters: int | Sequence[int],
    sets: list[feature_dir.FeatureDir],
    out: Path,
    seed: int = 0,
    sample_frames: int = SAMPLE_FRAMES,
    trust_pickle: bool = False,
    device: str = "cpu",
    directions: int | None = None,
    nj: int | None = None,
    seedings: int | None = None,
) -> bool:
    """Cluster a layer, or several, unless that was done from exactly this.

    Args:
        source: ``mfcc``, ``mfcc_mel`` or a teacher, see :func:`upstreams.load_layer`.
        layer: of the teacher, 1-based, 0 being the input of block 1; or several.
        n_clusters: K; or several for each layer.
        sets: speech (dump/raw), never the validation set.
        out: the quantizer's directory.
        seed: of the sample and of k-means.
        sample_frames: frames to cluster at most; fewer where they would need more than 2 GB.
        trust_pickle: see :func:`frozen.load`.
        device: where the teacher and k-means compute.
        directions: cluster this many principal directions of each layer (:mod:`pca`); None: the
            layer as it is.
        nj: threads; None: as many as torch has.
        seedings: see :func:`kmeans.fit`.

    Returns:
        False if nothing was to be done.

    Raises:
        DiceError: the teacher, the layer or the speech is not usable.
    """
    layers, clusters = quantizer.all_of(layer), quantizer.all_of(n_clusters)
    least = {"--clusters": min(clusters), "--sample_frames": sample_frames, "--seedings": seedings}
    for option, value in least.items():
        if value is not None and value < 1:
            raise ConfigError(f"{option} {value}: give at least 1")
    for option, values in (("--layer", layers), ("--clusters", clusters)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{option} {' '.join(map(str, values))}: give each number once")
    for dump in sets:
        feature_dir.check_rate(dump)
    made_from = Fingerprint(
        "kmeans",
        {
            "layer": layer,
            "clusters": n_clusters,
            "seed": seed,
            "sample_frames": sample_frames,
            **({} if directions is None else {"pca": directions}),
            **({} if seedings is None else {"seedings": seedings}),
        },
        {
            "source": upstreams.layer_key_of(source, layer),
            **{f"data_{i}": d.key for i, d in enumerate(sets)},
        },
    )
    if made_from.is_done(out):
        return False
    logging.info("%s: %s", out, made_from.why(out))
    import torch  # 3 s, which a run with nothing to do is spared

    torch.set_num_threads(nj or torch.get_num_threads())
    found = upstreams.load_layer(source, layer, device, trust_pickle)
    dims = found.dims
    if directions is not None:
        pca.check(directions, min(dims))
    frames = collect(found, sets, min(sample_frames, sample.most_frames(*dims)), seed)
    del found  # k-means needs its memory
    if not np.ptp(frames, axis=0).any():
        raise DataError(f"{sets[0].path}: all frames are the same: is the speech silent?")
    ends = np.cumsum(dims)
    codebooks = []
    for one, begin, end in zip(layers, ends - dims, ends, strict=True):
        if len(layers) > 1:
            logging.info("k-means: layer %d", one)
        part = np.ascontiguousarray(frames[:, begin:end])
        found = None if directions is None else pca.fit(part, directions)
        if found is not None:
            logging.info(
                "PCA: %.1f %% of the variance in %d directions", 100 * found.share, directions
            )
            part = found.coordinates(part)
        made = [_fit(part, k, seed, device, sets[0], seedings) for k in clusters]
        codebooks += made if found is None else [found.lifted(c) for c in made]
    with atomic_dir(out) as tmp:
        made_from.finish(tmp, checksums.of(quantizer.save(tmp, *codebooks)))
    return True


def _fit(
    frames: np.ndarray,
    k: int,
    seed: int,
    device: str,
    dump: feature_dir.FeatureDir,
    seedings: int | None,
) -> np.ndarray:
    logging.info("k-means: %d frames of %d values, K = %d", *frames.shape, k)
    try:
        centroids = kmeans.fit(_on(frames, device), k, seed, seedings=seedings)
    except DataError as err:
        raise DataError(f"{dump.path}: {err}") from err
    logging.info(
        "k-means: mean squared distance to the nearest centroid %.4g, variance of the frames %.4g",
        kmeans.inertia(frames, centroids),
        kmeans.inertia(frames, frames.mean(axis=0, keepdims=True)),  # var() would copy them all
    )
    return centroids


def use_given(
    path: Path,
    source: str,
    layer: int,
    out: Path,
    trust_pickle: bool = False,
    n_clusters: int | None = None,
) -> bool:
    """Make a quantizer's directory from centroids that somebody else made.

    Args:
        path: the file, see :func:`quantizer.read`.
        source, layer: that they belong to.
        out: the quantizer's directory.
        trust_pickle: see :func:`quantizer.read`.
        n_clusters: K, if the user has said one.

    Raises:
        DiceError: the file is not usable, its dimension is not the layer's, or its K another.
    """
    inputs = {"source": upstreams.layer_key_of(source, layer), "given": ""}
    try:
        inputs["given"] = digest_files([path])
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}; name a file of centroids") from err
    made_from = Fingerprint("kmeans_given", {"layer": layer}, inputs)
    if made_from.is_done(out) and n_clusters is None:
        return False
    centroids = quantizer.read(path, trust_pickle)
    if n_clusters not in (None, len(centroids)):
        raise ConfigError(
            f"--clusters {n_clusters}, but {path} has {len(centroids)} centroids: "
            "leave --clusters out"
        )
    dim = upstreams.load_layer(source, layer, trust_pickle=trust_pickle).dim
    if centroids.shape[1] != dim:
        raise ConfigError(
            f"{path} has {centroids.shape[1]}-d centroids, layer {layer} of {source} has {dim} "
            "dimensions: they belong to another model"
        )
    with atomic_dir(out) as tmp:
        made_from.finish(tmp, checksums.of(quantizer.save(tmp, centroids)))
    return True


def _on(frames: np.ndarray, device: str):
    if device == "cpu":
        return frames
    import torch

    return torch.from_numpy(frames).to(device)


def main(argv: list[str] | None = None) -> None:
    """Cluster: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--source", required=True, help="'mfcc', a checkpoint or an experiment")
    parser.add_argument(
        "--layer",
        type=int,
        nargs="+",
        default=[9],
        help="from 1, after the whole block; 0: the input of block 1; several",
    )
    parser.add_argument(
        "--clusters", type=int, nargs="+", help=f"K ({CLUSTERS}; of --given: its own); several"
    )
    parser.add_argument("--pca", type=int, help="cluster so many principal directions of a layer")
    parser.add_argument("--given", type=Path, help="centroids to use instead: .npy or a pickle")
    parser.add_argument("--dump", required=True, type=Path, help="dump/raw")
    parser.add_argument("--sets", nargs="+", required=True, help="training sets below --dump")
    parser.add_argument("--out", required=True, type=Path, help="the quantizer's directory")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of k-means")
    parser.add_argument(
        "--sample_frames", type=int, default=SAMPLE_FRAMES, help="frames at most (2 GB at most)"
    )
    parser.add_argument(
        "--seedings",
        type=int,
        help="starts that are tried (4 to 6); with 1 the error is less than 1 % higher",
    )
    options.add_trust_pickle(parser, "unpickle --given and checkpoints that have to run")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--nj", type=int, default=None, help="threads (cores)")
    args = parser.parse_args(argv)
    setup_logging()
    layer, clusters = options.one_or_all(args.layer), options.one_or_all(args.clusters)
    if args.given:
        if isinstance(layer, tuple) or isinstance(clusters, tuple):
            raise ConfigError("--given: one file is one codebook: name one --layer")
        if args.pca is not None:
            raise ConfigError("--pca: --given has centroids already; leave one of them out")
        made = use_given(args.given, args.source, layer, args.out, args.trust_pickle, clusters)
    else:
        made = make_quantizer(
            args.source,
            layer,
            CLUSTERS if clusters is None else clusters,
            [feature_dir.load(args.dump / name) for name in args.sets],
            args.out,
            args.seed,
            args.sample_frames,
            args.trust_pickle,
            args.device,
            args.pca,
            args.nj or options.cores(),
            args.seedings,
        )
    print(f"{args.out}: {'made' if made else 'unchanged, skipped'}")


if __name__ == "__main__":
    cli(main)
