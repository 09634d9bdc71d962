"""Speech to text, or to HuBERT's hidden states, with the model beside this file.

It needs numpy, onnxruntime and the files beside it, nothing else:

    python infer.py speech.wav                              # the text, by CTC and decoder
    python infer.py speech.wav --ctc                        # by the best CTC path alone, quicker
    python infer.py speech.wav --beam 8 --lm words.arpa     # with an n-gram
    arecord -q -f S16_LE -r 16000 -d 5 -t raw | python infer.py -
    python infer.py speech.wav --output hidden.npy          # a HuBERT student's last hidden state

or in Python, from a file, an array, or chunks of samples in any iterable:

    infer.Model().text("speech.wav")

The model hears an utterance as a whole: chunks are collected, and the text comes at their end.
"""

import argparse
import json
import os
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(os.path.abspath(__file__)).parent
if not (HERE / "hearing.py").exists():  # in a hub's cache each file is a link, and this is a way
    HERE = Path(__file__).resolve().parent
SPACE, UNKNOWN = "▁", "<unk>"
BEAM, CTC_WEIGHT = 4, 0.3
"""Of the search by CTC and decoder."""
FILES = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff")
"""How files of sound begin."""


def _load(path: Path) -> Any:
    module = types.ModuleType(path.stem)  # without a cache: the directory may be read-only
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


hearing, search = _load(HERE / "hearing.py"), _load(HERE / "search.py")


class Model:
    """The model of a directory that ``espnet_dice`` exported.

    Args:
        directory: holds config.json, tokens.txt and the models.
        int8: with weights of eight bits; else of 32.
        threads: of onnxruntime.

    Raises:
        ValueError: a model that config.json lists is missing, or damaged.
    """

    def __init__(self, directory: str | Path = HERE, int8: bool = True, threads: int = 1):
        import onnxruntime

        self.directory = Path(directory)
        self.config = json.loads((self.directory / "config.json").read_text(encoding="utf-8"))
        self.tokens: list[str] = []
        if self.config["task"] == "asr":
            listed = (self.directory / "tokens.txt").read_text(encoding="utf-8")
            self.tokens = listed.removesuffix("\n").split("\n")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        how = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
        listed = self.config.get("parts", ["model"])  # which older exports do not say

        def session(part: str) -> Any:
            path = self.directory / f"{part}{'.int8' * int8}.onnx"
            if not path.exists():
                if part not in listed:
                    return None
                leave = f"; to do without, take {part} out of parts in config.json"
                raise ValueError(f"{path}: missing: copy it here, too{leave * (part != 'model')}")
            try:
                return onnxruntime.InferenceSession(str(path), **how)
            except Exception as err:  # classes of its own
                raise ValueError(f"{path}: damaged: copy it again ({str(err)[:150]})") from err

        self._model, self._decoder, self._lm = map(session, ("model", "decoder", "lm"))
        kind = self.config["feats_type"]
        pitch = _load(self.directory / "pitch.py") if kind == "fbank_pitch" else None
        self.hearing = hearing.Hearing(kind, self.config["rate"], pitch)

    def text(
        self,
        audio: Any,
        beam: int | None = None,
        lm: Any = None,
        name: str | None = None,
        ctc: bool = False,
        ctc_weight: float = CTC_WEIGHT,
        lm_weight: float | None = None,
    ) -> str:
        """What was said, by CTC and the attention decoder; by CTC alone where that is left out.

        Args:
            audio: see :meth:`hearing.Hearing.samples`.
            beam: labellings that the search keeps; by CTC alone 1 without ``lm`` is the best path.
                None: 4 with the decoder, 1 by CTC alone.
            lm: an n-gram for the search, ``ngram.Fusion`` of the file beside this one; it takes the
                place of the language model.
            name: of the utterance; the same gets the same noise on its pitch as in training.
            ctc: by CTC alone.
            ctc_weight: of CTC's score beside the decoder's, from 0 to 1.
            lm_weight: of the language model beside the decoder, if there is one; None: that with
                which the recogniser was decoded, 0: without.
        """
        if self.config["task"] != "asr":
            raise ValueError("this model gives hidden states, not text: use hidden()")
        if not 0 <= ctc_weight <= 1:
            raise ValueError(f"ctc_weight {ctc_weight}: give a share from 0 to 1")
        if lm_weight is not None and not 0 <= lm_weight < float("inf"):
            raise ValueError(f"lm_weight {lm_weight}: give a number from 0")
        if beam is not None and not (isinstance(beam, (int, np.integer)) and beam >= 1):
            raise ValueError(f"beam {beam!r}: give a whole number from 1")
        memory, log_probs = self.heard(audio, name)
        blank, fused = self.config["blank"], lm and lm.of(self.tokens)
        if self._decoder and not ctc:
            eos = len(self.tokens) - 1
            weight = self.config["lm_weight"] if lm_weight is None else lm_weight
            weights = (1 - ctc_weight, 0.0 if lm or not self._lm else weight)
            how = (beam or BEAM, ctc_weight, eos, blank, fused)
            ids = search.joint_beam(log_probs, lambda said: self._next(said, memory, weights), *how)
        elif (beam or 1) > 1 or lm:
            ids = search.prefix_beam(log_probs, beam or 1, blank, fused)
        else:
            ids = search.best_path(log_probs, blank)
        return written([self.tokens[i] for i in ids])

    def _next(self, said: np.ndarray, memory: np.ndarray, weights: Any) -> np.ndarray:
        inputs = {"tokens": said, "memory": memory[None]}
        score = weights[0] * self._decoder.run(None, inputs)[0].astype(float)
        if weights[1]:
            score += weights[1] * self._lm.run(None, {"tokens": said})[0]
        return score

    def heard(self, audio: Any, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's output, (frames, width), and CTC's log probabilities, (frames, tokens)."""
        samples = self.hearing.samples(audio)
        if name is None:
            name = hearing.name_of(audio)
        seconds = len(samples) / self.config["rate"]
        if seconds > self.config["longest_s"]:
            what = f"{hearing.given(audio)}{seconds:.0f} s"
            raise ValueError(f"{what} are too long for the model: cut them at pauses")
        heard = self.hearing.features(samples, name)
        if len(heard) < self.config["shortest"]:
            return np.zeros((0, 0), np.float32), np.zeros((0, len(self.tokens)), np.float32)
        memory, log_probs = self._model.run(None, {"speech": heard[None]})
        return memory[0], log_probs[0]

    def hidden(self, audio: Any) -> np.ndarray:
        """A HuBERT student's last hidden state, (frames, width)."""
        if self.config["task"] != "ssl":
            raise ValueError("this model gives text: use text()")
        samples = self.hearing.samples(audio)
        if len(samples) < self.config["shortest"]:
            few = f"{hearing.given(audio)}{len(samples)} samples"
            raise ValueError(f"{few} are too few for one frame")
        return self._model.run(["last_hidden_state"], {"speech": samples[None]})[0][0]


def written(tokens: Iterable[str]) -> str:
    """The text of SentencePiece's pieces."""
    text = "".join(" ⁇ " if token == UNKNOWN else token for token in tokens)
    return " ".join(text.replace(SPACE, " ").split())


def _chunks(stream: Any) -> Iterable[np.ndarray]:
    data = stream.read(3200)
    if data.startswith(FILES):
        raise ValueError("-: a file, not raw samples; of a WAV file, give /dev/stdin for -")
    while len(data) > 1:
        yield np.frombuffer(data[: len(data) // 2 * 2], "<i2")
        data = stream.read(3200)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The text of WAV files.")
    parser.add_argument("audio", nargs="+", help="WAV; -: raw 16-bit samples from standard input")
    parser.add_argument("--beam", type=int, help="of the search (default: 4; 1 with --ctc)")
    parser.add_argument("--ctc", action="store_true", help="without the attention decoder")
    parser.add_argument(
        "--ctc_weight", type=float, default=CTC_WEIGHT, help="(default: %(default)s)"
    )
    parser.add_argument("--lm", help="an n-gram of words or tokens, ARPA, not the model's own LM")
    parser.add_argument("--lm_weight", type=float, help="of either (default: 0.5; as decoded)")
    parser.add_argument("--full", action="store_true", help="32-bit weights")
    parser.add_argument("--output", help="NumPy file for a HuBERT student's hidden state")
    args = parser.parse_args()
    if args.output and len(args.audio) > 1:
        parser.error("--output holds what one file gives: give one")
    model = Model(int8=not args.full)
    weight = 0.5 if args.lm_weight is None else args.lm_weight
    lm = _load(HERE / "ngram.py").Fusion(args.lm, weight) if args.lm else None
    for given in args.audio:
        audio = _chunks(sys.stdin.buffer) if given == "-" else given
        if model.config["task"] == "ssl":
            hidden = model.hidden(audio)
            print(given, *hidden.shape)
            if args.output:
                np.save(args.output, hidden)
        else:
            how = {"ctc": args.ctc, "ctc_weight": args.ctc_weight, "lm_weight": args.lm_weight}
            text = model.text(audio, args.beam, lm, **how)
            print(*[given] * (len(args.audio) > 1), text)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as err:
        sys.exit(f"infer.py: {err}")
