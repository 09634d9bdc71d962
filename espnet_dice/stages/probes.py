"""Stage 6 of DiceHuBERT: what teacher and students are worth, in minutes instead of SUPERB's week.

    python -m espnet_dice.stages.probes --dump dump/raw --train train --dev dev --test test \\
        --system teacher=exp/dice_teacher --system narrow=exp/dice_narrow_hard_seed0 …

makes ``exp/probes/<system>/<task>_seed<k>.json`` and ``speed.json``. Every system hears the same
utterances, alone, and once; the heads of all tasks and seeds share what was heard. What is there
and was made from the same model, data and settings is kept.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.audio import AudioReader
from espnet_dice.io.errors import cli
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.io.progress import setup_logging
from espnet_dice.probes.probe_corpus import TASKS, Corpus, add_settings, settings_of
from espnet_dice.probes.result import ALGORITHM, OUT, RUN, SPEED, Result, results_of
from espnet_dice.probes.systems import add_options, parse_systems
from espnet_dice.work.workers import Work, run_forked

SPEED_S = 30.0
"""Seconds of test speech on which the cost of a model is measured."""


@dataclass(frozen=True)
class Machine:
    """Where and how to compute; no figure depends on it but the CPU's own.

    Attributes:
        nj: systems at a time, one core each.
        device: of the models; the heads take the CPU.
        max_gb: disk for the frames of one system, for a while.
        trust_pickle: see :func:`espnet_dice.hubert.frozen.load`.
    """

    nj: int = 1
    device: str = "cpu"
    max_gb: float = 20.0
    trust_pickle: bool = False


def run_probes(
    systems: Mapping[str, str],
    corpus: Corpus,
    exp: Path,
    tasks: Sequence[str] = TASKS,
    seeds: Sequence[int] = (0,),
    machine: Machine | None = None,
) -> int:
    """Make the results that are not there yet.

    Args:
        systems: name → source: whatever :func:`espnet_dice.hubert.upstreams.load` takes.
        corpus: the sets.
        exp: experiments; results go to ``exp/probes``.
        tasks: of :data:`TASKS`.
        seeds: of the heads.
        machine: where to compute.

    Returns:
        How many were made, speeds not counted.

    Raises:
        DiceError: a source holds no model, or the sets do not go with a task.
    """
    from espnet_dice.hubert import upstreams

    machine = machine or Machine(nj=options.cores())
    keys = {name: upstreams.key_of(source) for name, source in systems.items()}
    wanted = {name: results_of(exp / OUT / name, keys[name], corpus, tasks, seeds) for name in keys}
    works, made = [], 0
    for name, source in systems.items():
        todo = [one for one in wanted[name] if not one.is_made()]
        if not todo:
            logging.info("probes of %s: unchanged, skipped", name)
            continue
        made += len(todo)

        def run(name=name, source=source, todo=todo):
            probe_system(name, source, corpus, todo, machine)

        works.append(Work(name, run, exp / OUT / name / "probes.log"))
    if works:
        for name in tasks:  # what is wrong with the data is told before a model is heard
            task = corpus.task(name)
            logging.info("probe %s: %s; %s", name, task.about, task.parts)
        if any(source not in upstreams.SPECTRAL for source in systems.values()):
            from espnet_dice.hubert.models import stem  # imports torch

            stem.warm_up()
        run_forked(works, machine.nj)
    measure_speed(systems, keys, corpus, exp, machine.trust_pickle)
    files = {name: {r.path.name: r.made_from.key for r in wanted[name]} for name in systems}
    run_record = {"systems": dict(systems), "results": files}
    write_json(exp / OUT / RUN, run_record)
    return made


def probe_system(
    name: str, source: str, corpus: Corpus, todo: Sequence[Result], machine: Machine
) -> None:
    """Hear the corpus through one system, train the heads, write their results."""
    import torch

    from espnet_dice.hubert import upstreams
    from espnet_dice.probes import probe_data, probes
    from espnet_dice.probes.probe_features import Features

    torch.set_num_threads(1)  # sums, and so results, must not depend on the cores of a machine
    upstream = upstreams.load(source, machine.device, machine.trust_pickle)
    tasks = {task: corpus.task(task) for task in dict.fromkeys(m.task for m in todo)}
    reader = AudioReader()
    features = Features(
        upstream,
        read=lambda utt: reader.read(utt)[0],
        samples=corpus.samples,
        whole=[u for t in tasks.values() if t.takes == "frames" for u in t.parts.all],
        pooled=[u for t in tasks.values() if t.takes == "means" for u in t.parts.all],
        statistics=probe_data.in_hash_order(corpus.utterances(corpus.names["train"])),
        crop_s=corpus.settings.sid_seconds,
        directory=todo[0].path.parent,
        limit=machine.max_gb * 1e9,
    )
    for one in todo:
        outcome = probes.probe(tasks[one.task], features, one.seed, corpus.settings.epochs or None)
        record = {
            "key": one.made_from.key,
            "system": name,
            "source": source,
            "task": one.task,
            "seed": one.seed,
            "parameters": upstream.size,
            "about": tasks[one.task].about,
            **asdict(outcome),
            "made_from": one.made_from.record,
        }
        write_json(one.path, record)
        logging.info("%s %s seed %d: %.2f %%", name, one.task, one.seed, outcome.score)


def measure_speed(
    systems: Mapping[str, str],
    keys: Mapping[str, str],
    corpus: Corpus,
    exp: Path,
    trust_pickle: bool = False,
) -> None:
    """Write each system's CPU-seconds per audio-second: all are measured in one run, or none.

    Args:
        systems: name → source.
        keys: name → key of the model.
        corpus: whose test set is heard.
        exp: experiments.
        trust_pickle: see :func:`espnet_dice.hubert.frozen.load`.
    """
    settings = {"algorithm": ALGORITHM, "seconds": SPEED_S, "systems": dict(keys)}
    made_from = Fingerprint("speed", settings, {"test": corpus.set(corpus.names["test"]).key})
    files = {name: exp / OUT / name / SPEED for name in systems}
    if all((read_json(path) or {}).get("key") == made_from.key for path in files.values()):
        return
    from espnet_dice.hubert import upstreams
    from espnet_dice.probes.probe_speed import cpu_seconds, median

    logging.info("CPU-seconds per audio-second: %d systems in turn, one thread", len(systems))
    loaded = {n: upstreams.load(s, trust_pickle=trust_pickle) for n, s in systems.items()}
    reader = AudioReader()
    waves = [reader.read(utt)[0] for utt in corpus.part("test", SPEED_S)]
    found = cpu_seconds(loaded, waves)
    for name, path in files.items():
        record = {
            "key": made_from.key,
            "cpu_s_per_audio_s": median(found[name]),
            "rounds": found[name],
            "utterances": len(waves),
            "parameters": loaded[name].size,
        }
        write_json(path, record)
        logging.info("%s: %.4f", name, record["cpu_s_per_audio_s"])


def main(argv: list[str] | None = None) -> None:
    """Probe systems: a command."""
    parser = options.parser(__doc__)
    add_options(parser)
    parser.add_argument("--train", required=True, metavar="SET", help="what heads learn from")
    parser.add_argument("--dev", required=True, metavar="SET", help="chooses the epoch")
    parser.add_argument("--test", required=True, metavar="SET", help="is scored")
    parser.add_argument("--exp", default=Path("exp"), type=Path, help="experiments")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="probes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the heads")
    parser.add_argument("--nj", type=int, default=options.cores(), help="systems at a time")
    parser.add_argument("--device", default="cpu", help="of the models; heads take the CPU")
    parser.add_argument("--max_gb", type=float, default=20.0, help="disk a system, for a while")
    add_settings(parser)
    args = parser.parse_args(argv)
    setup_logging()
    corpus = Corpus(args.dump, args.train, args.dev, args.test, settings_of(args))
    systems = parse_systems(args.system)
    machine = Machine(args.nj, args.device, args.max_gb, args.trust_pickle)
    made = run_probes(systems, corpus, args.exp, args.tasks, args.seeds, machine)
    total = len(systems) * len(args.tasks) * len(args.seeds)
    print(f"{args.exp / OUT}: {made} probes made, {total - made} unchanged")


if __name__ == "__main__":
    cli(main)
