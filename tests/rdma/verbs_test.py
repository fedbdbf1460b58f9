#!/usr/bin/env python3
"""The verbs transport, for real: over Soft-RoCE, in one virtual machine (scripts/rdma_vm.sh) of two nodes with two rails each.

RDMA_BIN and RDMA_SCRIPTS come from ctest, and RDMA_CUDA=ON where CUDA is built in. Exit status 77 where no virtual machine is possible.
One guest is booted for everything; its tests judge what verbs_checks.sh has said in it.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ["RDMA_BIN"]
SCRIPTS = os.environ["RDMA_SCRIPTS"]
CUDA = os.environ.get("RDMA_CUDA") == "ON"
HERE = os.path.dirname(os.path.abspath(__file__))
NOT_POSSIBLE = 77


def call(*words, timeout):
    kept = {key: value for key, value in os.environ.items() if not re.match("(TUTTI|UCX|OMPI|PMIX?)_", key)}
    return subprocess.run([os.path.join(SCRIPTS, "rdma_vm.sh"), *words], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, env=kept, check=False)


class Verbs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.job = tempfile.mkdtemp(prefix="tutti-verbs-")
        cls.addClassCleanup(shutil.rmtree, cls.job)
        cls.result = call("--nodes", "2", "--rails", "2", "--limit", "560", "--job", cls.job, "--",
                          "bash", os.path.join(HERE, "verbs_checks.sh"), BIN, timeout=650)
        cls.checks = {}
        before = 0.0
        for line in cls.result.stdout.splitlines():
            if line.startswith("CHECK time "):
                _, _, part, uptime = line.split(" ")
                print(f"{part}: {float(uptime) - before:.0f} s")
                before = float(uptime)
            elif line.startswith("CHECK "):
                name, *values = line.split(" ")[1:]
                cls.checks[name] = values

    def said(self, name):
        self.assertIn(name, self.checks, f"{self.result.stdout[-3000:]}\n{self.result.stderr[-3000:]}")
        return [int(value) for value in self.checks[name]]

    def written(self, name):
        with open(os.path.join(self.job, name), encoding="utf-8") as file:
            return file.read()

    def rails(self, name, rank):
        """Of the communicator that has moved most; the other ones agree on times."""
        candidates = []
        for path in glob.glob(os.path.join(glob.escape(self.job), f"{name}.{rank}.json*")):
            with open(path, encoding="utf-8") as file:
                candidates.append(json.load(file)["rails"])
        return max(candidates, key=lambda rails: sum(rail["bytes"] for rail in rails))

    def assert_right(self, name, packets):
        """It ended well, every element was right, and both rails of node 0 sent at least so many packets together, and none of them nothing."""
        status, first, second = self.said(name)
        self.assertEqual(status, 0, self.written(name))
        self.assertIn("# wrong elements: 0", self.written(name))
        self.assertGreaterEqual(first + second, packets)
        return first, second

    def test_ports(self):
        self.assertEqual(self.said("ports"), [0], self.written("ports"))
        self.assertNotIn("SKIPPED", self.written("ports"))

    def test_one_port_alone(self):
        self.assertEqual(self.said("one_port"), [0], self.written("one_port"))
        self.assertIn("# wrong messages: 0", self.written("one_port"))
        self.assertIn("# port_bench: verbs (", self.written("one_port"))

    def test_devices_are_listed(self):
        self.assertEqual(self.said("info"), [0])
        for k in range(4):
            node, rail = divmod(k, 2)
            self.assertRegex(self.written("info"), rf"rxe{k} \(v{k}, [0-9.]+ Gbit/s, 10\.1\.{rail}\.{node + 1}, RoCE v2 over IPv4\)")

    def test_all_reduce_on_both_rails(self):
        # The largest size alone: half of 1 MiB for each rank, 12 times, in packets of at most 4 KiB.
        first, second = self.assert_right("all_reduce", 12 * 128)
        self.assertGreater(min(first, second), (first + second) / 20)
        self.assertRegex(self.written("all_reduce"), r"rank [23] \(node node1\): verbs rxe0\+rxe1, ")

    def test_broadcast(self):
        self.assert_right("broadcast", 12 * 256)

    def test_flat_ring(self):
        self.assert_right("ring", 100)

    def test_registered_buffers_are_not_copied(self):
        self.assert_right("registered", 100)
        # The programs' own messages are small, and copied.
        self.assertRegex(self.written("registered"), r"[MK]iB sent in [0-9]+ puts, ")
        self.assertNotRegex(self.written("registered"), r"[MK]iB sent in [0-9]+ puts \(")

    def test_registered_buffers_can_be_used_again_at_once(self):
        self.assertEqual(self.said("reuse"), [0], self.written("reuse"))
        self.assertRegex(self.written("reuse"), r"10MiB sent in [0-9]+ puts, ")

    def test_a_thousand_changing_messages(self):
        self.assert_right("many", 1000)

    def test_delay_jitter_and_loss(self):
        self.assert_right("disturbed", 100)

    def test_a_rail_that_fails_is_replaced(self):
        self.assertEqual(self.said("one_rail"), [0], self.written("one_rail"))
        self.assertIn("# wrong elements: 0", self.written("one_rail"))
        for rank, rails in ((0, r"rxe2\+rxe3 \(dead\)"), (1, r"rxe0\+rxe1 \(dead\)")):
            self.assertRegex(self.written("one_rail"), rf"rank {1 - rank}: rank {rank} \(node node{rank}\) is reached by {rails} from now on")

    def test_what_arrives_after_a_rail_was_given_up_changes_nothing(self):
        self.assertEqual(self.said("late"), [0], self.written("late"))

    def test_a_rank_is_looked_after_while_it_waits_in_another_communicator(self):
        self.assertEqual(self.said("two_communicators"), [0], self.written("two_communicators"))
        self.assertRegex(self.written("two_communicators"), r"\(dead\) from now on")
        rounds = re.search(r"(\d+) rounds", self.written("two_communicators"))
        self.assertGreater(int(rounds.group(1)), 20)

    def test_without_rails_the_peer_is_named_everywhere(self):
        self.assertNotEqual(self.said("all_rails"), [0])
        broken = r"the connection from rank [01] \(node node[01]\) to rank [01] \(node node[01]\) is broken: .*IBV_WC_RETRY_EXC_ERR"
        for rank in (0, 1):
            self.assertRegex(self.written("all_rails"), rf"allreduce_bench: rank {rank}: .*{broken}")

    def assert_told(self, how, ranks):
        name = f"cut_off_{how}"
        self.assertEqual(self.said(name), [0], self.written(name))
        for rank in ranks:
            self.assertRegex(self.written(name), rf"rank {rank} was told: .*the connection from rank 0 \(node node0\) to rank 1 \(node node1\) is "
                                                 r"broken: .*IBV_WC_RETRY_EXC_ERR")

    def test_a_rank_that_leaves_tells_of_what_does_not_arrive(self):
        self.assert_told("leave", [1])

    def test_a_rank_that_goes_on_tells_of_what_does_not_arrive(self):
        self.assert_told("go_on", [0, 1])

    def test_a_rank_that_only_waits_finds_that_nobody_is_there(self):
        self.assert_told("wait", [0, 1])

    def test_uneven_use_of_rails_is_visible(self):
        self.assertEqual(self.said("uneven"), [0], self.written("uneven"))
        self.assertIn("# wrong elements: 0", self.written("uneven"))
        # 100 and 25 Mbit/s: a fifth of the bytes, or less where a slice is sooner complete behind others. Equal use would be a half.
        for rank in (0, 1):
            fast, slow = self.rails("uneven", rank)
            self.assertEqual([fast["rail"], slow["rail"]], [f"rxe{2 * rank}", f"rxe{2 * rank + 1}"])
            self.assertAlmostEqual(fast["share"] + slow["share"], 1)
            self.assertLess(slow["share"], 0.4)
            self.assertGreater(fast["bytes"] + slow["bytes"], 15 * 2**20)
            for rail in (fast, slow):
                self.assertGreater(rail["writes"], 0)
                self.assertGreater(rail["completion"]["p50_ns"], 0)
                self.assertEqual((rail["dead_peers"], rail["up"]), (0, True))
        self.assertRegex(self.written("uneven"), r"rail rxe1: \S+ in \d+ writes \(\S+ % of this rank's\), complete after ")

    def test_a_link_that_blinks_is_heard_of_and_used_again(self):
        status, packets = self.said("blink")
        self.assertEqual(status, 0, self.written("blink"))
        self.assertIn("# wrong elements: 0", self.written("blink"))
        self.assertGreater(packets, 1000)
        first, second = self.rails("blink", 0)
        self.assertEqual((second["events"]["port_down"], second["events"]["port_up"]), (1, 1))
        self.assertGreater(second["events"]["address_change"], 0)
        self.assertEqual((first["events"]["port_down"], second["up"], second["dead_peers"]), (0, True, 0))
        self.assertIn("rank 0: rail rxe1: IBV_EVENT_GID_CHANGE: 10.1.1.1, by which peers reach it, is as before", self.written("blink"))

    def test_a_rail_that_is_down_is_passed_over(self):
        self.assertEqual(self.said("link"), [0], self.written("link"))

    def most_in_flight(self, credits):
        """From rank to rank: the largest number of bytes in puts that were not known to have arrived."""
        name = f"credits{credits}"
        self.assertEqual(self.said(name), [0], self.written(name))
        self.assertIn("# wrong elements: 0", self.written(name))
        units = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}
        most = {}
        for block in re.split(r"info: (?=rank \d+ \(node alone\d+\) of 4 ranks on 4 nodes)", self.written(name))[1:]:
            sender = int(re.match(r"rank (\d+)", block).group(1))
            for receiver, number, unit in re.findall(r"  rank (\d+) \(node alone\d+\): verbs rxe\d, .*at most (\d+)(|KiB|MiB) in flight", block):
                pair = (sender, int(receiver))
                most[pair] = max(most.get(pair, 0), int(number) * units[unit])
        self.assertEqual(len(most), 12, self.written(name))
        return most

    def test_credits_bound_what_is_in_flight_to_a_receiver(self):
        slice_bytes = 16384
        largest = []
        for credits in (2, 4, 8):
            most = self.most_in_flight(credits)
            # A slot may be granted again before the completion of the write to it is seen.
            self.assertLessEqual(max(most.values()), 2 * credits * slice_bytes)
            largest.append(max(most.values()))
        self.assertGreaterEqual(largest[0], 2 * slice_bytes)
        self.assertLess(largest[0], largest[1])
        self.assertLess(largest[1], largest[2])
        self.assertGreaterEqual(largest[2], 2 * largest[0])

    def calls_of(self, rank):
        """For each phase of a rank: the system calls of its thread, one line of strace each."""
        process, between, inside = None, [], False
        for line in self.written(f"calls.{rank}").splitlines():
            who, call = line.split(None, 1)
            process = process or who
            if who != process or call.startswith("<..."):
                continue
            if call.startswith("getppid("):
                inside = not inside
                if inside:
                    between.append([])
            elif inside:
                between[-1].append(call)
        return between

    def phases_of(self, rank):
        """By name: for each round the figures that the rank has counted itself, and its system calls."""
        lines = re.findall(rf"^phase (\w+) {rank} (\d+) (\d+) (\d+) (\d+) (\d+)$", self.written("calls"), re.MULTILINE)
        calls = self.calls_of(rank)
        self.assertEqual(len(lines), len(calls))
        phases = {}
        for (name, *figures), made in zip(lines, calls):
            counted = dict(zip(("milliseconds", "polls", "posts", "requests", "receives"), map(int, figures)))
            phases.setdefault(name, []).append((counted, made))
        return phases

    def test_system_calls_of_the_data_path(self):
        self.assertEqual(self.said("calls"), [0], self.written("calls"))
        doorbell = re.compile(r"write\(\d+</dev/infiniband/uverbs\d+>")
        look = re.compile(r"read\(\d+<anon_inode:\[infinibandevent\]>")
        for rank in (0, 1):
            phases = self.phases_of(rank)
            self.assertEqual(sorted(phases), ["large", "small", "waiting"])
            for name, rounds in phases.items():
                steady = []
                for counted, made in rounds:
                    # rxe's doorbell, and nothing for what is received.
                    self.assertEqual(sum(bool(doorbell.match(call)) for call in made), counted["posts"], (rank, name, made))
                    looks = sum(bool(look.match(call)) for call in made)
                    others = [call for call in made if not doorbell.match(call) and not look.match(call)]
                    # Each of two rails is looked at ten times a second.
                    if looks <= 2 * (counted["milliseconds"] // 100 + 1) and not others:
                        steady.append(counted)
                # In a round that a busy machine has held up for longer than it spins, a rank yields and sleeps.
                self.assertGreater(len(steady), 0, (rank, name, rounds))
                if name == "waiting" and rank == 0:
                    self.assertGreater(max(counted["polls"] for counted in steady), 500)
                    self.assertLessEqual(max(counted["posts"] for counted in steady), 4)
                if name != "waiting":
                    self.assertGreater(min(counted["posts"] for counted in steady), 0)
                if name == "large":
                    # Slices and their records are posted together.
                    self.assertGreater(min(counted["requests"] / counted["posts"] for counted in steady), 1.5)
            # They are posted again in batches, each in whichever phase it becomes full.
            self.assertGreater(sum(counted["receives"] for rounds in phases.values() for counted, _ in rounds), 0)

    def test_a_node_without_devices(self):
        self.assertNotEqual(self.said("forced"), [0])
        self.assertRegex(self.written("forced"),
                         r"TUTTI_TRANSPORT=verbs: rank 1 \(node node1\): there is no RDMA device that can be used")
        self.assertEqual(self.said("mixed"), [0], self.written("mixed"))
        self.assertIn("# wrong elements: 0", self.written("mixed"))
        self.assertRegex(self.written("mixed"), r"rank 1 \(node node1\): ucx tcp")
        self.assertIn("not all ranks are reached by verbs: rank 1 (node node1): there is no RDMA device that can be used",
                      self.written("mixed"))

    @unittest.skipUnless(CUDA, "this build has no CUDA")
    def test_device_memory_goes_by_verbs_though_a_rail_fails(self):
        self.assertEqual(self.said("device"), [0], self.written("device"))
        rounds = re.search(r"(\d+) rounds of 262144 bytes on 2 devices are right", self.written("device"))
        self.assertIsNotNone(rounds, self.written("device"))
        for rank in (0, 1):
            route = rf"device memory to rank {1 - rank} \(node node{1 - rank}\): verbs rxe{2 * rank}\+rxe{2 * rank + 1} \(dead\), (?!0 sent)"
            self.assertRegex(self.written("device"), route)
            self.assertRegex(self.written("device"), rf"device memory by rail rxe{2 * rank}: \d+ in \d+ writes")
            rails = self.rails("device", rank)
            self.assertEqual([rail["rail"] for rail in rails], [f"rxe{2 * rank}", f"rxe{2 * rank + 1}"])
            # All-reduces of two ranks: half of the message to be reduced, the other half when it is.
            self.assertGreater(sum(rail["bytes"] for rail in rails), int(rounds.group(1)) * 262144)
            self.assertEqual(rails[1]["dead_peers"], 1)
            self.assertGreater(min(rail["bytes"] for rail in rails), 0)

        # The staging ring is registered; only the words by which the ranks agree are so small that they are copied.
        self.assertNotIn("copied once more", self.written("device"))
        for copied in re.findall(r"device memory to .* \((\S+) copied\)", self.written("device")):
            self.assertRegex(copied, r"^\d{1,4}$")

    @unittest.skipUnless(CUDA, "this build has no CUDA")
    def test_kernels_are_told_of_a_rank_that_ends(self):
        self.assertNotEqual(self.said("device_kill"), [0])
        self.assertRegex(self.written("device_kill"), r"rank 0 was told: rank 1 \(node node1\) has ended")


def main():
    prepared = call("--prepare", timeout=900)
    if prepared.returncode == NOT_POSSIBLE:
        print(f"SKIPPED: {prepared.stderr.strip()}")
        return NOT_POSSIBLE
    unittest.main(verbosity=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
