#!/usr/bin/env python3
"""Nodes and groups come, die, are replaced and go, under load: what `make demo-elastic` runs.

Starts three real `quorate` nodes on loopback and `quorate bench` against the ports of all that will ever be there. Then,
one after the other: two nodes join, two groups are added and get their share of the slots, a node is killed, it is replaced by
one with an empty folder at the same address, one is drained, a group is removed, and nodes are, until three are left. A step is
over when every group is where it should be, and no slot is on its way.

Prints a table: what each step took, transactions per second before it and in its worst second, p99 of its worst second,
what was begun anew because a connection broke before the commit, and errors: begins or branches refused, commits that ended
otherwise or that nobody knows of. At the end every acknowledged branch must have had its phase two, once or more, and no
session or row lock may be left.

Exit status: 0 without an error, 1 with one, 2 could not run.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import nodes

LINE = re.compile(r"interval until_s=(\S+) acknowledged=(\d+) finished=(\d+) failed=(\d+) anew=(\d+) "
                  r"p50_ms=(\S+) p99_ms=(\S+) max_ms=(\S+)")
END = re.compile(r"after the end: acknowledged (\d+), finished (\d+), failed (\d+), begun anew (\d+), unfinished (\d+), "
                 r"repeated phase-two calls (\d+)")
# How long one step may take, and how long the load goes on alone between two.
STEP_S = 120
PAUSE_S = 5


class Failed(Exception):
    """A step did not come to its end."""


class Load:
    """`quorate bench`, and what it says about each second."""

    def __init__(self, binary, servers, options):
        command = [str(binary), "bench", "--servers", servers, "--shape", "at", "--branches", str(options.branches),
                   "--in-flight", str(options.in_flight), "--warm-up-s", "0", "--measured-s", str(options.load_s),
                   "--survive", "--every-s", "1"]
        if options.rate:
            command += ["--rate", str(options.rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.seconds, self.end = [], None
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if hit := LINE.match(line):
                _, acknowledged, _, failed, anew, _, p99_ms, _ = hit.groups()
                self.seconds.append((time.monotonic(), int(acknowledged), int(failed), int(anew), float(p99_ms)))
            elif hit := END.match(line):
                names = ("acknowledged", "finished", "failed", "anew", "unfinished", "repeats")
                self.end = dict(zip(names, map(int, hit.groups())))

    def is_over(self):
        return self.process.poll() is not None

    def wait(self):
        self.process.wait()
        self.reader.join()

    def stop(self):
        if not self.is_over():
            self.process.kill()
        self.wait()


class Show:
    """The cluster, as it changes, and the rows of the table."""

    def __init__(self, binary, folder, options):
        self.binary, self.folder, self.options, self.rows = binary, folder, options, []
        self.ports = nodes.free_ports(15)
        self.trios = [self.ports[3 * i:3 * i + 3] for i in range(5)]
        peers = ",".join(f"{i + 1}=127.0.0.1:{self.trios[i][2]}" for i in range(3))
        self.there = {i + 1: nodes.Node(binary, folder / f"n{i + 1}", i + 1, self.trios[i], peers) for i in range(3)}
        self.load = None

    def servers(self):
        return ",".join(f"127.0.0.1:{trio[0]}" for trio in self.trios)

    def status(self):
        """The nodes as the newest picture has them, and every group as somebody with the newest picture and term shows it."""
        pages = []
        for node in self.there.values():
            with urllib.request.urlopen(f"http://{node.admin}/quorate/v1/status", timeout=5) as answer:
                pages.append(json.load(answer))
        pages.sort(key=lambda page: page["picture"])
        groups = {}
        for page in pages:
            for group in page["groups"]:
                rank = (page["picture"], group["term"])
                groups[group["group"]] = max(groups.get(group["group"], (rank, group)), (rank, group), key=lambda row: row[0])
        return {"nodes": pages[-1]["nodes"], "groups": [group for _, group in groups.values()]}

    def tell(self, word, number):
        """`quorate ctl node WORD NUMBER`, at a node that is not meant."""
        self.ctl(next(node.admin for at, node in self.there.items() if at != number), "node", word, str(number))

    def ctl(self, admin, *words):
        command = [str(self.binary), "ctl", "--admin", admin, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"ctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def plan(self):
        """What would move, and what does."""
        admin = next(iter(self.there.values())).admin
        return json.loads(self.ctl(admin, "-o", "json", "rebalance", "--dry-run"))

    def join(self, place):
        """Starts a node with an empty folder in one of the five places; gives its number."""
        member = next(iter(self.there.values()))
        folder = self.folder / f"place{place + 1}-{time.monotonic_ns()}"
        node = nodes.Node(self.binary, folder, 0, self.trios[place], join=member.peer)
        node.start()
        node.ready()
        node.number = int(re.search(r"node=(\d+)", (folder / "stdout").read_text(encoding="utf-8"))[1])
        self.there[node.number] = node
        return node.number

    def settle(self, what, is_so):
        """Waits until the moves that are wished are made, replicas are even, every group is led, and what is wanted is so."""
        deadline = time.monotonic() + STEP_S
        while True:
            status = self.status()
            if is_at_rest(status) and is_so(status):
                return
            if time.monotonic() > deadline:
                raise Failed(f"not within {STEP_S} s: {what}: {json.dumps(status['groups'])}")
            if self.load and self.load.is_over():
                raise Failed(f"the load was over before: {what}; give --load-s more")
            time.sleep(0.1)

    def step(self, name, act):
        """Does it, waits PAUSE_S more, and notes how the load went meanwhile."""
        before = [acknowledged for at, acknowledged, *_ in self.load.seconds[-PAUSE_S:]]
        began, first = time.monotonic(), len(self.load.seconds)
        act()
        took_s = time.monotonic() - began
        time.sleep(PAUSE_S)
        seconds = self.load.seconds[first:]
        self.rows.append((name, took_s, sum(before) / max(1, len(before)), min(second[1] for second in seconds),
                          max(second[4] for second in seconds), sum(second[3] for second in seconds),
                          sum(second[2] for second in seconds)))
        print(f"{name}: {took_s:.1f} s", file=sys.stderr, flush=True)

    def play(self):
        for node in self.there.values():
            node.start()
        for node in self.there.values():
            node.ready()
        self.settle("three nodes share the groups", lambda status: len(status["nodes"]) == 3)
        self.load = Load(self.binary, self.servers(), self.options)
        time.sleep(2 * PAUSE_S)
        self.step("3 -> 5: two nodes join", self.two_join)
        self.step("4 -> 6: two groups are added", self.add_groups)
        self.step("kill -9 of node 2", self.kill_second)
        self.step("replace it, from its address", self.replace_second)
        fifth, fourth = 5, 4
        self.step(f"drain node {fourth}", lambda: self.drain(fourth))
        self.step("6 -> 5: remove group 1", lambda: self.remove_group(1))
        self.step(f"remove node {fourth}", lambda: self.remove(fourth))
        self.step(f"5 -> 3: remove node {fifth}", lambda: self.remove(fifth))
        self.load.wait()

    def two_join(self):
        numbers = [self.join(3), self.join(4)]
        self.settle("five nodes share the groups", lambda status: all(carried(status, number) for number in numbers))

    def add_groups(self):
        admin = next(iter(self.there.values())).admin
        added = [int(re.search(r"group (\d+) is added", self.ctl(admin, "group", "add"))[1]) for _ in range(2)]
        self.ctl(admin, "rebalance")
        self.settle("the new groups have their slots", lambda status: self.slots_rest() and all(slots(status, group) for group in added))

    def remove_group(self, group):
        self.ctl(next(iter(self.there.values())).admin, "group", "remove", str(group))
        self.settle("the group is gone", lambda status: self.slots_rest() and slots(status, group) is None)

    def slots_rest(self):
        plan = self.plan()
        return not plan["is_wished"] and not plan["under_way"] and not plan["slots"]

    def kill_second(self):
        self.there.pop(2).kill()
        led = lambda status: all(group["leader"] not in (None, 2) for group in status["groups"])
        self.settle("the others lead all", led)

    def replace_second(self):
        self.tell("replace", 2)
        number = self.join(1)
        gone = lambda status: number_of(status, 2) is None and carried(status, number)
        self.settle("another one is in its place", gone)

    def drain(self, number):
        self.tell("drain", number)
        self.settle("nothing is left on it", lambda status: not carried(status, number))

    def remove(self, number):
        self.tell("remove", number)
        node = self.there.pop(number)
        self.settle("it is forgotten", lambda status: number_of(status, number) is None)
        if node.process.wait(STEP_S) != 77:
            raise Failed(f"node {number} ended with {node.process.returncode} instead of 77")

    def end(self):
        if self.load:
            self.load.stop()
        for node in self.there.values():
            node.stop()

    def left_over(self):
        """Sessions and row locks that are still there."""
        cluster = type("Cluster", (), {"nodes": list(self.there.values())})
        return nodes.left_over(cluster, 30)


def number_of(status, number):
    return next((node for node in status["nodes"] if node["node"] == number), None)


def slots(status, group):
    """How many it owns; nothing: it is not there."""
    return next((found["slots"] for found in status["groups"] if found["group"] == group), None)


def carried(status, number):
    return (number_of(status, number) or {"groups": 0})["groups"]


def is_at_rest(status):
    """Nothing moves, every group is led, and nodes that serve and answer carry as many replicas as the others, or one less."""
    data = [group for group in status["groups"] if group["group"]]
    if any(group["target"] for group in data) or any(group["leader"] is None for group in status["groups"]):
        return False
    serving = [node["groups"] for node in status["nodes"] if node["standing"] == "serving" and not node["silent"]]
    return max(serving) - min(serving) <= 1


def table(rows, checked):
    print("| step | s | tps before | worst second | p99 ms, worst second | begun anew | errors |")
    print("|---|---|---|---|---|---|---|")
    for name, took_s, before, lowest, p99_ms, anew, failed in rows:
        print(f"| {name} | {took_s:.1f} | {before:.0f} | {lowest} | {p99_ms:.0f} | {anew} | {failed} |")
    print(f"\n{checked}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/quorate", type=pathlib.Path)
    parser.add_argument("--branches", default=2, type=int, help="AT branches of a transaction")
    parser.add_argument("--in-flight", default=32, type=int, help="transactions at a time")
    parser.add_argument("--rate", type=float, help="transactions per second; as fast as it goes without")
    parser.add_argument("--load-s", default=240, type=int, help="how long the load goes on; all steps must fit in")
    options = parser.parse_args()
    if not options.binary.is_file():
        print(f"elastic: {options.binary} is not there: make build", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="quorate-elastic-") as folder:
        show = Show(options.binary.resolve(), pathlib.Path(folder), options)
        try:
            show.play()
            end, left = show.load.end or {}, show.left_over()
            checked = (f"transactions checked: {end.get('acknowledged')} acknowledged, {end.get('finished')} with all branches "
                       f"through phase two, {end.get('failed')} errors, {end.get('unfinished')} unfinished; left: {left or 'nothing'}")
            table(show.rows, checked)
            right = end and end["failed"] == 0 and end["unfinished"] == 0 and end["finished"] == end["acknowledged"]
            return 0 if right and not left else 1
        except Failed as failure:
            table(show.rows, f"elastic: {failure}")
            return 1
        finally:
            show.end()


if __name__ == "__main__":
    sys.exit(main())
