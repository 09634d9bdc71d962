"""Stages 6 and 9: decode systems, with and without a language model, in parallel.

    python -m espnet_dice.stages.decode --config conf/decode.yaml --systems exp/asr_a exp/asr_b \\
        --sets dump/fbank_pitch/s_test --lm exp/lm_x --lm_modes no yes

writes ``exp/asr_<tag>/decode_<name>[_<lm>]/<set>/{text,token,score}`` as ESPnet does. ESPnet is
imported once; forked workers take batches of utterances, longest first, from one queue over all
systems; a result never depends on their number. A killed run goes on with what is missing.

With ``--lm_weights 0 0.1 0.3 0.5 --dev dump/fbank_pitch/s_dev`` each system is first decoded on
that set with every weight, below ``exp/asr_<tag>/lm_weight``, and then with the one that made the
fewest word errors there.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_dice.decoding.decode_queue import Queue, read_results
from espnet_dice.decoding.decoder import check_options, decode_all
from espnet_dice.io import checksums, options
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import ConfigError, DiceError, cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import experiment, feature_dir
from espnet_dice.records.configs import read_config, split_args, value_in
from espnet_dice.results import lm_weight
from espnet_dice.training import trainer
from espnet_dice.work.workers import Work, run_forked

META, PARTS = "meta.json", "parts"
TUNING = "lm_weight"


@dataclass(frozen=True)
class Decoding:
    """One system on one set, with or without a language model.

    Attributes:
        system: the recogniser.
        dump: the set.
        lm: the language model, or None.
        conf: beam search options.
        out: where the result goes.
        tuned_on: name of the set that its weight of the language model was chosen on, if it was.
    """

    system: experiment.Experiment
    dump: feature_dir.FeatureDir
    lm: experiment.Experiment | None
    conf: dict
    out: Path
    tuned_on: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        lm = f" + {self.lm.name}" if self.lm else ""
        return f"{self.system.name} on {self.dump.name}{lm}"

    @property
    def fingerprint(self) -> Fingerprint:
        """What the result depends on; the number of workers does not belong to it."""
        inputs = {"model": self.system.sha256, "data": self.dump.key}
        if self.lm:
            inputs["lm"] = self.lm.sha256
        return Fingerprint("decode", self.conf, inputs)


def plan(
    systems: list[Path],
    sets: list[Path],
    lm: Path | None,
    lm_modes: list[bool],
    config: Path,
    extra: str = "",
    tag: str = "",
) -> list[Decoding]:
    """Every system on every set in every mode.

    Args:
        systems: experiments.
        sets: features.
        lm: experiment of the language model, if any.
        lm_modes: without it, with it.
        config: YAML of beam search options.
        extra: options that win over it.
        tag: names the results ``decode_<tag>_…``; empty: config and options do.

    Raises:
        ConfigError: a key of the decoding config does not exist; a mode needs a missing LM.
        StaleError: a system, set or LM is missing or unfinished.
    """
    given = options_of(extra)
    conf = check_options(read_config(config) | given, config)
    tag = tag or config.stem + "".join(f"_{key}{value}" for key, value in given.items())
    name = f"decode_{tag}".replace("decode_decode", "decode", 1)
    if "/" in tag:
        raise ConfigError(f"--tag {tag!r} names a directory: letters, digits and ._=- only")
    loaded = [experiment.load(s, "stage 5 or 7") for s in systems]
    dumped = [feature_dir.load(s) for s in sets]
    model = experiment.load(lm, "stage 4 (language model)") if lm and any(lm_modes) else None
    decodings = []
    for system in loaded:
        for with_lm in lm_modes:
            if with_lm and model is None:
                raise ConfigError("decoding with a language model needs --lm")
            used = dict(conf)
            tag = f"{name}_{model.name}" if with_lm else f"{name}_no_lm"
            if not with_lm:
                used["lm_weight"] = 0.0
            for dump in dumped:
                out = system.directory / tag / dump.name
                decodings.append(Decoding(system, dump, model if with_lm else None, used, out))
    return decodings


def options_of(extra: str) -> dict:
    """Beam search options given as text.

    Raises:
        ConfigError: one has no value, or several.
    """
    found = {}
    for key, values in split_args(extra):
        if len(values) != 1:
            raise ConfigError(f"--args {extra}: --{key} needs one value")
        found[key] = value_in(key, values[0])
    return found


def run(decodings: list[Decoding], nj: int | None = None, ngpu: int = 0) -> int:
    """Decode what is not there yet.

    Args:
        decodings: what to decode.
        nj: workers; default one a core, with GPUs one a GPU.
        ngpu: GPUs; workers share them in turn.

    Returns:
        How many were decoded.
    """
    pending = [d for d in decodings if not d.fingerprint.is_done(d.out)]
    for dump in {d.dump.path for d in pending}:
        checksums.verify(dump)
    if pending and not ngpu:
        # once, before the fork; with GPUs each worker for itself: the import starts CUDA, which
        # does not survive a fork
        trainer.inference_class()
    for d in decodings:
        if d not in pending:
            logging.info("%s: unchanged, skipped", d.name)
    if not pending:
        return 0
    for d in pending:
        if not d.fingerprint.is_same(d.out):
            if d.out.exists():
                logging.info("%s: %s; decoded again", d.out, d.fingerprint.why(d.out))
                shutil.rmtree(d.out)
            d.out.mkdir(parents=True)
            d.fingerprint.begin(d.out)
    queue = Queue(pending)
    workers = max(1, min(nj or (ngpu or options.cores()), len(queue.left)))
    threads = max(1, options.cores() // workers)
    logging.info(
        "decoding %d sets of utterances, %d utterances left, %d workers",
        len(pending),
        queue.total,
        workers,
    )
    works = [
        Work(
            f"decoding worker {k}",
            lambda k=k: decode_all(queue, k, threads, f"cuda:{k % ngpu}" if ngpu else "cpu"),
            pending[0].system.directory / f"decode.{k}.log",
        )
        for k in range(workers)
    ]
    run_forked(works, workers, queue.watch)
    for d in pending:
        finish(d)
    return len(pending)


def tune(
    decodings: list[Decoding], dev: Path, weights: Sequence[float], nj: int | None, ngpu: int = 0
) -> list[Decoding]:
    """Give every decoding with a language model the weight that is best for its system on ``dev``.

    All weights are tried for every system; of equal ones the smallest is taken.

    Args:
        decodings: as :func:`plan` made them; those without a language model stay as they are.
        dev: features and transcripts of a set that is no test set.
        weights: to try.
        nj, ngpu: see :func:`run`.

    Raises:
        ConfigError: a weight is out of range.
    """
    dump = feature_dir.load(dev)
    tried: dict[Path, dict[float, Decoding]] = {}
    for d in decodings:
        if d.lm:
            confs = [
                check_options({**d.conf, "lm_weight": w}, Path("--lm_weights")) for w in weights
            ]
            tried[_place(d)] = {
                (w := conf["lm_weight"]): replace(
                    d, dump=dump, conf=conf, out=_place(d) / f"{w:g}" / dump.name
                )
                for conf in confs
            }
    run([d for some in tried.values() for d in some.values()], nj, ngpu)
    chosen = {
        place: lm_weight.choose({w: d.out / "text" for w, d in some.items()}, dump.text, place)
        for place, some in tried.items()
    }
    return [
        replace(d, conf={**d.conf, "lm_weight": chosen[_place(d)]}, tuned_on=dump.name)
        if d.lm
        else d
        for d in decodings
    ]


def _place(d: Decoding) -> Path:
    """Where the weights of a system and a language model are tried."""
    return d.system.directory / TUNING / d.out.parent.name


def finish(d: Decoding) -> None:
    """Merge the workers' parts into ESPnet's files, in the order of the set, and close the result.

    Raises:
        DiceError: an utterance is missing.
    """
    results = read_results(d.out / PARTS, d.dump.lengths)
    lost = [utt for utt in d.dump.lengths if utt not in results]
    if lost:
        raise DiceError(
            f"{d.out}: {len(lost)} utterances were not decoded, {lost[0]} for one: run the same "
            "command again, which goes on with them"
        )
    for kind in ("text", "token", "score"):
        with atomic_file(d.out / kind) as f:
            f.writelines(f"{u} {results[u][kind]}".rstrip() + "\n" for u in d.dump.lengths)
    audio_s = sum(d.dump.lengths.values()) / d.dump.per_second
    cpu_s = sum(r["cpu_s"] for r in results.values())
    meta = {
        "system": d.system.name.removeprefix("asr_"),
        "set": d.dump.name,
        "lm": d.lm.name.removeprefix("lm_") if d.lm else None,
        "reference": str(d.dump.text),
        "data": d.dump.key,
        "model": d.system.sha256,
        "decode": d.conf,
        "tuned_on": d.tuned_on,
        "parameters": d.system.parameters,
        "seed": d.system.seed,
        "utterances": len(results),
        "audio_s": round(audio_s, 2),
        "cpu_s_per_audio_s": round(cpu_s / audio_s, 4),
    }
    write_json(d.out / META, meta)
    shutil.rmtree(d.out / PARTS)
    d.fingerprint.finish(d.out)
    logging.info("%s: %.3f CPU-s per audio-s", d.name, meta["cpu_s_per_audio_s"])


def main(argv: list[str] | None = None) -> None:
    """Decode: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("--config", required=True, type=Path, help="beam search options")
    parser.add_argument("--args", default="", help="beam search options that win over the config")
    parser.add_argument("--tag", default="", help="names the results; else config and --args do")
    parser.add_argument("--systems", required=True, type=Path, nargs="+", help="exp/asr_<tag> …")
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="dump/<type>/<set> …")
    parser.add_argument("--lm", type=Path, default=None, help="exp/lm_<tag>")
    parser.add_argument(
        "--lm_modes",
        type=options.true_false,
        nargs="+",
        default=[False],
        help="without the LM (no), with it (yes), or both",
    )
    parser.add_argument(
        "--lm_weights", type=float, nargs="*", default=[],
        help="weights to try on --dev; none: lm_weight of the config",
    )  # fmt: skip
    parser.add_argument("--dev", type=Path, help="dump/<type>/<set> to choose the weight on")
    parser.add_argument("--nj", type=int, default=None, help="workers (cores)")
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs")
    args = parser.parse_args(argv)
    setup_logging()
    decodings = plan(
        args.systems, args.sets, args.lm, args.lm_modes, args.config, args.args, args.tag
    )
    if args.lm_weights and any(args.lm_modes):
        if args.dev is None:
            raise ConfigError("--lm_weights needs --dev, a set to choose the weight on")
        decodings = tune(decodings, args.dev, args.lm_weights, args.nj, args.ngpu)
    n = run(decodings, args.nj, args.ngpu)
    print(f"{n} decoded, {len(decodings) - n} unchanged")


if __name__ == "__main__":
    cli(main)
