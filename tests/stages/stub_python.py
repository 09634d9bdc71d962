"""A Python for recipes' scripts that notes what it is asked to run, and runs none of it."""

from pathlib import Path

NOTES = "commands"
SCRIPT = """#!/usr/bin/env bash
[ "$1" != -c ] || exit 0
if [ "$2" != espnet_dice.stages.driver ]; then
    printf '%s\\n' $(($# - 1)) "${@:2}" >>commands
    exit 0
fi
while IFS= read -r -d '' count; do
    IFS= read -r -d '' _ # file descriptor for the output
    printf '%s\\n' "${count}" >>commands
    for ((i = 0; i < count; i++)); do
        IFS= read -r -d '' word
        printf '%s\\n' "${word}" >>commands
    done
    echo 0
done
"""


def write(directory: Path) -> Path:
    """The interpreter; what it notes goes to :data:`NOTES` in its working directory."""
    python = directory / "python"
    python.write_text(SCRIPT)
    python.chmod(0o755)
    return python


def started(directory: Path) -> list[tuple[str, list[str]]]:
    """Stage, or last part of a module's name, and words of each command, in order."""
    file = directory / NOTES
    lines = file.read_text().splitlines() if file.exists() else []
    found = []
    while lines:
        n = int(lines[0])
        words, lines = lines[1 : n + 1], lines[n + 1 :]
        found.append((words[0].rpartition(".")[2], words[1:]))
    return found
