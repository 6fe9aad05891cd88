#!/usr/bin/env python3
"""Times what burn-skip is compared with: PyTorch, ONNX Runtime and OpenVINO, on the CPU.

    python benches/peers/peers.py --json peers.json

Each measurement has a process of its own. f32, two threads, random weights. A peer that is not
installed is in the output with the reason, under `skipped`.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WARM_UP = 3
MEMORY_STEPS = 3
TIMEOUT = 900  # seconds, for one measurement

WORKLOADS = {  # and the modules they need
    "up_block/infer": (),
    "up_block/train": (),
    "dense/infer": ("torchvision",),
    "dense/train": ("torchvision",),
    "unet_r18/infer": ("segmentation_models_pytorch",),
    "unet_r18/train": ("segmentation_models_pytorch",),
}
MEMORY_WORKLOADS = ("dense/train", "unet_r18/train")


@dataclass(frozen=True)
class Peer:
    """The module and package that carry it, and what else it needs and can do."""

    module: str
    package: str
    needs: tuple[str, ...] = ("numpy", "torch")
    trains: bool = True
    memory: bool = True

    def missing(self, workload: str) -> list[str]:
        """The modules that are not installed."""
        return [m for m in self.modules(workload) if importlib.util.find_spec(m) is None]

    def modules(self, workload: str) -> list[str]:
        """All modules that the measurement imports."""
        return list(dict.fromkeys((*self.needs, self.module, *WORKLOADS[workload])))


EXPORTED = ("numpy", "torch", "onnx")
PEERS = {
    "PyTorch": Peer("torch", "torch"),
    "PyTorch channels_last": Peer("torch", "torch"),
    # The peak of its process is the compiler's.
    "PyTorch compile": Peer("torch", "torch", memory=False),
    "ONNX Runtime": Peer("onnxruntime", "onnxruntime", EXPORTED, trains=False, memory=False),
    "OpenVINO": Peer("openvino", "openvino", EXPORTED, trains=False, memory=False),
}


@dataclass(frozen=True)
class Job:
    """One measurement."""

    workload: str
    peer: str
    runs: int
    memory: bool = False


def status(key: str) -> float:
    """A size of this process, in MiB, as the kernel tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def measure(job: Job) -> dict[str, Any]:
    """Does the job in this process."""
    peer = PEERS[job.peer]
    for module in peer.modules(job.workload):
        importlib.import_module(module)
    import engines

    engines.torch.set_num_threads(engines.THREADS)
    idle = status("VmRSS")
    run = engines.build(job.workload, job.peer)
    found: dict[str, Any] = {"workload": job.workload, "peer": job.peer}
    if job.memory:
        for _ in range(MEMORY_STEPS):
            run()
        return found | {"peak_mib": round(status("VmHWM") - idle, 1)}
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(job.runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return found | {
        "version": importlib.metadata.version(peer.package),
        "median_ms": round(statistics.median(times), 3),
        "min_ms": round(min(times), 3),
        "max_ms": round(max(times), 3),
        "runs": job.runs,
        "threads": engines.THREADS,
    }


def apart(job: Job) -> dict[str, Any]:
    """Does the job in a process of its own."""

    def skipped(reason: str) -> dict[str, Any]:
        return {"workload": job.workload, "peer": job.peer, "skipped": reason}

    if missing := PEERS[job.peer].missing(job.workload):
        return skipped(f"not installed: {', '.join(missing)}")
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    command = [sys.executable, "-B", __file__, "--job", json.dumps(asdict(job))]
    try:
        done = subprocess.run(
            command,
            check=False,
            env=os.environ | threads,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return skipped(f"not done after {TIMEOUT} s")
    if done.returncode != 0:
        return skipped((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def jobs(options: argparse.Namespace) -> list[Job]:
    """The measurements that were asked for."""
    found = []
    for workload in options.workloads:
        train = workload.endswith("/train")
        for name in options.peers:
            if PEERS[name].trains or not train:
                found.append(Job(workload, name, options.runs))
            if options.memory and PEERS[name].memory and workload in MEMORY_WORKLOADS:
                found.append(Job(workload, name, options.runs, memory=True))
    return found


def told(row: dict[str, Any]) -> str:
    """A line for whoever waits."""
    start = f"{row['workload']}, {row['peer']}: "
    if "skipped" in row:
        return start + row["skipped"]
    if "peak_mib" in row:
        return start + f"{row['peak_mib']:.1f} MiB"
    return start + f"{row['median_ms']:.2f} ms ({row['min_ms']:.2f} to {row['max_ms']:.2f})"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="the file to write")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--runs", type=int, default=15, help="timed runs, after a warm-up")
    parser.add_argument(
        "--memory", action="store_true", help="also the peak memory of three training steps"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(Job(**json.loads(options.job)))))
        return
    rows = []
    for job in jobs(options):
        rows.append(apart(job))
        print(told(rows[-1]), file=sys.stderr, flush=True)
    text = json.dumps(rows, indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
