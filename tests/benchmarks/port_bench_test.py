#!/usr/bin/env python3
"""port_bench as users run it: two ranks, over UCX on this machine's loop-back. (Over verbs it runs in a guest: tests/rdma.)

BENCH_BIN comes from ctest.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ["BENCH_BIN"]
LIMIT = 120


def clean_environment(**more):
    kept = {key: value for key, value in os.environ.items() if not re.match("(TUTTI|UCX|OMPI|PMIX?|MV2)_|(RANK|WORLD_SIZE|MASTER_)", key)}
    kept.update(more)
    return kept


def program(name):
    return os.path.join(BIN, name)


def alone(*arguments, **environment):
    return subprocess.run([program("port_bench"), *arguments], capture_output=True, text=True, timeout=LIMIT,
                          env=clean_environment(**environment), check=False)


def ranks(*arguments, size=2, of_rank=None, **environment):
    """(status, output, errors) of each rank. `of_rank`: options of one rank alone."""
    made = subprocess.run([program("tutti-info"), "--unique-id"], capture_output=True, text=True, timeout=LIMIT,
                          env=clean_environment(TUTTI_IFNAME="=lo"), check=True)
    common = dict(TUTTI_SIZE=str(size), TUTTI_UNIQUE_ID=made.stdout.strip(), TUTTI_IFNAME="=lo", TUTTI_TIMEOUT="60s",
                  UCX_TLS="tcp", UCX_NET_DEVICES="lo", **environment)
    started = [subprocess.Popen([program("port_bench"), *arguments, *(of_rank or {}).get(rank, [])], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=clean_environment(TUTTI_RANK=str(rank), **common))
               for rank in range(size)]
    try:
        ended = [one.communicate(timeout=LIMIT) for one in started]
        return [(one.returncode, *texts) for one, texts in zip(started, ended)]
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
                one.wait()


QUICK = ("--transport", "ucx", "-n", "20", "-w", "2", "-c", "6", "--window", "4")


class PortBench(unittest.TestCase):
    def ended(self, results, *statuses):
        self.assertEqual([status for status, _, _ in results], list(statuses), results)
        return results

    def test_both_tests_at_every_size(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "result.json")
            first, second = self.ended(ranks(*QUICK, "-b", "1", "-e", "64K", "-f", "16", "--json", path), 0, 0)
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        self.assertIn("# wrong messages: 0\n", first[1])
        self.assertEqual(second[1], "")
        self.assertEqual((document["transport"], document["route"], document["wrong"]), ("ucx", "tcp/lo", 0))
        sizes = [1, 16, 256, 4096, 65536]
        self.assertEqual([row["bytes"] for row in document["latency"]], sizes)
        self.assertEqual([row["bytes"] for row in document["bandwidth"]], sizes)
        for row in document["latency"]:
            self.assertEqual(row["rounds"], 20)
            self.assertTrue(0 < row["p50_us"] <= row["p90_us"] <= row["max_us"], row)
            self.assertIsNone(row["p99_us"])  # needs 100 rounds
        for row in document["bandwidth"]:
            self.assertEqual(row["messages"], 20)
            self.assertAlmostEqual(row["gbit_per_s"], row["messages_per_s"] * row["bytes"] * 8 / 1e9)
        rows = [line.split() for line in first[1].splitlines() if not line.startswith("#")]
        self.assertEqual([row[0] for row in rows], [str(size) for size in sizes] * 2)

    def test_one_test_alone(self):
        first, _ = self.ended(ranks(*QUICK, "-e", "8", "--test", "latency"), 0, 0)
        self.assertIn("# latency", first[1])
        self.assertNotIn("# bandwidth", first[1])
        first, _ = self.ended(ranks(*QUICK, "-e", "8", "--test", "bandwidth"), 0, 0)
        self.assertNotIn("# latency", first[1])
        self.assertIn("# bandwidth", first[1])

    def test_wrong_bytes_are_counted(self):
        # Rank 1 sends 28 messages of latency (of 1 KiB the middle is looked at in checked ones only), and 6 checked ones of bandwidth.
        first, _ = self.ended(ranks(*QUICK, "-b", "1K", "-e", "1K", "--plant-wrong"), 1, 1)
        self.assertIn("# wrong messages: 12\n", first[1])
        first, _ = self.ended(ranks(*QUICK, "-b", "8", "-e", "8", "--plant-wrong"), 1, 1)
        self.assertIn("# wrong messages: 34\n", first[1])

    def test_ranks_must_be_two_and_agree(self):
        for _, _, errors in self.ended(ranks(*QUICK, size=3), 1, 1, 1):
            self.assertIn("port_bench is for two ranks, and TUTTI_RANK says 3", errors)
        for _, _, errors in self.ended(ranks("--transport", "ucx", of_rank={1: ["--check", "7"]}), 1, 1):
            self.assertRegex(errors, "--check")

    def test_a_rank_that_does_not_come_is_missed(self):
        made = subprocess.run([program("tutti-info"), "--unique-id"], capture_output=True, text=True, timeout=LIMIT,
                              env=clean_environment(TUTTI_IFNAME="=lo"), check=True)
        result = alone(*QUICK, TUTTI_RANK="0", TUTTI_SIZE="2", TUTTI_UNIQUE_ID=made.stdout.strip(), TUTTI_SETUP_TIMEOUT="500ms")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "^port_bench: .*rank 1")

    def test_bad_options(self):
        for arguments, text in ((["--transport", "shm"], "--transport: 'shm' is not allowed; allowed: verbs, ucx"),
                                (["--test", "all"], "--test: 'all' is not allowed"),
                                (["-b", "0"], "--minbytes: '0' is not allowed"),
                                (["-e", "1T"], "--maxbytes: '1T' is not allowed"),
                                (["-b", "64", "-e", "8"], "--minbytes 64 is more than --maxbytes 8"),
                                (["-f", "1"], "--stepfactor: '1' is not allowed"),
                                (["-n", "0"], "--iters: '0' is not allowed"),
                                (["--window", "1"], "--window: '1' is not allowed"),
                                (["-e", "64M", "--window", "64"], "--maxbytes 64MiB times --window 64"),
                                (["--nonsense"], "--nonsense")):
            result = alone(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(text, result.stderr)
            self.assertEqual(result.stdout, "")

    def test_help(self):
        result = alone("--help")
        self.assertEqual(result.returncode, 0)
        for option in ("--transport", "--test", "--minbytes", "--window", "--json"):
            self.assertIn(option, result.stdout)
        self.assertNotIn("--plant-wrong", result.stdout)


if __name__ == "__main__":
    sys.exit(unittest.main())
