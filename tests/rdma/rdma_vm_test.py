#!/usr/bin/env python3
"""The virtual machines with RDMA (scripts/rdma_vm.sh, scripts/rdma_two_vms.sh) do what docs/transports.md says of them.

RDMA_BIN and RDMA_SCRIPTS come from ctest, and RDMA_VERBS=ON where Tutti itself can be tried. Exit status 77 where no virtual machine is possible. A guest takes seconds to boot, so that one
is booted for all that can be seen from inside (guest_checks.sh), and its tests judge what it has said.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.environ["RDMA_BIN"]
SCRIPTS = os.environ["RDMA_SCRIPTS"]
VERBS = os.environ.get("RDMA_VERBS") == "ON"
HERE = os.path.dirname(os.path.abspath(__file__))
NOT_POSSIBLE = 77
TOOLS = {"ibv_rc_pingpong": "ibverbs-utils", "ib_write_lat": "perftest"}


def clean_environment(**more):
    """The environment without what would make ranks behave otherwise than the test wants."""
    kept = {key: value for key, value in os.environ.items() if not re.match("(TUTTI|UCX|OMPI|PMIX?)_", key)}
    kept.update(more)
    return kept


def call(script, *words, timeout, **environment):
    return subprocess.run([os.path.join(SCRIPTS, script), *words], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, env=clean_environment(**environment), check=False)


def start(script, *words):
    return subprocess.Popen([os.path.join(SCRIPTS, script), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            stdin=subprocess.DEVNULL, env=clean_environment())


def descendants(process):
    """Numbers of the processes below one; those that end meanwhile are left out."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", encoding="utf-8") as file:
                for child in file.read().split():
                    found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found


def processors_of_guest(process):
    """For each processor of the guest that was started below that process: on which ones of this machine it may be."""
    found = []
    for below in descendants(process):
        try:
            for thread in os.listdir(f"/proc/{below}/task"):
                with open(f"/proc/{below}/task/{thread}/comm", encoding="utf-8") as file:
                    if re.match("CPU [0-9]+/", file.read()):
                        found.append(os.sched_getaffinity(int(thread)))
        except OSError:
            pass
    return found


def are_apart(processors):
    return len(processors) >= 2 and all(len(one) == 1 for one in processors) and len(set().union(*processors)) == len(processors)


class InGuest(unittest.TestCase):
    """One guest of two nodes with two rails."""

    @classmethod
    def setUpClass(cls):
        cls.job = tempfile.mkdtemp(prefix="tutti vm, ")  # a name with what has a meaning for shells and for QEMU
        cls.addClassCleanup(shutil.rmtree, cls.job)
        cls.result = call("rdma_vm.sh", "--nodes", "2", "--rails", "2", "--limit", "180", "--job", cls.job, "-x", "CHOSEN=a 'b' $c", "--",
                          "bash", os.path.join(HERE, "guest_checks.sh"), BIN, timeout=300, TUTTI_ALGO="broadcast=chain")
        cls.checks = [line.split(" ")[1:] for line in cls.result.stdout.splitlines() if line.startswith("CHECK ")]

    @classmethod
    def tail(cls):
        return f"{cls.result.stdout[-3000:]}\n{cls.result.stderr[-3000:]}"

    def said(self, name):
        """The values of all checks of that name."""
        found = [words[1:] for words in self.checks if words[0] == name]
        self.assertTrue(found, f"no '{name}' in:\n{self.tail()}")
        return found

    def number(self, name, at=0):
        value = self.said(name)[0][at]
        self.assertRegex(value, "^[0-9]+$", f"{name}: {self.result.stderr[-2000:]}")
        return int(value)

    def written(self, name):
        with open(os.path.join(self.job, name), encoding="utf-8") as file:
            return file.read()

    def test_status_and_both_outputs_come_back(self):
        self.assertEqual(self.result.returncode, 7, self.result.stderr[-6000:])
        self.assertIn("written to the other stream\n", self.result.stderr)
        self.assertNotIn("written to the other stream", self.result.stdout)

    def test_environment_and_folder_are_kept(self):
        self.assertEqual(" ".join(self.said("environment")[0]), f"broadcast=chain a 'b' $c {os.getcwd()}")

    def test_devices_are_active(self):
        self.assertEqual(self.said("device"), [[f"rxe{k}", "ACTIVE"] for k in range(4)])

    def test_addresses_tell_node_and_rail(self):
        for k, words in enumerate(self.said("gids")):
            node, rail = divmod(k, 2)
            self.assertEqual(words[1:3], [f"0000:0000:0000:0000:0000:ffff:0a01:{rail:02x}{node + 1:02x}",
                                          f"fd00:0000:0000:0000:0000:0000:{rail:04x}:{node + 1:04x}"])

    def test_a_node_is_its_own_host(self):
        self.assertEqual(self.said("node"), [["node1", "node1", "rxe2,rxe3", "eth0", "lo", "0"]])
        self.assertEqual(self.said("words"), [["a", "b|$HOME|'|*|"]])

    def test_ranks_know_their_place(self):
        self.assertEqual(sorted(self.said("rank")), [[str(rank), "4", str(rank % 2), "2", "10.2.0.1", f"node{rank // 2}"] for rank in range(4)])
        self.assertEqual(self.said("status"), [["of_a_rank_that_fails", "3"]])
        self.assertEqual(self.said("[0]"), [["tagged", "0"]])
        self.assertEqual(self.said("[1]"), [["tagged", "1"]])

    def test_packets_go_from_device_to_device(self):
        self.assertGreater(self.number("pingpong"), 0)
        self.assertGreaterEqual(self.number("sent"), 100)
        self.assertEqual(self.said("sent")[0][2], "0")
        self.assertEqual(self.said("write_lat"), [["0"]], self.written("write_lat"))

    def test_delay_is_felt(self):
        self.assertGreaterEqual(self.number("pingpong_delayed"), 20_000)

    def test_loss_is_felt_and_repaired(self):
        self.assertGreater(self.number("pingpong_lossy"), 0)
        self.assertGreater(self.number("lost"), 0)
        self.assertGreater(self.number("repeated"), 0)

    def test_rate_is_felt(self):
        self.assertGreaterEqual(self.number("pingpong_slow"), 13_000)

    def test_off_is_off(self):
        self.assertEqual(self.said("shaped"), [["0"]])

    def test_a_pulled_cable_is_seen(self):
        self.assertEqual(self.said("pulled"), [["ACTIVE", "DOWN", "ACTIVE"]])
        self.assertEqual(self.said("plugged"), [["ACTIVE"]])

    def test_wrong_words_are_refused(self):
        told = {words[0]: " ".join(words[1:]) for words in self.said("refused")}
        self.assertRegex(told["netem"], "(?s)^2 .*rdma_vm_netem: tc does not take 'nonsense 1'")
        self.assertRegex(told["rate"], "^2 rdma_vm_rate: a rate is a number with kbit, mbit or gbit, not 'fast'")
        self.assertRegex(told["link"], "^2 rdma_vm_link: there is no rail '2'")
        self.assertRegex(told["on"], "^2 rdma_vm_on: there is no node '2'")

    def test_all_reduce_by_ucx(self):
        self.assertEqual(self.said("ucx")[0][0], "0", self.written("ucx"))
        self.assertIn("# wrong elements: 0", self.written("ucx"))
        # 64 KiB each way, 14 times, in packets of at most 4 KiB.
        self.assertGreater(self.number("ucx", 1), 14 * 16)

    def test_mpirun_starts_ranks_on_nodes(self):
        if self.said("mpi") != [["none"]]:
            self.assertEqual(sorted(self.said("mpi")), [["node0", "rxe0,rxe1", "2"], ["node1", "rxe2,rxe3", "2"]])


class Ends(unittest.TestCase):
    """How a guest may end, beside by its command."""

    def test_a_command_has_a_limit(self):
        # Meanwhile the guest's processors are seen to stay on processors of their own.
        processors = []
        with start("rdma_vm.sh", "--nodes", "1", "--limit", "2", "--", "bash", "-c", "echo before; sleep 1000") as running:
            end = time.monotonic() + 120
            while running.poll() is None and time.monotonic() < end and not are_apart(processors):
                processors = processors_of_guest(running.pid) or processors
                time.sleep(0.05)
            output, errors = running.communicate(timeout=120)
        self.assertEqual(running.returncode, 124, errors)
        self.assertEqual(output, "before\n")
        self.assertIn("the command was ended after its 2 s", errors)
        if len(os.sched_getaffinity(0)) >= 2:
            self.assertTrue(are_apart(processors), processors)

    def test_a_guest_that_does_not_start_is_told(self):
        result = call("rdma_vm.sh", "--nodes", "1", "--boot-limit", "1", "--accel", "tcg", "--", "true", timeout=60)
        self.assertEqual(result.returncode, 125, result.stderr)
        self.assertIn("did not start the command within its 1 s", result.stderr)


class TwoHosts(unittest.TestCase):
    def test_two_hosts(self):
        """RDMA between two kernels; and a machine that dies is told from a command that fails, and found by a rank that waits for one of it."""
        result = call("rdma_two_vms.sh", "--limit", "160", "--", os.path.join(HERE, "two_hosts.sh"), *([BIN] if VERBS else []), timeout=280)
        told = sorted(line for line in result.stdout.splitlines() if " CHECK " in line)
        text = result.stdout[-4000:] + result.stderr[-4000:]
        for i in (0, 1):
            self.assertIn(f"[node{i}] CHECK host node{i} {i} 2 node{i} rxe0", told, text)
            self.assertIn(f"[node{i}] CHECK write_lat 0", told, text)
            self.assertTrue(any(re.fullmatch(rf"\[node{i}\] CHECK sent [1-9][0-9]+", line) for line in told), text)
        if VERBS:
            for i in (0, 1):
                self.assertIn(f"[node{i}] CHECK all_reduce 0", told, text)
            self.assertIn("[node0] # wrong elements: 0", result.stdout, text)
            self.assertIn("[node0] CHECK lost 0", told, text)
            self.assertRegex(result.stdout, r"\[node0\] rank 0 was told: the connection from rank 0 \(node node0\) to rank 1 \(node node1\) is broken: "
                                            r".*rxe0: IBV_WC_RETRY_EXC_ERR")
        self.assertEqual(result.returncode, 125, text)
        self.assertRegex(result.stderr, r"\[node1\] .*the guest died before the command came to its end")
        self.assertNotIn("[node0]", result.stderr)


def main():
    prepared = call("rdma_vm.sh", "--prepare", timeout=900)
    if prepared.returncode == NOT_POSSIBLE:
        print(f"SKIPPED: {prepared.stderr.strip()}")
        return NOT_POSSIBLE
    for program, package in TOOLS.items():
        if shutil.which(program) is None:
            print(f"SKIPPED: {program} is missing (package {package})")
            return NOT_POSSIBLE
    print(prepared.stdout.strip() or prepared.stderr.strip())
    unittest.main(verbosity=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
