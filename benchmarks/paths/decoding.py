"""Decoding with a language model, beside ``espnet2.bin.asr_inference`` with the same models.

Bound by imports (a short set), then by calls: a step of ESPnet's search for one utterance is some
400 small tensor operations and a loop over frames; ours does as many for 32 utterances, and reads
keys and values instead of projecting them again. Uses models of a finished ``./run.sh``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import used
from benchmarks.measure import Cost, Row, alternate, faster, fixed

SYSTEM, SET, UTTERANCES = "asr_mini_few_student_tok_seed0", "s_test", 64
LM, LARGER = "lm_mini", "a_train"


def rows(options: Any) -> Iterator[Row]:
    """The search alone in turns; then each command once on two cores, to the same texts: sets of 3
    and of 17 minutes."""
    recipe = Path(options.recipes) / "kd1"
    if not (recipe / "exp" / SYSTEM).exists():
        sys.exit(f"{recipe}/exp/{SYSTEM} is missing: finish ./run.sh, or name its --recipes")
    os.chdir(recipe)  # models name their statistics by a relative path
    config = Path(__file__).resolve().parents[2] / "conf/decode_mini.yaml"
    yield from _search(config)
    for name in (SET, LARGER):
        yield from _commands(config, name)


def _search(config: Path) -> Iterator[Row]:
    from espnet_dice.decoding import decoder
    from espnet_dice.records import feature_dir
    from espnet_dice.stages import decode

    torch.set_num_threads(1)
    exp, sets = Path("exp"), [Path("dump/fbank_pitch") / SET]
    (d,) = decode.plan([exp / SYSTEM], sets, exp / LM, [True], config)
    recogniser = decoder.build(d)
    features = feature_dir.Inputs(d.dump)
    speech = [features(u) for u in list(d.dump.lengths)[:UTTERANCES]]
    texts: dict[str, list[str]] = {}

    def ours() -> None:
        found = decoder.decode_batch(recogniser, speech[: UTTERANCES // 2])
        found += decoder.decode_batch(recogniser, speech[UTTERANCES // 2 :])
        texts["ours"] = [f["text"] for f in found]

    def espnets() -> None:
        with torch.inference_mode():
            texts["ESPnet's"] = [recogniser(x)[0][0] for x in speech]

    spent = alternate({"ours": ours, "ESPnet's": espnets}, 3)
    names = {"what": f"search, {UTTERANCES} utterances", "beside": "ESPnet's, one by one"}
    yield faster(spent, "ours", "ESPnet's", "decoding", **names)
    same = [a == b for a, b in zip(*texts.values(), strict=True)]
    yield Row("texts", "ESPnet's", "the same", fixed(sum(same) / len(same)))


def _commands(config: Path, name: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        system = work / SYSTEM
        shutil.copytree(Path("exp") / SYSTEM, system, ignore=shutil.ignore_patterns("decode*"))
        given = ["--config", config, "--systems", system, "--sets", f"dump/fbank_pitch/{name}"]
        took = used.stage("decode", *given, "--lm", f"exp/{LM}", "--lm_modes", "yes", "--nj", 2)
        ours = Cost(took.cpu_s, took.wall_s)
        recipe = _in_a_recipe([*given, "--lm", f"exp/{LM}", "--lm_modes", "yes", "--nj", 2])
        theirs = _asr_inference(system, config, name, work)
        found = _texts([next(system.glob(f"decode_mini*/{name}/text"))])
        wanted = _texts(sorted(work.glob("part*/1best_recog/text")))
        assert found.keys() == wanted.keys()
    what, beside = f"command, {len(found)} utterances, 2 cores", "asr_inference, 2 processes"
    wall = fixed(theirs.wall_s / ours.wall_s)
    yield Row(what, beside, "times faster, wall", wall, "decoding", ours, theirs)
    inside = f"the same in a recipe, {len(found)} utterances"  # wall seconds alone
    wall = fixed(theirs.wall_s / recipe)
    yield Row(inside, beside, "times faster, wall", wall, "decoding recipe")
    cpu = fixed(theirs.cpu_s / ours.cpu_s)
    yield Row(what, beside, "times faster, CPU", cpu, None, ours, theirs)
    same = [found[u] == wanted[u] for u in found]
    yield Row("its texts", beside, "the same", fixed(sum(same) / len(same)))


def _in_a_recipe(given: list) -> float:
    """Wall seconds of the command in a driver that has run one, and so imported ESPnet."""
    command = [sys.executable, "-m", "espnet_dice.stages.driver"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as driver:

        def run(tag: str) -> float:
            start = time.perf_counter()
            words = [str(w) for w in ("decode", *given, "--tag", tag)]
            parts = [str(len(words)), "2", *words]
            driver.stdin.write(b"".join(part.encode() + b"\0" for part in parts))
            driver.stdin.flush()
            if int(driver.stdout.readline()):
                raise RuntimeError(f"decode {tag} failed in the driver")
            return time.perf_counter() - start

        run("first")
        took = run("again")
        driver.stdin.close()
    return took


def _texts(files: list[Path]) -> dict[str, str]:
    lines = [line for f in files for line in f.read_text().splitlines()]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def _asr_inference(system: Path, config: Path, name: str, work: Path) -> Cost:
    """ESPnet's command, the set in two halves side by side, as its recipes do it."""
    from espnet_dice.decoding.decoder import check_options
    from espnet_dice.records import experiment
    from espnet_dice.records.configs import read_config

    model, lm = experiment.load(system), experiment.load(Path("exp") / LM)
    conf = check_options(read_config(config), config)
    utterances = Path(f"dump/fbank_pitch/{name}/text").read_text().splitlines()
    children = []
    before, start = os.times(), time.perf_counter()
    for part in (0, 1):
        keys = work / f"keys{part}"
        keys.write_text("".join(line.split()[0] + "\n" for line in utterances[part::2]))
        command = [
            *(sys.executable, "-m", "espnet_dice.run", "-m", "espnet2.bin.asr_inference"),
            *("--output_dir", work / f"part{part}", "--key_file", keys, "--ngpu", "0"),
            "--data_path_and_name_and_type",
            f"dump/fbank_pitch/{name}/feats.scp,speech,kaldi_ark",
            *("--asr_train_config", model.config, "--asr_model_file", model.model_file),
            *("--lm_train_config", lm.config, "--lm_file", lm.model_file),
            *(w for k, v in conf.items() for w in (f"--{k}", json.dumps(v))),
        ]
        log = open(work / f"log{part}", "w")
        command = [str(c) for c in command]
        children.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    for part, child in enumerate(children):
        if child.wait():
            raise RuntimeError((work / f"log{part}").read_text()[-2000:])
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Cost(cpu, time.perf_counter() - start)
