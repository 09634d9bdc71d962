"""Make the embedded corpus: synthetic speech and LM text in Kaldi-style directories.

    python local/mini_synth/make.py --out data

writes DIR/<set>/{wav.scp,text,utt2spk,phones.item,voices.json,facts.json,wav/*.wav} for every set
of the settings, DIR/lm_text/{train,dev}.txt and DIR/corpus.json. What is there already and was made
from the same settings is left as it is, so an interrupted run goes on with the set that it was at.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from espnet_dice.io.atomic import atomic_dir, write_text
from espnet_dice.io.errors import ConfigError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest
from espnet_dice.io.progress import setup_logging, track
from local.made import is_made, write_lines, write_lm_text
from local.mini_synth import config as settings
from local.mini_synth import phones
from local.mini_synth.plan import Utterance, plan_babble, plan_lm_text, plan_sets
from local.mini_synth.workers import Workers

VERSION = 3  # raise when the same settings give other files


def make_set(directory: Path, name: str, rows: list[Utterance], mark, workers, rate) -> None:
    """Record one set into ``directory``, which appears when it is whole."""
    with atomic_dir(directory) as tmp:
        (tmp / "wav").mkdir()
        jobs = [(name, u, str(tmp / "wav" / f"{u.utt}.wav")) for u in rows]
        made, spoken = {}, {}
        for utt, (samples, sha256, said) in track(workers.run(jobs), len(jobs), name):
            made[utt], spoken[utt] = [samples, sha256], said
        write_lines(tmp / "wav.scp", (f"{u.utt} wav/{u.utt}.wav" for u in rows))
        write_lines(tmp / "text", (f"{u.utt} {u.text}" for u in rows))
        write_lines(tmp / "utt2spk", (f"{u.utt} {u.voice.name}" for u in rows))
        lines = [line for u in rows for line in phones.lines(u.utt, u.voice.name, spoken[u.utt])]
        write_lines(tmp / "phones.item", [phones.HEAD, *lines])
        voices = {u.voice.name: u.voice.record() for u in rows}
        write_lines(tmp / "voices.json", [json.dumps(voices, indent=1)])
        pairs = [p for u in rows for p in zip(u.said.split(), u.text.split(), strict=True)]
        facts = {
            "utterances": len(rows),
            "voices": len(voices),
            "minutes": round(sum(n for n, _ in made.values()) / rate / 60, 3),
            "words": len(pairs),
            "different_words": len({said for said, _ in pairs}),
            "different_sentences": len({u.said for u in rows}),
            "wrong_words": sum(said != text for said, text in pairs),
            "samples_sha256": digest([made[u.utt] for u in rows]),
        }
        write_lines(tmp / "facts.json", [json.dumps(facts, indent=1)])
        mark.finish(tmp)


def take_set(directory: Path, other: Path) -> None:
    """Copy a set that is whole, without what later stages left there."""
    with atomic_dir(directory) as tmp:
        shutil.copytree(other, tmp, ignore=shutil.ignore_patterns(".checked"), dirs_exist_ok=True)


def make_corpus(
    out: str | Path,
    config: dict | None = None,
    seed: int = 0,
    jobs: int = 2,
    overwrite: bool = False,
    only: list[str] | None = None,
    like: str | Path | None = None,
) -> dict:
    """Make the sets that are not there yet.

    Args:
        out: the directory of the data directories.
        config: settings from ``config.load``; None: the defaults.
        jobs: processes; the result does not depend on it.
        overwrite: replace sets of this corpus that were made from other settings.
        only: names of the sets to make; None: all.
        like: another such directory: a set that is whole there, and of the same settings, is
            copied, which takes no time; speaking all takes half a minute.

    Returns:
        What ``corpus.json`` holds: per set the utterances, voices, minutes, words …

    Raises:
        DiceError: espeak-ng is missing, or something else is in the way.
    """
    out = Path(out)
    config = config or settings.load()
    plan = plan_sets(config, seed)
    for name in only or ():
        if name not in plan:
            raise ConfigError(f"--only {name}: no such set; there are {', '.join(plan)}")
    babble = plan_babble(config, seed)
    lm_text = plan_lm_text(config, seed)
    background = digest([u.record() for u in babble])
    todo, marks = [], {}
    for name in plan:
        if only and name not in only:
            continue
        inputs = {"plan": digest([u.record() for u in plan[name]]), "babble": background}
        held = {"version": VERSION, "seed": seed, "sample_rate": config["sample_rate"]}
        marks[name] = Fingerprint("mini_synth", held | config["sets"][name], inputs)
        if not is_made(out / name, marks[name], overwrite):
            todo.append(name)
    marks["lm_text"] = Fingerprint(
        "mini_synth lm_text", {"version": VERSION, "seed": seed}, {"text": digest(lm_text)}
    )
    lm_done = is_made(out / "lm_text", marks["lm_text"], overwrite)
    taken = [name for name in todo if like and marks[name].is_done(Path(like) / name)]
    for name in taken:
        take_set(out / name, Path(like) / name)
    if left := [name for name in todo if name not in taken]:
        with Workers(jobs, config, babble) as workers:
            workers.start()
            for name in left:
                make_set(out / name, name, plan[name], marks[name], workers, config["sample_rate"])
    if not lm_done:
        write_lm_text(out / "lm_text", lm_text, marks["lm_text"])
    facts = {
        name: json.loads((out / name / "facts.json").read_text()) for name in plan if name in marks
    }
    record = {"key": digest([m.key for m in marks.values()]), "seed": seed, "sets": facts}
    record["lm_text"] = {split: len(lines) for split, lines in lm_text.items()}
    record["settings"] = config
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    if todo or not lm_done or not (out / "corpus.json").exists():
        write_text(out / "corpus.json", text)
    else:
        print(f"{out}: made already, nothing to do")
    return record


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--out", required=True, help="directory of the data directories")
    p.add_argument("--seed", type=int, default=0, help="another corpus for each")
    p.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    p.add_argument("--config", help="YAML laid over local/mini_synth/mini_synth.yaml")
    p.add_argument("--set", action="append", metavar="KEY=VALUE", help="one setting; repeatable")
    p.add_argument("--only", nargs="+", metavar="SET", help="make only these sets")
    p.add_argument("--like", metavar="DIR", help="take from here what was made just so already")
    p.add_argument("--overwrite", action="store_true", help="replace sets of other settings")
    a = p.parse_args()
    setup_logging()
    config = settings.load(a.config, a.set)
    record = make_corpus(a.out, config, a.seed, a.jobs, a.overwrite, a.only, a.like)
    for name, f in record["sets"].items():
        print(
            f"{name:8s} {f['utterances']:5d} utterances {f['voices']:3d} voices "
            f"{f['minutes']:6.1f} min {f['words']:5d} words, {f['different_words']} different"
        )
    return 0


if __name__ == "__main__":
    cli(main)
