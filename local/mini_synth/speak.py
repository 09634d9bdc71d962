"""Speak texts with the espeak-ng library: a process of its own, driven over stdin and stdout.

One JSON object a line on stdin: ``{"text", "language", "variant", "rate", "pitch", "range"}``; rate
in words per minute, pitch and range 0–100. First on stdout stands the sampling rate in Hz (uint32,
native order); then for each line the number of samples n (uint32), n int16 samples, and in the same
way the bytes of a JSON list of ``[sample, phoneme]``, where each phoneme begins.

Each text is spoken by a fork of the freshly loaded library with a fixed random seed: espeak-ng
carries noise and flutter state from one text to the next, so that otherwise the samples would
depend on what was said before.

The library is GPL-3.0. It is loaded here only, and this file imports nothing of the package.
"""

import ctypes
import json
import os
import struct
import sys
from pathlib import Path

MISSING = 3  # exit code: the wheel is not installed
SYNCHRONOUS = 2  # samples go to the callback, in the calling thread
DONT_EXIT = 0x8000
UTF8 = 1
RATE, PITCH, RANGE = 1, 3, 4

PHONEME_EVENTS = 1  # of espeak_Initialize; the samples are the same
END, PHONEME = 0, 7  # types of events


class Event(ctypes.Structure):
    """``espeak_EVENT`` of a phoneme; its name has at most eight bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


class Speaker:
    """The espeak-ng library, speaking into memory."""

    def __init__(self, library: str, data: str):
        self.lib = ctypes.CDLL(library)
        self.chunks: list[bytes] = []
        self.phonemes: list[tuple[int, str]] = []
        self.callback = Callback(self._receive)
        self.sample_rate = self.lib.espeak_Initialize(
            SYNCHRONOUS, 0, str(Path(data).parent).encode(), DONT_EXIT | PHONEME_EVENTS
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng cannot read its data in {data}")
        self.lib.espeak_SetSynthCallback(self.callback)

    def _receive(self, wav, n: int, events) -> int:
        if wav and n > 0:
            self.chunks.append(ctypes.string_at(wav, 2 * n))
        place = 0
        while events and events[place].type != END:
            event = events[place]
            if event.type == PHONEME:
                self.phonemes.append((event.sample, event.name.decode("utf-8", "replace")))
            place += 1
        return 0

    def speak(self, job: dict) -> tuple[bytes, list[tuple[int, str]]]:
        """Samples (int16, native order) of one job, and where each phoneme begins."""
        name = f"{job['language']}+{job['variant']}" if job["variant"] else job["language"]
        if self.lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {name}")
        for key, value in ((RATE, job["rate"]), (PITCH, job["pitch"]), (RANGE, job["range"])):
            self.lib.espeak_SetParameter(key, int(value), 0)
        self.lib.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self.chunks, self.phonemes = [], []
        raw = job["text"].encode() + b"\0"
        code = self.lib.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 0, 0, UTF8, None, None)
        if code != 0:
            raise RuntimeError(f"espeak-ng cannot say {job['text']!r} (code {code})")
        return b"".join(self.chunks), self.phonemes


def answer(speaker: Speaker, line: bytes) -> None:
    """Speak one line in a fork, which writes the answer; raises if it failed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            wav, phonemes = speaker.speak(json.loads(line))
            said = json.dumps(phonemes).encode()
            out = sys.stdout.buffer
            out.write(struct.pack("=I", len(wav) // 2) + wav + struct.pack("=I", len(said)) + said)
            out.flush()
            code = 0
        except Exception as err:
            print(err, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit(1)


def main() -> int:
    """Answer every line of stdin."""
    try:
        import espeakng_loader
    except ImportError:
        return MISSING
    speaker = Speaker(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    sys.stdout.buffer.write(struct.pack("=I", speaker.sample_rate))
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        answer(speaker, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
