"""What /proc/cpuinfo says of a processor."""

import pytest

from espnet_dice.export.processor import describe

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R)
flags\t\t: fpu sse4_2 fma avx avx2 avx512f avx512_vnni amx_int8 smep
vmx flags\t: vnmi

processor\t: 1
flags\t\t: other avx_of_another_core
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (X86, ["amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "fma"]),
        (ARM, ["asimd", "asimddp", "i8mm"]),
        ("", []),
    ],
)
def test_features(tmp_path, text, wanted):
    (tmp_path / "cpuinfo").write_text(text)
    found = describe(tmp_path / "cpuinfo")
    assert found["features"] == wanted and found["machine"]


def test_where_linux_does_not_tell(tmp_path):
    assert describe(tmp_path / "none")["features"] == []
