"""The processor that figures of an export were measured on."""

import platform
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
KEYS = ("flags", "Features")  # x86, ARM
NAMES = ("avx", "amx", "fma", "asimd", "i8mm", "sve", "bf16")
"""How the names of the instructions begin that multiply matrices. With VNNI ("avx512_vnni",
"avx_vnni") or i8mm int8 products are summed in 32 bits; without, on x86, in 16 bits."""


def describe(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """Machine and instruction sets of the first core.

    Args:
        cpuinfo: Linux's description of the processors.

    Returns:
        ``machine`` (x86_64, aarch64 …) and ``features``, sorted; none where Linux does not tell.
    """
    features: set[str] = set()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in KEYS:
                features.update(f for f in value.split() if f.startswith(NAMES))
                break
    return {"machine": platform.machine(), "features": sorted(features)}
