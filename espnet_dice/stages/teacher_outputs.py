"""Stage 6: what each teacher says of the student's transcripts, written once as arks.

    python -m espnet_dice.stages.teacher_outputs --teacher a=exp/asr_a --teacher b=exp/asr_b \\
        --dump dump/fbank_pitch --sets s_train s_dev --token_list data/token_list/char31

makes ``exp/teacher_outputs/<teacher>/<set>/teacher.scp`` (see :mod:`espnet_dice.kd.cache` for the
rows and columns) and, for KD on the CTC branch, ``ctc.scp``. A cache is keyed to the features and
transcripts, the token list and the teacher's parameters.
"""

import logging
import zlib
from pathlib import Path

import numpy as np

from espnet_dice.io import options
from espnet_dice.io.arks import ArkReader, write_ark_scp
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.fingerprint import Fingerprint, key_of
from espnet_dice.io.progress import setup_logging, track
from espnet_dice.kd import cache
from espnet_dice.stages import dumps, experiment, tokens, trainer
from espnet_dice.stages.teaching import parse_teachers
from espnet_dice.stages.workers import Work, run_forked


def fingerprint_of(
    dump: dumps.Dump, token_key: str, teacher: experiment.Experiment, settings: dict
) -> Fingerprint:
    """What one cache directory is made from."""
    inputs = {"data": dump.key, "tokens": token_key, "teacher": teacher.sha256}
    return Fingerprint(cache.STAGE, settings, inputs)


def make_outputs(
    teachers: dict[str, Path],
    sets: list[dumps.Dump],
    token_list: Path,
    out: Path,
    n_samples: int = 50,
    with_ctc: bool = False,
    seed: int = 0,
    batch_size: int = 16,
    nj: int | None = None,
) -> int:
    """Write the outputs of every teacher for every set that are not there yet.

    Args:
        teachers: name → experiment directory.
        sets: features and transcripts.
        token_list: the student's; a teacher with another one is refused.
        out: where ``<teacher>/<set>`` goes.
        n_samples: noise draws in p̂ (0: log softmax of the logits).
        with_ctc: also the CTC branch's log posteriors.
        seed: of the noise.
        batch_size: utterances at a time.
        nj: processes.

    Returns:
        How many directories were written.
    """
    token_key = key_of(token_list, "stage 3 (tokens)")
    settings = {"n_samples": n_samples, "ctc": with_ctc, "seed": seed}
    works = []
    for name, exp in teachers.items():
        teacher = experiment.load(exp, "stage 5 (teachers)")
        for dump in sets:
            target = out / name / dump.name
            made_from = fingerprint_of(dump, token_key, teacher, settings)
            if made_from.is_done(target):
                logging.info("teacher outputs %s/%s: unchanged, skipped", name, dump.name)
                continue
            logging.info("teacher outputs %s/%s: %s", name, dump.name, made_from.why(target))

            def run(teacher=teacher, dump=dump, target=target, made_from=made_from):
                write_outputs(teacher, dump, token_list, target, made_from, batch_size)

            works.append(Work(f"{name}/{dump.name}", run, out / name / f"{dump.name}.log"))
    if works:
        trainer.task_class("asr")  # costs 12 s: once, before the children are forked
        run_forked(works, nj or options.cores())
    return len(works)


def write_outputs(
    teacher: experiment.Experiment,
    dump: dumps.Dump,
    token_list: Path,
    out: Path,
    made_from: Fingerprint,
    batch_size: int = 16,
) -> None:
    """Run one teacher over one set and write ``out`` in one step."""
    import torch

    from espnet_dice.kd import teachers

    torch.set_num_threads(1)
    setup_logging()
    entries = (token_list / tokens.LIST).read_text(encoding="utf-8").splitlines()
    model = teachers.load(teacher.directory, teacher.model, entries)
    settings = made_from.record["settings"]
    batches = _batches(dump, token_list, entries, batch_size)
    said, ctc = {}, {}
    for utt_ids, speech, lengths, text, text_lengths in track(
        batches, len(batches), f"{teacher.name} on {dump.name}", "batch"
    ):
        # the noise of a batch depends on its utterances alone, not on what came before
        generator = torch.Generator().manual_seed(_seed_of(settings["seed"], utt_ids[0]))
        found = teachers.targets(
            model,
            speech,
            lengths,
            text,
            text_lengths,
            settings["n_samples"],
            settings["ctc"],
            generator,
        )
        for b, utt in enumerate(utt_ids):
            n = int(text_lengths[b])
            ids = np.append(text[b, :n].numpy(), model.eos)
            var = None if found.variances is None else found.variances[b, : n + 1].numpy()
            said[utt] = cache.pack(found.log_probs[b, : n + 1].numpy(), var, ids)
            if settings["ctc"]:
                frames = int(found.ctc_lengths[b])
                ctc[utt] = found.ctc_log_probs[b, :frames].numpy()
    with atomic_dir(out) as tmp:
        for stem, matrices in ((cache.DECODER, said), (cache.CTC, ctc)):
            if matrices:
                ark = f"{stem}.ark"
                write_ark_scp(sorted(matrices.items()), tmp / ark, tmp / f"{stem}.scp", out / ark)
        made_from.finish(tmp)
    logging.info("%s: %s", out, describe(said, len(entries)))


def describe(said: dict[str, np.ndarray], vocab_size: int) -> str:
    """How sure a teacher is: tokens, mean p̂ of the reference, mean entropy, mean variance."""
    rows = np.concatenate(list(said.values())).astype(np.float64)
    log_probs, ids = rows[:, :vocab_size], rows[:, -1].astype(int)
    right = np.exp(log_probs[np.arange(len(ids)), ids]).mean()
    entropy = -(np.exp(log_probs) * log_probs).sum(1).mean()
    line = f"{len(ids)} tokens, p(reference) {right:.3f}, entropy {entropy:.3f} nats"
    if rows.shape[1] > vocab_size + 1:
        line += f", variance {rows[:, vocab_size:-1].mean():.3f}"
    return line


def _seed_of(seed: int, utt: str) -> int:
    return (seed << 32) + zlib.crc32(utt.encode())


def _batches(
    dump: dumps.Dump, token_list: Path, entries: list[str], batch_size: int
) -> "_Batches":
    """Batches of utterances of like length."""
    import sentencepiece as spm

    model = spm.SentencePieceProcessor(model_file=str(token_list / tokens.MODEL))
    ids = {token: i for i, token in enumerate(entries)}
    text = tokens.check_text(dump.text)
    missing = sorted(set(text) ^ set(dump.lengths))
    if missing:
        raise DataError(f"{dump.path}: {missing[0]} is only in one of text and features")
    order = sorted(text, key=lambda utt: (dump.lengths[utt], utt))
    encoded = {utt: [ids[p] for p in model.encode(text[utt], out_type=str)] for utt in order}
    return _Batches(dump, order, encoded, batch_size)


class _Batches:
    """Ids, speech, its lengths, token ids, their lengths; speech is read batch by batch."""

    def __init__(self, dump, order, encoded, batch_size):
        self.dump = dump
        self.encoded = encoded
        self.parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self):
        import torch

        pad = torch.nn.utils.rnn.pad_sequence
        read = self._reader()
        for utts in self.parts:
            speech = [torch.as_tensor(np.array(read(utt))) for utt in utts]
            text = [torch.tensor(self.encoded[utt]) for utt in utts]
            yield (
                utts,
                pad(speech, batch_first=True),
                torch.tensor([len(s) for s in speech]),
                pad(text, batch_first=True, padding_value=-1),
                torch.tensor([len(t) for t in text]),
            )

    def _reader(self):
        if self.dump.dim:
            return ArkReader(self.dump.path / "feats.scp").__getitem__
        import soundfile

        lines = (self.dump.path / "wav.scp").read_text(encoding="utf-8").splitlines()
        paths = dict(line.split(maxsplit=1) for line in lines)
        return lambda utt: soundfile.read(paths[utt], dtype="float32")[0]


def main(argv: list[str] | None = None) -> None:
    """Write teacher outputs: a command."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--teacher", action="append", required=True, metavar="NAME=EXPDIR", help="repeatable"
    )
    parser.add_argument("--dump", required=True, type=Path, help="dump/<feats_type>")
    parser.add_argument("--sets", required=True, nargs="+", help="names of sets below --dump")
    parser.add_argument("--token_list", required=True, type=Path, help="token list directory")
    parser.add_argument("--out", default=Path("exp/teacher_outputs"), type=Path, help="caches")
    parser.add_argument("--samples", type=int, default=50, help="noise draws; 0: none")
    parser.add_argument("--ctc", type=options.true_false, default=False, help="CTC branch too")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at a time")
    parser.add_argument("--nj", type=int, default=None, help="processes (cores)")
    args = parser.parse_args(argv)
    setup_logging()
    sets = [dumps.load(args.dump / name) for name in args.sets]
    made = make_outputs(
        parse_teachers(args.teacher),
        sets,
        args.token_list,
        args.out,
        args.samples,
        args.ctc,
        args.seed,
        args.batch_size,
        args.nj,
    )
    print(f"{args.out}: {made} made, {len(args.teacher) * len(sets) - made} unchanged")


if __name__ == "__main__":
    cli(main)
