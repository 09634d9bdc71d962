"""Decoding commands in wav.scp, as Kaldi's and ESPnet's recipes write them: which are needed.

``sph2pipe -f wav FILE |`` and ``flac -c -d -s FILE |`` name a file that libsndfile mostly reads by
itself. What it does not read is WSJ's .wv1: NIST SPHERE compressed with shorten.
"""

import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from espnet_dice.io.datadir import Recording

SHELL = re.compile(r"[|&;<>$`()]")
FLAGS = {
    "sph2pipe": ("-p", "-f wav", "-f rif", "-c 1"),
    "flac": ("-c", "-d", "-s", "-cd", "-dc", "-cds", "-dcs", "--decode", "--stdout", "--silent"),
    "cat": (),
}
"""What an option may be for the command to write no more than the file's own samples."""
SHELLS_OWN = frozenset(". cd set export eval exec if for while until case test time trap".split())


def plain_file(command: str, cwd: str) -> str | None:
    """The file that a command decodes, where libsndfile reads the same samples from it.

    Args:
        command: of wav.scp, without the last ``|``.
        cwd: directory that it is run in.

    Returns:
        An absolute path, or None where the command has to be run.
    """
    if SHELL.search(command):
        return None
    try:
        tool, *words = shlex.split(command)
    except ValueError:
        return None
    flags = FLAGS.get(os.path.basename(tool))
    if flags is None or not words or words[-1].startswith("-"):
        return None
    *given, name = words
    while given:
        if given[0] in flags:
            given = given[1:]
        elif " ".join(given[:2]) in flags:
            given = given[2:]
        else:
            return None
    path = Path(cwd).absolute() / name
    return str(path) if path.is_file() and readable(path) else None


def readable(path: Path) -> bool:
    """True if libsndfile reads it: it begins as FLAC or WAV does, or as SPHERE that is not packed.

    Raises:
        OSError: it cannot be opened.
    """
    with open(path, "rb") as f:
        head = f.read(1024)
    if head.startswith((b"fLaC", b"RIFF")):
        return True
    if not head.startswith(b"NIST_1A"):
        return False
    fields = dict(re.findall(rb"^(\w+) -\w+ (.*)$", head.split(b"end_head")[0], re.MULTILINE))
    coding = fields.get(b"sample_coding", b"pcm").strip()
    return coding == b"pcm" and fields.get(b"channel_count", b"1").strip() == b"1"


def found_command(command: str, tools: str | None = None) -> str | None:
    """The command with its program's absolute path; None where the program is not to be found.

    Args:
        command: of wav.scp.
        tools: search path; default: ``PATH``.
    """
    program = command.split()[0]
    if not re.fullmatch(r"[\w.+-]+", program) or program in SHELLS_OWN:
        return command
    path = shutil.which(program, path=tools)
    return path and shlex.quote(os.path.abspath(path)) + command[len(program) :]


def placed(recording: Recording, tools: str | None, problems: list[str]) -> Recording | None:
    """A recording without a command that is not needed, and with programs that are found.

    Args:
        recording: of a wav.scp.
        tools: search path for programs; None: ``PATH``.
        problems: gets a line where a program is missing.

    Returns:
        None where one is.
    """
    if recording.kind != "pipe":
        return recording
    path = plain_file(recording.source, recording.cwd)
    if path:
        return replace(recording, kind="file", source=path)
    command = found_command(recording.source, tools)
    if command is None:
        problems.append(
            f"{recording.where}: {recording.id}: `{recording.source}`: "
            f"{recording.source.split()[0]} is not on PATH: install it (ESPnet: tools/installers)"
        )
        return None
    return replace(recording, source=command)
