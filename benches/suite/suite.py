#!/usr/bin/env python3
"""Times burn-skip beside PyTorch, ONNX Runtime and OpenVINO, and prints tables in Markdown.

    python benches/suite/suite.py --out results.jsonl           # everything: an hour or so
    python benches/suite/suite.py --rows resnet dense --seconds 1
    python benches/suite/suite.py --report results.jsonl        # the tables of an earlier run

The rows are those of `table.rs`. Ours writes a row's graph, weights and values; PyTorch builds the
same network from them, and its outputs and gradients are compared with ours before anything is timed.
Each measurement has a process of its own; ours on flex runs first and last, so that a machine that
grows slower or faster shows. What is measured is written at once: a run that is cut short prints
what it has.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = "burn-skip"
DEVICES = ("flex", "ndarray")
NAMES = ("PyTorch", "PyTorch channels_last", "ONNX Runtime", "OpenVINO", "PyTorch compile")
# Both runs of ours on flex must agree within this, or the table says so.
DRIFT = 1.15
# Vectors of at most 256 bits: ours, oneDNN's, MKL's and PyTorch's own.
AVX2 = {
    "VECTOR_BITS": "256",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
WARM_UP = 2
TIMEOUT = 900  # seconds, for one measurement

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A measurement of a peer in a process of its own; without a peer the values are checked."""

    folder: str
    peer: str | None
    batch: int
    train: bool
    seconds: float
    threads: int


def status(key: str) -> float:
    """A size of this process, in MiB, as the kernel tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def perform(job: Job) -> Result:
    """Does the job in this process."""
    import importlib.metadata

    import engines

    folder = Path(job.folder)
    if job.peer is None:
        engines.check(folder)
        return {}
    peer = engines.PEERS[job.peer]
    idle = status("VmRSS")
    given = engines.Work.load(folder, job.batch, job.train, job.threads)
    if given.inputs[0].ndim < peer.least_axes:
        return {"skipped": "not for maps of this rank"}
    run = engines.build(job.peer, given)
    for _ in range(WARM_UP):
        run()
    # The peak counts from here on: to build a network may take more than to run it.
    Path("/proc/self/clear_refs").write_text("5")
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < job.seconds:
        before = time.perf_counter()
        run()
        times.append((time.perf_counter() - before) * 1e3)
    return {
        "version": importlib.metadata.version(peer.package),
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "max_ms": max(times),
        "runs": len(times),
    } | ({"peak_mib": status("VmHWM") - idle} if peer.peak else {})


class Suite:
    """The programs and options of a run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ours = options.ours or self._built()
        threads = str(options.threads)
        self.env = os.environ | {
            "RAYON_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        if options.avx2:
            self.env |= AVX2

    def _built(self) -> str:
        """Builds ours, and tells where it is."""
        # The dev profile, in which all else is built already, with the layers optimised too.
        command = ["cargo", "build", "-p", "burn-skip-benches", "--bin", "suite"]
        command += ["--config", "profile.dev.package.burn-skip.opt-level=3"]
        if self.options.system_allocator:
            command += ["--features", "system-allocator"]
        done = subprocess.run(
            [*command, "--message-format", "json-render-diagnostics"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit("ours was not built")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        programs = [row["executable"] for row in found if row.get("executable")]
        return programs[-1]

    def _run(self, command: list[str]) -> str:
        """What a command prints.

        Raises:
            OSError: when it fails, with its last line.
        """
        try:
            done = subprocess.run(
                command, env=self.env, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise OSError(f"not done after {TIMEOUT} s") from late
        if done.returncode != 0:
            raise OSError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
        return done.stdout

    def measurements(self) -> list[Result]:
        """Those of ours that were asked for."""
        found = [json.loads(line) for line in self._run([self.ours, "list"]).splitlines()]
        wanted = self.options.rows
        return [row for row in found if not wanted or any(name in row["name"] for name in wanted)]

    def _ours(self, name: str, device: str) -> Result:
        seconds = str(self.options.seconds)
        return json.loads(self._run([self.ours, "time", name, device, seconds]))

    def _peer(self, job: Job) -> Result:
        command = [self.options.python, "-B", __file__, "--job", json.dumps(asdict(job))]
        return json.loads(self._run(command).splitlines()[-1])

    def results(self) -> Iterator[Result]:
        """Measures one after the other."""
        measurements = self.measurements()
        rows = dict.fromkeys(row["row"] for row in measurements)
        for row in rows:
            with tempfile.TemporaryDirectory() as folder:
                own = [m for m in measurements if m["row"] == row]
                try:
                    self._run([self.ours, "write", row, folder])
                    self._peer(self._job(folder, None, own[0]))
                except OSError as error:
                    yield {"name": own[0]["row"], "peer": "check", "skipped": str(error)}
                    continue
                for measurement in own:
                    yield from self._measure(measurement, folder)

    def _job(self, folder: str, peer: str | None, measurement: Result) -> Job:
        batch, train = measurement["batch"], measurement["train"]
        return Job(folder, peer, batch, train, self.options.seconds, self.options.threads)

    def _measure(self, measurement: Result, folder: str) -> Iterator[Result]:
        devices = [*self.options.devices, *self.options.devices[:1]]
        # The first device again after the peers.
        ours = [(f"{OURS} {device}", lambda device=device: self._ours(name, device)) for device in devices]
        name = measurement["name"]
        peers = []
        for peer in self.options.peers:
            job = self._job(folder, peer, measurement)
            if not measurement["train"] or peer.startswith("PyTorch"):
                peers.append((peer, lambda job=job: self._peer(job)))
        for peer, run in [*ours[:-1], *peers, ours[-1]]:
            try:
                found = run()
            except OSError as error:
                found = {"skipped": str(error)}
            yield {"name": name, "peer": peer, "train": measurement["train"]} | found


def first_line(path: str, key: str) -> str | None:
    """The value of the first line `key : value` of a file of the kernel."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((s.partition(":")[2].strip() for s in lines if s.startswith(key)), None)


def header(results: list[Result]) -> str:
    """The machine, the day and the versions."""
    cpu = first_line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    flags = (first_line("/proc/cpuinfo", "flags") or "").split()
    names = (("avx512f", "AVX-512"), ("amx_tile", "AMX"), ("avx2", "AVX2"))
    simd = next((name for flag, name in names if flag in flags), None)
    versions = {row["peer"]: row["version"] for row in results if "version" in row}
    parts = [
        f"{cpu}{f' with {simd}' if simd else ''}, {os.cpu_count()} cores",
        f"f32, {datetime.datetime.now(tz=datetime.UTC).date()}",
        ", ".join(f"{peer} {version}" for peer, version in versions.items()),
    ]
    return "; ".join(part for part in parts if part) + "."


class Tables:
    """What was measured, by measurement and peer."""

    def __init__(self, results: list[Result]) -> None:
        self.results = results
        self.times: dict[str, dict[str, Result]] = {}
        self.notes: list[str] = []
        for row in results:
            if "skipped" in row:
                self.notes.append(f"{row['name']}, {row['peer']}: {row['skipped']}.")
                continue
            found = self.times.setdefault(row["name"], {})
            before = found.get(row["peer"])
            found[row["peer"]] = row if before is None else self._merged(before, row)

    def _merged(self, before: Result, row: Result) -> Result:
        low, high = sorted((before["median_ms"], row["median_ms"]))
        if high > low * DRIFT:
            both = f"{before['median_ms']:.2f} and {row['median_ms']:.2f} ms"
            self.notes.append(f"{row['name']}, {row['peer']}: the medians of both runs are {both}.")
        return row | {
            "median_ms": (low + high) / 2,
            "min_ms": min(before["min_ms"], row["min_ms"]),
            "max_ms": max(before["max_ms"], row["max_ms"]),
            "peak_mib": max(before["peak_mib"], row["peak_mib"]),
        }

    def ratio(self, name: str, device: str, key: str) -> float | None:
        """Ours by the best peer's."""
        found = self.times[name]
        ours = found.get(f"{OURS} {device}")
        best = self.best(name, key)
        return ours[key] / best[key] if ours and best else None

    def best(self, name: str, key: str) -> Result | None:
        """The peer with the least."""
        others = [
            row
            for peer, row in self.times[name].items()
            if not peer.startswith(OURS) and key in row
        ]
        return min(others, key=lambda row: row[key], default=None)

    def __str__(self) -> str:
        devices = [d for d in DEVICES if any(f"{OURS} {d}" in row for row in self.times.values())]
        lines = [header(self.results), ""]
        titles = ["measurement", *(f"{device}, ms" for device in devices), "best peer, ms"]
        titles += [*(f"{device} / best" for device in devices)]
        titles += ["peak memory, MiB", "of PyTorch's", "held, MiB", "allocated in a step"]
        lines += [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
        lines += [self._line(name, devices) for name in self.times]
        lines += ["", *self._means(devices)]
        lines += [f"- {note}" for note in dict.fromkeys(self.notes)]
        return "\n".join(lines)

    def _line(self, name: str, devices: list[str]) -> str:
        found, best = self.times[name], self.best(name, "median_ms")
        own = [found.get(f"{OURS} {device}") for device in devices]
        ratios = [self.ratio(name, device, "median_ms") for device in devices]
        peaks = self.ratio(name, devices[0], "peak_mib") if devices else None
        memory = own[0] if own and own[0] else {}
        cells = [
            name,
            *(f"{row['median_ms']:.2f}" if row else "-" for row in own),
            f"{best['peer']}, {best['median_ms']:.2f}" if best else "-",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            f"{memory['peak_mib']:.0f}" if memory else "-",
            "-" if peaks is None else f"{peaks:.2f}",
            *self._counted(memory),
        ]
        return f"| {' | '.join(cells)} |"

    def _counted(self, memory: Result) -> tuple[str, str]:
        """What a step of ours holds at most, and what it allocates."""
        if "held_mib" not in memory:
            return "-", "-"
        return (
            f"{memory['held_mib']:.0f}",
            f"{memory['allocated_mib']:.0f} MiB in {memory['allocations']}",
        )

    def _means(self, devices: list[str]) -> Iterator[str]:
        """Geometric means and the worst measurements."""
        for device in devices:
            for train in (False, True):
                ratios = {}
                for name, found in self.times.items():
                    ratio = self.ratio(name, device, "median_ms")
                    if ratio is not None and found[f"{OURS} {device}"]["train"] == train:
                        ratios[name] = ratio
                if not ratios:
                    continue
                mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
                worst = max(ratios, key=ratios.__getitem__)
                work = "training" if train else "inference"
                yield (
                    f"- {device}, {work}: geometric mean of ours / best peer {mean:.2f} over "
                    f"{len(ratios)} measurements, the worst {ratios[worst]:.2f} ({worst})."
                )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", help="parts of the names of the measurements, else all")
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=DEVICES)
    parser.add_argument("--peers", nargs="*", choices=NAMES, default=NAMES[:-1])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--avx2",
        action="store_true",
        help="ours and PyTorch as on a machine without AVX-512 (the other peers have no such limit)",
    )
    parser.add_argument(
        "--system-allocator", action="store_true", help="ours without an allocator of its own"
    )
    parser.add_argument("--ours", help="the program `suite`, else it is built")
    parser.add_argument("--python", default=sys.executable, help="the interpreter with the peers")
    parser.add_argument("--out", type=Path, help="a file for what is measured, a line of JSON each")
    parser.add_argument("--report", type=Path, help="such a file: its tables are printed")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    options = parsed()
    if options.job:
        print(json.dumps(perform(Job(**json.loads(options.job)))))
        return
    if options.report:
        print(Tables([json.loads(line) for line in options.report.read_text().splitlines()]))
        return
    results: list[Result] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(options.out.open("w")) if options.out else None
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        for result in Suite(options).results():
            results.append(result)
            if out:
                print(json.dumps(result), file=out, flush=True)
            shown = result.get("skipped") or f"{result['median_ms']:.2f} ms"
            print(f"{result['name']}, {result['peer']}: {shown}", file=sys.stderr, flush=True)
    print(Tables(results))


if __name__ == "__main__":
    main()
