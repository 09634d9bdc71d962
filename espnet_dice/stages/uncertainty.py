"""Stage 12: how sure teachers and students are of each token of the test sets.

    python -m espnet_dice.stages.uncertainty --systems exp/asr_a exp/asr_b \\
        --sets dump/fbank_pitch/s_test --token_list data/token_list/char31

writes ``exp/asr_<tag>/uncertainty/<set>/tokens.npz`` (see
:mod:`espnet_dice.results.token_uncertainty`), and with ``--noise_snr 10`` also ``…/<set>_snr10``,
of the same speech with white noise. What each measure is worth stands in ``exp/RESULTS.md``; the
report draws and judges them.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_dice.decoding.noise import noisy_inputs
from espnet_dice.io import fingerprint, options, texts
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import ConfigError, DataError, cli
from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.io.json_files import read_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import experiment, feature_dir, tokens, transcripts
from espnet_dice.results import (
    recognisers,
    token_uncertainty,
    uncertainty_eval,
    uncertainty_table,
)
from espnet_dice.results.table import MARKDOWN
from espnet_dice.results.token_uncertainty import HYP, OUT, REF
from espnet_dice.training import trainer
from espnet_dice.work.workers import Work, run_forked

VERSION = 2  # raise when the same model and speech give other numbers
SEED = 0


@dataclass(frozen=True)
class Asked:
    """One recogniser on one set, clean or noisy.

    Attributes:
        system: the recogniser.
        dump: the set.
        token_key: of the token list.
        n_samples: noise draws in p̂.
        snr: in dB; None is the speech as it is.
        hypothesis: decoding without a language model, of clean speech, if there is one.
    """

    system: experiment.Experiment
    dump: feature_dir.FeatureDir
    token_key: str
    n_samples: int
    snr: float | None = None
    hypothesis: Path | None = None

    @property
    def out(self) -> Path:
        """Where the result goes."""
        noise = "" if self.snr is None else f"_snr{self.snr:g}"
        return self.system.directory / OUT / f"{self.dump.name}{noise}"

    @property
    def fingerprint(self) -> Fingerprint:
        """What the result depends on."""
        inputs = {"model": self.system.sha256, "data": self.dump.key, "tokens": self.token_key}
        if self.hypothesis:
            inputs["hypothesis"] = key_of(self.hypothesis, "stage 9 (decoding)")
        settings = {"version": VERSION, "samples": self.n_samples, "noise_snr": self.snr}
        return Fingerprint(OUT, settings, inputs)


def hypothesis_of(system: experiment.Experiment, name: str) -> Path | None:
    """A finished decoding of a set by this model without a language model; the first by name."""
    for path in sorted(system.directory.glob(f"decode_*/{name}/meta.json")):
        meta, record = read_json(path), fingerprint.read(path.parent) or {}
        if meta["lm"] is None and meta["model"] == system.sha256 and record.get("done"):
            return path.parent
    return None


def plan(
    systems: list[Path],
    sets: list[Path],
    token_list: Path,
    n_samples: int = 50,
    snrs: list[float] | None = None,
) -> list[Asked]:
    """Every system on every set, clean and at every signal-to-noise ratio.

    Raises:
        StaleError: a system, a set or the token list is missing or unfinished.
        ConfigError: a number is out of range.
    """
    if n_samples < 0:
        raise ConfigError(f"--samples must be ≥ 0, not {n_samples}")
    key = tokens.key_of(token_list)
    loaded = [experiment.load(s, "stage 5 or 7") for s in systems]
    asked = []
    for dump in map(feature_dir.load, sets):
        for snr in (None, *(snrs or ())):
            for system in loaded:
                # of clean speech: what was heard through noise is not decoded
                said = hypothesis_of(system, dump.name) if snr is None else None
                asked.append(Asked(system, dump, key, n_samples, snr, said))
    return asked


def run(
    asked: list[Asked],
    token_list: Path,
    data: Path = Path("data"),
    nj: int | None = None,
    device: str = "cpu",
    allow_pipes: bool = False,
) -> int:
    """Ask what was not asked yet.

    Args:
        asked: what to ask.
        token_list: directory of the token list.
        data: directory of the data directories, needed for noise only.
        nj: processes.
        device: ``cpu``, or ``cuda``, then in this process.
        allow_pipes: run wav.scp entries that are shell commands, for noise.

    Returns:
        How many were asked.

    Raises:
        DataError: speech or a transcript cannot be read.
    """
    pending = [a for a in asked if not a.fingerprint.is_done(a.out)]
    if not pending:
        return 0
    if device == "cpu":
        trainer.task_class("asr")  # once, before the fork
    noisy: dict[tuple[Path, float], dict[str, np.ndarray]] = {}
    for a in pending:
        if a.snr is not None and (a.dump.path, a.snr) not in noisy:
            logging.info("%s: adding noise, %g dB", a.dump.name, a.snr)
            noisy[a.dump.path, a.snr] = noisy_inputs(a.dump, data, a.snr, allow_pipes)
    works = [
        Work(
            f"{a.system.name} on {a.out.name}",
            lambda a=a: ask(a, token_list, noisy.get((a.dump.path, a.snr)), device),
            a.system.directory / f"{OUT}.log",
        )
        for a in pending
    ]
    if device == "cpu":
        run_forked(works, nj or options.cores())
    else:
        for work in works:
            work.run()
    return len(pending)


def ask(
    a: Asked, token_list: Path, noisy: dict[str, np.ndarray] | None = None, device: str = "cpu"
) -> None:
    """Ask one recogniser, and write what it says.

    Args:
        a: what to ask.
        token_list: directory of the token list.
        noisy: inputs of the noisy set.
        device: where the model runs.
    """
    import torch

    from espnet_dice.kd import teachers

    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)  # ESPnet tells of every parameter
    entries = tokens.entries(token_list)
    model = teachers.load(a.system.directory, a.system.model, entries, device)
    lengths = {u: len(x) for u, x in noisy.items()} if noisy else a.dump.lengths
    arrays = token_uncertainty.ask(
        model,
        entries,
        noisy.__getitem__ if noisy else feature_dir.Inputs(a.dump),
        lengths,
        texts_of(a, token_list),
        a.n_samples,
        SEED,
        device,
    )
    if a.out.exists():
        shutil.rmtree(a.out)
    a.out.mkdir(parents=True)
    with atomic_file(a.out / token_uncertainty.FILE, "wb") as f:
        np.savez_compressed(f, **arrays)
    a.fingerprint.finish(a.out)


def texts_of(a: Asked, token_list: Path) -> dict[str, dict[str, list[str]]]:
    """The passes' texts as tokens.

    Raises:
        DataError: an utterance has no transcript, or no result.
    """
    known = tokens.load(token_list)
    reference = transcripts.check_text(a.dump.text, known, transcripts.Unseen())
    written = {REF: {utt: known.written(text) for utt, text in reference.items()}}
    if a.hypothesis:
        decoded = texts.table(a.hypothesis / "token", "decode again")
        written[HYP] = {utt: said.split() for utt, said in decoded.items()}
    for which, said in written.items():
        missing = sorted(set(a.dump.lengths) - set(said))
        if missing:
            what = "transcript" if which == REF else f"result in {a.hypothesis}"
            raise DataError(f"{a.dump.path}: {missing[0]} has no {what}")
    return written


def main(argv: list[str] | None = None) -> None:
    """Ask: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--systems", required=True, type=Path, nargs="+", help="exp/asr_<tag> …")
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="dump/<type>/<set> …")
    parser.add_argument("--token_list", required=True, type=Path, help="token list directory")
    parser.add_argument("--samples", type=int, default=50, help="noise draws in p̂; 0: none")
    parser.add_argument(
        "--noise_snr", type=float, nargs="*", default=[], metavar="DB",
        help="also with white noise at these signal-to-noise ratios, in dB",
    )  # fmt: skip
    parser.add_argument("--data", default=Path("data"), type=Path, help="audio, for noise")
    parser.add_argument(
        "--allow_pipes", type=options.true_false, default=False, metavar="BOOL",
        help="run wav.scp entries that are shell commands",
    )  # fmt: skip
    parser.add_argument("--nj", type=int, default=options.cores(), help="processes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    setup_logging()
    asked = plan(args.systems, args.sets, args.token_list, args.samples, args.noise_snr)
    n = run(asked, args.token_list, args.data, args.nj, args.device, args.allow_pipes)
    for exp in dict.fromkeys(system.parent for system in args.systems):
        if (exp / MARKDOWN).is_file():
            uncertainty_table.write(exp, uncertainty_eval.evaluate(recognisers.read(exp), 0))
    print(f"{n} asked, {len(asked) - n} unchanged")


if __name__ == "__main__":
    cli(main)
