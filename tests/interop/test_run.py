"""What `run.py` calls red, and what is left over after it. `make interop` runs this first."""

import contextlib
import io
import tempfile
import types
import unittest
import unittest.mock

import nodes
import run
from run import Outcome


def wrong(outcomes, listed=None, is_whole=False):
    """The lines behind the table."""
    results = {}
    for key, verdict in outcomes:
        suite, _, case = key.partition("/")
        results.setdefault(suite, ([], 1.0))[0].append(Outcome(suite, case, verdict, "why"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        count = run.table(results, listed or {}, is_whole)
    lines = [line.split(":")[0] for line in said.getvalue().splitlines() if line[:8].strip().isupper()]
    assert count == len(lines), said.getvalue()
    return lines


class Kits(unittest.TestCase):
    def verdicts(self, text):
        return [(outcome.key, outcome.verdict) for outcome in run.kit_outcomes("go-1", text)]

    def test_counts_agree(self):
        text = "PASS a (3 s)\nFAIL b: why\nSKIP c: no database\n1 passed, 1 failed\n"
        self.assertEqual(self.verdicts(text), [("go-1/a", "pass"), ("go-1/b", "fail"), ("go-1/c", "skip")])

    def test_who_ends_early_proves_nothing(self):
        for text in ("PASS a\n", "PASS a\n2 passed, 0 failed\n", "PASS a\n1 passed, 1 failed\n", "panic: no\n", ""):
            self.assertEqual(self.verdicts(text)[-1], ("go-1/kit", "fail"), text)

    def test_a_kit_that_is_killed(self):
        with tempfile.TemporaryDirectory() as folder:
            text = run.run(["sh", "-c", "echo PASS a; echo 1 passed, 0 failed; kill -9 $$"], f"{folder}/log", 10)
        self.assertEqual(self.verdicts(text), [("go-1/a", "pass"), ("go-1/kit", "fail")])


class Verdicts(unittest.TestCase):
    def test_as_expected(self):
        self.assertEqual(wrong([("go-1/a", "pass"), ("go-1/b", "fail")], {"go-1/b": "not yet"}), [])
        self.assertEqual(wrong([("scenarios-1/110-any-node-serves", "skip")]), [])

    def test_failures_and_passes(self):
        self.assertEqual(wrong([("go-1/a", "fail")]), ["FAILED   go-1/a"])
        self.assertEqual(wrong([("go-1/a", "pass")], {"*/a": "not yet"}), ["PASSES   go-1/a"])

    def test_what_is_skipped_proves_nothing(self):
        self.assertEqual(wrong([("java-3/at_bank", "skip")]), ["SKIPPED  java-3/at_bank"])
        self.assertEqual(wrong([("scenarios-3/110-any-node-serves", "skip")]), ["SKIPPED  scenarios-3/110-any-node-serves"])
        self.assertEqual(wrong([("scenarios-1/110-any-node-serves", "pass")]), ["PLAYED   scenarios-1/110-any-node-serves"])

    def test_what_is_listed_is_played(self):
        self.assertEqual(wrong([("go-1/a", "pass")], {"go-1/gone": "not yet"}), ["MISSING  go-1/gone"])
        self.assertEqual(wrong([("go-1/a", "pass")], {"go-*/gone": "not yet"}), ["MISSING  go-*/gone"])
        self.assertEqual(wrong([("go-1/a", "skip")], {"go-1/a": "not yet"}), ["SKIPPED  go-1/a", "MISSING  go-1/a"])
        # Its suite was not asked for.
        self.assertEqual(wrong([("go-1/a", "pass")], {"java-1/gone": "not yet", "*/gone": "not yet"}), [])
        self.assertEqual(wrong([("go-1/a", "pass")], {"*/gone": "not yet"}, is_whole=True), ["MISSING  */gone"])


class LongestGaps(unittest.TestCase):
    def test_of_each_client(self):
        text = ("PASS soak (gap 6.2 s, 80 tx/s, 24000 begun, 31 calls refused, {}) [301.0 s]\nPASS gap (gap 21.2 s) [71.0 s]\n"
                "PASS decided_failover (8.0 to 16.0 s after the strike) [60 s]\n3 passed, 0 failed\n")
        outcomes = list(run.kit_outcomes("storm", text))
        for outcome in outcomes[1:]:
            outcome.key += "-1"
        outcomes.append(Outcome("storm", "gap-2", "pass", "(gap 3.1 s) [70.9 s]"))
        self.assertEqual(run.longest_gaps(outcomes), "longest time without a success: soak 6.2 s; gap 21.2, 3.1 s")

    def test_who_says_nothing_is_unknown(self):
        silent = [Outcome("storm", "soak", "fail", "broken"), Outcome("storm", "gap-1", "pass", "(gap 3.1 s)")]
        self.assertEqual(run.longest_gaps(silent), "longest time without a success: soak unknown; gap 3.1 s")


class LeftOver(unittest.TestCase):
    def of(self, *pages):
        cluster = types.SimpleNamespace(nodes=[types.SimpleNamespace(number=n, admin=page) for n, page in enumerate(pages, 1)])
        with unittest.mock.patch.object(nodes, "metrics", lambda page: page):
            return nodes.left_over(cluster, -1)

    def test_what_is_there(self):
        idle = 'quorate_group_sessions{group="1"} 0\nquorate_group_row_locks{group="1"} 0\n'
        self.assertEqual(self.of(idle, idle), {})
        self.assertEqual(self.of(idle, idle.replace("} 0", "} 7", 1)), {"n2 quorate_group_sessions 1": 7})

    def test_a_page_without_groups_proves_nothing(self):
        idle = 'quorate_group_sessions{group="1"} 0\n'
        self.assertEqual(list(self.of(idle, "quorate_up 1\n")), ["n2 shows no sessions and row locks"])


if __name__ == "__main__":
    unittest.main()
