"""What a corpus of 10 to 100 000 hours takes, stage by stage: time, disk, memory.

    python benchmarks/scale.py --growth growth.json [--hours 10 100 960 10000 100000]
    python benchmarks/scale.py --alike 281241 --run egs2/mini_synth

From measured rates and each stage's growth law: seconds and bytes an hour of audio (from
benchmarks/growth.py), memory an utterance (measured here, on two directories of short utterances),
the cost of published models a second of audio (measured here, random weights: a pass of HuBERT-base
over 12 s, and of a recogniser of the published size over speech and transcript). What ESPnet's
trainer holds of each utterance is measured beside them: no stage's tables need be smaller.

``--alike`` runs the stages on so many utterances, each a third of a second of a tone: LibriSpeech's
960 h in number, as measured.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import growth, used

ROOT = Path(__file__).resolve().parents[1]
HOURS = (10, 100, 960, 10_000, 100_000)
UTTERANCE_S = 12.3
"""LibriSpeech's mean: 960 h are 281 241 utterances."""
FEW, MANY = 2_000, 32_000
SHORT_S = 0.35
TRAINER = "ESPnet's trainer: tables"
TABLES = """
import sys
from pathlib import Path
from espnet2.samplers.build_batch_sampler import build_batch_sampler
from espnet2.train.dataset import ESPnetDataset
d, number = Path(sys.argv[1]), int(sys.argv[2])
rows = {
    "feats.scp": "dump/fbank_pitch/train/feats.1.ark:{at}",
    "text": "THE WORDS OF TWELVE SECONDS " * 7,
    "speech_shape": "{frames},83",
    "text_shape": "{tokens},31",
}
for name, row in rows.items():
    with open(d / name, "w") as f:
        for i in range(number):
            said = row.format(at=30000 * i, frames=1000 + i % 500, tokens=180 + i % 20)
            f.write(f"1234-123456-{i:08d} {said}\\n")
speech, text = str(d / "feats.scp"), str(d / "text")
data = ESPnetDataset([(speech, "speech", "kaldi_ark"), (text, "text", "text")], preprocess=None)
shapes = [str(d / "speech_shape"), str(d / "text_shape")]
batches = build_batch_sampler(
    type="numel", batch_size=20, batch_bins=4000000, shape_files=shapes,
    sort_in_batch="descending", sort_batch="descending", drop_last=False, min_batch_size=1,
)
"""
TIMES = 10
"""As many rows of these; still a lower bound: an import's own peak hides the first of them."""
OUTPUTS = "teacher outputs"
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
        rows = number * TIMES
        trainer = used.run([sys.executable, "-c", TABLES, str(place), str(rows)])
        peaks.setdefault(TRAINER, []).append(trainer.peak_bytes // TIMES)
    # noise must not promise less memory for more speech
    return {name: max(0.0, (many - few) / (MANY - FEW)) for name, (few, many) in peaks.items()}


def alike(runs: growth.Runs, utterances: int, work: Path) -> str:
    """Markdown: what every stage took on so many short utterances."""
    rng, made = np.random.default_rng(0), []
    for n in range(100):
        tone = np.sin(
            2 * np.pi * (100 + 20 * n) * np.arange(int(SHORT_S * growth.RATE)) / growth.RATE
        )
        path = work / f"{n}.wav"
        soundfile.write(path, 0.1 * tone + 0.02 * rng.standard_normal(len(tone)), growth.RATE)
        made.append((str(path), "THE WORDS OF TWELVE SECONDS " * 7, SHORT_S))
    growth.write_data(work / "data/set", made, (utterances - 0.5) * SHORT_S / 3600)
    lines = ["| stage | CPU | wall | memory | written |", "|---|--:|--:|--:|--:|"]
    for name, arguments, out in growth.stages(work, runs):
        if name == OUTPUTS:  # beyond what this is about, and hours
            continue
        took = used.stage(*arguments, cwd=runs.kd1)
        cells = _time(took.cpu_s), _time(took.wall_s), _size(took.peak_bytes)
        lines.append(f"| {name} | {' | '.join(cells)} | {_size(used.size(out) if out else 0)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


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
    tables = {"data": "data", "features": "features", OUTPUTS: "features"}
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
    made[TRAINER] = Cost(0.0, 0.0, 0.0, 0.0, an_utterance[TRAINER])
    layer, outputs = made["labels: layer"], made[OUTPUTS]
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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--growth", type=Path, help="what growth.py --out wrote")
    what.add_argument("--alike", type=int, metavar="UTTERANCES", help="run the stages on so many")
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS, help="of corpora")
    here = ROOT / "egs2/mini_synth"
    parser.add_argument("--run", type=Path, default=here, help="kd1 and dice1 of a finished run")
    args = parser.parse_args()
    if args.alike:
        with tempfile.TemporaryDirectory() as work:
            print(alike(growth.Runs(args.run), args.alike, Path(work)))
        return
    with tempfile.TemporaryDirectory() as work:
        an_utterance = memory_of_utterances(Path(work))
    print(table(costs(json.loads(args.growth.read_text()), an_utterance), args.hours))
    print("\nTime on one core, what is written, memory of the largest process")


if __name__ == "__main__":
    main()
