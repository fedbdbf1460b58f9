#!/usr/bin/env python3
"""The gate (scripts/compare.py): its statistics against known cases, its alarms and misses on simulated launches, its files, options and words."""
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
sys.path[:0] = [HERE, SCRIPTS]

import simulated  # noqa: E402
from tutti_results import comparison, quantiles, rank_tests, read, words  # noqa: E402

SIZES = {8: 0.4, 4096: 2.0, 65536: 9.0}  # bytes: median in us


def launches(rng, count, factor=1.0, iterations=300, libraries=("tutti",), level=None):
    """In the order in which they were measured, as compare.py would have read them."""
    level = simulated.levels(rng, count) if level is None else level
    result = []
    for number in range(count):
        rows = []
        for size, median in SIZES.items():
            for library in libraries:
                slow = factor if library == "tutti" else 1.5
                us = simulated.times(rng, median * slow, iterations, level[number])
                rows.append(read.Row(simulated.row(list(us), size, library), us=us))
        result.append(read.Launch(f"launch{number}", simulated.machine(number), rows, raw=True))
    return result


def in_turns(rng, count, factor):
    """OLD and NEW on one machine whose level drifts: A B B A A B B A."""
    level = simulated.levels(rng, 2 * count)
    old = [2 * index + (index % 2) for index in range(count)]
    new = [2 * index + 1 - (index % 2) for index in range(count)]
    return launches(rng, count, 1.0, level=level[old]), launches(rng, count, factor, level=level[new])


def regressions(old, new, **settings):
    settings = comparison.Settings({"p50": 0.05, "p99": 0.10}, ("p50", "p99"), **settings)
    results, _ = comparison.compare_sides(old, new, {"tutti"}, settings)
    return {(result.identity[5], result.percentile) for result in results if result.verdict == "REGRESSION"}


class Statistics(unittest.TestCase):
    def test_percentiles_are_those_of_the_benchmark(self):
        self.assertEqual(quantiles.percentile(numpy.arange(1.0, 11.0), 500), 5)
        self.assertEqual(quantiles.percentile(numpy.arange(1.0, 101.0), 990), 99)
        self.assertEqual(quantiles.percentile(numpy.array([3.0]), 500), 3)
        self.assertIsNone(quantiles.percentile(numpy.arange(99.0), 990))
        self.assertIsNone(quantiles.percentile(numpy.arange(999.0), 999))
        self.assertIsNone(quantiles.percentile(numpy.arange(0.0), 500))

    def test_rank_sum_against_all_arrangements(self):
        for old, new in (([1, 2, 3], [4, 5, 6]), ([1, 5, 2], [4, 3, 9, 7]), ([1, 1, 2], [2, 2, 3]), ([4, 4], [4, 4])):
            everything = old + new
            ranks = [sum(other < value for other in everything) + (sum(other == value for other in everything) + 1) / 2 for value in everything]
            sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(new))]
            expected = sum(total >= sum(ranks[len(old):]) for total in sums) / len(sums)
            self.assertAlmostEqual(rank_tests.rank_sum_p(old, new), expected, msg=(old, new))

    def test_signed_rank_against_all_signs(self):
        for values in ([1, 2, 3], [-1, 2, 3, 4], [1, -1, 2, 2], [0, 3, -2]):
            sizes = [abs(value) for value in values if value]
            ranks = [sum(other < size for other in sizes) + (sizes.count(size) + 1) / 2 for size in sizes]
            observed = sum(rank for rank, value in zip(ranks, [value for value in values if value]) if value > 0)
            sums = [sum(rank for rank, sign in zip(ranks, signs) if sign) for signs in itertools.product([0, 1], repeat=len(ranks))]
            self.assertAlmostEqual(rank_tests.signed_rank_p(values), sum(total >= observed for total in sums) / len(sums), msg=values)
        self.assertEqual(rank_tests.signed_rank_p([0, 0]), 1)

    def test_many_launches_use_the_normal_approximation(self):
        rng = numpy.random.default_rng(5)
        old, new = rng.normal(size=30), rng.normal(0.5, size=30)
        exact = rank_tests.rank_sum_p(old, new)
        signed = rank_tests.signed_rank_p(new - old)
        up_to, rank_tests.EXACT_UP_TO = rank_tests.EXACT_UP_TO, 1
        try:
            self.assertAlmostEqual(rank_tests.rank_sum_p(old, new), exact, delta=0.003)
            self.assertAlmostEqual(rank_tests.signed_rank_p(new - old), signed, delta=0.003)
        finally:
            rank_tests.EXACT_UP_TO = up_to

    def test_one_wild_launch_does_not_move_the_estimate(self):
        self.assertAlmostEqual(float(rank_tests.shift([1, 1, 1, 1, 9], [2, 2, 2, 2, 2], False)), 1)
        self.assertAlmostEqual(float(rank_tests.shift([1, 2, 3, 4, 5], [2, 3, 4, 5, 60], True)), 1)

    def test_holm(self):
        self.assertEqual(rank_tests.holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])
        self.assertEqual(rank_tests.holm([]), [])

    def test_blocks_keep_what_belongs_together(self):
        """Resampled one by one, this series' median would look ten times as certain as it is."""
        rng = numpy.random.default_rng(3)
        medians, promised = [], []
        for _ in range(60):
            series = simulated.autoregressive(rng, 2000, 0.98, 1.0)
            medians.append(float(numpy.median(series)))
            promised.append(float(numpy.std(quantiles.replicates(series, [500], 60, rng))))
        self.assertGreater(numpy.mean(promised), 0.6 * numpy.std(medians))
        self.assertLess(numpy.mean(promised), 1.6 * numpy.std(medians))

    def test_intervals_cover_the_truth(self):
        rng = numpy.random.default_rng(11)
        for paired, count in ((False, 6), (True, 6), (True, 20)):
            covered, tried = 0, 0
            for _ in range(25):
                old, new = in_turns(rng, count, 1.1)
                settings = comparison.Settings({}, ("p50",), paired=paired)
                for result in comparison.compare_sides(old, new, {"tutti"}, settings)[0]:
                    covered += result.low <= 1.1 <= result.high
                    tried += 1
            self.assertGreaterEqual(covered / tried, 0.88, (paired, count))


class Alarms(unittest.TestCase):
    """What the gate must reach: no alarm in 60 repeats of the same thing, and a slowdown of 10 % found in 90 % of repeats."""

    @classmethod
    def setUpClass(cls):
        cls.saved = comparison.REPLICATES, comparison.RESAMPLES
        comparison.REPLICATES = comparison.RESAMPLES = 2  # verdicts do not look at intervals

    @classmethod
    def tearDownClass(cls):
        comparison.REPLICATES, comparison.RESAMPLES = cls.saved

    def test_the_same_twice_raises_no_alarm(self):
        rng = numpy.random.default_rng(1)
        for repeat in range(60):
            old, new = in_turns(rng, 30, 1.0)
            self.assertEqual(regressions(old, new, paired=True), set(), repeat)

    def test_independent_sets_raise_no_alarm(self):
        rng = numpy.random.default_rng(2)
        for repeat in range(30):
            old, new = in_turns(rng, 10, 1.0)
            self.assertEqual(regressions(old, new), set(), repeat)

    def test_ten_percent_are_found(self):
        rng = numpy.random.default_rng(4)
        found = dict.fromkeys(SIZES, 0)
        repeats = 40
        for _ in range(repeats):
            old, new = in_turns(rng, 30, 1.1)
            for size, percentile in regressions(old, new, paired=True):
                found[size] += percentile == "p50"
        for size, times in found.items():
            self.assertGreaterEqual(times, 0.9 * repeats, size)

    def test_what_the_gate_allows_is_no_alarm(self):
        """Three percent are certain with so many launches, and allowed."""
        rng = numpy.random.default_rng(6)
        quiet = numpy.zeros(40)
        old, new = launches(rng, 20, level=quiet[:20]), launches(rng, 20, 1.03, level=quiet[:20])
        results, _ = comparison.compare_sides(old, new, {"tutti"}, comparison.Settings({"p50": 0.05}, ("p50",)))
        self.assertEqual({result.verdict for result in results}, {"slower, within the gate"})

    def test_a_control_takes_the_machine_out(self):
        """NEW was measured later, on a machine a third slower: with the other library's times as measure nothing has changed."""
        rng = numpy.random.default_rng(7)
        both = ("tutti", "mpi")
        def drift():
            return simulated.autoregressive(rng, 12, 0.7, 0.04)

        old, new = launches(rng, 12, libraries=both, level=drift()), launches(rng, 12, libraries=both, level=drift() + 0.3)
        self.assertTrue(regressions(old, new))
        self.assertEqual(regressions(old, new, control="mpi"), set())
        slow = launches(rng, 12, 1.1, libraries=both, level=drift() + 0.3)
        self.assertEqual({size for size, name in regressions(old, slow, control="mpi") if name == "p50"}, set(SIZES))


class Program(unittest.TestCase):
    """The command, on files."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        self.rng = numpy.random.default_rng(8)

    def compare(self, *arguments, status=0):
        result = subprocess.run([sys.executable, os.path.join(SCRIPTS, "compare.py"), *arguments], capture_output=True, text=True, check=False,
                                timeout=120)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        return result.stdout if status < 2 else result.stderr

    def record(self, folder, count, factor=1.0, plain=False, libraries=("tutti",), sizes=(8, 4096), iterations=200, second=0, **more):
        path = os.path.join(self.scratch, folder)
        os.makedirs(path)
        for number in range(count):
            lines = []
            for size, library in itertools.product(sizes, libraries):
                us = [round(x, 4) for x in simulated.times(self.rng, 3.0 * (factor if library == "tutti" else 2), iterations, 0)]
                lines.append({"row": simulated.row(us, size, library), "us": us})
            if plain:
                simulated.document(os.path.join(path, f"{number:02}.json"), [line["row"] for line in lines], second + number, **more)
            else:
                simulated.raw_file(os.path.join(path, f"{number:02}.raw"), lines, second + number, **more)
        return path

    def test_a_regression_fails_and_is_told(self):
        old, new = self.record("old", 8), self.record("new", 8, 1.3)
        summary = os.path.join(self.scratch, "summary.md")
        told = self.compare(old, new, "--gate", "p50=5%,p99=10%", "--markdown", summary, status=1)
        self.assertRegex(told, r"8 B +p50 .* 1\.[23]\d+ \[.*REGRESSION")
        with open(summary, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("regressions (gate: p50 +5 %, p99 +10 %)", text.splitlines()[0])
        self.assertIn("| **REGRESSION** |", text)
        self.assertIn("<details>", text)
        self.assertEqual(told, self.compare(old, new, "--gate", "p50=5%,p99=10%", status=1), "the same input, another output")
        self.assertIn("REGRESSION", self.compare(old, new, "--gate", "p50=5%", "--paired", "--alpha", "0.05", status=1))

    def test_no_regression_passes(self):
        old, new = self.record("old", 8), self.record("new", 8)
        self.assertIn("no regression in 4 comparisons", self.compare(old, new, "--gate", "p50=5%,p99=10%"))
        faster = self.record("faster", 8, 0.7)
        self.assertIn("faster", self.compare(old, faster, "--gate", "p50=5%"))

    def test_without_a_gate_nothing_fails(self):
        told = self.compare(self.record("old", 5), self.record("new", 5, 1.5), "--alpha", "0.05")
        self.assertRegex(told, r"slower\n")
        self.assertIn("4 comparisons, no gate", told)

    def test_documents_without_samples(self):
        old, new = self.record("old", 8, plain=True), self.record("new", 8, 1.3, plain=True)
        told = self.compare(old, new, "--gate", "p50=5%", status=1)
        self.assertIn("16 of 16 files have no samples", told)

    def test_a_launch_written_twice_counts_once(self):
        old, new = self.record("old", 8), self.record("new", 8)
        for number in range(8):
            with open(os.path.join(old, f"{number:02}.raw"), encoding="utf-8") as file:
                rows = [json.loads(line)["row"] for line in file.readlines()[1:]]
            simulated.document(os.path.join(old, f"{number:02}.json"), rows, number)
        told = self.compare(old, new, "--gate", "p50=5%")
        self.assertIn("OLD (8 launches)", told)
        self.assertNotIn("no samples", told)

    def test_lists_of_files(self):
        old, new = self.record("old", 5), self.record("new", 5)
        listed = [",".join(os.path.join(folder, f"{number:02}.raw") for number in range(5)) for folder in (old, new)]
        self.assertEqual(self.compare(*listed), self.compare(old, new))

    def test_rows_during_which_the_machine_changed_are_left_out(self):
        old, new = self.record("old", 8), self.record("new", 8)
        for name in ("00.raw", "01.raw"):
            path = os.path.join(new, name)
            with open(path, encoding="utf-8") as file:
                head, *rows = [json.loads(line) for line in file]
            for row in rows:
                row["row"]["machine_changed"] = True
                row["us"] = [9 * time for time in row["us"]]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in (head, *rows))
        told = self.compare(old, new, "--gate", "p50=5%")
        self.assertIn("4 of 32 measured rows are left out", told)
        self.assertNotIn("9.0", told)

    def test_two_libraries_within(self):
        results = self.record("both", 12, libraries=("tutti", "mpi"))
        told = self.compare(results, "--within", "mpi:tutti", "--gate", "p50=5%", status=1)
        self.assertRegex(told, r"p50 +default -> one_shot|p50 .*REGRESSION")
        self.assertIn("MPI over Tutti, 12 launches", told)
        told = self.compare(results, "--within", "tutti:mpi", "--gate", "p50=0%")
        self.assertRegex(told, r" 0\.[45]\d\d \[0\.[45]\d\d, 0\.[45]\d\d\] +1\.0000  faster")
        self.assertIn("no row was measured with both tutti and nccl; there are rows of mpi, tutti",
                      self.compare(results, "--within", "tutti:nccl", status=2))

    def test_too_few_launches_are_no_gate(self):
        old, new = self.record("old", 3), self.record("new", 3, 2.0)
        told = self.compare(old, new, "--gate", "p50=5%", status=2)
        self.assertRegex(told, r"too few launches: with 3 launches of OLD and 3 of NEW and 2 comparisons .* record at least 7 of each")
        self.assertIn("record at least 11", self.compare(old, new, "--gate", "p50=5%", "--paired", status=2))
        self.assertIn("record at least 11", self.compare(self.record("both", 3, libraries=("tutti", "mpi")), "--within", "tutti:mpi", "--gate",
                                                        "p50=5%", status=2))
        single = self.compare(self.record("one", 1), self.record("other", 1))
        self.assertIn("one launch says nothing about other launches", single)

    def test_too_few_iterations_have_no_p99(self):
        old, new = self.record("old", 8, iterations=50), self.record("new", 8, iterations=50)
        self.assertIn("too few iterations", self.compare(old, new, "--gate", "p99=10%", status=2))

    def test_rows_of_one_side_are_told(self):
        old, new = self.record("old", 8), self.record("new", 8, sizes=(8, 65536))
        told = self.compare(old, new, "--gate", "p50=5%")
        self.assertIn("2 rows are in one of OLD and NEW only", told)
        self.assertIn("have no row in common", self.compare(old, self.record("else", 6, sizes=(16,)), status=2))

    def test_order_in_time_is_told(self):
        old, new = self.record("old", 8), self.record("new", 8, second=100)
        self.assertIn("measured one after the other", self.compare(old, new))
        self.assertNotIn("measured one after the other", self.compare(old, new, "--paired"))

    def test_other_machines_are_refused(self):
        old, new = self.record("old", 8), self.record("new", 8, cpu="Other Processor")
        self.assertIn("different machines (processor: Simulated Processor and Other Processor)", self.compare(old, new, status=2))
        self.compare(old, new, "--other-machine")

    def test_wrong_results_are_refused(self):
        old = self.record("old", 8)
        path = os.path.join(self.scratch, "wrong.json")
        simulated.document(path, [simulated.row([1.0] * 20, 8, wrong=3)])
        self.assertIn("3 wrong elements", self.compare(old, path, status=2))

    def test_files_that_are_no_results(self):
        good = self.record("good", 6)
        for name, text, told in (("empty.json", "", "neither a --json document nor a --raw file"),
                                 ("other.json", '{"schema": "other/2"}', "found 'other/2'"),
                                 ("list.json", "[1]", "expected schema tutti-bench/1"),
                                 ("head.raw", '{"kind": "tutti-raw", "version": 2}\n', "version 2 of tutti-raw"),
                                 ("row.raw", '{"kind": "tutti-raw", "version": 1}\n{"row": {"library": "tutti"}, "us": [1]}\n', "'collective' is missing"),
                                 ("lines.raw", '{"kind": "tutti-raw", "version": 1}\nnonsense\n{}\n', "lines.raw:2: not JSON"),
                                 ("none.raw", '{"kind": "tutti-raw", "version": 1}\n', "no row was measured")):
            with self.subTest(name=name):
                path = os.path.join(self.scratch, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                self.assertIn(told, self.compare(good, path, status=2))
        with open(os.path.join(self.scratch, "short.raw"), "w", encoding="utf-8") as file:
            us = [1.0] * 20
            file.write('{"kind": "tutti-raw", "version": 1}\n')
            file.write(json.dumps({"row": simulated.row(us, 8), "us": us, "start_us": [1.0]}) + "\n")
        self.assertIn("1 values in 'start_us' and 20 in 'us'", self.compare(good, os.path.join(self.scratch, "short.raw"), status=2))
        self.assertIn("No such file", self.compare(good, "/nonexistent/x.json", status=2))
        os.mkdir(os.path.join(self.scratch, "bare"))
        self.assertIn("no result in this folder", self.compare(good, os.path.join(self.scratch, "bare"), status=2))

    def test_a_line_cut_off_keeps_the_rows_before(self):
        old, new = self.record("old", 8), self.record("new", 8)
        path = os.path.join(new, "00.raw")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text[:-40])
        self.assertIn("some launches were interrupted", self.compare(old, new))

    def test_bad_options(self):
        for arguments, told in ((["--gate", "p51=5%"], "'p51=5%': expected a percentile (p50, p90, p99, p999)"), (["--gate", "p50"], "expected a percentile"),
                                (["--gate", "p50=-5%"], "expected a share"), (["--gate", "p50=x"], "expected a share"),
                                (["--within", "tutti"], "expected two libraries"), (["--alpha", "1"], "expected a probability"),
                                ([], "there are 1 arguments")):
            with self.subTest(arguments=arguments):
                self.assertIn(told, self.compare("x" if arguments else self.scratch + "/x", *arguments, status=2))

    def test_trying_the_gate(self):
        path = self.record("many", 44, sizes=(8,))
        tried = subprocess.run([sys.executable, os.path.join(SCRIPTS, "try_gate.py"), path, "--repeats", "3", "--slowdown", "20%", "--launches", "20"],
                               capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(tried.returncode, 0, tried.stderr)
        self.assertIn("A/A: 0 of 3 repeats with an alarm", tried.stdout)
        self.assertRegex(tried.stdout, r"8 B +p50 .* 100\.0 %")
        tried = subprocess.run([sys.executable, os.path.join(SCRIPTS, "try_gate.py"), path, "--launches", "30"], capture_output=True, text=True,
                               check=False, timeout=120)
        self.assertEqual((tried.returncode, "needs 60" in tried.stderr), (2, True))


class Words(unittest.TestCase):
    def test_figures(self):
        self.assertEqual([words.size(count) for count in (8, 1024, 1536, 1 << 20, 3 << 30, 20004)],
                         ["8 B", "1 KiB", "1536 B", "1 MiB", "3 GiB", "19.5 KiB"])
        self.assertEqual([words.time(us) for us in (0.05, 0.321, 12.34, 4321, 2.5e6, None)], ["50 ns", "0.32 µs", "12.3 µs", "4.32 ms", "2.50 s", "–"])
        self.assertEqual(words.percent(1.031), "+3.1 %")
        self.assertTrue(math.isclose(comparison.widening(2), 6.48 * math.sqrt(2)))


if __name__ == "__main__":
    sys.exit(unittest.main())
