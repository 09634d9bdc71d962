"""Speech to text, or to HuBERT's hidden states, with the model beside this file.

It needs numpy, onnxruntime and the files beside it, nothing else:

    python infer.py speech.wav                              # the text, by greedy CTC
    python infer.py speech.wav --beam 8 --lm words.arpa     # by prefix beam search
    arecord -q -f S16_LE -r 16000 -d 5 -t raw | python infer.py -
    python infer.py speech.wav --output hidden.npy          # a HuBERT student's last hidden state

or in Python, from a file, an array, or chunks of samples in any iterable:

    infer.Model().text("speech.wav")

The model hears an utterance as a whole: chunks are collected, and the text comes at their end.
"""

import argparse
import json
import math
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NEVER = -math.inf
SPACE, UNKNOWN = "▁", "<unk>"


def _load(path: Path) -> Any:
    module = types.ModuleType(path.stem)  # without a cache: the directory may be read-only
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


hearing = _load(HERE / "hearing.py")


class Model:
    """The model of a directory that ``espnet_dice`` exported.

    Args:
        directory: holds config.json, tokens.txt and the models.
        int8: with weights of eight bits; else of 32.
        threads: of onnxruntime.
    """

    def __init__(self, directory: str | Path = HERE, int8: bool = True, threads: int = 1):
        import onnxruntime

        self.directory = Path(directory)
        self.config = json.loads((self.directory / "config.json").read_text(encoding="utf-8"))
        self.tokens: list[str] = []
        if self.config["task"] == "asr":
            listed = (self.directory / "tokens.txt").read_text(encoding="utf-8")
            self.tokens = listed.removesuffix("\n").split("\n")
        path = self.directory / ("model.int8.onnx" if int8 else "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        how = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
        self._session = onnxruntime.InferenceSession(str(path), **how)
        kind = self.config["feats_type"]
        pitch = _load(self.directory / "pitch.py") if kind == "fbank_pitch" else None
        self.hearing = hearing.Hearing(kind, self.config["rate"], pitch)

    def text(self, audio: Any, beam: int = 1, lm: Any = None, name: str | None = None) -> str:
        """What was said.

        Args:
            audio: a WAV file; samples at the model's rate, int16 or float in [-1, 1]; or an
                iterable of such arrays.
            beam: labellings that prefix beam search keeps; 1 without ``lm``: the best path.
            lm: an n-gram for the beam search, ``ngram.Fusion`` of the file beside this one.
            name: of the utterance; the same gets the same noise on its pitch as in training.
        """
        if self.config["task"] != "asr":
            raise ValueError("this model gives hidden states, not text: use hidden()")
        log_probs = self.log_probs(audio, name)
        blank = self.config["blank"]
        if beam > 1 or lm:
            ids = prefix_beam(log_probs, max(beam, 1), blank, lm and lm.of(self.tokens))
        else:
            ids = best_path(log_probs, blank)
        return written([self.tokens[i] for i in ids])

    def log_probs(self, audio: Any, name: str | None = None) -> np.ndarray:
        """CTC's log probabilities, (frames, tokens)."""
        samples = self.hearing.samples(audio)
        if name is None:
            name = hearing.name_of(audio)
        seconds = len(samples) / self.config["rate"]
        if seconds > self.config["longest_s"]:
            raise ValueError(f"{seconds:.0f} s are too long for the model: cut them at pauses")
        heard = self.hearing.features(samples, name)
        if len(heard) < self.config["shortest"]:
            return np.zeros((0, len(self.tokens)), np.float32)
        return self._session.run(["ctc_log_probs"], {"speech": heard[None]})[0][0]

    def hidden(self, audio: Any) -> np.ndarray:
        """A HuBERT student's last hidden state, (frames, width)."""
        if self.config["task"] != "ssl":
            raise ValueError("this model gives text: use text()")
        samples = self.hearing.samples(audio)
        if len(samples) < self.config["shortest"]:
            raise ValueError(f"{len(samples)} samples are too few for one frame")
        return self._session.run(["last_hidden_state"], {"speech": samples[None]})[0][0]


def best_path(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """The best CTC path: repetitions joined, then blanks taken out."""
    best = log_probs.argmax(-1)
    first = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(i) for i in best[first] if i != blank]


def prefix_beam(
    log_probs: np.ndarray,
    beam: int,
    blank: int = 0,
    lm: Callable[[tuple[int, ...], bool], float] | None = None,
) -> list[int]:
    """The labelling of the largest probability, summed over its alignments.

    Graves and Jaitly, "Towards end-to-end speech recognition with recurrent neural networks" (ICML
    2014), algorithm 1. Exact if no labelling is ever pruned.

    Args:
        log_probs: (frames, tokens).
        beam: labellings that are kept, and tokens of a frame that are tried beside blank.
        blank: its id.
        lm: (labelling, whether it ends) → what is added to its log probability.
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NEVER)}  # ends in blank, label

    def best(found, end=False):
        ranked = {p: add(*both) + (lm(p, end) if lm else 0.0) for p, both in found.items()}
        return sorted(ranked, key=ranked.get, reverse=True)

    for frame in log_probs:
        tried = [(int(i), float(frame[i])) for i in np.argsort(-frame)[:beam] if i != blank]
        silent = float(frame[blank])
        found: dict = defaultdict(lambda: (NEVER, NEVER))
        for prefix, (in_blank, in_label) in kept.items():
            total = add(in_blank, in_label)
            last = prefix[-1] if prefix else None
            stay = in_label + float(frame[last]) if prefix else NEVER
            was = found[prefix]
            found[prefix] = (add(was[0], total + silent), add(was[1], stay))
            for token, p in tried:  # the same label again is another one only behind a blank
                longer, before = (*prefix, token), in_blank if token == last else total
                was = found[longer]
                found[longer] = (was[0], add(was[1], before + p))
        kept = {prefix: found[prefix] for prefix in best(found)[:beam]}
    return list(best(kept, True)[0])


def add(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


def written(tokens: Iterable[str]) -> str:
    """The text of SentencePiece's pieces."""
    text = "".join(" ⁇ " if token == UNKNOWN else token for token in tokens)
    return " ".join(text.replace(SPACE, " ").split())


def _chunks(stream: Any) -> Iterable[np.ndarray]:
    while len(data := stream.read(3200)) > 1:
        yield np.frombuffer(data[: len(data) // 2 * 2], "<i2")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The text of WAV files.")
    parser.add_argument("audio", nargs="+", help="WAV; -: raw 16-bit samples from standard input")
    parser.add_argument("--beam", type=int, default=1, help="of prefix beam search; 1: best path")
    parser.add_argument("--lm", help="an n-gram of words or tokens, ARPA")
    parser.add_argument("--lm_weight", type=float, default=0.5)
    parser.add_argument("--full", action="store_true", help="32-bit weights")
    parser.add_argument("--output", help="NumPy file for a HuBERT student's hidden state")
    args = parser.parse_args()
    model = Model(int8=not args.full)
    lm = _load(HERE / "ngram.py").Fusion(args.lm, args.lm_weight) if args.lm else None
    for given in args.audio:
        audio = _chunks(sys.stdin.buffer) if given == "-" else given
        if model.config["task"] == "ssl":
            hidden = model.hidden(audio)
            print(given, *hidden.shape)
            if args.output:
                np.save(args.output, hidden)
        else:
            print(*[given] * (len(args.audio) > 1), model.text(audio, args.beam, lm))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as err:
        sys.exit(f"infer.py: {err}")
