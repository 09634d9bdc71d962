"""Small look-alikes of corpora as they are distributed, byte by byte in their formats."""

from pathlib import Path

import numpy as np

from tests.corpus import RATE, noise, write_audio


def write_sphere(path: Path, samples: np.ndarray, order: str = "01", coding: str = "pcm") -> Path:
    """A NIST SPHERE file: 1024 bytes of header as LDC's and NIST's tools write it, then samples.

    Args:
        order: byte order, ``01`` little, ``10`` big endian.
        coding: ``pcm``, or what says that the body is packed.
    """
    body = (samples * 32767).astype("<i2" if order == "01" else ">i2")
    fields = [
        f"sample_count -i {len(body)}",
        f"sample_rate -i {RATE}",
        "channel_count -i 1",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {order}",
        "sample_sig_bits -i 16",
        f"sample_coding -s{len(coding)} {coding}",
        "end_head",
    ]
    head = "\n".join(["NIST_1A", "   1024", *fields, ""]).encode().ljust(1024)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + body.tobytes())
    return path


LIBRISPEECH = {
    "train-clean-100": {"103/1240": 2, "1034/121119": 2},
    "train-clean-360": {"100/121669": 2},
    "train-other-500": {"20/205": 2},
    "dev-clean": {"1272/128104": 2},
    "dev-other": {"116/288045": 1},
    "test-clean": {"1089/134686": 2},
}
SENTENCES = (
    "CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED",
    "THAT HAD ITS SOURCE AWAY BACK",
    "FOR NOT EVEN A BROOK COULD RUN PAST MISSUS LYNDE'S DOOR",
)


def librispeech(root: Path, subsets=LIBRISPEECH, seconds: float = 0.8) -> Path:
    """``LibriSpeech/SUBSET/READER/CHAPTER/{READER-CHAPTER-NNNN.flac,….trans.txt}``."""
    for subset, chapters in subsets.items():
        for chapter, n in chapters.items():
            place = root / "LibriSpeech" / subset / chapter
            begin = chapter.replace("/", "-")
            lines = []
            for i in range(n):
                utt = f"{begin}-{i:04d}"
                write_audio(place / f"{utt}.flac", noise(seconds + 0.05 * i, i), format="FLAC")
                lines.append(f"{utt} {SENTENCES[i % 3]}\n")
            (place / f"{begin}.trans.txt").write_text("".join(lines))
    return root / "LibriSpeech"


STM = {
    "train": {
        "AaronHuey_2010X": [
            "0.45 1.50 <o,f0,male> i 'm here today to show my photographs (2) <sil> {NOISE}"
            " (AaronHuey_2010X-0.45-1.50-F0_M-S1)",
            "1.60 2.40 <o,f0,male> many of you may(2) have heard of the lakota"
            " (AaronHuey_2010X-1.60-2.40-F0_M-S1)",
            "2.40 2.90 <o,f0,male> of <unk> there (AaronHuey_2010X-2.40-2.90-F0_M-S1)",
        ],
        "Adam_2009P": ["0.20 1.00 <o,f0,female> {BREATH} it 's so the kids ' (Adam_2009P-x)"],
    },
    "dev": {
        "BlaiseAguera_2007": [
            "0.00 0.50 <o,,unknown> ignore_time_segment_in_scoring",
            "0.50 1.60 <F0_M> what i 'm going to show you <unk> first",
        ]
    },
    "test": {"AimeeMullins_2009P": ["0.30 1.40 <o,f0,female> i 'd like to share"]},
}
STM_HEADER = ';;\n;; LABEL "o" "Overall" "Overall results"\n'


def tedlium2(root: Path, sets=STM) -> Path:
    """``TEDLIUM_release2/{train,dev,test}/{sph/TALK.sph,stm/TALK.stm}``; talks of 3 s."""
    top = root / "TEDLIUM_release2"
    for name, talks in sets.items():
        for i, (talk, lines) in enumerate(talks.items()):
            write_sphere(top / name / "sph" / f"{talk}.sph", noise(3.0, i))
            stm = top / name / "stm" / f"{talk}.stm"
            stm.parent.mkdir(parents=True, exist_ok=True)
            body = "".join(f"{talk} 1 {talk} {line}\n" for line in lines)
            stm.write_text((STM_HEADER if name != "train" else "") + body)
    return top


WSJ = {
    # index: disk, entries (disk of the audio, path without ending); eval lists have no ending
    "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx": [
        "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1",
        "11_1_1:wsj0/si_tr_s/01i/01ic0202.wv1",
        "11_2_1:wsj0/si_tr_s/401/401c0201.wv1",
    ],
    "13-34.1/wsj1/doc/indices/si_tr_s.ndx": ["13_1_1: wsj1/si_tr_s/46h/46hc0301.wv1"],
    "13-34.1/wsj1/doc/indices/h1_p0.ndx": ["13_16_1:wsj1/si_dt_20/4k0/4k0c0301.wv1"],
    "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx": ["11_14_1:wsj0/si_et_20/440/440c0401"],
}
DOTS = {
    "01ic0201": "The sale of the hotels is part of Holiday\\'s strategy ,COMMA [loud_breath]",
    "01ic0202": "I\\. B\\. M\\. said <the> .PERIOD",
    "46hc0301": '"DOUBLE-QUOTE wo(rd)- long-term *rates* --DASH ~',
    "4k0c0301": "Of course there isn\\'t any guarantee [misc_noise]",
    "440c0401": "The company \\'s hot hand .",
}


def wsj(root: Path, packed: bool = False) -> Path:
    """Disks ``wsj0/11-1.1`` … of .wv1, .dot and .ndx; ``packed``: as LDC's, shorten inside."""
    for index, entries in WSJ.items():
        disk = "wsj0" if index.startswith("11") else "wsj1"
        path = root / disk / index
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(";; File: index, updated 04/26/94\n;;\n" + "\n".join(entries) + "\n")
        for i, entry in enumerate(entries):
            number, _, file = entry.partition(":")
            file = file.strip().removesuffix(".wv1")
            name, (a, b, c) = Path(file).name, number.split("_")
            place = root / disk / f"{a}-{b}.{c}" / Path(file).parent
            coding = "pcm,embedded-shorten-v2.00" if packed else "pcm"
            write_sphere(place / f"{name}.wv1", noise(0.9, i), order="10", coding=coding)
            if name in DOTS:
                with open(place / f"{name[:6]}00.dot", "a") as f:
                    f.write(f"{DOTS[name]} ({name})\n")
    return root


SPH2PIPE = """#!/usr/bin/env python3
# Stands in for sph2pipe in the tests: -f wav FILE, for SPHERE whose body is not really packed.
import sys, wave
data = open(sys.argv[-1], "rb").read()
assert data.startswith(b"NIST_1A")
import array
body = array.array("h", data[1024:])
if b"sample_byte_format -s2 10" in data[:1024]:
    body.byteswap()
with wave.open(sys.stdout.buffer, "wb") as out:
    out.setparams((1, 2, 16000, len(body), "NONE", ""))
    out.writeframes(body.tobytes())
"""


def tool(directory: Path, name: str = "sph2pipe", script: str = SPH2PIPE) -> Path:
    """A program in a directory of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(script)
    path.chmod(0o755)
    return path


DATA_SH = """#!/usr/bin/env bash
set -e -u -o pipefail
. ./db.sh
[ -n "${FAKE}" ] || { echo "Fill the value of 'FAKE' of db.sh"; exit 1; }
sph2pipe --version >/dev/null   # of tools/, by path.sh
echo "data.sh $*" >> runs
for x in train test; do
    mkdir -p data/$x
    for f in text utt2spk; do cp "${FAKE}/$x/$f" data/$x; done
    awk '{ print $1, "sph2pipe -f wav -p -c 1 '"${FAKE}"'/" $2 " |" }' "${FAKE}/$x/files" \\
        > data/$x/wav.scp
done
"""


def espnet(root: Path, db: str | None = None) -> Path:
    """An ESPnet checkout with one recipe, ``egs2/fake/asr1``, and a corpus for it."""
    corpus = root / "corpus"
    for name, n in (("train", 3), ("test", 1)):
        utts = [f"{name}-{i}" for i in range(n)]
        for i, utt in enumerate(utts):
            packed = "pcm,embedded-shorten-v2.00" if i == 2 else "pcm"
            write_sphere(corpus / f"{utt}.sph", noise(0.6, i), coding=packed)
        (corpus / name).mkdir()
        tables = {
            "files": [f"{u} {u}.sph" for u in utts],
            "text": [f"{u} ONE <NOISE> 'TIS HIGH-TECH" for u in utts],
            "utt2spk": [f"{u} s" for u in utts],
        }
        for table, lines in tables.items():
            (corpus / name / table).write_text("".join(f"{line}\n" for line in lines))
    recipe = root / "espnet" / "egs2" / "fake" / "asr1"
    tool(root / "espnet" / "tools" / "sph2pipe", script=SPH2PIPE.replace("data =", VERSION))
    (recipe / "local").mkdir(parents=True)
    (recipe / "path.sh").write_text(
        'MAIN_ROOT=$PWD/../../..\\nexport PATH="${MAIN_ROOT}/tools/sph2pipe:${PATH}"\\n'.replace(
            "\\n", "\n"
        )
    )
    (recipe / "cmd.sh").write_text("export train_cmd=run.pl\n")
    (recipe / "db.sh").write_text(f"FAKE={corpus if db is None else db}\n")
    (recipe / "local" / "data.sh").write_text(DATA_SH)
    (recipe / "local" / "data.sh").chmod(0o755)
    return root / "espnet"


VERSION = "sys.argv[-1] == '--version' and sys.exit()\ndata ="
