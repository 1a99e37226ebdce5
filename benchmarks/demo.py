"""How long ``rangemask demo`` takes and how much memory it needs.

    python benchmarks/demo.py [--runs 3]

Each run is a new process, as for a new user; the first one may also have to read the
libraries from disk. Limits of the project: 15 s on two cores, 1 GiB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    for number in range(1, runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            start_s = time.perf_counter()
            subprocess.run(  # noqa: S603
                [sys.executable, "-m", "rangemask", "demo", "--output", folder],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            taken_s = time.perf_counter() - start_s
        # Linux counts in KiB, macOS in bytes; the largest child so far.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
        print(f"run {number}: {taken_s:.2f} s, peak memory {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
