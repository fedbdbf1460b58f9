#!/usr/bin/env python3
"""The benchmark programs as users run them: by themselves and under mpirun, with good options and bad ones, with ranks
that die and results that are wrong.

BENCH_BIN, BENCH_SCHEMA and BENCH_MPIRUN come from ctest.
"""
import json
import os
import select
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import jsonschema

BIN = os.environ["BENCH_BIN"]
SCHEMA_FILE = os.environ["BENCH_SCHEMA"]
MPIRUN = os.environ.get("BENCH_MPIRUN", "mpirun")
QUICK = ["-n", "30", "-w", "2"]


def clean_environment(**more):
    """The environment without what would make the programs believe that somebody else started them."""
    kept = {key: value for key, value in os.environ.items() if not re.match("(TUTTI|OMPI|PMIX?|MV2)_", key)}
    kept.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", **more)
    return kept


def run(program, *arguments, launcher=(), timeout=120, **environment):
    command = [*launcher, os.path.join(BIN, program), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=clean_environment(**environment), check=False
    )


def mpirun(ranks):
    command = [MPIRUN, "-np", str(ranks)]
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=False).stdout
    if "Open MPI" in version or "OpenRTE" in version:
        command += ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
    return command


def table_rows(output):
    return [line.split() for line in output.splitlines() if line.strip() and not line.startswith("#")]


class Case(unittest.TestCase):
    def ok(self, result, status=0):
        self.assertEqual(result.returncode, status, f"{result.args}\n{result.stdout}\n{result.stderr}")
        return result

    def json_of(self, program, *arguments, status=0, **options):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "result.json")
            self.ok(run(program, *arguments, "--json", path, **options), status)
            self.assertEqual(os.listdir(directory), ["result.json"])
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        with open(SCHEMA_FILE, encoding="utf-8") as file:
            schema = json.load(file)
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.validate(document, schema)
        return document

    def raw_of(self, *arguments, status=0, program="allreduce_bench", **options):
        """The result document and the lines of the raw samples of one run."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "samples.raw")
            document = self.json_of(program, *arguments, "--raw", path, status=status, **options)
            with open(path, encoding="utf-8") as file:
                return document, [json.loads(line) for line in file]


class Local(Case):
    def test_any_number_of_ranks(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            for ranks in (1, 2, 3, 4):
                with self.subTest(program=program, ranks=ranks):
                    result = self.ok(run(program, "--np", str(ranks), "-b", "0", "-e", "64K", "-f", "16", *QUICK))
                    self.assertIn(f"{ranks} ranks on 1 node", result.stdout)
                    self.assertEqual([row[0] for row in table_rows(result.stdout)], ["0", "8", "128", "2048", "32768"])
                    self.assertIn("wrong elements: 0", result.stdout)

    def test_every_type_operator_placement(self):
        arguments = ("--np", "3", "-b", "4", "-e", "20004", "-i", "10000", "-d", "all", "-o", "all", "--placement", "both")
        document = self.json_of("allreduce_bench", *arguments, "-n", "5", "-w", "1", "-c", "2")
        rows = document["results"]
        self.assertEqual(len(rows), 3 * 14 * 5 * 2)
        self.assertEqual({row["wrong"] for row in rows}, {0})
        self.assertEqual(len({row["dtype"] for row in rows}), 14)
        self.assertEqual(len({row["op"] for row in rows}), 5)

    def test_every_root(self):
        arguments = ("--np", "3", "-b", "8", "-e", "80000", "-f", "100", "-r", "all", "-d", "all", "--placement", "both")
        rows = self.json_of("broadcast_bench", *arguments, "-n", "5", "-w", "1", "-c", "2")["results"]
        self.assertEqual(len(rows), 3 * 3 * 14 * 2)
        self.assertEqual({row["root"] for row in rows}, {0, 1, 2})
        self.assertEqual({row["wrong"] for row in rows}, {0})

    def test_json_says_what_was_measured(self):
        document = self.json_of("allreduce_bench", "--np", "2", "-b", "1000", "-e", "1000", "-n", "150", "-d", "int64")
        self.assertEqual(document["machine"]["launch"], "local")
        self.assertTrue(document["machine"]["command"].startswith("allreduce_bench --np 2"))
        self.assertFalse(document["interrupted"])
        (row,) = document["results"]
        expected = dict(library="tutti", collective="all_reduce", ranks=2, nodes=1, bytes=1000, count=125, dtype="int64",
                        op="sum", root=None, in_place=False, iterations=150, p999_us=None, wrong=0)
        self.assertEqual({key: row[key] for key in expected}, expected)
        self.assertTrue(0 < row["p50_us"] <= row["p90_us"] <= row["p99_us"] <= row["max_us"])
        self.assertAlmostEqual(row["algbw_gbs"], 1000 / row["p50_us"] / 1000, places=9)
        self.assertAlmostEqual(row["busbw_gbs"], row["algbw_gbs"] * 2 * (2 - 1) / 2, places=9)

    def test_raw_samples_are_what_the_rows_say(self):
        document, lines = self.raw_of("--np", "3", "-b", "8", "-e", "128", "-f", "16", "-n", "200", "-w", "2")
        self.assertEqual({key: lines[0][key] for key in ("kind", "version", "collective")},
                         dict(kind="tutti-raw", version=1, collective="all_reduce"))
        self.assertEqual(lines[0]["machine"], document["machine"])
        self.assertEqual(lines[0]["command"], document["machine"]["command"])
        self.assertEqual([line["row"] for line in lines[1:]], document["results"])
        self.assertGreater(document["machine"]["measuring_ns"], 0)
        previous = 0
        for line in lines[1:]:
            row = line["row"]
            self.assertEqual(len(line["us"]), 200)
            self.assertEqual([len(late) for late in line["late_us"]], [200] * 3)
            self.assertEqual(line["start_us"], sorted(line["start_us"]))
            self.assertGreaterEqual(line["start_us"][0], previous)
            previous = line["start_us"][-1]
            self.assertAlmostEqual(sorted(line["us"])[99], row["p50_us"], places=3)
            by_iteration = list(zip(*line["late_us"]))
            self.assertEqual({min(late) for late in by_iteration}, {0})
            self.assertAlmostEqual(sorted(map(max, by_iteration))[99], row["skew_p50_us"], delta=0.002 * row["skew_p50_us"] + 0.002)
            # Ranks that arrive together within a digit may count for either.
            culprit = sum(late[row["culprit_rank"]] == max(late) for late in by_iteration)
            self.assertAlmostEqual(culprit / 200, row["culprit_share"], delta=0.05)
            self.assertGreater(row["service_p50_us"], 0)
            self.assertGreaterEqual(row["service_p99_us"], row["service_p50_us"])
            low, high = row["p50_interval_us"]
            self.assertTrue(0 < low <= row["p50_us"] * 1.001 and row["p50_us"] <= high * 1.001, row)
            self.assertIsNone(row["p99_interval_us"])
            self.assertIsNone(row["p50_ratio_interval"])

    def test_raw_samples_of_one_rank_have_no_lateness(self):
        document, lines = self.raw_of("--np", "1", "-b", "8", "-e", "8", *QUICK, program="broadcast_bench")
        self.assertNotIn("late_us", lines[1])
        self.assertIsNone(document["results"][0]["culprit_rank"])
        self.assertIsNone(document["results"][0]["skew_p50_us"])

    def test_nodes_have_no_common_clock(self):
        with tempfile.TemporaryDirectory() as directory:
            unique_id = self.ok(run("tutti-info", "--unique-id")).stdout.strip()
            path, ranks = os.path.join(directory, "raw"), []
            command = [os.path.join(BIN, "allreduce_bench"), "-b", "8", "-e", "8", "--raw", path, "--limits", *QUICK]
            for rank in range(2):
                environment = clean_environment(TUTTI_RANK=str(rank), TUTTI_SIZE="2", TUTTI_UNIQUE_ID=unique_id,
                                                TUTTI_NODE_ID=f"node-{rank}")
                ranks.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
            self.assertIn("2 ranks on 2 nodes", [rank.communicate(timeout=120)[0] for rank in ranks][0])
            with open(path, encoding="utf-8") as file:
                line = [json.loads(line) for line in file][1]
        self.assertNotIn("late_us", line)
        self.assertEqual(len(line["us"]), 30)
        self.assertIsNone(line["row"]["skew_p50_us"])
        self.assertIsNone(line["row"]["bound_us"])

    def test_a_wide_table_names_the_culprit(self):
        narrow = self.ok(run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", *QUICK)).stdout
        wide = self.ok(run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "--wide", *QUICK)).stdout
        self.assertNotIn("culprit", narrow)
        self.assertRegex(wide, r"culprit")
        self.assertRegex(wide, r"\n .* [01] \(\d+%\)")

    def test_cpu_cost(self):
        document = self.json_of("allreduce_bench", "--np", "2", "-b", "0", "-e", "64K", "-f", "8192", *QUICK)
        rows = document["results"]
        self.assertEqual([row["bytes"] for row in rows], [0, 8, 65536])
        self.assertIsNone(rows[0]["cpu_core_s_per_gb"])
        for row in rows[1:]:
            # A million calls of so many bytes each, in units of 10^9 bytes.
            self.assertAlmostEqual(row["cpu_core_s_per_gb"] * row["bytes"] / 1000, row["cpu_core_s_per_mcall"], places=6)
        for row in rows:
            self.assertGreater(row["cpu_core_s_per_mcall"], 0)
            self.assertGreaterEqual(row["voluntary_switches"], 0)
            self.assertGreaterEqual(row["involuntary_switches"], 0)
        # Copying 64 KiB takes more of a processor than any call for nothing can.
        self.assertGreater(rows[2]["cpu_core_s_per_mcall"], 1)

    def test_chains(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8", "--placement", "both", "--mode", "chain", "--chain", "5", *QUICK)
        for program in ("allreduce_bench", "broadcast_bench"):
            document, lines = self.raw_of(*arguments, program=program)
            for row in document["results"]:
                self.assertEqual((row["mode"], row["chain"], row["iterations"], row["wrong"]), ("chain", 5, 30, 0))
            # Five calls lie between two starts, and a sample is the mean of one.
            for line in lines[1:]:
                starts = line["start_us"]
                for start, following, us in zip(starts, starts[1:], line["us"]):
                    self.assertLess(us, 1.01 * (following - start) / 5 + max(map(max, line["late_us"])) / 5)

    def test_wrong_results_of_chains_are_counted(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8", "--chain", "5", "--plant-error", "timed", *QUICK)
        rows = self.json_of("allreduce_bench", *arguments, "--placement", "out", status=1)["results"]
        self.assertEqual([row["wrong"] for row in rows], [1])

    def test_calls_at_a_fixed_rate(self):
        document, lines = self.raw_of("--np", "2", "-b", "8", "-e", "8", "--rate", "1000", *QUICK)
        (row,) = document["results"]
        self.assertEqual((row["mode"], row["rate"], row["iterations"], row["wrong"]), ("rate", 1000, 30, 0))
        # However late a call was, none begins before it is due: 29 of them take 29 ms at least, less what the first was late.
        line = lines[1]
        self.assertGreater(line["start_us"][-1] + line["us"][0], 28900)

    def test_a_stall_counts_for_the_calls_that_wait_for_it(self):
        """Coordinated omission: one rank stalls for 50 ms once; calls due meanwhile are as late as they waited."""
        arguments = ("--np", "2", "-b", "8", "-e", "8", "--rate", "1000", "--skew", "1:50000:100", "-n", "100", "-w", "0")
        _, lines = self.raw_of(*arguments)
        us = lines[1]["us"]
        self.assertGreater(us[0], 49000)
        for i in range(40):  # the i-th was due i ms later
            self.assertGreater(us[i], 49000 - 1000 * i)

    def test_a_late_rank_is_the_culprit(self):
        for late in (0, 2):
            with self.subTest(late=late):
                arguments = ("--np", "3", "-b", "8", "-e", "8", "-n", "40", "--skew", f"{late}:20000")
                (row,) = self.json_of("allreduce_bench", *arguments)["results"]
                self.assertEqual(row["culprit_rank"], late)
                self.assertGreater(row["culprit_share"], 0.8)
                self.assertGreater(row["skew_p50_us"], 10000)
                self.assertGreater(row["p50_us"], 10000)
                self.assertLess(row["service_p50_us"], 10000)

    def test_a_rank_is_late_now_and_then(self):
        _, lines = self.raw_of("--np", "2", "-b", "8", "-e", "8", "-n", "40", "--skew", "1:30000:10")
        late = lines[1]["late_us"][1]
        self.assertEqual([i for i, us in enumerate(late) if us > 25000 and i % 10 == 0], [0, 10, 20, 30])
        self.assertLess(sum(us > 25000 for us in late), 12)

    def test_disturbed_rows_stand_beside_quiet_ones(self):
        core = sorted(os.sched_getaffinity(0))[0]
        for program, options, text in (("allreduce_bench", ("--noise", f"{core}:50"), f"noise 50% on core {core}"),
                                       ("allreduce_bench", ("--aggressor", "4K"), "aggressor broadcast of 4KiB"),
                                       ("broadcast_bench", ("--aggressor", "4K"), "aggressor all_reduce of 4KiB")):
            with self.subTest(program=program, options=options):
                document = self.json_of(program, "--np", "2", "-b", "8", "-e", "128", "-f", "16", *QUICK, *options)
                for row in document["results"]:
                    self.assertEqual((row["disturbance"], row["iterations"], row["wrong"]), (text, 30, 0))
                    self.assertGreater(row["alone"]["p50_us"], 0)
                    self.assertIsNone(row["alone"]["p99_us"])
                    self.assertEqual(row["cpu_core_s_per_mcall"] is None, "aggressor" in text)

    def test_undisturbed_rows_say_so(self):
        (row,) = self.json_of("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", *QUICK)["results"]
        self.assertIsNone(row["disturbance"])
        self.assertIsNone(row["alone"])

    def test_noise_is_made_on_its_core_and_ends_with_the_run(self):
        core = sorted(os.sched_getaffinity(0))[-1]
        command = [os.path.join(BIN, "allreduce_bench"), "--np", "1", "-b", "8", "-e", "8", "--duration", "1h", "--noise", str(core)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment(), start_new_session=True)
        try:
            for line in process.stdout:
                if "bytes" in line:
                    break
            pinned = [pid for pid in self.descendants(process.pid) if os.sched_getaffinity(pid) == {core}]
            self.assertTrue(pinned or os.cpu_count() == 1)
            os.killpg(process.pid, signal.SIGINT)  # ends the quiet row, and the disturbed one
            process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        self.assertEqual(process.returncode, 130)
        for pid in pinned:
            self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def descendants(self, pid):
        found = []
        for other in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{other}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found += [int(other), *self.descendants(int(other))]
        return found

    def test_limits(self):
        shared = set(os.listdir("/dev/shm"))
        document = self.json_of("broadcast_bench", "--np", "2", "-b", "0", "-e", "64K", "-f", "8192", "--limits", *QUICK)
        self.assertFalse({name for name in set(os.listdir("/dev/shm")) - shared if name.startswith("tutti-bench")})
        limits = document["machine"]["limits"]
        self.assertGreater(limits["cache_line_ns"], 1)
        self.assertGreater(limits["copy_gbs"], 0)
        nothing, small, large = document["results"]
        self.assertIsNone(nothing["bound_us"])
        for row in (small, large):
            before, after = row["cache_line_ns"]
            self.assertGreaterEqual(row["bound_us"], before / 1000)
            self.assertAlmostEqual(row["bound_fraction"], row["bound_us"] / row["p50_us"])
            self.assertEqual(row["machine_changed"], max(before, after) > 1.3 * min(before, after))
        # No machine copies 64 KiB in a tenth of a microsecond.
        self.assertGreater(large["bound_us"], 0.1)

    def test_limits_of_one_rank(self):
        arguments = ("--np", "1", "-b", "64K", "-e", "64K", "--limits", "--placement", "both", *QUICK)
        document = self.json_of("allreduce_bench", *arguments)
        self.assertIsNone(document["machine"]["limits"]["cache_line_ns"])
        out, in_place = document["results"]
        self.assertGreater(out["bound_us"], 0)
        self.assertIsNone(in_place["bound_us"])  # there is nothing to do
        self.assertIsNone(out["machine_changed"])

    def test_long_rows_have_windows(self):
        document, lines = self.raw_of("--np", "2", "-b", "8", "-e", "8", "--duration", "1s")
        (row,) = document["results"]
        self.assertGreater(len(row["windows"]), 1)
        self.assertEqual(sum(window["iterations"] for window in row["windows"]), row["iterations"])
        self.assertEqual(max(window["max_us"] for window in row["windows"]), row["max_us"])
        starts = [window["start_s"] for window in row["windows"]]
        self.assertEqual(starts, sorted(starts))
        self.assertEqual(len(lines[1]["us"]) * row["kept_every"], row["iterations"])
        self.assertFalse(row["interrupted"])

    def test_a_planted_slowdown_slows_tutti(self):
        arguments = ("--np", "1", "-b", "1M", "-e", "1M", "-n", "200")
        plain, slow = (self.json_of("allreduce_bench", *arguments, "--plant-slowdown", percent)["results"][0]["p50_us"]
                       for percent in ("0", "300"))
        self.assertGreater(slow, 2 * plain)

    def test_few_iterations_print_a_dash(self):
        result = self.ok(run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "-n", "9"))
        (row,) = table_rows(result.stdout)
        self.assertEqual(row[7:10], ["-", "-", "-"])  # p90, p99, p99.9
        (row,) = table_rows(self.ok(run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "-n", "100")).stdout)
        self.assertNotEqual(row[8], "-")
        self.assertEqual(row[9], "-")

    def test_iterations_fit_the_time(self):
        (row,) = self.json_of("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "--seconds", "0.3")["results"]
        self.assertGreaterEqual(row["iterations"], 20)
        self.assertLessEqual(row["iterations"], 100000)

    def test_not_verified_is_said(self):
        document = self.json_of("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "-c", "0", *QUICK)
        self.assertIsNone(document["results"][0]["wrong"])

    def test_algorithm_is_used(self):
        document = self.json_of("allreduce_bench", "--np", "3", "-b", "8", "-e", "8K", "--algorithm", "ring", *QUICK)
        self.assertEqual({row["algorithm"] for row in document["results"]}, {"ring"})

    def test_a_terminal_sees_progress(self):
        # Progress is shown after a second; rows of large messages take all of their time on any machine.
        arguments = ["--np", "2", "-b", "1M", "-e", "4M", "-i", "1M", "--seconds", "0.5"]
        master, slave = os.openpty()
        # Our own end of the slave stays open until all is read: a terminal whose last writer is gone may answer EIO
        # before it hands out what was written.
        with os.fdopen(master, "rb", buffering=0) as terminal, os.fdopen(slave, "wb", buffering=0) as writer:
            result = subprocess.run(
                [os.path.join(BIN, "allreduce_bench"), *arguments], stdout=subprocess.PIPE, stderr=writer, timeout=120,
                env=clean_environment(), check=False,
            )
            seen = b""
            while not seen.endswith(b"\x1b[K") and select.select([terminal], [], [], 5)[0]:
                seen += terminal.read(100000)
        self.assertEqual(result.returncode, 0, seen)
        self.assertIn(b"[4/4] all_reduce of 4MiB float32, sum", seen)
        self.assertNotIn(b"[", result.stdout)
        self.assertTrue(seen.endswith(b"\r\x1b[K"), seen)

    def test_ranks_started_by_hand(self):
        unique_id = self.ok(run("tutti-info", "--unique-id")).stdout.strip()
        command = [os.path.join(BIN, "allreduce_bench"), "-b", "8", "-e", "1K", *QUICK]
        ranks = []
        for rank in range(3):
            environment = clean_environment(TUTTI_RANK=str(rank), TUTTI_SIZE="3", TUTTI_UNIQUE_ID=unique_id)
            ranks.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
        self.assertEqual([rank.returncode for rank in ranks], [0, 0, 0])
        self.assertIn("3 ranks on 1 node", outputs[0])
        self.assertEqual(outputs[1:], ["", ""])


class Options(Case):
    def refused(self, program, *arguments, names, **options):
        result = self.ok(run(program, *arguments, timeout=30, **options), status=2)
        for name in names:
            self.assertIn(name, result.stderr)
        self.assertEqual(table_rows(result.stdout), [])

    def test_bad_options(self):
        self.refused("allreduce_bench", "-b", "x", names=["--minbytes", "'x'"])
        self.refused("allreduce_bench", "--np", "0", names=["--np", "'0'", "from 1 to 1024"])
        self.refused("allreduce_bench", "--nonsense", names=["--nonsense"])
        self.refused("allreduce_bench", "--np", "2", "--algorithm", "nonsense", names=["--algorithm", "nonsense", "ring"])
        self.refused("allreduce_bench", "--np", "2", "--noise", "1023", names=["--noise", "core 1023"])
        self.refused("allreduce_bench", "--np", "2", "--skew", "2:5", names=["--skew", "'2'", "0 to 1"])
        self.refused("broadcast_bench", "--np", "2", "-r", "2", names=["--root", "'2'", "0 to 1"])
        self.refused("allreduce_bench", "--np", "2", "--baseline", "mpi", names=["--baseline"])
        self.refused("allreduce_bench", TUTTI_RANK="0", TUTTI_SIZE="2", names=["TUTTI_UNIQUE_ID"])
        self.refused("allreduce_bench", TUTTI_RANK="2", TUTTI_SIZE="2", TUTTI_UNIQUE_ID="00", names=["TUTTI_RANK", "'2'"])

    def test_more_memory_than_there_is(self):
        self.refused("allreduce_bench", "--np", "4", "-b", "1024G", "-e", "1024G", names=["--maxbytes", "available"])

    def test_a_result_file_that_cannot_be(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8")
        self.refused("allreduce_bench", *arguments, "--json", "/nonexistent/x.json", names=["--json", "No such file"])
        self.refused("allreduce_bench", *arguments, "--json", "/dev/full", names=["--json", "not a regular file"])
        self.refused("allreduce_bench", *arguments, "--raw", "/nonexistent/x.raw", names=["--raw", "No such file"])

    def test_samples_that_cannot_be_written(self):
        result = self.ok(run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8", "--raw", "/dev/full", *QUICK), status=1)
        self.assertIn("--raw: /dev/full cannot be written", result.stderr)

    def test_help_and_version(self):
        for program in ("allreduce_bench", "broadcast_bench", "tutti-info"):
            self.assertIn("Exit status", self.ok(run(program, "--help")).stdout)
            self.assertRegex(self.ok(run(program, "--version")).stdout, r"tutti \d+\.\d+\.\d+")

    def test_full_standard_output(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            command = [os.path.join(BIN, "allreduce_bench"), "--np", "2", "-b", "8", "-e", "8", *QUICK]
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=clean_environment(), check=False
            )
        self.assertEqual(result.returncode, 1, result.stderr)


    def test_one_program_for_all_collectives(self):
        self.assertIn("broadcast_bench", self.ok(run("tutti-bench", "--help")).stdout)
        self.assertRegex(self.ok(run("tutti-bench", "--version")).stdout, r"tutti \d+\.\d+\.\d+")
        self.assertIn("tutti-bench all_reduce", self.ok(run("tutti-bench", "all_reduce", "--help")).stdout)
        for words in ((), ("gather",), ("-b", "8")):
            self.refused("tutti-bench", *words, names=["tutti-bench: ", "allowed: all_reduce, broadcast", "--help"])
        self.refused("tutti-bench", "broadcast", "-b", "x", names=["tutti-bench broadcast: --minbytes", "'x'"])
        for collective, program in (("all_reduce", "allreduce_bench"), ("broadcast", "broadcast_bench")):
            arguments = ("--np", "2", "-b", "8", "-e", "8", *QUICK)
            document = self.json_of("tutti-bench", collective, *arguments)
            same = self.json_of(program, *arguments)
            self.assertTrue(document["machine"]["command"].startswith(f"tutti-bench {collective} --np 2"))
            self.assertEqual([row["collective"] for row in document["results"]], [collective])
            for key in ("bytes", "in_place", "op", "root", "iterations"):
                self.assertEqual(document["results"][0][key], same["results"][0][key])


class Failures(Case):
    def test_a_wrong_element_is_counted(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            for where in ("checked", "timed", "last"):
                for size in ("8", "100K"):
                    with self.subTest(program=program, where=where, size=size):
                        arguments = ("--np", "2", "-b", size, "-e", size, "--plant-error", where, *QUICK)
                        document = self.json_of(program, *arguments, status=1)
                        self.assertEqual([row["wrong"] for row in document["results"]], [1])

    def test_a_rank_that_dies_ends_the_run(self):
        for victim in (0, 1, 2):
            with self.subTest(victim=victim):
                start = time.monotonic()
                result = run("allreduce_bench", "--np", "3", "-b", "8", "-e", "8K", "--plant-death", str(victim), *QUICK)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn(f"rank {victim} was ended by signal 9", result.stderr)
                self.assertLess(time.monotonic() - start, 20)

    def test_a_rank_that_dies_ends_a_disturbed_run(self):
        core = sorted(os.sched_getaffinity(0))[0]
        arguments = ("--np", "3", "-b", "8", "-e", "8K", "--aggressor", "4K", "--noise", f"{core}:10", "--plant-death", "1")
        result = run("allreduce_bench", *arguments, *QUICK, timeout=60)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("rank 1 was ended by signal 9", result.stderr)

    def test_no_file_of_a_run_that_failed(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "result.json")
            run("allreduce_bench", "--np", "2", "-b", "8", "-e", "8K", "--plant-death", "1", "--json", path, *QUICK)
            self.assertNotIn("result.json", os.listdir(directory))

    def test_an_interrupted_long_row_is_kept(self):
        with tempfile.TemporaryDirectory() as directory:
            path, raw = os.path.join(directory, "result.json"), os.path.join(directory, "raw")
            command = [os.path.join(BIN, "allreduce_bench"), "--np", "2", "-b", "8", "-e", "64", "--duration", "1h", "--json", path,
                       "--raw", raw]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment(), start_new_session=True)
            try:
                for line in process.stdout:
                    if "bytes" in line:
                        break
                os.killpg(process.pid, signal.SIGINT)
                output, _ = process.communicate(timeout=60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            self.assertEqual(process.returncode, 130)
            self.assertIn("interrupted after 1 of", output)
            with open(path, encoding="utf-8") as file:
                (row,) = json.load(file)["results"]
            with open(raw, encoding="utf-8") as file:
                self.assertEqual(json.loads(file.read().splitlines()[1])["row"], row)
            self.assertTrue(row["interrupted"])
            self.assertGreaterEqual(row["iterations"], 20)

    def interrupt(self, path, everybody):
        command = [os.path.join(BIN, "allreduce_bench"), "--np", "2", "-b", "8", "-e", "8000", "-i", "8", "--json", path]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
            start_new_session=True,
        )
        try:
            for line in process.stdout:
                if not line.startswith("#"):
                    break
            # From a terminal all processes get the signal, from kill the parent alone.
            (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("interrupted after", output)

    def test_interrupted_runs_keep_their_rows(self):
        for everybody in (True, False):
            with self.subTest(everybody=everybody), tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory, "result.json")
                self.interrupt(path, everybody)
                with open(path, encoding="utf-8") as file:
                    document = json.load(file)
                self.assertTrue(document["interrupted"])
                self.assertGreaterEqual(len(document["results"]), 1)
                self.assertLess(len(document["results"]), 1000)


class Mpi(Case):
    def test_ranks_of_mpirun(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            for ranks in (2, 4):
                with self.subTest(program=program, ranks=ranks):
                    result = self.ok(run(program, "-b", "8", "-e", "64K", "-f", "32", *QUICK, launcher=mpirun(ranks)))
                    self.assertIn(f"{ranks} ranks on 1 node", result.stdout)
                    self.assertIn("launch: mpirun", result.stdout)
                    self.assertEqual([row[0] for row in table_rows(result.stdout)], ["8", "256", "8192"])

    def test_baseline_takes_turns(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            with self.subTest(program=program):
                arguments = ("-b", "8", "-e", "64K", "-f", "100", "--placement", "both", "--baseline", "mpi", "-n", "100")
                document = self.json_of(program, *arguments, launcher=mpirun(2))
                rows = document["results"]
                self.assertEqual([row["library"] for row in rows], ["tutti", "mpi"] * 4)
                self.assertEqual({row["wrong"] for row in rows}, {0})
                self.assertTrue(document["machine"]["mpi"])
                self.assertEqual(document["machine"]["mpi_yield_when_idle"], "1")

    def test_ratio_is_printed(self):
        result = self.ok(run("allreduce_bench", "-b", "8", "-e", "8", "--baseline", "mpi", "-n", "100", launcher=mpirun(2)))
        self.assertRegex(result.stdout, r"# mpi / tutti: p50 \d+\.\d+ \(\d+\.\d+ to \d+\.\d+\), p99 \d+\.\d+\n")

    def test_samples_of_a_baseline_stand_beside_tuttis(self):
        document, lines = self.raw_of("-b", "8", "-e", "8", "--baseline", "mpi", "-n", "300", launcher=mpirun(2))
        self.assertEqual([line["row"] for line in lines[1:]], document["results"])
        self.assertEqual([(line["row"]["library"], len(line["us"]), len(line["late_us"])) for line in lines[1:]],
                         [("tutti", 300, 2), ("mpi", 300, 2)])
        low, high = lines[2]["row"]["p50_ratio_interval"]
        self.assertLessEqual(low, high)

    def test_baseline_computes_the_same(self):
        arguments = ("-b", "40", "-e", "4000", "-f", "100", "-d", "all", "-o", "all", "--baseline", "mpi", "--placement", "both")
        document = self.json_of("allreduce_bench", *arguments, "-n", "3", "-w", "1", "-c", "1", launcher=mpirun(3))
        rows = document["results"]
        self.assertEqual({row["wrong"] for row in rows}, {0})
        baseline = [row for row in rows if row["library"] == "mpi"]
        self.assertEqual(len(baseline), 10 * 4 * 2 * 2)  # neither floating point of 16 or 8 bits nor avg
        self.assertFalse({row["dtype"] for row in baseline} & {"float16", "bfloat16", "float8_e4m3", "float8_e5m2"})
        self.assertFalse({row["op"] for row in baseline} & {"avg"})

    def test_a_wrong_element_is_counted(self):
        arguments = ("-b", "100K", "-e", "100K", "--baseline", "mpi", "--plant-error", "timed", *QUICK)
        document = self.json_of("allreduce_bench", *arguments, launcher=mpirun(2), status=1)
        self.assertEqual([row["wrong"] for row in document["results"]], [1, 0])

    def test_an_aggressor_beside_a_baseline(self):
        arguments = ("-b", "8", "-e", "8", "--baseline", "mpi", "--aggressor", "64", "--skew", "1:50", *QUICK)
        rows = self.json_of("allreduce_bench", *arguments, launcher=mpirun(2))["results"]
        self.assertEqual([row["library"] for row in rows], ["tutti", "mpi"])
        for row in rows:
            self.assertEqual(row["disturbance"], "rank 1 late by 50 us, aggressor broadcast of 64")
            self.assertGreater(row["alone"]["p50_us"], 50)

    def test_bad_options_end_all_ranks(self):
        for arguments, names in (
            (["-b", "x"], ["--minbytes", "'x'"]),
            (["--np", "2"], ["--np"]),
            (["--algorithm", "nonsense"], ["--algorithm"]),
            (["--json", "/nonexistent/x.json"], ["--json"]),
        ):
            with self.subTest(arguments=arguments):
                result = self.ok(run("allreduce_bench", *arguments, launcher=mpirun(2), timeout=60), status=2)
                for name in names:
                    self.assertEqual(result.stderr.count(f"allreduce_bench: {name}"), 1 if name == names[0] else 0)
                    self.assertIn(name, result.stderr)
        self.refused_root()

    def refused_root(self):
        result = self.ok(run("broadcast_bench", "-r", "2", launcher=mpirun(2), timeout=60), status=2)
        self.assertEqual(result.stderr.count("--root: '2'"), 1)

    def test_help_is_printed_once(self):
        result = self.ok(run("allreduce_bench", "--help", launcher=mpirun(2), timeout=60))
        self.assertEqual(result.stdout.count("Exit status"), 1)

    def test_a_rank_that_dies_ends_the_run(self):
        start = time.monotonic()
        result = run("allreduce_bench", "-b", "8", "-e", "8K", "--plant-death", "1", *QUICK, launcher=mpirun(2), timeout=60)
        self.assertNotEqual(result.returncode, 0)
        self.assertLess(time.monotonic() - start, 30)


class SimplePeers(Case):
    """Baselines that need no library (simple_peer.cpp)."""

    def measured(self, *arguments, program="allreduce_bench", **options):
        return self.json_of(program, "--peers", os.environ["BENCH_PEERS"], *arguments, **options)


class MpiBaselines(SimplePeers):
    """MPI among several baselines."""

    def test_mpi_takes_turns_too(self):
        rows = self.measured("-b", "8", "-e", "64", "-f", "8", "--baseline", "ucc,mpi,gloo", *QUICK, launcher=mpirun(3))["results"]
        self.assertEqual([row["library"] for row in rows], ["tutti", "ucc", "mpi", "gloo"] * 2)
        self.assertEqual({row["wrong"] for row in rows}, {0})


class Baselines(SimplePeers):
    """Several baselines at once."""

    def test_all_take_turns(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            for ranks in ("2", "3"):
                with self.subTest(program=program, ranks=ranks):
                    arguments = ("--np", ranks, "-b", "4", "-e", "64K", "-f", "128", "--placement", "both", "--baseline", "gloo,ucc")
                    document = self.measured(*arguments, *QUICK, program=program)
                    rows = document["results"]
                    self.assertEqual([row["library"] for row in rows], ["tutti", "gloo", "ucc"] * 6)
                    self.assertEqual({row["wrong"] for row in rows}, {0})
                    self.assertEqual({row["iterations"] for row in rows}, {30})
                    self.assertEqual({row["algorithm"] for row in rows if row["library"] != "tutti"}, {"simple"})
                    self.assertEqual(list(document["machine"]["baselines"]), ["gloo", "ucc"])
                    self.assertEqual(document["machine"]["baselines"]["ucc"], {"version": "1.2.3", "settings": "gathers, and adds up"})

    def test_each_has_its_ratio(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8", "--baseline", "ucc,gloo", "-n", "300", "--peers", os.environ["BENCH_PEERS"])
        result = self.ok(run("allreduce_bench", *arguments))
        for name in ("ucc", "gloo"):
            self.assertIn(f"# {name} 1.2.3: gathers, and adds up\n", result.stdout)
            self.assertRegex(result.stdout, rf"# {name} / tutti: p50 \d+\.\d+ \(\d+\.\d+ to \d+\.\d+\), p99 ")
        document, lines = self.raw_of(*arguments)
        self.assertEqual([(line["row"]["library"], len(line["us"])) for line in lines[1:]], [("tutti", 300), ("ucc", 300), ("gloo", 300)])
        for row in document["results"][1:]:
            low, high = row["p50_ratio_interval"]
            self.assertTrue(0 < low <= high)

    def test_what_one_cannot_do_is_left_out(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8", "-d", "float32,int8", "-o", "sum,prod", "--baseline", "ucc,gloo")
        rows = self.measured(*arguments, *QUICK)["results"]
        self.assertEqual([row["library"] for row in rows], ["tutti", "ucc", "gloo"] + ["tutti"] * 3)
        self.assertEqual([row["no_baseline"] for row in rows if row["library"] == "tutti"],
                         [None, "the simple one has no product; the simple one has no product",
                          *["the simple one has float32 alone; the simple one has float32 alone"] * 2])
        result = self.ok(run("allreduce_bench", *arguments, *QUICK, "--peers", os.environ["BENCH_PEERS"]))
        self.assertEqual(result.stdout.count("# ucc / tutti: - (the simple one has float32 alone)\n"), 2)
        self.assertEqual(result.stdout.count("# gloo / tutti: - (the simple one has no product)\n"), 1)

    def test_a_wrong_element_is_counted_in_each(self):
        for place, library in enumerate(("tutti", "ucc", "gloo")):
            for where in ("checked", "timed", "last"):
                with self.subTest(library=library, where=where):
                    arguments = ("--np", "2", "-b", "100K", "-e", "100K", "--baseline", "ucc,gloo", "--plant-error", f"{where}:{library}")
                    rows = self.measured(*arguments, *QUICK, status=1)["results"]
                    self.assertEqual([row["wrong"] for row in rows], [int(i == place) for i in range(3)])

    def test_a_call_that_fails_is_told(self):
        arguments = ("--np", "2", "-b", "8", "-e", "8", "-o", "max", "--baseline", "gloo", "--peers", os.environ["BENCH_PEERS"])
        result = self.ok(run("allreduce_bench", *arguments, *QUICK, timeout=60), status=1)
        self.assertIn("by gloo: planted failure 7", result.stderr)

    def test_a_module_that_is_missing_or_another(self):
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "tutti_bench_gloo.so"), "w", encoding="utf-8") as file:
                file.write("text")
            for name, peers, told in (("ucc", directory, f"no tutti_bench_ucc.so in {directory}: it is built where UCC is installed"),
                                      ("gloo", directory, "tutti_bench_gloo.so: file too short"),
                                      ("ucc", os.environ["BENCH_OLD_PEERS"], "is of another build of this program")):
                with self.subTest(told=told):
                    result = self.ok(run("allreduce_bench", "--np", "3", "--baseline", name, "--peers", peers, timeout=60), status=2)
                    self.assertIn(f"allreduce_bench: --baseline {name}: ", result.stderr)
                    self.assertEqual(result.stderr.count(told), 1)
                    self.assertEqual(result.stdout, "")


class Peer:
    """What holds for UCC and for Gloo: their modules as they were built."""

    NAME = ""
    LEFT_OUT = ()  # of all-reduce: types, and operators of types

    def setUp(self):
        if not os.path.exists(os.path.join(BIN, f"tutti_bench_{self.NAME}.so")):
            print(f"SKIPPED: no module of {self.NAME} in {BIN}")
            self.skipTest("not built")

    def measured(self, *arguments, program="allreduce_bench", quick=QUICK, **options):
        return self.json_of(program, *arguments, "--baseline", self.NAME, *quick, **options)

    def test_right_with_any_number_of_ranks(self):
        for program in ("allreduce_bench", "broadcast_bench"):
            for ranks in ("1", "2", "3", "4"):
                with self.subTest(program=program, ranks=ranks):
                    arguments = ("--np", ranks, "-b", "0", "-e", "1000000", "-f", "50", "--placement", "both")
                    document = self.measured(*arguments, program=program)
                    rows = document["results"]
                    self.assertEqual([row["library"] for row in rows], ["tutti", self.NAME] * (len(rows) // 2))
                    self.assertEqual({row["wrong"] for row in rows}, {0})
                    self.assertEqual(list(document["machine"]["baselines"]), [self.NAME])

    def test_every_type_operator_root(self):
        shape = ("--np", "3", "-b", "4000", "-e", "4000", "-d", "all", "--placement", "both")
        few = ("-n", "3", "-w", "1", "-c", "1")
        rows = self.measured(*shape, "-o", "all", quick=few)["results"]
        self.assertEqual({row["wrong"] for row in rows}, {0})
        there = {(row["dtype"], row["op"]) for row in rows if row["library"] == self.NAME}
        wanted = {(row["dtype"], row["op"]) for row in rows if row["library"] == "tutti"}
        self.assertEqual(wanted - there, {(dtype, op) for dtype, op in wanted if dtype in self.LEFT_OUT or (dtype, op) in self.LEFT_OUT})
        rows = self.measured(*shape, "-r", "all", program="broadcast_bench", quick=few)["results"]
        self.assertEqual({row["wrong"] for row in rows}, {0})
        self.assertEqual([row["library"] for row in rows], ["tutti", self.NAME] * (len(rows) // 2))

    def test_a_wrong_element_is_counted(self):
        for where in ("checked", "timed", "last"):
            with self.subTest(where=where):
                arguments = ("--np", "2", "-b", "100K", "-e", "100K", "--plant-error", f"{where}:{self.NAME}")
                self.assertEqual([row["wrong"] for row in self.measured(*arguments, status=1)["results"]], [0, 1])

    def test_an_interrupted_run_keeps_its_rows(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "result.json")
            command = [os.path.join(BIN, "allreduce_bench"), "--np", "3", "-b", "8", "-e", "64", "--duration", "1h", "--baseline", self.NAME,
                       "--json", path]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment(), start_new_session=True)
            try:
                for line in process.stdout:
                    if "bytes" in line:
                        break
                os.killpg(process.pid, signal.SIGINT)
                output, _ = process.communicate(timeout=60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            self.assertEqual(process.returncode, 130, output)
            with open(path, encoding="utf-8") as file:
                self.assertEqual([row["library"] for row in json.load(file)["results"]], ["tutti", self.NAME])

    def test_a_rank_that_dies_ends_the_run(self):
        start = time.monotonic()
        arguments = ("--np", "3", "-b", "8", "-e", "8K", "--baseline", self.NAME, "--plant-death", "1")
        result = run("allreduce_bench", *arguments, *QUICK, timeout=60)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertLess(time.monotonic() - start, 30)

    def test_under_mpirun_beside_all_there_are(self):
        if subprocess.run(["which", MPIRUN], capture_output=True, check=False).returncode != 0:
            return
        others = [name for name in ("ucc", "gloo") if os.path.exists(os.path.join(BIN, f"tutti_bench_{name}.so"))]
        for program in ("allreduce_bench", "broadcast_bench"):
            for ranks in (2, 4):
                with self.subTest(program=program, ranks=ranks):
                    arguments = ("-b", "8", "-e", "64K", "-f", "128", "--baseline", ",".join(["mpi", *others]))
                    rows = self.json_of(program, *arguments, *QUICK, launcher=mpirun(ranks))["results"]
                    self.assertEqual([row["library"] for row in rows], ["tutti", "mpi", *others] * 2)
                    self.assertEqual({row["wrong"] for row in rows}, {0})


WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
REAL = ("float16", "float32", "float64")


class Ucc(Peer, Case):
    NAME = "ucc"
    LEFT_OUT = ("float16", "float8_e4m3", "float8_e5m2", *((dtype, "avg") for dtype in WHOLE))


class Gloo(Peer, Case):
    NAME = "gloo"
    LEFT_OUT = ("bfloat16", "float8_e4m3", "float8_e5m2", *((dtype, "avg") for dtype in (*WHOLE, *REAL)))


class Device(Case):
    """On device memory; BENCH_CUDA is an emulated driver, without it the machine's own is used."""

    def setUp(self):
        self.driver = {}
        if os.environ.get("BENCH_CUDA"):
            self.driver = dict(TUTTI_CUDA_LIBRARY=os.environ["BENCH_CUDA"], TUTTI_EMULATED_MULTIPROCESSORS="8",
                               TUTTI_LOG="off")
            return
        probe = run("allreduce_bench", "--memory", "device", "-b", "8", "-e", "8", "-n", "1")
        for missing in ("no CUDA driver", "no CUDA-capable device", "CUDA_ERROR_NO_DEVICE"):
            if missing in probe.stderr:
                print(f"SKIPPED: no CUDA device: {probe.stderr.strip()}")
                self.skipTest(probe.stderr)

    def rows(self, program, *arguments, status=0, **environment):
        quick = ("--memory", "device", *arguments, "-n", "12", "-w", "2", "-c", "2")
        return self.json_of(program, *quick, status=status, **self.driver, **environment)

    def test_modes(self):
        sizes = ("--ranks-per-gpu", "3", "-b", "8", "-e", "64K", "-f", "32", "--placement", "both")
        for program in ("allreduce_bench", "broadcast_bench"):
            for mode, chain, options in (("isolated", 1, ()), ("chain", 4, ("--chain", "4", "--one-stream")),
                                         ("graph", 1, ("--graph",)), ("graph", 4, ("--graph", "--chain", "4"))):
                with self.subTest(program=program, options=options):
                    document = self.rows(program, *sizes, *options)
                    rows = document["results"]
                    self.assertEqual([row["bytes"] for row in rows], [8, 8, 256, 256, 8192, 8192])
                    expected = dict(library="tutti", ranks=3, ranks_per_gpu=3, memory="device", mode=mode, chain=chain,
                                    iterations=12, wrong=0, settings=None, no_baseline=None)
                    for row in rows:
                        self.assertEqual({key: row[key] for key in expected}, expected)
                        self.assertTrue(0 < row["p50_us"] <= row["p90_us"] <= row["max_us"])
                        self.assertGreater(row["call_ns"], 0)
                        self.assertAlmostEqual(row["bound_fraction"], row["bound_us"] / row["p50_us"], places=9)
                    self.bounds(document)

    def bounds(self, document):
        gpu = document["machine"]["gpu"]
        self.assertGreater(gpu["blocks"], 0)
        self.assertGreater(gpu["copy_gbs"], 0)
        for row in document["results"]:
            messages = 6 if row["collective"] == "all_reduce" else 3 if row["in_place"] else 4
            self.assertAlmostEqual(row["bound_us"], messages * row["bytes"] / gpu["copy_gbs"] / 1000, places=6)

    def test_raw_samples(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "raw")
            document = self.rows("allreduce_bench", "-b", "8", "-e", "128", "-f", "16", "--mode", "chain", "--raw", path)
            with open(path, encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
        self.assertEqual([line["row"] for line in lines[1:]], document["results"])
        for line in lines[1:]:
            self.assertEqual((line["row"]["mode"], line["row"]["chain"], line["row"]["culprit_rank"]), ("chain", 20, None))
            self.assertEqual((len(line["us"]), len(line["start_us"])), (12, 12))
            self.assertNotIn("late_us", line)
            self.assertAlmostEqual(sorted(line["us"])[5], line["row"]["p50_us"], places=3)

    def test_types(self):
        arguments = ("-b", "20004", "-e", "20004", "-d", "all", "-o", "all", "--registered")
        rows = self.rows("allreduce_bench", *arguments)["results"]
        self.assertEqual(len(rows), 14 * 5)
        self.assertEqual({row["wrong"] for row in rows}, {0})

    def test_a_message_longer_than_what_timed_calls_check(self):
        rows = self.rows("allreduce_bench", "-b", "300000", "-e", "300000", "-d", "int8,int64")["results"]
        self.assertEqual([row["wrong"] for row in rows], [0, 0])

    def test_a_wrong_element_is_counted(self):
        for where in ("checked", "timed", "last"):
            for size in ("8", "300000"):
                for mode in ((), ("--graph",)):
                    with self.subTest(where=where, size=size, mode=mode):
                        arguments = ("-b", size, "-e", size, "--plant-error", where, *mode)
                        rows = self.rows("allreduce_bench", *arguments, status=1)["results"]
                        self.assertEqual([row["wrong"] for row in rows], [1])

    def test_table(self):
        result = self.ok(run("allreduce_bench", "--memory", "device", "-b", "8", "-e", "8", "-n", "20", **self.driver))
        (row,) = table_rows(result.stdout)
        self.assertEqual(row[14], "isolated")
        self.assertEqual(len(row), 18)

    def test_no_nccl_is_said(self):
        """Neither a file that is not there, nor one that is no NCCL, nor an old one is an error of the run."""
        installed = [path for path in ("/usr/local/cuda/lib/libnccl.so.2", "/usr/lib/x86_64-linux-gnu/libnccl.so.2")
                     if os.path.exists(path)]
        for path in ("/nonexistent/libnccl.so.2", "libm.so.6", *installed):
            for sweep in ((), ("--nccl-sweep",)):
                with self.subTest(path=path, sweep=sweep):
                    if path in installed and not os.environ.get("BENCH_CUDA"):
                        continue  # it may well be a new one
                    arguments = ("--memory", "device", "-b", "8", "-e", "64", "-n", "3", "--baseline", "nccl", "--nccl", path)
                    result = self.ok(run("allreduce_bench", *arguments, *sweep, **self.driver))
                    self.assertEqual([row[6] for row in table_rows(result.stdout)], ["tutti", "tutti"])
                    wanted = {"/nonexistent/libnccl.so.2": "no NCCL was found", "libm.so.6": "it is no NCCL"}
                    self.assertRegex(result.stdout, f"# no rows of nccl: .*{wanted.get(path, 'several ranks|ncclCommInitAll')}")
        document = self.rows("allreduce_bench", "-b", "8", "-e", "8", "--baseline", "nccl", "--nccl", "/nonexistent/x.so")
        self.assertIn("/nonexistent/x.so", document["results"][0]["no_baseline"])

    def test_what_cannot_be(self):
        for arguments, status, text in (
            (("--devices", "99"), 2, "device 99 does not exist"),
            (("-b", "64G", "-e", "64G", "--ranks-per-gpu", "8"), 2, "--maxbytes"),
            (("--algorithm", "nonsense"), 2, "--algorithm"),
            (("--json", "/nonexistent/x.json"), 2, "No such file"),
        ):
            with self.subTest(arguments=arguments):
                result = run("allreduce_bench", "--memory", "device", "-e", "8", *arguments, **self.driver)
                self.assertIn(text, self.ok(result, status).stderr)
        result = run("allreduce_bench", "--memory", "device", TUTTI_CUDA_LIBRARY="/nonexistent/libcuda.so")
        self.assertIn("/nonexistent/libcuda.so", self.ok(result, 1).stderr)
        result = run("allreduce_bench", "--memory", "device", TUTTI_RANK="0", TUTTI_SIZE="2", TUTTI_UNIQUE_ID="00")
        self.assertIn("--memory device", self.ok(result, 2).stderr)


class Info(Case):
    def test_formats(self):
        self.assertTrue(self.ok(run("tutti-info")).stdout.strip())
        self.assertIsInstance(json.loads(self.ok(run("tutti-info", "--json")).stdout), dict)
        self.assertIn("TUTTI_ALGO", self.ok(run("tutti-info", "--environment-markdown")).stdout)
        self.assertIn("7", self.ok(run("tutti-info", "--ranks", "7")).stdout)
        self.assertRegex(self.ok(run("tutti-info", "--unique-id")).stdout, r"\A[0-9a-f]{256}\n\Z")

    def test_topology(self):
        document = json.loads(self.ok(run("tutti-info", "--format", "json")).stdout)
        topology = document["topology"]
        self.assertTrue(topology["processors"])
        self.assertTrue(set(topology["usable"]) <= set(topology["processors"]))
        self.assertIn("127.0.0.1", [a for device in topology["networks"] for a in device["addresses"]])
        self.assertIn("boot=", document["machine"]["node_id"])
        graph = self.ok(run("tutti-info", "--format", "graphviz")).stdout
        self.assertTrue(graph.startswith('graph "topology" {\n') and graph.endswith("}\n"), graph)
        self.assertEqual(graph.count("{"), graph.count("}"))

    def test_transports(self):
        document = json.loads(self.ok(run("tutti-info", "--json")).stdout)
        transports = {transport["name"]: transport for transport in document["transports"]}
        self.assertTrue(transports["shm"]["usable"])
        self.assertEqual(transports["ucx"]["usable"], any("/" in name for name in transports["ucx"]["resources"]))
        self.assertTrue(transports["ucx"]["detail"])

    def test_bootstrap(self):
        def bootstrap(**environment):
            return json.loads(self.ok(run("tutti-info", "--json", **environment)).stdout)["bootstrap"]

        self.assertEqual(bootstrap(TUTTI_IFNAME="=lo")["address"], "127.0.0.1")
        self.assertEqual(bootstrap(TUTTI_IFNAME="=lo")["interface"], "lo")
        self.assertIn("nonesuch", bootstrap(TUTTI_IFNAME="nonesuch")["problem"])
        self.assertEqual(bootstrap(TUTTI_PORT_RANGE="50000-50100")["ports"], "50000-50100")
        self.assertEqual(bootstrap()["started_by"], "")
        torch = dict(RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
        self.assertEqual(bootstrap(**torch)["started_by"], "torchrun")
        self.assertEqual(bootstrap(TUTTI_NODE_ID="b")["started_by"], "")

    def test_nodes(self):
        two = json.loads(self.ok(run("tutti-info", "--json", "--nodes", "3,1")).stdout)
        self.assertEqual((two["scratch"]["ranks"], two["scratch"]["nodes"]), (4, 2))
        self.assertIn("4 ranks on 2 nodes", self.ok(run("tutti-info", "--ranks", "4", "--nodes", "3,1")).stdout)
        for wrong in ("2,", ",2", "2,x", "0,2"):
            self.assertIn("--nodes", self.ok(run("tutti-info", "--nodes", wrong), status=2).stderr)
        self.assertIn("have 4 ranks", self.ok(run("tutti-info", "--ranks", "5", "--nodes", "3,1"), status=2).stderr)

    def test_node_id(self):
        document = json.loads(self.ok(run("tutti-info", "--json", TUTTI_NODE_ID="rack-7")).stdout)
        self.assertEqual(document["machine"]["node_id"], "name=rack-7")

    def test_bad_options(self):
        for arguments, name in ((["--ranks", "0"], "--ranks"), (["--ranks", "x"], "--ranks"), (["--what"], "--what"),
                                (["--json", "--environment-markdown"], "--json"), (["--format", "yaml"], "--format"),
                                (["--format", "text", "--json"], "--format")):
            result = self.ok(run("tutti-info", *arguments), status=2)
            self.assertIn(name, result.stderr)

    def test_full_standard_output(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run(
                [os.path.join(BIN, "tutti-info")], stdout=full, stderr=subprocess.PIPE, env=clean_environment(), check=False
            )
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    sys.exit(unittest.main())
