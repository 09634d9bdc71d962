"""Every data stage on more and more audio: time an hour and memory must stay flat.

    python benchmarks/growth.py [--hours 0.5 2 8] [--out growth.json]

The audio is made of the embedded corpus: its utterances joined to some 12 s, as LibriSpeech's are.
Half an hour differs; beyond it the same files stand under new names, which no stage can tell.
Models are those of finished runs (./run.sh): a stage's cost an hour with a larger teacher is its
forward pass. One process of one thread a stage; memory is that of its largest process.
"""

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import used
from espnet_dice.io.audio import AudioReader
from espnet_dice.io.datadir import read_data_dir

RATE = 16000
UTTERANCE_S = 12.0
DISTINCT_H = 0.5
HOURS = (0.5, 2.0, 8.0)
MOST_FRAMES = 60000
"""Of k-means here: reached at half an hour, as the recipes' 500 000 are at three hours."""


class Runs:
    """Finished runs of the embedded recipes whose data and models are used.

    Args:
        recipes: directory of ``kd1`` and ``dice1``.
    """

    def __init__(self, recipes: Path):
        recipes = recipes.resolve()
        self.kd1 = recipes / "kd1"
        self.data = recipes / "dice1/data/train"
        self.tokens = recipes / "kd1/data/token_list/char31"
        self.recogniser = recipes / "kd1/exp/asr_mini_teacher_a"
        self.hubert = recipes / "dice1/exp/dice_mini_teacher_it1_seed0"
        for path in (self.data, self.tokens, self.recogniser, self.hubert):
            if not path.exists():
                sys.exit(f"{path} is missing: finish ./run.sh first, or name its recipes by --run")


def join(data: Path, directory: Path) -> list[tuple[str, str, float]]:
    """Write ``DISTINCT_H`` hours of joined utterances.

    Returns:
        Path, transcript and seconds of each.
    """
    reader, made, parts, said, total = AudioReader(), [], [], [], 0.0
    for utt in itertools.cycle(read_data_dir(data)):
        parts.append(reader.read(utt)[0])
        said.append(utt.text)
        seconds = sum(map(len, parts)) / RATE
        if seconds < UTTERANCE_S:
            continue
        path = directory / f"{len(made):05d}.wav"
        soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
        made.append((str(path), " ".join(said), seconds))
        parts, said, total = [], [], total + seconds
        if total >= DISTINCT_H * 3600:
            return made
    raise AssertionError


def write_data(directory: Path, made: list[tuple[str, str, float]], hours: float) -> float:
    """Write a data directory of so many hours.

    Returns:
        Hours that it has.
    """
    directory.mkdir(parents=True)
    seconds = 0.0
    with (
        open(directory / "wav.scp", "w") as scp,
        open(directory / "text", "w") as text,
        open(directory / "utt2spk", "w") as utt2spk,
    ):
        for n in itertools.count():
            if seconds >= hours * 3600:
                return seconds / 3600
            path, said, length = made[n % len(made)]
            utt = f"spk-{n:07d}"
            scp.write(f"{utt} {path}\n")
            text.write(f"{utt} {said}\n")
            utt2spk.write(f"{utt} spk\n")
            seconds += length
    raise AssertionError


def stages(work: Path, runs: Runs) -> Iterator[tuple[str, list, Path | None]]:
    """Name, arguments of the command, and what it writes, in the order in which they run."""
    sets = ["--sets", "set"]
    yield "data", ["data", "--data_dir", work / "data/set"], None
    for kind in ("raw", "fbank_pitch"):
        out = work / "dump" / kind
        features = ["features", "--data", work / "data", "--dump", work / "dump", "--nj", 1]
        yield f"features: {kind}", [*features, "--feats_type", kind, *sets], out
    fbank, raw = work / "dump/fbank_pitch", work / "dump/raw"
    yield "tokens", ["tokens", "--out", work / "tokens", fbank / "set/text"], work / "tokens"
    outputs = work / "teacher_outputs"
    teacher = ["--teacher", f"a={runs.recogniser}", "--token_list", runs.tokens, "--nj", 1]
    yield (
        "teacher outputs",
        ["teacher_outputs", *teacher, "--dump", fbank, *sets, "--out", outputs],
        outputs,
    )
    for name, source, layer in (("MFCC", "mfcc", 0), ("layer", runs.hubert, 2)):
        given = ["--source", source, "--layer", layer, "--dump", raw, *sets]
        book, labels = work / f"quantizer_{layer}", work / f"labels_{layer}"
        sample = ["--clusters", 50, "--sample_frames", MOST_FRAMES]
        yield f"k-means: {name}", ["kmeans", *given, *sample, "--out", book], book
        to = ["--quantizer", book, "--out", labels, "--nj", 1]
        yield f"labels: {name}", ["labels", *given, *to], labels


def measure(
    runs: Runs, hours: list[float], work: Path, only: list[str]
) -> dict[str, list[dict[str, float]]]:
    """Stage → a record for each size: hours, utterances, cpu_s, wall_s, peak_bytes, bytes.

    Args:
        runs: whose models are used.
        hours: sizes.
        work: directory for what is made.
        only: beginnings of stages' names; none: all.
    """
    found: dict[str, list[dict[str, float]]] = {}
    (work / "wav").mkdir(parents=True)
    made = join(runs.data, work / "wav")
    for wanted in hours:
        place = work / "size"
        has = write_data(place / "data/set", made, wanted)
        utterances = len((place / "data/set/text").read_text().splitlines())
        for name, arguments, out in stages(place, runs):
            if only and not name.startswith(tuple(only)):
                continue
            took = used.stage(*arguments, cwd=runs.kd1)  # its models name their statistics so
            size = used.size(out) if out else 0
            row = {"hours": has, "utterances": utterances, **took._asdict(), "bytes": size}
            found.setdefault(name, []).append(row)
            print(
                f"{has:5.2f} h {name:22s} {took.cpu_s:7.1f} CPU-s "
                f"{took.peak_bytes / 1e6:7.0f} MB {size / 1e6:8.1f} MB written",
                file=sys.stderr,
                flush=True,
            )
        shutil.rmtree(place)
    return found


def slopes(rows: list[dict[str, float]]) -> tuple[float, float]:
    """CPU seconds an hour of audio, and those that a command costs anyway (least squares)."""
    hours, cpu = (np.array([r[key] for r in rows]) for key in ("hours", "cpu_s"))
    slope, start = np.polyfit(hours, cpu, 1)
    return float(slope), float(start)


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: CPU seconds an hour between sizes, memory at each, bytes an hour."""
    sizes = [row["hours"] for row in next(iter(found.values()))]
    spans = list(itertools.pairwise(range(len(sizes))))
    head = [f"CPU-s/h, {sizes[a]:.1f}–{sizes[b]:.1f} h" for a, b in spans]
    head += [f"MB at {h:.1f} h" for h in sizes] + ["MB written an hour"]
    lines = [f"| stage | {' | '.join(head)} |", "|---" + "|--:" * len(head) + "|"]
    for name, rows in found.items():
        cells = []
        for a, b in spans:
            more = rows[b]["hours"] - rows[a]["hours"]
            cells.append(f"{(rows[b]['cpu_s'] - rows[a]['cpu_s']) / more:.2f}")
        cells += [f"{row['peak_bytes'] / 1e6:.0f}" for row in rows]
        cells.append(f"{rows[-1]['bytes'] / rows[-1]['hours'] / 1e6:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    here = Path(__file__).resolve().parents[1] / "egs2/mini_synth"
    parser.add_argument("--run", type=Path, default=here, help="kd1 and dice1 of a finished run")
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS, help="sizes")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="STAGE", help="stages, with those that they need"
    )
    parser.add_argument("--out", type=Path, default=None, help="figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent if args.out else None) as work:
        found = measure(Runs(args.run), sorted(args.hours), Path(work), args.only)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
