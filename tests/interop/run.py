#!/usr/bin/env python3
"""Real clients against real nodes: what `make interop` runs.

Starts a MariaDB of its own and real `quorate` processes (one node, then three), lets the conformance scenarios and the
Java, Go and Python kits loose on them, and ends with a table. `tests/not-yet.txt` lists what does not pass yet: a
failure outside the list and a pass inside it are both red, and so is a case that is skipped without standing in `SKIPS`
or listed without ever being played. Everything lives in a temporary folder and on loopback.

Exit status: 0 as expected, 1 not, 2 could not run.
"""

import argparse
import concurrent.futures
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import database
import nodes

TESTS = pathlib.Path(__file__).resolve().parent.parent
SUITES = {}
# Suites that run only when they are named: older clients, and minutes of storm.
LONG = set()

# Cases that have nothing to do in a suite. Whatever else is skipped proves nothing, and is red.
SKIPS = {
    "scenarios-1/109-clients-on-every-node": "needs three nodes",
    "scenarios-1/110-any-node-serves": "needs three nodes",
    "java-1-1.8.0/tcc_fence": "client 1.8.0 has its fence elsewhere",
    "java-3-1.8.0/tcc_fence": "client 1.8.0 has its fence elsewhere",
}


class Outcome:
    """One case: `suite/name`, `pass`, `fail` or `skip`, and what was printed about it."""

    def __init__(self, suite, name, verdict, note=""):
        self.key, self.verdict, self.note = f"{suite}/{name}", verdict, note


def suite(name, is_long=False):
    """Registers a function that takes the stage and yields outcomes."""

    def register(function):
        SUITES[name] = function
        if is_long:
            LONG.add(name)
        return function

    return register


class Stage:
    """What the suites play on: the binary, the databases, a folder for logs."""

    def __init__(self, binary, folder, db, storm_s=300, calm_s=20, seed=1):
        self.binary, self.folder, self.db, self.seed = binary, folder, db, seed
        self.storm_s, self.calm_s = storm_s, calm_s

    def cluster(self, name, count, **settings):
        return nodes.Cluster(self.binary, self.folder / name, count, settings)


def run(command, log, timeout_s):
    """Runs a kit; its whole output also goes to `log`. A kit that hangs is ended and says so in its last line."""
    with open(log, "w", encoding="utf-8") as out:
        try:
            done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=out, text=True,
                                  timeout=timeout_s, check=False)
            text = done.stdout
            if done.returncode not in (0, 1):
                text += f"\nFAIL kit: ended with {done.returncode}\n"
        except subprocess.TimeoutExpired as late:
            text = (late.stdout or b"").decode(errors="replace") + f"\nFAIL kit: no end after {timeout_s} s\n"
        out.write(text)
    return text


def outcomes_of(name, text, line_of):
    """Reads lines of verdicts, and holds them against the counts of the last line: who ends early proves nothing."""
    counts, is_kit_named = {"PASS": 0, "FAIL": 0, "SKIP": 0}, False
    for line in text.splitlines():
        hit = re.match(line_of, line)
        if hit:
            counts[hit[1]] += 1
            is_kit_named |= hit[2] == "kit"
            yield Outcome(name, hit[2], hit[1].lower(), hit[3].strip(" :"))
    summary = re.findall(r"^(\d+) passed, (\d+) failed", text, re.M)
    if not is_kit_named and (not summary or summary[-1] != (str(counts["PASS"]), str(counts["FAIL"]))):
        last = text.strip().splitlines()[-1:] or ["nothing"]
        yield Outcome(name, "kit", "fail", f"ended early: {counts['PASS']} passed, {counts['FAIL']} failed, last line "
                                           f"{last[0][-300:]}")


def kit_outcomes(name, text):
    """Reads the `PASS`, `FAIL` and `SKIP` lines that all three kits print."""
    return outcomes_of(name, text, r"(PASS|FAIL|SKIP) ([\w-]+)(.*)")


def scenario_outcomes(name, text):
    """Reads the lines of `probe.py`: `PASS`, `FAIL` or `SKIP` and the scenario's file."""
    return outcomes_of(name, text, r"(PASS|FAIL|SKIP) (?:.*/)?(\d+-[\w-]+|kit)(?:\.txt)?\b(.*)")


def probe(name, stage, cluster):
    where = ["--servers", cluster.seata()] if cluster.count > 1 else ["--server", cluster.seata()]
    command = [TESTS / "conformance" / "probe.py", "run", *where, TESTS / "conformance" / "scenarios"]
    return scenario_outcomes(name, run(command, stage.folder / f"{name}.log", 400))


def java(name, stage, cluster, *more, registry=False, version="2.6.0", timeout_s=600):
    command = ["env", f"SEATA_CLIENT={version}", TESTS / "clients" / "java" / "run", "--servers", cluster.seata()]
    if registry:
        command += ["--registry", "raft", "--http", cluster.admin()]
    if stage.db:
        command += ["--db", stage.db.jdbc()]
    return kit_outcomes(name, run([*command, *more], stage.folder / f"{name}.log", timeout_s))


@suite("scenarios-1")
def scenarios_one(stage):
    with stage.cluster("scenarios-1", 1) as cluster:
        yield from probe("scenarios-1", stage, cluster)


@suite("scenarios-3")
def scenarios_three(stage):
    with stage.cluster("scenarios-3", 3) as cluster:
        yield from probe("scenarios-3", stage, cluster)


@suite("java-1")
def java_one(stage):
    with stage.cluster("java-1", 1) as cluster:
        yield from java("java-1", stage, cluster)


@suite("java-3")
def java_three(stage):
    with stage.cluster("java-3", 3) as cluster:
        yield from java("java-3", stage, cluster, registry=True)


def java_strict(version):
    """All ordinary cases of one client version, on one node and on three, strict."""
    # Client 1.8.0 knows no raft registry.
    registry = version != "1.8.0"

    @suite(f"java-1-{version}", is_long=True)
    def one(stage):
        with stage.cluster(f"java-1-{version}", 1) as cluster:
            yield from java(f"java-1-{version}", stage, cluster, "--strict", version=version)

    @suite(f"java-3-{version}", is_long=True)
    def three(stage):
        with stage.cluster(f"java-3-{version}", 3) as cluster:
            yield from java(f"java-3-{version}", stage, cluster, "--strict", registry=registry, version=version)


for client_version in ("1.8.0", "2.0.0", "2.5.0", "2.6.0"):
    java_strict(client_version)


# Every form of a body that a stock client writes, by a client that writes it: LZ4 changed in 2.6.
BODIES = [("2.6.0", "transport.compressor", name) for name in ("gzip", "zip", "bzip2", "lz4", "deflater", "zstd")]
BODIES += [("2.5.0", "transport.compressor", "lz4"), ("1.8.0", "transport.serialization", "protobuf")]


@suite("java-bodies")
def java_bodies(stage):
    with stage.cluster("java-bodies", 1) as cluster:
        for version, key, value in BODIES:
            name = f"{value}-{version}"
            command = ["env", f"SEATA_CLIENT={version}", TESTS / "clients" / "java" / "run"]
            command += ["--servers", cluster.seata(), "--set", f"{key}={value}"]
            command += ["tcc_commit", "tcc_rollback", "branch_report", "many_resources", "lock_conflict"]
            for outcome in kit_outcomes(name, run(command, stage.folder / f"java-{name}.log", 300)):
                outcome.key = f"java-bodies/{outcome.key.replace('/', '-')}"
                yield outcome


# Serializers that carry graphs of Java objects, by clients that write them.
FOREIGN = [("1.8.0", "hessian"), ("2.5.0", "hessian"), ("2.6.0", "hessian"), ("2.6.0", "fastjson2")]


@suite("java-foreign")
def java_foreign(stage):
    """Clients whose serializer is not spoken: told so at once, in their own log, and not left to their time-out of 30 s."""
    with stage.cluster("java-foreign", 1) as cluster:
        for version, serializer in FOREIGN:
            name, log = f"{serializer}-{version}", stage.folder / f"java-foreign-{serializer}-{version}.client"
            command = ["env", f"SEATA_CLIENT={version}", f"KIT_LOG={log}", TESTS / "clients" / "java" / "run"]
            command += ["--servers", cluster.seata(), "--set", f"transport.serialization={serializer}", "tcc_commit"]
            text = run(command, stage.folder / f"java-foreign-{name}.log", 300)
            said = log.read_text(encoding="utf-8") if log.exists() else ""
            is_told = "set transport.serialization to seata" in said and "wait response error" not in said
            verdict = "pass" if is_told and "0 passed, 1 failed" in text else "fail"
            yield Outcome("java-foreign", name, verdict, text.strip()[-200:])


@suite("java-keys")
def java_keys(stage):
    """Clients that sign their registration, at a node that lets nobody else in and answers merged frames piece by piece."""
    cases = ["tcc_commit", "tcc_rollback", "branch_report", "many_resources", "lock_conflict"]
    with stage.cluster("java-keys", 1, auth__access_keys="kit=right", clients__batch_results="true") as cluster:
        for version, secret in (("1.8.0", "right"), ("2.5.0", "right"), ("2.6.0", "right"), ("2.6.0", "wrong")):
            name = f"{secret}-{version}"
            signs = f"KIT_JAVA=-Dseata.accesskey=kit -Dseata.secretkey={secret}"
            command = ["env", f"SEATA_CLIENT={version}", signs, TESTS / "clients" / "java" / "run"]
            command += ["--servers", cluster.seata(), *(cases if secret == "right" else cases[:1])]
            text = run(command, stage.folder / f"java-keys-{name}.log", 300)
            if secret == "right":
                for outcome in kit_outcomes(name, text):
                    outcome.key = f"java-keys/{outcome.key.replace('/', '-')}"
                    yield outcome
            else:
                refused = "0 passed, 1 failed" in text and nodes.logged(cluster, "access key and signature do not fit")
                yield Outcome("java-keys", name, "pass" if refused else "fail", text.strip()[-200:])


def gap(name, stage, what):
    """60 held transactions while the node that serves the client is taken away."""
    with stage.cluster(name, 3) as cluster:
        taker = f"{sys.executable} {TESTS / 'interop' / 'nodes.py'} take {what} {cluster.folder}"
        yield from java(name, stage, cluster, "--threads", "8", "--seconds", "40", "--kill-at", "8", "--held", "60",
                        "--strict", "--kill-cmd", taker, "gap", registry=True)


@suite("gap-kill")
def gap_kill(stage):
    yield from gap("gap-kill", stage, "kill")


@suite("gap-stop")
def gap_stop(stage):
    yield from gap("gap-stop", stage, "stop")


def kit_of(language, count, timeout_s):
    """All cases of a kit, on one node or through three."""
    name = f"{language}-{count}"

    @suite(name)
    def play(stage):
        with stage.cluster(name, count) as cluster:
            command = [TESTS / "clients" / language / "run", "--servers", cluster.seata()]
            if stage.db:
                command += ["--db", stage.db.dsn() if language == "go" else stage.db.plain()]
            yield from kit_outcomes(name, run(command, stage.folder / f"{name}.log", timeout_s))


for nodes_of_it in (1, 3):
    kit_of("go", nodes_of_it, 600)
    kit_of("python", nodes_of_it, 400)


@suite("storm", is_long=True)
def storm(stage):
    """Minutes of load while nodes are killed, stopped and restarted one after the other; then the books must balance and
    nothing may be left on the server."""
    seconds, seed = stage.storm_s, stage.seed
    with stage.cluster("storm", 3) as cluster:
        with nodes.Storm(cluster, stage.calm_s, seed) as blowing, concurrent.futures.ThreadPoolExecutor(2) as pool:
            lanes = [pool.submit(soaked, stage, cluster, seconds), pool.submit(held, stage, cluster, seconds)]
            outcomes = [outcome for lane in lanes for outcome in lane.result()]
        yield from outcomes
        left = nodes.left_over(cluster, 120)
        struck = f"seed {seed}: {len(blowing.struck)} strikes"
        (stage.folder / "storm.txt").write_text("\n".join(blowing.struck), encoding="utf-8")
        yield Outcome("storm", "nothing_left", "fail" if left else "pass", f"{struck}, left {left}")
        longest = longest_gaps(outcomes)
        (stage.folder / "gaps.txt").write_text(longest, encoding="utf-8")
        # A client of which nobody knows it was not measured.
        yield Outcome("storm", "longest_gap", "fail" if "unknown" in longest else "pass", longest)


def longest_gaps(outcomes):
    """The longest time without a success of each client: of the one that soaks, and of those that hold transactions."""
    gaps = {"soak": [], "gap": []}
    for outcome in outcomes:
        case, said = outcome.key.partition("/")[2].partition("-")[0], re.search(r"\bgap ([0-9.]+) s", outcome.note)
        if case in gaps and said:
            gaps[case].append(float(said[1]))
    shown = [f"{case} {', '.join(f'{gap:.1f}' for gap in found)} s" if found else f"{case} unknown" for case, found in gaps.items()]
    return f"longest time without a success: {'; '.join(shown)}"


def soaked(stage, cluster, seconds):
    """The mixed load of the Java kit, AT transfers included."""
    load = ["--strict", "--threads", "6", "--seconds", str(seconds), "soak"]
    return list(java("storm", stage, cluster, *load, registry=True, timeout_s=seconds + 300))


def held(stage, cluster, seconds):
    """Held and decided transactions, again and again, without a database beside them; the storm strikes by itself."""
    found, until, turn = [], time.monotonic() + seconds, 0
    while time.monotonic() < until:
        turn += 1
        command = [TESTS / "clients" / "java" / "run", "--servers", cluster.seata(), "--registry", "raft", "--http",
                   cluster.admin(), "--app", "kit-held", "--strict", "--kill-cmd", "echo the storm strikes", "--threads", "2",
                   "--seconds", "40", "--held", "60", "gap", "decided_failover"]
        for outcome in kit_outcomes("storm", run(command, stage.folder / f"storm-held-{turn}.log", 500)):
            outcome.key += f"-{turn}"
            found.append(outcome)
    return found


def not_yet():
    """`suite/case  reason`, one a line; `suite` may be `*`."""
    listed = {}
    for line in (TESTS / "not-yet.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            key, _, reason = line.partition(" ")
            listed[key] = reason.strip()
    return listed


def names_of(key):
    """How a case may be listed: by its suite, by both forms of its suite, for all suites."""
    suite_name, _, case = key.partition("/")
    return [key, f"*/{case}", f"{suite_name.rpartition('-')[0]}-*/{case}"]


def reason_of(listed, key):
    return next((listed[name] for name in names_of(key) if name in listed), None)


def never_played(results, listed, is_whole):
    """Listed cases of suites that were played which nobody played. Whether one of `*` is missing only a whole run knows."""
    played = {name for outcomes, _ in results.values() for outcome in outcomes if outcome.verdict != "skip"
              for name in names_of(outcome.key)}
    suites = {name.partition("/")[0] for key in results for name in names_of(f"{key}/")} - {"*"}
    if is_whole:
        suites.add("*")
    return [key for key in listed if key not in played and key.partition("/")[0] in suites]


def table(results, listed, is_whole):
    """Prints a line a suite, then what is not as expected; returns how many of those there are."""
    print(f"\n{'suite':<14}{'passed':>8}{'failed':>8}{'not yet':>9}{'skipped':>9}{'seconds':>9}")
    wrong = []
    for name, (outcomes, seconds) in results.items():
        counts = {"pass": 0, "fail": 0, "known": 0, "skip": 0}
        for outcome in outcomes:
            known = reason_of(listed, outcome.key)
            if outcome.verdict == "fail" and known:
                counts["known"] += 1
            else:
                counts[outcome.verdict] += 1
            if outcome.verdict == "fail" and not known:
                wrong.append(f"FAILED   {outcome.key}: {outcome.note}")
            if outcome.verdict == "pass" and known:
                wrong.append(f"PASSES   {outcome.key}: take it out of tests/not-yet.txt")
            if outcome.verdict == "skip" and outcome.key not in SKIPS:
                wrong.append(f"SKIPPED  {outcome.key}: {outcome.note}")
            if outcome.verdict != "skip" and outcome.key in SKIPS:
                wrong.append(f"PLAYED   {outcome.key}: take it out of SKIPS in tests/interop/run.py")
        print(f"{name:<14}{counts['pass']:>8}{counts['fail']:>8}{counts['known']:>9}{counts['skip']:>9}{seconds:>9.0f}")
    wrong += [f"MISSING  {key}: in tests/not-yet.txt, and was not played" for key in never_played(results, listed, is_whole)]
    print("\n" + "\n".join(wrong) if wrong else "\nas expected")
    return len(wrong)


def is_java(name):
    return name.startswith(("java", "gap", "storm"))


def play(names, stage):
    """Plays suites one after the other; outcomes and seconds of each."""
    results = {}
    for name in names:
        started = time.monotonic()
        outcomes = list(SUITES[name](stage))
        results[name] = (outcomes, time.monotonic() - started)
        for outcome in outcomes:
            print(f"{outcome.verdict:<5}{outcome.key} {outcome.note}"[:300], flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description="Runs real clients against real nodes.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}; when none is named all but "
                        f"{', '.join(sorted(LONG))}")
    parser.add_argument("--binary", default="target/debug/quorate", help="the server (default: %(default)s)")
    parser.add_argument("--storm-s", type=int, default=300, help="seconds of storm (default: %(default)s)")
    parser.add_argument("--calm-s", type=float, default=20,
                        help="seconds between two strikes of it at most; a quarter of that at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the storm (default: drawn)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.suites if name not in SUITES]
    if unknown:
        parser.error(f"no suite {unknown[0]}; there are {', '.join(SUITES)}")
    binary = pathlib.Path(arguments.binary).resolve()
    if not binary.exists():
        print(f"interop: {binary} is missing: run `cargo build` first", file=sys.stderr)
        return 2
    folder = pathlib.Path(tempfile.mkdtemp(prefix="quorate-interop-"))
    print(f"logs in {folder}")
    wanted = arguments.suites or [name for name in SUITES if name not in LONG]
    results = {name: None for name in wanted}
    with database.Database(folder / "mariadb") as db, concurrent.futures.ThreadPoolExecutor(2) as pool:
        stage = Stage(binary, folder, db, arguments.storm_s, arguments.calm_s, arguments.seed)
        # The suites mostly wait, so two lanes side by side; those of the Java kit share databases and stay in one.
        lanes = [[name for name in wanted if is_java(name)], [name for name in wanted if not is_java(name)]]
        for lane in list(pool.map(lambda names: play(names, stage), lanes)):
            results.update(lane)
    wrong = table(results, not_yet(), is_whole=not arguments.suites)
    if not wrong and not arguments.keep:
        subprocess.run(["rm", "-rf", str(folder)], check=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
