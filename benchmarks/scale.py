"""What a corpus of 10 to 100 000 hours takes, stage by stage: time, disk, memory.

    python benchmarks/scale.py --growth growth.json [--hours 10 100 960 10000 100000]

From measured rates and each stage's growth law: seconds and bytes an hour of audio (from
benchmarks/growth.py), memory an utterance (measured here, on two directories of short utterances),
the cost of published models a second of audio (measured here, random weights: a pass of HuBERT-base
over 12 s, and of a recogniser of the published size over speech and transcript).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import growth, used

ROOT = Path(__file__).resolve().parents[1]
HOURS = (10, 100, 960, 10_000, 100_000)
UTTERANCE_S = 12.3
"""LibriSpeech's mean: 960 h are 281 241 utterances."""
FEW, MANY = 2_000, 32_000
HUBERT, RECOGNISER = "labels, HuBERT-base", "teacher outputs, 28 M recogniser"


class Cost(NamedTuple):
    """What a stage costs.

    Attributes:
        start_s: CPU seconds of any run.
        hour_s: CPU seconds an hour of audio.
        hour_bytes: written, an hour of audio.
        peak_bytes: memory of its largest process on a small corpus.
        utterance_bytes: memory more for each utterance.
    """

    start_s: float
    hour_s: float
    hour_bytes: float
    peak_bytes: float
    utterance_bytes: float = 0.0

    def at(self, hours: float) -> tuple[float, float, float]:
        """CPU seconds, bytes on disk, bytes of memory for so many hours."""
        utterances = hours * 3600 / UTTERANCE_S
        memory = self.peak_bytes + utterances * self.utterance_bytes
        return self.start_s + hours * self.hour_s, hours * self.hour_bytes, memory


def memory_of_utterances(work: Path) -> dict[str, float]:
    """Bytes of memory an utterance, of the stages that hold tables of a whole set."""
    import soundfile

    peaks: dict[str, list[int]] = {}
    noise = 0.1 * np.random.default_rng(0).standard_normal(growth.RATE // 5)
    soundfile.write(work / "one.wav", noise, growth.RATE)
    for number in (FEW, MANY):
        place = work / str(number)
        made = [(str(work / "one.wav"), "THE WORDS OF TWELVE SECONDS " * 7, 0.2)]
        growth.write_data(place / "data/set", made, number * 0.2 / 3600)
        sets = ["--sets", "set"]
        runs = {
            "data": ["data", "--data_dir", place / "data/set"],
            "features": ["features", "--data", place / "data", "--dump", place / "dump"]
            + ["--feats_type", "raw", "--nj", 1, *sets],
            "k-means": ["kmeans", "--source", "mfcc", "--layer", 0, "--clusters", 2]
            + ["--sample_frames", 200, "--dump", place / "dump/raw", "--out", place / "q", *sets],
            "labels": ["labels", "--source", "mfcc", "--layer", 0, "--quantizer", place / "q"]
            + ["--dump", place / "dump/raw", "--out", place / "labels", "--nj", 1, *sets],
        }
        for name, arguments in runs.items():
            peaks.setdefault(name, []).append(used.stage(*arguments).peak_bytes)
    return {name: (many - few) / (MANY - FEW) for name, (few, many) in peaks.items()}


def hubert_s() -> float:
    """CPU seconds an hour of audio of HuBERT-base's forward pass to layer 9."""
    import torch

    from espnet_dice.hubert.frozen import FrozenSSLModel, LayerFeatures
    from espnet_dice.hubert.models import students

    torch.set_num_threads(1)
    source = LayerFeatures(FrozenSSLModel(students.build("hubert", {"size": "base"}), "-", "-"), 9)
    wave = np.random.default_rng(0).standard_normal(int(UTTERANCE_S * growth.RATE)).astype("f4")
    return _an_hour(lambda: source.features(wave))


def recogniser_s() -> float:
    """CPU seconds an hour of audio of a published teacher on speech and transcript."""
    import torch

    import espnet_dice
    from espnet_dice.kd import teachers
    from espnet_dice.records.configs import read_config
    from espnet_dice.records.tokens import TOKENS

    torch.set_num_threads(1)
    espnet_dice.register()
    from espnet2.tasks.asr import ASRTask

    full = ASRTask.get_default_config()
    full.update(read_config(ROOT / "egs2/librispeech/kd1/conf/train_asr_base.yaml"))
    full.update(token_list=list(TOKENS), input_size=83, frontend=None, normalize=None)
    model = ASRTask.build_model(argparse.Namespace(**full)).eval()
    speech = torch.randn(1, int(100 * UTTERANCE_S), 83)
    text = torch.randint(3, 28, (1, 184))  # characters in 12.3 s of LibriSpeech
    lengths = torch.tensor([speech.shape[1]]), torch.tensor([text.shape[1]])

    def ask() -> None:
        generator = torch.Generator().manual_seed(0)
        teachers.targets(model, speech, lengths[0], text, lengths[1], 50, False, generator)

    return _an_hour(ask)


def _an_hour(call) -> float:
    import torch

    seconds = []
    for _ in range(6):
        start = time.process_time()
        with torch.no_grad():
            call()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds[1:])) * 3600 / UTTERANCE_S


def costs(found: dict, an_utterance: dict[str, float]) -> dict[str, Cost]:
    """Stage → cost, from the figures of growth.py and those measured here."""
    tables = {"data": "data", "features": "features", "teacher outputs": "features"}
    tables |= {"k-means": "k-means", "labels": "labels"}
    made = {}
    for name, rows in found.items():
        slope, start = growth.slopes(rows)
        most = max(row["peak_bytes"] for row in rows)
        more = an_utterance.get(tables.get(name.split(":")[0], ""), 0.0)
        if name.startswith("k-means"):
            # a sample of a fixed number of frames: 500 000 in the recipes, whatever the corpus
            start, slope = max(row["cpu_s"] for row in rows), 0.0
        size = rows[-1]["bytes"] / rows[-1]["hours"]
        made[name] = Cost(max(0.0, start), slope, size, most, more)
    layer, outputs = made["labels: layer"], made["teacher outputs"]
    made[HUBERT] = layer._replace(hour_s=hubert_s())
    made[RECOGNISER] = outputs._replace(hour_s=recogniser_s())
    return made


def table(made: dict[str, Cost], hours: list[float]) -> str:
    """Markdown: core time, what is written, memory of each stage and corpus."""
    head = " | ".join(f"{h:,.0f} h".replace(",", " ") for h in hours)
    lines = [f"| stage | an hour, an utterance | {head} |", "|---|---|" + "--:|" * len(hours)]
    for name, cost in made.items():
        law = f"{cost.hour_s:.1f} s, {_size(cost.hour_bytes)}; {_size(cost.utterance_bytes)}"
        cells = []
        for cpu_s, disk, memory in map(cost.at, hours):
            cells.append(f"{_time(cpu_s)}, {_size(disk)}, {_size(memory)}")
        lines.append(f"| {name} | {law} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(number: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= 0.5 * size:
            return f"{number / size:.1f} {unit}"
    return "–"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--growth", type=Path, required=True, help="what growth.py --out wrote")
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS, help="of corpora")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        an_utterance = memory_of_utterances(Path(work))
    print(table(costs(json.loads(args.growth.read_text()), an_utterance), args.hours))
    print("\nTime on one core, what is written, memory of the largest process")


if __name__ == "__main__":
    main()
