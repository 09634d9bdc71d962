"""The table of results: rows, their JSON, their Markdown."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_dice.io.atomic import write_text
from espnet_dice.io.json_files import read_json, write_json

MARKDOWN, JSON = "RESULTS.md", "results.json"


@dataclass(frozen=True)
class Row:
    """One system on one set.

    Attributes:
        system: tag of the recogniser.
        set: name of the set.
        lm: tag of the language model, or None.
        wer, cer: in %.
        words, characters: of the reference.
        wer_sdi, cer_sdi: substitutions, deletions, insertions.
        parameters: of the recogniser.
        seed: of its training.
        decode: name of the decoding directory.
        cpu_s_per_audio_s: of the decoding.
        lm_weight: of the language model, where it was chosen on a dev set.
        sclite_wer: in %, where sclite is installed.
    """

    system: str
    set: str
    lm: str | None
    wer: float
    cer: float
    words: int
    characters: int
    wer_sdi: list[int]
    cer_sdi: list[int]
    parameters: int
    seed: int
    decode: str
    cpu_s_per_audio_s: float
    lm_weight: float | None = None
    sclite_wer: float | None = None

    @classmethod
    def make(cls, meta: dict, rates: dict, out: Path) -> "Row":
        """From a decoding's ``meta.json`` and its error rates."""
        keys = ("system", "set", "lm", "parameters", "seed", "cpu_s_per_audio_s")
        weight = meta["decode"]["lm_weight"] if meta.get("tuned_on") and meta["lm"] else None
        given = {k: meta[k] for k in keys}
        return cls(**given, **rates, decode=out.parent.name, lm_weight=weight)

    def order(self) -> tuple:
        """Set by set, the systems by name, without and with the LM."""
        return (self.set, self.system, self.seed, self.decode)


def table(rows: list[Row]) -> str:
    """A Markdown table, aligned for reading in a terminal as well."""
    sclite = any(row.sclite_wer is not None for row in rows)
    name, several = _names(rows)
    head = [*name, "WER %", "CER %", "S", "D", "I", "words", "M param", "seed"]
    lines = [head + (["sclite WER %"] if sclite else [])]
    for r in rows:
        lm = r.lm or "–" if r.lm_weight is None else f"{r.lm} × {r.lm_weight:g}"
        cells = [r.system, r.set, lm, *[r.decode] * several]
        cells += [f"{r.wer:.1f}", f"{r.cer:.1f}"]
        cells += [*map(str, r.wer_sdi), str(r.words), f"{r.parameters / 1e6:.2f}", str(r.seed)]
        if sclite:
            cells.append("–" if r.sclite_wer is None else f"{r.sclite_wer:.1f}")
        lines.append(cells)
    return layout(lines, left=len(name))


def _names(rows: list[Row]) -> tuple[list[str], bool]:
    """The columns that name a row; the decoding too, where a system has several."""
    several = len({(r.system, r.set, r.lm) for r in rows}) < len(rows)
    return ["system", "set", "LM", *["decoding"] * several], several


def spread_table(rows: list[Row]) -> str:
    """Mean, standard deviation (n - 1) and range of the WER over seeds; empty for single seeds."""
    name, several = _names(rows)
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        system = row.system.removesuffix(f"_seed{row.seed}")
        key = (system, row.set, row.lm or "–", *[row.decode] * several)
        groups.setdefault(key, []).append(row)
    lines = [[*name, "seeds", "mean WER %", "sd", "min", "max", "mean CER %"]]
    for key, members in groups.items():
        if len(members) > 1:
            wers = [r.wer for r in members]
            cer = statistics.mean(r.cer for r in members)
            figures = (statistics.mean(wers), statistics.stdev(wers), min(wers), max(wers), cer)
            lines.append([*key, str(len(members)), *(f"{x:.1f}" for x in figures)])
    return layout(lines, left=len(name)) if len(lines) > 1 else ""


def rows(exp: Path) -> list[dict[str, Any]]:
    """The recognisers' results below ``exp``, a row each; none where nothing was scored."""
    found = read_json(exp / JSON)
    return found if isinstance(found, list) else []  # HuBERT students' are no list


def layout(lines: list[list[str]], left: int) -> str:
    """Markdown of a table whose first ``left`` columns are text, the others numbers."""
    widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(lines[0]))]

    def show(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if k < left else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([show(lines[0]), f"| {' | '.join(rule)} |", *map(show, lines[1:])])


def add_section(exp: Path, title: str, body: str) -> None:
    """Put a section at the end of ``RESULTS.md``, in the place of its former one.

    Where there is no such file, nothing is written.

    Args:
        exp: experiments.
        title: the section's heading, Markdown.
        body: Markdown.
    """
    path = exp / MARKDOWN
    if path.is_file():
        before, _, old = path.read_text(encoding="utf-8").partition(f"\n{title}\n")
        after = old[old.find("\n## ") :] if "\n## " in old else ""
        write_text(path, f"{(before.rstrip() + after).rstrip()}\n\n{title}\n\n{body}\n")


def write(rows: list[Row], exp: Path) -> None:
    """Write ``RESULTS.md`` and ``results.json``; S, D, I in the table count words."""
    notes = "WER and CER by jiwer; S, D, I: substituted, deleted, inserted words."
    spread = spread_table(rows)
    parts = ["# Results", table(rows), notes, *(["## Over seeds", spread] if spread else [])]
    write_text(exp / MARKDOWN, "\n\n".join(parts) + "\n")
    write_json(exp / JSON, [asdict(row) for row in rows])
