"""Exported models: their files, sizes, speeds, and how far they are from the trained ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_dice.io.json_files import read_json
from espnet_dice.results.recognisers import Recognisers


def of_recognisers(found: Recognisers) -> list[dict[str, Any]]:
    """Every exported file of every recogniser."""
    made = []
    for s in found.systems.values():
        directory = s.directory / "export"
        report = read_json(directory / "export.json")
        if report is None:
            continue
        if (directory / "model.pth").exists():
            size = (directory / "model.pth").stat().st_size
            said = f"{report['largest_difference']:.1g} at most"
            made.append({"system": s.name, "file": "model.pth", "bytes": size, "seconds": None,
                         "difference": said, "wer": None})  # fmt: skip
        made += [*onnx(s.name, report), *_ship(s.name, directory / "ship", report)]
    return made


def _ship(system: str, directory: Path, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What runs without ESPnet, if it was measured: its files but for the 32-bit weights."""
    found = report.get("greedy_wer") or {}
    if "ship" not in found or not directory.is_dir():
        return []
    files = [p for p in directory.iterdir() if p.suffix != ".onnx" or ".int8" in p.suffixes]
    return [
        {
            "system": system,
            "file": "ship/",
            "bytes": sum(path.stat().st_size for path in files if path.is_file()),
            "seconds": found["ship_cpu_s_per_audio_s"],
            "difference": "–",
            "wer": found["ship"],
        }
    ]


def onnx(system: str, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ONNX files of an ``export.json``: size, seconds a second of audio, difference, WER."""
    wer = report.get("greedy_wer") or {}
    return [
        {
            "system": system,
            "file": file,
            "bytes": e["bytes"],
            "seconds": e.get("seconds_per_audio_second"),
            "difference": f"{100 * e['relative_error']:.2g} % of its outputs",
            "wer": wer.get(file),
        }
        for file, e in (report.get("onnx") or {}).items()
        if "bytes" in e
    ]
