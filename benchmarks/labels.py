"""k-means, soft labels on disk and the labelling pass beside what public recipes do, in one run.

    python benchmarks/labels.py [--parts kmeans memory store pass] [--minibatch_turns 1]

CPU time of one thread, so that other jobs on the machine disturb it little; what is compared takes
turns. Features are mixtures with a falling spectrum at HuBERT's distances (8 to the own centroid,
10 to 20 to others) unless ``--features`` gives real ones, (frames, D) in a .npy file; the teacher
of the labelling pass is HuBERT-base with random weights, whose speed is that of any other. Public
recipes: MiniBatchKMeans with n_init 20, batch 10 000, max_iter 100, max_no_improvement 100, and
features dumped in float32.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.dice import codec, kmeans
from espnet_dice.dice.codebook import Codebook

PARTS = ("kmeans", "memory", "store", "pass")
DIM, K = 768, 500


def mixture(frames: int, components: int = 3000, fall: float = 0.7, seed: int = 0) -> np.ndarray:
    """Features (frames, 768) float32 of more components than clusters, as speech has them."""
    rng = np.random.default_rng(seed)
    k = np.arange(1.0, DIM + 1)
    between, within = k**-fall, k ** (-0.7 * fall)
    centres = rng.normal(size=(components, DIM)) * np.sqrt(80 * between / between.sum())
    weights = rng.dirichlet(np.full(components, 0.7))
    scale = np.sqrt(50 * within / within.sum()).astype(np.float32)
    features = np.empty((frames, DIM), np.float32)
    for start in range(0, frames, 10000):  # in parts: --parts memory looks at the peak
        rows = features[start : start + 10000]
        rows[:] = rng.standard_normal(rows.shape, np.float32) * scale
        rows *= np.sqrt(rng.gamma(10, 0.1, (len(rows), 1)))
        rows += centres[rng.choice(components, len(rows), p=weights)]
    return features


def timed(call) -> tuple[float, object]:
    """CPU seconds of a call, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def part_kmeans(features: np.ndarray, turns: int, minibatch_turns: int) -> None:
    """Our k-means and the public one, seeds 0, 1, …"""
    ours = [timed(lambda s=s: kmeans.fit(features, K, s)) for s in range(turns)]
    theirs = [
        timed(lambda s=s: kmeans.fit(features, K, s, backend="sklearn"))
        for s in range(minibatch_turns)
    ]
    print(f"\nk-means, {len(features)} frames of {features.shape[1]} values, K = {K}\n")
    print("| method | CPU s | mean squared distance | times faster | of its inertia |")
    print("|---|--:|--:|--:|--:|")
    base_s = np.mean([s for s, _ in theirs])
    base = np.mean([kmeans.inertia(features, c) for _, c in theirs])
    for name, found in (("public recipes", theirs), ("kmeans.fit", ours)):
        for seconds, centroids in found:
            inertia = kmeans.inertia(features, centroids)
            print(
                f"| {name} | {seconds:.1f} | {inertia:.3f} | {base_s / seconds:.1f} | "
                f"{inertia / base:.4f} |"
            )


def part_memory() -> None:
    """Peak memory of k-means on the largest sample that the stage takes, in a fresh process."""
    from espnet_dice.stages.kmeans import SAMPLE_FRAMES

    run = [sys.executable, __file__, "--peak", str(SAMPLE_FRAMES)]
    peak = float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    print(f"\nk-means on {SAMPLE_FRAMES} frames of {DIM} values: {peak:.2f} GB at its peak")


def peak(frames: int) -> None:
    """Print the peak memory in GB of this process, after a few iterations."""
    kmeans.fit(mixture(frames), K, 0, max_iterations=2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def part_store(features: np.ndarray) -> None:
    """Bytes a frame and error of soft labels, for several τ and spectra."""
    from espnet_dice.dice import targets

    print(f"\nsoft labels on disk, K = {K}, {features.shape[1]} values; KL in nats, mean")
    print("of frames that nothing was fitted to\n")
    print("| features | coded for | bytes a frame | KL τ 1 | KL τ 5 | KL τ 10 | hard labels |")
    print("|---|---|--:|--:|--:|--:|---|")
    for name, x in (("as above", features), ("flat spectrum", mixture(30000, fall=0.0))):
        centroids = kmeans.fit(x[:20000], K, 0, max_iterations=5)
        tested = x[-4000:]
        exact = targets.hard_labels(tested, centroids)
        for tau in (1.0, 5.0):
            book = codec.fit(centroids, x[20000:28192], tau=tau)
            kl = [f"{codec.mean_kl(book, tested, t):.1e}" for t in (1.0, 5.0, 10.0)]
            same = "exact" if (book.encode(tested)[:, 0] == exact).all() else "DIFFER"
            print(f"| {name} | τ ≥ {tau:g} | {book.bytes_per_frame} | {' | '.join(kl)} | {same} |")
    print(f"\nfloat16 soft labels: {2 * K} bytes a frame; float32 features: {4 * DIM}")


def part_pass(repeats: int, seconds: float) -> None:
    """The labelling pass beside the teacher's forward alone, utterance by utterance."""
    import torch

    from espnet_dice.dice import store, students
    from espnet_dice.dice.frames import SAMPLE_RATE
    from espnet_dice.dice.teacher import LayerFeatures, Teacher
    from espnet_dice.stages.label_shards import label

    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = LayerFeatures(Teacher(students.build("hubert", {"size": "base"}), "-", "-"), 9)
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(int(seconds * SAMPLE_RATE)).astype("f4") for _ in range(5)]
    some = torch.cat([source.features(w) for w in waves]).numpy()
    centroids = some[rng.choice(len(some), K, replace=False)]
    books = {
        "hard and soft labels": codec.fit(centroids, rng.permutation(some)),
        "hard labels only": Codebook.hard(centroids),
    }
    ratios: dict[str, list[float]] = {name: [] for name in [*books, "float32 features dumped"]}
    with tempfile.TemporaryDirectory() as tmp:
        for turn in range(repeats):
            wave = waves[turn % len(waves)]
            alone, features = timed(lambda wave=wave: source.features(wave))
            for name, book in books.items():
                took, _ = timed(
                    lambda wave=wave, book=book: store.write_shard(
                        Path(tmp) / "x.bin", label(source, book, {"u": wave}).items()
                    )
                )
                ratios[name].append(alone / took)
            took, _ = timed(lambda wave=wave: np.save(Path(tmp) / "x.npy", source.features(wave)))
            ratios["float32 features dumped"].append(alone / took)
    width = books["hard and soft labels"].bytes_per_frame
    print(f"\nlabelling, {seconds:g} s an utterance, {len(features)} frames, {repeats} turns\n")
    print("| what is written | bytes a frame | throughput / the forward's alone (quartiles) |")
    print("|---|--:|---|")
    for name, size in zip(ratios, (width, 2, 4 * DIM), strict=True):
        low, mid, high = np.percentile(ratios[name], [25, 50, 75])
        print(f"| {name} | {size} | {mid:.3f} ({low:.3f}–{high:.3f}) |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--frames", type=int, default=50000, help="of k-means")
    parser.add_argument("--features", type=Path, help=".npy with real ones, (frames, D)")
    parser.add_argument("--turns", type=int, default=3, help="seeds of our k-means")
    parser.add_argument("--minibatch_turns", type=int, default=1, help="seeds of the public one")
    parser.add_argument("--repeats", type=int, default=9, help="of the labelling pass")
    parser.add_argument("--seconds", type=float, default=10.0, help="of an utterance")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        return peak(args.peak)
    features = np.load(args.features) if args.features else mixture(args.frames)
    print(f"one thread, {len(features)} frames, distances: {distances_of(features)}")
    if "store" in args.parts:
        part_store(features)
    if "pass" in args.parts:
        part_pass(args.repeats, args.seconds)
    if "memory" in args.parts:
        part_memory()
    if "kmeans" in args.parts:
        part_kmeans(features, args.turns, args.minibatch_turns)
    return None


def distances_of(features: np.ndarray) -> str:
    """Of some frames to a small clustering's nearest centroid, to all, and the farthest."""
    from espnet_dice.dice import targets

    d = targets.distances(features[:1000], kmeans.fit(features[:5000], K, 0, max_iterations=1))
    return f"nearest {d.min(1).mean():.1f}, mean {d.mean():.1f}, farthest {d.max():.1f}"


if __name__ == "__main__":
    main()
