from espnet_dice.io.json_files import write_json
from espnet_dice.results import abx
from espnet_dice.results.dice_results import Row


def record(name, key, layers):
    errors = {str(n): {"within": w, "across": a} for n, (w, a) in layers.items()}
    about = {"cells": {"within": 30, "across": 40}, "utterances": 5}
    return {"system": name, "layers": errors, "made_from": {"inputs": {"upstream": key}}, **about}


def test_best_layers_best_system_first(tmp_path):
    made = {"mfcc": {0: (9, 20)}, "tiny": {0: (5, 9), 1: (4.04, 8), 2: (6, 7)}, "old": {0: (1, 1)}}
    for name, layers in made.items():
        write_json(tmp_path / f"abx/{name}.json", record(name, name, layers))
    write_json(tmp_path / "abx/chosen_tiny/tiny.json", record("tiny", "tiny", {0: (0, 0)}))
    rows = [
        Row(name, "", "", 1, None, None, model=key)
        for name, key in (("tiny", "tiny"), ("old", "x"))
    ]
    section = abx.section(abx.read(tmp_path, rows))
    table = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in line] for line in table[2:]] == [
        ["tiny", "1", "4.0", "8.0"],
        ["mfcc", "–", "9.0", "20.0"],
    ]
    assert "30 cells" in section and "5 utterances" in section
    assert abx.section([]) == ""
