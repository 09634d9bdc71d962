"""Both recipes on 10 000 utterances: memory and open files of every stage must stay flat.

    python tests/campaign/long_run.py --work /tmp/long_run [--utterances 10000] [--decoded 500]

2000 training steps of each kind of model, all utterances through every data stage, 500 decoded
with the language model, in two processes where a stage has them. It prints a table and writes
TABLE.md; what a stage was seen to do is kept, so that a second start goes on with what is left.
"""

import argparse
import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from espnet_dice.io.atomic import write_text
from espnet_dice.results.table import layout
from tests.campaign import memory
from tests.corpus import WORDS, noise, write_audio, write_tables
from tests.hubert import tiny as tiny_models
from tests.stages import tiny, tiny_dice
from tests.stages.tiny import write_config

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS, DEV = 2, 2000, 50
LEAST_S = 1.0
MORE_MB, MORE_SHARE, MORE_FILES = 30.0, 0.05, 5
"""Growth after the warm-up that is none: glibc's heap breathes, a validation opens files. A leak
of one file or of 10 kB an utterance or step would be 500 files or 20 MB at least."""
STAGES = {
    "kd1": (
        (1, "data"),
        (2, "features"),
        (3, "tokens"),
        (4, "language model"),
        (5, "teacher"),
        (6, "teacher's outputs"),
        (7, "KD student"),
        (9, "decoding"),
        (10, "scoring"),
    ),
    "dice1": (
        (1, "data, checked audio"),
        (2, "MFCC labels, teacher"),
        (3, "k-means"),
        (4, "labels"),
        (5, "DiceHuBERT student"),
    ),
}


def write_corpus(directory: Path, prefix: str, utterances: int) -> None:
    """Utterances of 0.6 to 1 s; those with the same remainder of 100 are alike."""
    ids = [f"{prefix}{i:05d}" for i in range(utterances)]
    for i in range(min(100, utterances)):
        write_audio(directory / f"audio/{i}.wav", noise(0.6 + 0.01 * (i % 40), i))
    write_tables(
        directory,
        wav_scp=[f"{utt} audio/{i % 100}.wav" for i, utt in enumerate(ids)],
        text=[f"{utt} {WORDS[i % 7]} {WORDS[i % 5]}" for i, utt in enumerate(ids)],
        utt2spk=[f"{utt} {prefix}{i % 20:02d}" for i, utt in enumerate(ids)],
    )


def write_configs(directory: Path, utterances: int) -> None:
    """Models of the tests; a batch so large that two epochs are 2000 steps."""
    batches = {
        "batch_type": "unsorted",
        "batch_size": max(1, round(utterances * EPOCHS / STEPS)),
        "max_epoch": EPOCHS,
    }
    asr = {**tiny.asr_config("uncertainty_kd"), **batches}
    taught = tiny.asr_config("uncertainty_kd", kd_alpha=0.5, kd_beta=0.5, kd_ctc=0.5)
    heard = {**tiny_models.STUDENT, "hidden_dropout": 0.1, "layerdrop": 0.1}
    dice = {**tiny_dice.config("dice_hard"), **batches, "student_conf": heard}
    soft = [{"name": "dice_soft", "conf": {"tau": 1.0}}, {"name": "dice_feature", "weight": 0.1}]
    configs = {
        "train_asr_teacher": {**asr, "max_epoch": 1},
        "train_asr_student": {**asr, "model_conf": taught["model_conf"]},
        "train_lm_tiny": {**tiny.LM_CONFIG, **batches, "max_epoch": 1},
        "train_dice_teacher": {**dice, "max_epoch": 1},
        "train_dice_student": {**dice, "loss": soft},
        "decode": tiny.DECODE,
    }
    here = os.getcwd()
    os.chdir(directory)
    try:
        for name, config in configs.items():
            write_config(f"conf/{name}.yaml", config)
    finally:
        os.chdir(here)


def command(recipe: str, stage: int) -> list[str]:
    """The shell command of a stage."""
    python = f"{sys.executable}"
    common = ["--data_dir", "../corpus", "--nj", "2", "--python", python]
    kd1 = [
        *("--train_set", "train", "--valid_set", "dev", "--test_sets", "test"),
        *("--teachers", "t=train/dev", "--teacher_config", "conf/train_asr_teacher.yaml"),
        *("--student_config", "conf/train_asr_student.yaml", "--lm_modes", "yes"),
        *("--lm_config", "conf/train_lm_tiny.yaml", "--inference_config", "conf/decode.yaml"),
        *("--teacher_samples", "3"),
    ]
    dice1 = [
        *("--train_set", "train", "--valid_set", "dev", "--test_sets", "test"),
        *("--teacher_config", "conf/train_dice_teacher.yaml", "--mfcc_clusters", "8"),
        *("--layer", "2", "--clusters", "8", "--sample_frames", "50000"),
        *("--student_config", "conf/train_dice_student.yaml"),
    ]
    script = ROOT / f"egs2/TEMPLATE/{recipe}" / ("kd.sh" if recipe == "kd1" else "dice.sh")
    only = ["--stage", str(stage), "--stop_stage", str(stage)]
    return ["bash", str(script), *common, *(kd1 if recipe == "kd1" else dice1), *only]


def seen(work: Path, recipe: str, stage: int) -> list[memory.Process]:
    """What a stage's processes did: run now, or read where it was run before."""
    kept = work / "seen" / f"{recipe}.{stage}.json"
    if not kept.exists():
        line = command(recipe, stage)
        print(shlex.join(line[2:]), file=sys.stderr, flush=True)
        found = memory.watch(line, work / recipe, work / "seen" / f"{recipe}.{stage}.log")
        write_text(kept, json.dumps([asdict(process) for process in found]))
    return [memory.Process(**values) for values in json.loads(kept.read_text())]


def shown(processes: list[memory.Process]) -> list[tuple[str, memory.Process, memory.Growth]]:
    """Of each command that lived for some seconds: itself, and the busiest of its children."""
    found = []
    for name in dict.fromkeys(process.name for process in processes):
        same = [p for p in processes if p.name == name and p.seconds >= LEAST_S]
        main = max((p for p in same if p.main), key=lambda p: p.cpu, default=None)
        child = max((p for p in same if not p.main), key=lambda p: p.cpu, default=None)
        if main:
            found.append((name, main, memory.growth(main, child)))
        if child:
            found.append((f"{name}, child", child, memory.growth(child)))
    return found


def grew(g: memory.Growth) -> bool:
    """True where memory or open files do not stay flat.

    Memory that goes on growing does so in both halves; an import in the middle is a step.
    """
    bound = max(MORE_MB, MORE_SHARE * g.rss[0])
    start, middle, end = g.rss
    return min(middle - start, end - middle) > bound / 2 or g.files[2] > g.files[0] + MORE_FILES


def main() -> None:
    """Run and print the table; exit code 1 where something grew."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--work", type=Path, required=True, help="directory of data, models and results")
    p.add_argument("--utterances", type=int, default=10000, help="default: 10000")
    p.add_argument("--decoded", type=int, default=500, help="utterances to decode; default: 500")
    args = p.parse_args()
    work = args.work.resolve()
    if not (work / "corpus").exists():
        sizes = {"train": args.utterances, "dev": DEV, "test": args.decoded}
        for name, n in sizes.items():
            write_corpus(work / "corpus.new" / name, name, n)
        for recipe in STAGES:
            (work / recipe).mkdir(parents=True, exist_ok=True)
            write_configs(work / recipe, args.utterances)
        (work / "seen").mkdir(exist_ok=True)
        (work / "corpus.new").rename(work / "corpus")
    head = ["stage", "process", "s", "RSS MB: start", "middle", "end", "slope", "open files"]
    lines, worse = [head], []
    for recipe, stages in STAGES.items():
        for stage, title in stages:
            for what, process, g in shown(seen(work, recipe, stage)):
                lines.append(
                    [f"{recipe} {stage} {title}", what, f"{process.seconds:.0f}"]
                    + [f"{mb:.0f}" for mb in g.rss]
                    + [f"{g.slope:+.1f}", " ".join(map(str, g.files))]
                )
                worse += [f"{recipe} {stage}: {what} grew"] if grew(g) else []
    table = layout(lines, left=2)
    write_text(work / "TABLE.md", table + "\n")
    print(table)
    if worse:
        sys.exit("\n".join(worse))


if __name__ == "__main__":
    main()
