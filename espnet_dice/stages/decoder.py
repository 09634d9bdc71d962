"""The inside of a decoding worker: one queue of utterances, one result line each."""

import difflib
import json
import logging
import multiprocessing as mp
import os
import sys
import time
import warnings
from pathlib import Path

from tqdm import tqdm

from espnet_dice import compat
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.progress import LOG_EVERY_S
from espnet_dice.stages import trainer
from espnet_dice.stages.monitor import clock

# Speech2Text's defaults suit no one: they are spelt out here, and a config may change them.
BEAM = {
    "beam_size": 10,
    "ctc_weight": 0.3,
    "lm_weight": 0.0,
    "penalty": 0.0,
    "maxlenratio": 0.0,
    "minlenratio": 0.0,
    "normalize_length": False,
}


def check_options(conf: dict, path: Path) -> dict:
    """Beam search options with defaults filled in.

    Raises:
        ConfigError: an unknown key or a value of another type.
    """
    for key, value in conf.items():
        if key not in BEAM:
            near = difflib.get_close_matches(key, BEAM, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(BEAM)}"
            raise ConfigError(f"{path}: unknown key {key!r}{hint}")
        wanted = type(BEAM[key])
        fits = isinstance(value, bool) if wanted is bool else isinstance(value, (int, wanted))
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{path}: {key} must be a {wanted.__name__}, not {value!r}")
    merged = BEAM | conf
    return {k: type(BEAM[k])(v) for k, v in merged.items()}


def read_results(parts: Path, known: dict | None = None) -> dict[str, dict]:
    """utterance → result from the workers' parts; a line that a kill cut short is left out."""
    results = {}
    for part in sorted(parts.glob("*.jsonl")) if parts.exists() else ():
        for line in part.read_bytes().split(b"\n")[:-1]:
            try:
                result = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short by a kill, and then appended to
            if known is None or result["utt"] in known:
                results[result["utt"]] = result
    return results


class Queue:
    """What is left to decode, shared by forked workers through one counter.

    Args:
        decodings: in the order in which they are worked on.
    """

    def __init__(self, decodings: list):
        self.decodings = decodings
        self.left: list[tuple[int, str]] = []
        for k, d in enumerate(decodings):
            have = read_results(d.out / "parts")
            lengths = d.dump.lengths
            order = sorted(lengths, key=lambda u, n=lengths: (-n[u], u))
            self.left += [(k, u) for u in order if u not in have]
        context = mp.get_context("fork")
        self.taken = context.Value("q", 0)
        self.done = context.Value("q", 0)
        self.bar: tqdm | None = None
        self.start = self.last = time.monotonic()

    def take(self) -> tuple[int, str] | None:
        """The next (decoding, utterance), or None when all are taken."""
        with self.taken.get_lock():
            n = self.taken.value
            self.taken.value += 1
        return self.left[n] if n < len(self.left) else None

    def watch(self, running: list[str]) -> None:
        """Show progress; called now and then by the parent."""
        total, done, now = len(self.left), self.done.value, time.monotonic()
        if sys.stderr.isatty():
            if self.bar is None:
                tqdm.monitor_interval = 0  # its thread would be copied into later forks
                self.bar = tqdm(total=total, desc="decoding", unit="utt", dynamic_ncols=True)
            self.bar.update(done - self.bar.n)
            if not running:
                self.bar.close()
        elif now - self.last >= LOG_EVERY_S and done:
            self.last = now
            left = clock((total - done) * (now - self.start) / done)
            logging.info("decoding: %d/%d utterances, %s left", done, total, left)


def decode_all(queue: Queue, worker: int, threads: int, device: str) -> None:
    """A worker's life: take utterances until none is left.

    Args:
        queue: shared with the other workers.
        worker: its number, names its part files.
        threads: CPU threads.
        device: ``cpu`` or ``cuda:N``.
    """
    import torch

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger().setLevel(logging.WARNING)  # ESPnet tells a page about each utterance
    at, recogniser, loader, part = None, None, None, None
    key = None
    while (item := queue.take()) is not None:
        index, utt = item
        d = queue.decodings[index]
        if index != at:
            if part is not None:
                part.close()
            at = index
            wanted = (d.system.directory, d.lm and d.lm.directory, json.dumps(d.conf))
            if wanted != key:
                key, recogniser = wanted, build(d, device)
            loader = Features(d.dump)
            (d.out / "parts").mkdir(exist_ok=True)
            part = open(d.out / "parts" / f"{worker}.jsonl", "ab")
            if part.tell():
                part.write(b"\n")  # what a kill cut short must not swallow the next line
        result = {"utt": utt, **decode_one(recogniser, loader(utt))}
        part.write(json.dumps(result).encode() + b"\n")
        part.flush()
        with queue.done.get_lock():
            queue.done.value += 1
    if part is not None:
        os.fsync(part.fileno())
        part.close()


def build(d, device: str = "cpu"):
    """ESPnet's Speech2Text for a decoding."""
    lm = {}
    if d.lm is not None:
        lm = {"lm_train_config": str(d.lm.config), "lm_file": str(d.lm.model_file)}
    return trainer.inference_class()(
        asr_train_config=str(d.system.config),
        asr_model_file=str(d.system.model_file),
        device=device,
        batch_size=1,
        nbest=1,
        **lm,
        **d.conf,
    )


def decode_one(recogniser, speech) -> dict:
    """Decode one utterance.

    Args:
        recogniser: ESPnet's Speech2Text.
        speech: (T, F) features or (N,) samples.

    Returns:
        text, token and score of the best hypothesis (an empty one where the input is too short
        for the encoder), and the CPU seconds used.
    """
    import torch

    too_short = compat.moved_module("nets.pytorch_backend.transformer.subsampling").TooShortUttError
    start = time.process_time()
    try:
        with torch.inference_mode():
            (text, token, _, hypothesis), *_ = recogniser(speech)
        score = float(hypothesis.score)
    except too_short as err:
        logging.warning("too short, empty result: %s", err)
        text, token, score = "", [], 0.0
    return {
        "text": text or "",
        "token": " ".join(token),
        "score": f"{score:.5f}",
        "cpu_s": round(time.process_time() - start, 4),
    }


class Features:
    """Random access to a set's features or waves by utterance."""

    def __init__(self, dump):
        import kaldiio

        self.dump = dump
        path = dump.speech.split(",")[0]
        if dump.dim:
            self.table = kaldiio.load_scp(path)
        else:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            self.table = dict(line.split(maxsplit=1) for line in lines)

    def __call__(self, utt: str):
        """(T, F) float32 features, or (N,) float32 samples in [-1, 1]."""
        import numpy as np

        if utt not in self.table:
            raise DataError(f"{self.dump.path}: {utt} has no features: run stage 2 again")
        if self.dump.dim:
            return np.array(self.table[utt], dtype=np.float32)
        import soundfile

        return soundfile.read(self.table[utt], dtype="float32")[0]
