"""The page: its scripts against the runtime in Python, and the whole in a browser."""

import contextlib
import functools
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

import espnet_dice.ship
from espnet_dice.export import shipped
from espnet_dice.io.errors import ConfigError
from espnet_dice.ship import demo, hearing, search
from tests.export.test_shipped import made  # noqa: F401
from tests.ship.test_infer import posteriors

BROWSER = Path(espnet_dice.ship.__file__).with_name("browser")
NODE = shutil.which("node")
DRIVER = shutil.which("chromedriver")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")
QUIET += ("--disable-background-networking", "--disable-component-update", "--disable-quic")
PATIENCE_S = 120
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def node(script: str, given: object) -> object:
    """What a script prints, as JSON; it has ``given``, and the page's modules by name."""
    modules = "".join(
        f'import * as {name} from "{(BROWSER / f"{name}.mjs").as_uri()}";'
        for name in ("hearing", "search", "model")
    )
    read = 'import fs from "node:fs"; const given = JSON.parse(fs.readFileSync(0, "utf8"));'
    command = [NODE, "--input-type=module", "-e", modules + read + script]
    run = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def speech(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """A gliding voice in noise, with silence around it."""
    t = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(3 * t)) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 9)) * (np.sin(9 * t) > -0.3)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * voice + 0.01 * noise).astype(np.float32)


@needs_node
@pytest.mark.parametrize(("rate", "seconds"), [(16000, 2.3), (8000, 1.1), (22050, 0.7), (16000, 7)])
def test_features_are_those_of_the_runtime(rate, seconds):
    samples = speech(rate, seconds)
    script = """
        const samples = Float32Array.from(given.samples);
        const mel = hearing.fbank(samples, given.rate);
        const raw = hearing.kaldiPitch(samples, given.rate);
        const both = hearing.features("fbank_pitch", samples, given.rate);
        console.log(JSON.stringify([[...mel.data], [...raw], [...hearing.processPitch(raw)],
                                    [both.frames, both.dim], [...both.data]]));"""
    found = node(script, {"samples": samples.tolist(), "rate": rate})
    mel, raw, processed = (np.array(x) for x in found[:3])
    from espnet_dice.features import kaldi_pitch, process_pitch

    wanted = kaldi_pitch(samples, rate)
    np.testing.assert_allclose(mel.reshape(-1, 80), hearing.fbank(samples, rate), atol=2e-3)
    raw = raw.reshape(-1, 2)
    same = np.isclose(raw[:, 1], wanted[:, 1], rtol=1e-6)
    assert same.mean() > 0.99  # two lags within the last bit of each other
    np.testing.assert_allclose(raw[same, 0], wanted[same, 0], atol=1e-5)
    of_wanted = process_pitch(raw.astype(np.float32), add_noise=False)
    np.testing.assert_allclose(processed.reshape(-1, 3), of_wanted, atol=1e-4)
    frames, dim = found[3]
    assert (frames, dim) == (min(len(raw), len(mel) // 80), 83)
    both = np.array(found[4]).reshape(frames, dim)
    np.testing.assert_array_equal(both[:, :80], mel.reshape(-1, 80)[:frames])
    np.testing.assert_array_equal(both[:, 80:], processed.reshape(-1, 3)[:frames])


@needs_node
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("beam", [1, 4, 12])
def test_searches_find_what_the_runtime_finds(beam, weight):
    """A decoder whose scores depend on the last token, and the length."""
    size, several = 9, 0
    for seed, frames in enumerate((1, 6, 17, 40)):
        log_probs = posteriors(seed, frames=frames, size=size).astype(np.float32)
        table = np.random.default_rng(seed).standard_normal((size, size))
        table[:, -1] -= 1.0

        def step(prefixes, table=table):
            return table[prefixes[:, -1]] - 0.01 * prefixes.shape[1]

        script = """
            const { table, logProbs, size, beam, weight } = given;
            const step = async (prefixes) => prefixes.flatMap(
              (prefix) => table[prefix.at(-1)].map((x) => x - 0.01 * prefix.length));
            const heard = Float32Array.from(logProbs);
            const how = { beam, ctcWeight: weight, eos: size - 1 };
            console.log(JSON.stringify([await search.jointBeam(heard, size, step, how),
                                        search.bestPath(heard, size)]));"""
        given = {"table": table.tolist(), "logProbs": log_probs.ravel().tolist()}
        given |= {"size": size, "beam": beam, "weight": weight}
        joint, best = node(script, given)
        assert joint == search.joint_beam(log_probs, step, beam, weight, size - 1)
        assert best == search.best_path(log_probs)
        several += len(joint) > 1
    assert several


def test_without_npm_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install Node.js, or leave --demo out"):
        demo.fetch(tmp_path / "cache")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 404 no such package >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(ConfigError, match="npm cannot fetch onnxruntime-web .*404 no such package"):
        demo.fetch(tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


@contextlib.contextmanager
def served(directory: Path):
    """The address of a server of a directory, on a free port of this machine."""
    handler = functools.partial(Silent, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


class Silent(http.server.SimpleHTTPRequestHandler):
    """Without a log."""

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def browser(profile: Path):
    """A function of a WebDriver command and its argument, which answers with its value."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL)

    def ask(path: str, given: object = None, method: str = "POST") -> object:
        body = json.dumps(given or {}).encode() if method == "POST" else None
        url = f"http://127.0.0.1:{port}/session{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        request.method = method
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)["value"]

    try:
        options = {"args": [*QUIET, f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        for _ in range(100):
            with contextlib.suppress(OSError):
                session = ask("", wanted)["sessionId"]
                break
            time.sleep(0.1)
        yield lambda path, given=None: ask(f"/{session}{path}", given)
        ask(f"/{session}", method="DELETE")
    finally:
        driver.terminate()
        driver.wait()


@pytest.fixture
def runtime(tmp_path):
    """onnxruntime-web."""
    try:
        return demo.fetch(tmp_path / "cache")
    except ConfigError as err:
        pytest.skip(str(err))


@pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed")
def test_the_page_transcribes(made, runtime, tmp_path, monkeypatch):  # noqa: F811
    """What the runtime in Python says, of features without Kaldi's noise on the pitch."""
    directory = made[1]
    demo.write(directory / shipped.NAME, tmp_path / demo.NAME, runtime)
    infer = shipped.runtime(directory).Model(directory / shipped.NAME)
    noisy = infer.hearing._pitch.process_pitch
    monkeypatch.setattr(
        infer.hearing._pitch, "process_pitch", lambda raw, seed: noisy(raw, add_noise=False)
    )
    wanted = []
    for n in range(3):
        samples = speech(16000, 1.0 + n, seed=n)
        soundfile.write(tmp_path / demo.NAME / f"u{n}.wav", samples, 16000, "PCM_16")
        heard, _ = soundfile.read(tmp_path / demo.NAME / f"u{n}.wav", dtype="float32")
        wanted.append(infer.text(heard))
    assert len(set(wanted)) > 1
    with served(tmp_path / demo.NAME) as url, browser(tmp_path / "profile") as ask:
        ask("/url", {"url": f"{url}/index.html?audio=u0.wav&audio=u1.wav&audio=u2.wav"})
        script = """return [document.body.dataset.state, document.getElementById("state").innerText,
            ...[...document.querySelectorAll("#said p")].map((p) => p.innerText)]"""
        for _ in range(PATIENCE_S * 2):
            state, said, *texts = ask("/execute/sync", {"script": script, "args": []})
            if state == "failed" or len(texts) == len(wanted):
                break
            time.sleep(0.5)
    assert state != "failed", said
    assert texts[::-1] == [text or "(nothing)" for text in wanted]
