"""Make the embedded corpus: synthetic speech and LM text in Kaldi-style directories.

    python local/mini_synth/make.py --out data

writes DIR/<set>/{wav.scp,text,utt2spk,wav/*.flac} for every set of the settings, DIR/lm_text/{train,
dev}.txt and DIR/corpus.json. A set that is there and was made from the same settings is left as it is.
"""

import argparse
import json
import multiprocessing
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from espnet_dice.io.atomic import atomic_dir, write_text
from espnet_dice.io.errors import StaleError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest
from espnet_dice.io.progress import setup_logging, track
from local.mini_synth import config as settings
from local.mini_synth.plan import Utterance, plan_babble, plan_lm_text, plan_sets

VERSION = 1  # raise when the same settings give other samples

_recorder = None  # one in each worker process
_wav_dir = None


def _start_worker(config: dict, babble: list[Utterance]) -> None:
    global _recorder
    import atexit

    from local.mini_synth.recorder import Recorder

    _recorder = Recorder(config, babble)
    atexit.register(_recorder.close)


def _record(job: tuple[str, Utterance, str]) -> tuple[str, int]:
    import soundfile

    set_name, u, path = job
    wave = _recorder.record(set_name, u)
    soundfile.write(path, wave, _recorder.sample_rate, "PCM_16", format="FLAC")
    return u.utt, len(wave)


class Workers:
    """``jobs`` processes that record; started at first use, in this process where ``jobs`` is 1."""

    def __init__(self, jobs: int, config: dict, babble: list[Utterance]):
        self.jobs, self.args, self.pool = jobs, (config, babble), None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pool:
            self.pool.terminate()
            self.pool.join()

    def run(self, jobs: list):
        """Yield (utterance, samples) for each job, in any order."""
        if self.pool is None:
            # Started before anything else so that a missing wheel is one message, not one a worker.
            from local.mini_synth.recorder import Espeak

            with Espeak():
                pass
            context = multiprocessing.get_context("spawn")
            self.pool = context.Pool(self.jobs, _start_worker, self.args)
        return self.pool.imap_unordered(_record, jobs, chunksize=8)


def make_set(directory: Path, name: str, rows: list[Utterance], mark, workers, rate) -> None:
    """Record one set into ``directory``, which appears when it is whole."""
    with atomic_dir(directory) as tmp:
        (tmp / "wav").mkdir()
        jobs = [(name, u, str(tmp / "wav" / f"{u.utt}.flac")) for u in rows]
        samples = dict(track(workers.run(jobs), len(jobs), name))
        write = lambda file, lines: (tmp / file).write_text("".join(f"{x}\n" for x in lines))
        write("wav.scp", (f"{u.utt} wav/{u.utt}.flac" for u in rows))
        write("text", (f"{u.utt} {u.text}" for u in rows))
        write("utt2spk", (f"{u.utt} {u.voice.name}" for u in rows))
        voices = {u.voice.name: u.voice.record() for u in rows}
        write("voices.json", [json.dumps(voices, indent=1)])
        total = sum(samples.values())
        facts = {"utterances": len(rows), "voices": len(voices), "minutes": total / rate / 60}
        facts["words"] = sum(len(u.text.split()) for u in rows)
        facts["vocabulary"] = len({w for u in rows for w in u.text.split()})
        facts["sentences"] = len({u.said for u in rows})
        facts["wrong_words"] = sum(
            a != b for u in rows for a, b in zip(u.said.split(), u.text.split(), strict=True)
        )
        write("facts.json", [json.dumps(facts, indent=1)])
        mark.finish(tmp)


def make_lm_text(directory: Path, lines: dict[str, list[str]], mark) -> None:
    """Write the LM's sentences into ``directory``."""
    with atomic_dir(directory) as tmp:
        for split, sentences in lines.items():
            (tmp / f"{split}.txt").write_text("".join(f"{s}\n" for s in sentences))
        mark.finish(tmp)


def is_done(directory: Path, mark: Fingerprint, overwrite: bool) -> bool:
    """True if ``directory`` is whole and made from this; False if it has to be made.

    Raises:
        StaleError: something else is there.
    """
    if mark.is_done(directory):
        return True
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    if not (directory / ".fingerprint.json").exists():
        raise StaleError(f"{directory} is there and is no part of this corpus: choose another --out")
    if not overwrite:
        raise StaleError(
            f"{directory} was made from other settings: "
            "choose another --out, or --overwrite to make it anew"
        )
    return False


def make_corpus(
    out: str | Path,
    config: dict | None = None,
    seed: int = 0,
    jobs: int = 2,
    overwrite: bool = False,
    only: list[str] | None = None,
) -> dict:
    """Make the sets that are not there yet.

    Args:
        out: the directory of the data directories.
        config: settings from ``config.load``; None: the defaults.
        jobs: processes; the result does not depend on it.
        overwrite: replace sets of this corpus that were made from other settings.
        only: names of the sets to make; None: all.

    Returns:
        What ``corpus.json`` holds: per set the utterances, voices, minutes, words …

    Raises:
        DiceError: espeak-ng is missing, or something else is in the way.
    """
    out = Path(out)
    config = config or settings.load()
    plan = plan_sets(config, seed)
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
        if not is_done(out / name, marks[name], overwrite):
            todo.append(name)
    marks["lm_text"] = Fingerprint(
        "mini_synth lm_text", {"version": VERSION, "seed": seed}, {"text": digest(lm_text)}
    )
    lm_done = is_done(out / "lm_text", marks["lm_text"], overwrite)
    with Workers(jobs, config, babble) as workers:
        for name in todo:
            rate = config["sample_rate"]
            make_set(out / name, name, plan[name], marks[name], workers, rate)
    if not lm_done:
        make_lm_text(out / "lm_text", lm_text, marks["lm_text"])
    facts = {
        name: json.loads((out / name / "facts.json").read_text())
        for name in marks
        if name != "lm_text"
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
    p.add_argument("--overwrite", action="store_true", help="replace sets of other settings")
    a = p.parse_args()
    setup_logging()
    record = make_corpus(
        a.out, settings.load(a.config, a.set), a.seed, a.jobs, a.overwrite, a.only
    )
    for name, f in record["sets"].items():
        print(
            f"{name:8s} {f['utterances']:5d} utterances {f['voices']:3d} voices "
            f"{f['minutes']:6.1f} min {f['words']:5d} words, {f['vocabulary']} different"
        )
    return 0


if __name__ == "__main__":
    cli(main)
