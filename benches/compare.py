#!/usr/bin/env python3
"""Compares burn-skip with its peers, in one go, and prints tables in Markdown.

    python benches/compare.py --python PYTHON_WITH_THE_PEERS --json compare.json

Runs ours, the peers, candle, and ours again, so that a machine that grows slower or faster shows.
The medians of ours are the mean of both runs, the spread is over both.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = ("burn-skip flex", "burn-skip ndarray")
GOALS = {
    "up_block/infer": 0.7,
    "up_block/train": 0.7,
    "dense/infer": 0.8,
    "dense/train": 0.8,
    "unet_r18/infer": 0.85,
    "unet_r18/train": 0.85,
}
MEMORY_GOAL = 0.6
MEMORY_WORKLOADS = ("dense/train", "unet_r18/train")
# Both runs of ours must agree within this, or the table says so.
DRIFT = 1.15

Row = dict[str, Any]
Rows = dict[tuple[str, str], Row]


class Results:
    """What was measured: times and peaks by workload and peer, and what was not measured."""

    def __init__(self) -> None:
        self.times: Rows = {}
        self.peaks: Rows = {}
        self.skipped: dict[tuple[str, str], str] = {}
        self.notes: list[str] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Takes rows in; what is there already is merged with them."""
        for row in rows:
            key = (row["workload"], row["peer"])
            if "skipped" in row:
                self.skipped[key] = row["skipped"]
            elif "peak_mib" in row:
                before = self.peaks.get(key, row)
                self.peaks[key] = row | {"peak_mib": max(before["peak_mib"], row["peak_mib"])}
            else:
                self.times[key] = self._merged(key, row)

    def _merged(self, key: tuple[str, str], row: Row) -> Row:
        if (before := self.times.get(key)) is None:
            return row
        low, high = sorted((before["median_ms"], row["median_ms"]))
        if high > low * DRIFT:
            self.notes.append(
                f"{key[0]}, {key[1]}: the medians of the two runs are {low:.2f} and {high:.2f} ms."
            )
        return row | {
            "median_ms": (low + high) / 2,
            "min_ms": min(before["min_ms"], row["min_ms"]),
            "max_ms": max(before["max_ms"], row["max_ms"]),
            "runs": before["runs"] + row["runs"],
        }

    def all_rows(self) -> list[Row]:
        """Everything, for the file."""
        skipped = [{"workload": w, "peer": p, "skipped": s} for (w, p), s in self.skipped.items()]
        return [*self.times.values(), *self.peaks.values(), *skipped]

    def peers(self) -> list[str]:
        """All names, ours first, in the order of the runs."""
        keys = [*self.times, *self.peaks, *self.skipped]
        return list(dict.fromkeys([*OURS, *(peer for _, peer in keys)]))


def measure(command: list[str], threads: int) -> list[Row]:
    """Runs a command that obeys `--json OUT`, in the root of the repository."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        full = [*command, "--json", str(out)]
        print(f"$ {shlex.join(full)}", file=sys.stderr, flush=True)
        env = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        # What it prints is for whoever waits; the tables alone go to the output.
        status = subprocess.run(full, cwd=ROOT, env=env, stdout=sys.stderr, check=False).returncode
        if status != 0:
            raise OSError(f"{shlex.join(command)}: exit status {status}")
        return json.loads(out.read_text())


def first_line(path: str, key: str) -> str | None:
    """The value of the first line `key : value` of a file of the kernel."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((s.partition(":")[2].strip() for s in lines if s.startswith(key)), None)


def header(results: Results, threads: int) -> str:
    """The machine, the day and the versions."""
    cpu = first_line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    flags = (first_line("/proc/cpuinfo", "flags") or "").split()
    simd = [name for flag, name in (("avx512f", "AVX-512"), ("amx_tile", "AMX")) if flag in flags]
    if simd:
        cpu += f" with {' and '.join(simd)}"
    versions = {row["peer"]: row["version"] for row in results.times.values() if "version" in row}
    parts = [
        f"{cpu}, {os.cpu_count()} cores, {threads} threads",
        f"f32, {datetime.datetime.now(tz=datetime.UTC).date()}",
        ", ".join(f"{peer} {version}" for peer, version in versions.items()),
    ]
    return "; ".join(part for part in parts if part) + "."


def timed(row: Row | None) -> str:
    """Median and spread."""
    if row is None:
        return "-"
    return f"{row['median_ms']:.2f} ({row['min_ms']:.2f}\N{EN DASH}{row['max_ms']:.2f})"


def sized(row: Row | None) -> str:
    """A peak of memory."""
    return "-" if row is None else f"{row['peak_mib']:.0f} MiB"


def ratio(ours: Row | None, best: Row | None, key: str, goal: float) -> str:
    """Ours by the best peer's, bold where the goal is met."""
    if ours is None or best is None:
        return "-"
    value = ours[key] / best[key]
    return f"**{value:.2f}**" if value <= goal else f"{value:.2f}"


def summary_row(name: str, workload: str, rows: Rows, key: str, goal: float) -> str:
    """A row of the first table."""
    show = timed if key == "median_ms" else sized
    flex, ndarray = (rows.get((workload, peer)) for peer in OURS)
    others = [row for (w, peer), row in rows.items() if w == workload and peer not in OURS]
    best = min(others, key=lambda row: row[key], default=None)
    cells = [
        name,
        show(flex),
        show(ndarray),
        f"{best['peer']}, {show(best)}" if best else "-",
        ratio(flex, best, key, goal),
        ratio(ndarray, best, key, goal),
        f"{goal:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def tables(results: Results, threads: int) -> str:
    """Everything that is printed."""
    lines = [
        header(results, threads),
        "",
        "| workload | flex, ms | ndarray, ms | best peer, ms | flex / best | ndarray / best | goal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for workload, goal in GOALS.items():
        lines.append(summary_row(workload, workload, results.times, "median_ms", goal))
    for workload in MEMORY_WORKLOADS:
        name = f"{workload}, peak memory"
        lines.append(summary_row(name, workload, results.peaks, "peak_mib", MEMORY_GOAL))
    lines += ["", "Median and spread; a ratio that meets its goal is bold. All peers:", ""]
    names = [*GOALS, *(f"{workload}, peak memory" for workload in MEMORY_WORKLOADS)]
    lines.append(f"| peer | {' | '.join(names)} |")
    lines.append("| --- " * (len(names) + 1) + "|")
    for peer in results.peers():
        cells = []
        for workload in GOALS:
            key = (workload, peer)
            reason = results.skipped.get(key)
            cells.append(timed(results.times[key]) if key in results.times else reason or "-")
        cells += [sized(results.peaks.get((workload, peer))) for workload in MEMORY_WORKLOADS]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    notes = dict.fromkeys(results.notes)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)])


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ours-command", default="cargo bench -p burn-skip-benches --bench workloads --")
    parser.add_argument(
        "--candle-command",
        default="cargo run --release --manifest-path benches/candle/Cargo.toml --",
        help="empty to leave candle out",
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter with the peers")
    parser.add_argument("--peers", nargs="+", help="those of peers.py to run, else all")
    parser.add_argument("--runs", type=int, default=15, help="timed runs of each peer")
    parser.add_argument("--json", type=Path, help="a file for all rows")
    options = parser.parse_args()

    threads = 2
    ours = shlex.split(options.ours_command)
    peers = [options.python, str(ROOT / "benches/peers/peers.py"), "--memory"]
    peers += ["--runs", str(options.runs)]
    if options.peers:
        peers += ["--peers", *options.peers]
    results = Results()
    try:
        results.add(measure(ours, threads))
        results.add(measure(peers, threads))
        try:
            if options.candle_command:
                results.add(measure(shlex.split(options.candle_command), threads))
        except (OSError, ValueError) as error:
            results.notes.append(f"candle was not measured: {error}")
        results.add(measure([*ours, "--memory"], threads))
    except (OSError, ValueError) as error:
        sys.exit(f"nothing to compare: {error}")
    if options.json:
        options.json.write_text(json.dumps(results.all_rows(), indent=1) + "\n")
    print(tables(results, threads))


if __name__ == "__main__":
    main()
