#!/usr/bin/env python3
"""longwire beside the field: interleaved rounds, a table, and an exit code.

Servers run on one core and the load generator on another, A B C A B C ..., so that a machine
that is slow for a while is slow for all. What is compared is CPU time per message; a ratio is
taken within a round, and the table gives the median and the spread of the rounds' ratios.

    benches/field/compare.py                    all rows, five rounds
    benches/field/compare.py --quick            two short rounds, to see that it works
    benches/field/compare.py --only echo-1000   one row, or several

The exit code is 0 when every bar of every row holds, 1 when one is missed or a run was worthless,
and 2 when it could not be measured at all. Needs Linux, two cores and Python 3.9; no packages.
"""

import argparse
import json
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]

# How long a server may take to listen, and to leave when asked to.
START_SECONDS = 10
STOP_SECONDS = 15

# Attempts at one run: a machine that was busy with something else gets one more chance.
ATTEMPTS = 2

# Rates of a row whose closed loop made the generator the bottleneck, relative to the lowest
# throughput seen there, from the first on until it no longer is: a paced generator wakes more
# often for the same work, so a rate that the servers serve easily can still be too much for it.
PACED_SHARES = (0.7, 0.5, 0.35)


class Unmeasured(Exception):
    """There is no number, and this is why."""


@dataclass
class Server:
    """A server under test: its name in the table and what comes after the program."""

    name: str
    program: str
    arguments: list

    @property
    def is_bare(self):
        return self.program == "bare"


def longwire(mode, *arguments):
    return Server("longwire", "longwire", ["raw", mode, "--shards", "1", *arguments])


def bare(mode):
    return Server("bare", "bare", [mode])


def fastwebsockets():
    return Server("fastwebsockets", "fastwebsockets_echo", [])


@dataclass
class Bar:
    """What must hold: a median of `value(round)` of at most `limit`."""

    text: str
    limit: float
    value: object
    unit: str = "x"
    aim: Optional[float] = None


def cost_beside(name):
    """The server's CPU time per message, relative to another's in the same round."""
    return lambda runs: (
        runs["longwire"]["server_us_per_message"] / runs[name]["server_us_per_message"]
    )


def of_longwire(measure):
    return lambda runs: measure(runs["longwire"])


def tail_beside_median(run):
    return run["p99_us"] / run["p50_us"]


@dataclass
class Row:
    key: str
    title: str
    kind: str
    load: list
    servers: list
    bars: list
    seconds: Optional[int] = None
    notes: list = field(default_factory=list)


def echo_bars(bare_limit, aim=None):
    return [
        Bar("CPU per echo beside bare", bare_limit, cost_beside("bare"), aim=aim),
        Bar("CPU per echo beside fastwebsockets", 0.95, cost_beside("fastwebsockets")),
    ]


def echo_row(key, title, connections, size, bars, *load):
    load = ["--connections", str(connections), "--size", str(size), *load]
    servers = [longwire("echo"), bare("echo"), fastwebsockets()]
    return Row(key, title, "echo", load, servers, bars)


def fanout_row(key, title, connections, size, bars, *load):
    load = ["--connections", str(connections), "--size", str(size), *load]
    return Row(key, title, "fanout", load, [longwire("broadcast"), bare("fanout")], bars)


def rows():
    tail = Bar("p99 beside the median", 2.0, of_longwire(tail_beside_median))
    deliver = Bar("CPU per delivery beside bare", 0.95, cost_beside("bare"), aim=0.85)
    joined = Bar(
        "CPU per delivery", 0.6, of_longwire(lambda run: run["server_us_per_message"]), " us"
    )
    others = Bar("p99 of the others", 5.0, of_longwire(lambda run: run["probe"]["p99_us"] / 1000),
                 " ms")
    memory = Bar("user memory per connection", 96,
                 of_longwire(lambda run: run["server_bytes_per_connection"]), " B")
    quiet = Bar("CPU while idle", 0.1, of_longwire(lambda run: 100 * run["server_cpu"]), " %")
    shake = Bar("CPU per handshake beside bare", 1.15, cost_beside("bare"))
    paced = Bar("CPU per echo beside bare", 1.6, cost_beside("bare"))
    start = Bar("start to accepting", 100, of_longwire(lambda run: run["start_ms"]), " ms")
    return [
        echo_row("echo-100", "echo 20 B x 100", 100, 20, echo_bars(0.9, 0.75)),
        echo_row("echo-1000", "echo 20 B x 1,000", 1000, 20, [*echo_bars(0.9, 0.75), tail]),
        echo_row("echo-10000", "echo 20 B x 10,000", 10_000, 20, echo_bars(1.0)),
        echo_row("echo-1k", "echo 1 KiB x 1,000", 1000, 1024, echo_bars(1.0)),
        echo_row("rate-1000", "1,000 echoes/s over 1,000", 1000, 20, [paced], "--rate", "1000"),
        fanout_row("fanout-1000", "fan-out 100 B x 1,000", 1000, 100, [deliver]),
        fanout_row("fanout-10000", "fan-out 100 B x 10,000", 10_000, 100, [deliver]),
        fanout_row("fanout-16", "fan-out 20 B x 1,000, 16 in flight", 1000, 20, [joined],
                   "--publishers", "16"),
        Row("others", "100 others echo beside a fan-out to 10,000", "fanout",
            ["--connections", "10000", "--size", "100", "--probes", "100"],
            [longwire("broadcast")], [others]),
        # The bare server tells nobody who came; the row below it has longwire's line for each.
        Row("handshake", "opening handshakes", "connect", ["--window", "64"],
            [longwire("echo", "--log-level", "warn"), bare("handshake")], [shake, start]),
        Row("handshake-logged", "opening handshakes, each with its line in the log", "connect",
            ["--window", "64"], [longwire("echo"), bare("handshake")], [shake]),
        Row("idle", "15,000 idle, heartbeats off", "idle", ["--connections", "15000"],
            [longwire("echo", "--ping-interval", "off")], [memory, quiet], seconds=60),
    ]


@dataclass
class Setup:
    programs: dict
    server_core: int
    load_core: int


def build(load_core, server_core, profile_dir):
    return Setup(
        {
            "longwire": profile_dir / "longwire",
            "bare": profile_dir / "examples" / "bare",
            "fastwebsockets_echo": profile_dir / "examples" / "fastwebsockets_echo",
        },
        server_core,
        load_core,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """One server process on its core, from listening to its end."""

    def __init__(self, setup, server):
        self.port = free_port()
        command = [
            "taskset", "-c", str(setup.server_core), str(setup.programs[server.program]),
            *server.arguments, "--listen", f"127.0.0.1:{self.port}",
        ]
        begun = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            self.wait_until_listening(begun + START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.start_ms = 1000 * (time.monotonic() - begun)

    def wait_until_listening(self, deadline):
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Unmeasured(f"the server ended: {self.process.stderr.read().strip()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.001)
        raise Unmeasured(f"the server did not listen within {START_SECONDS} s")

    def stop(self):
        """Ends the process that was started here, by its own id and no other."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def bench_command(setup, row, server, seconds, rate):
    command = [
        str(setup.programs["longwire"]), "bench", "raw", row.kind, *row.load,
        "--seconds", str(row.seconds if row.seconds and seconds >= 5 else seconds),
        "--cpu", str(setup.load_core), "--json",
    ]
    if rate is not None:
        command += ["--rate", str(rate)]
    if server.is_bare:
        command.append("--bare")
    return command


def run_once(setup, row, server, seconds, rate):
    """One run against a fresh server; its JSON, with how long the server took to start."""
    with Running(setup, server) as running:
        command = bench_command(setup, row, server, seconds, rate)
        command += ["--target", f"127.0.0.1:{running.port}"]
        command += ["--server-pid", str(running.process.pid)]
        limit = 120 + 2 * (row.seconds or seconds)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise Unmeasured(f"{server.name}: no end after {limit} s") from error
        if not done.stdout.strip():
            raise Unmeasured(f"{server.name}: {done.stderr.strip()}")
        run = json.loads(done.stdout)
        run["start_ms"] = running.start_ms
        return run


def run_valid(setup, row, server, seconds, rate):
    """A run without a fault, or the last one with its faults."""
    for _ in range(ATTEMPTS):
        run = run_once(setup, row, server, seconds, rate)
        if not run["faults"]:
            break
        print(f"  {row.key} {server.name}: {'; '.join(run['faults'])}", file=sys.stderr)
    return run


def measure(setup, row, rounds, seconds, rate=None):
    """All rounds of a row: for each, the runs by server."""
    table = []
    for number in range(rounds):
        runs = {}
        for server in row.servers:
            runs[server.name] = run_valid(setup, row, server, seconds, rate)
        table.append(runs)
        shown = ", ".join(f"{name} {show_cost(run)}" for name, run in runs.items())
        print(f"  {row.key} round {number + 1}: {shown}", file=sys.stderr)
        if rate is None and any(run["saturated"] for run in runs.values()):
            return table
    return table


def measure_row(setup, row, rounds, seconds):
    """A closed loop where the generator keeps up; otherwise a rate that all servers can serve."""
    table = measure(setup, row, rounds, seconds)
    saturated = any(run["saturated"] for runs in table for run in runs.values())
    if not saturated or "--rate" in row.load:
        return table
    messages = [run["messages_per_second"] for runs in table for run in runs.values()]
    rate = min(messages)
    if row.kind == "fanout":
        rate /= int(row.load[row.load.index("--connections") + 1])
    for share in PACED_SHARES:
        paced = max(1, int(share * rate))
        table = measure(setup, row, rounds, seconds, paced)
        if not any(run["saturated"] for runs in table for run in runs.values()):
            break
    row.notes.append(f"paced at {paced:,}/s: a closed loop made the generator the bottleneck")
    return table


def show_cost(run):
    if run["server_us_per_message"] is not None:
        return f"{run['server_us_per_message']:.3f} us"
    bytes_each = run["server_bytes_per_connection"]
    return "-" if bytes_each is None else f"{bytes_each:.0f} B"


def spread(values, digits=2):
    median = statistics.median(values)
    return f"{median:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def costs_of(table, name):
    runs = [runs[name] for runs in table if name in runs]
    costs = [run["server_us_per_message"] for run in runs]
    if costs and None not in costs:
        return f"{spread(costs)} us"
    bytes_each = [run["server_bytes_per_connection"] for run in runs]
    if bytes_each and None not in bytes_each:
        kernel = statistics.median(run["kernel_bytes_per_connection"] for run in runs)
        return f"{spread(bytes_each, 0)} B (kernel, both ends: {kernel:.0f} B)"
    return "-"


@dataclass
class Verdict:
    text: str
    value: str
    bar: str
    holds: bool


def judge(row, table):
    faults = sorted({fault for runs in table for run in runs.values() for fault in run["faults"]})
    verdicts = []
    for bar in row.bars:
        try:
            values = [bar.value(runs) for runs in table]
            median = statistics.median(values)
        except (TypeError, KeyError, ZeroDivisionError):
            verdicts.append(Verdict(bar.text, "no number", f"<= {bar.limit}{bar.unit}", False))
            continue
        limit = f"<= {bar.limit:g}{bar.unit}"
        if bar.aim is not None:
            limit += f", aim {bar.aim:g}"
        holds = median <= bar.limit and not faults
        verdicts.append(Verdict(bar.text, spread(values) + bar.unit, limit, holds))
    return faults, verdicts


def print_table(row, table):
    """The lines of one row. Returns whether every bar holds."""
    faults, verdicts = judge(row, table)
    names = ["longwire", "bare", "fastwebsockets"]
    costs = " | ".join(costs_of(table, name) for name in names)
    for index, verdict in enumerate(verdicts):
        title = row.title if index == 0 else ""
        shown = costs if index == 0 else " | | "
        word = "holds" if verdict.holds else "**worthless**" if faults else "**missed**"
        print(f"| {title} | {shown} | {verdict.text} | {verdict.value} | {verdict.bar} | {word} |")
    for note in [*row.notes, *faults]:
        print(f"| | | | | {note} | | | |")
    sys.stdout.flush()
    return all(verdict.holds for verdict in verdicts)


def print_head(arguments):
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commit = git("rev-parse", "--short", "HEAD") or "no commit"
    if git("status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    command = " ".join(shlex.quote(word) for word in sys.argv)
    print(f"Machine: {model}, {os.cpu_count()} cores; Linux {platform.release()}; "
          f"commit {commit}; {time.strftime('%Y-%m-%d')}")
    print(f"Command: `{command}` (server on core {arguments.server_core}, load on core "
          f"{arguments.load_core}; median (lowest-highest) of {arguments.rounds} rounds "
          f"of {arguments.seconds} s)")
    print()
    print("| what | longwire | bare | fastwebsockets | measure | value | bar | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    sys.stdout.flush()


def git(*arguments):
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def parse_arguments(keys):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=None, help="rounds per row (5)")
    parser.add_argument("--seconds", type=int, default=None, help="seconds per run (5)")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("--only", action="append", choices=keys, metavar="ROW",
                        help=f"rows to measure: {', '.join(keys)}")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 5)
    return arguments


def build_programs():
    command = ["cargo", "build", "--release", "--quiet", "--bin", "longwire",
               "--example", "bare", "--example", "fastwebsockets_echo"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Unmeasured("the programs do not build")


def main():
    everything = rows()
    arguments = parse_arguments([row.key for row in everything])
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    setup = build(arguments.load_core, arguments.server_core, target / "release")
    try:
        if not arguments.no_build:
            build_programs()
        for program in setup.programs.values():
            if not program.exists():
                raise Unmeasured(f"{program} is not there: leave --no-build out")
    except Unmeasured as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print_head(arguments)
    holds = True
    for row in everything:
        if arguments.only and row.key not in arguments.only:
            continue
        try:
            table = measure_row(setup, row, arguments.rounds, arguments.seconds)
        except Unmeasured as error:
            print(f"| {row.title} | | | | not measured: {error} | | | **missed** |", flush=True)
            holds = False
            continue
        holds &= print_table(row, table)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
