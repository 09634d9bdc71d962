"""Exported models: their files, sizes, speeds, and how far they are from the trained ones."""

from collections.abc import Mapping
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
        made += onnx(s.name, report)
    return made


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
