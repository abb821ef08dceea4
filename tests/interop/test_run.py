"""What `run.py` calls red. `make interop` runs this first."""

import contextlib
import io
import unittest

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


if __name__ == "__main__":
    unittest.main()
