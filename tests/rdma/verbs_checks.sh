#!/usr/bin/env bash
# What verbs_test.py runs in the guest, two nodes of two rails each: every part prints lines of `CHECK NAME VALUE...`, which the test judges on the host; what
# programs say goes to files of the job folder.
#
# Usage: verbs_checks.sh BIN [PART...]   (BIN: the folder of the build's programs; default all parts)
# shellcheck disable=SC2317  # the parts are called by their names
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bin=$1
shift
export TUTTI_TRANSPORT=verbs TUTTI_TIMEOUT=60s

# sent DEVICE: packets so far.
sent() { cat "/sys/class/infiniband/$1/ports/1/hw_counters/sent_pkts"; }

# bench NAME PROGRAM OPTION...: two ranks on each of two nodes.
bench() {
  local name=$1 program=$2 status=0 before0 before1
  before0=$(sent rxe0)
  before1=$(sent rxe1)
  rdma_vm_run -n 2 --id "$bin/tutti-info" -- timeout 100 "$bin/$program" "${@:3}" >"$RDMA_VM_JOB/$name" 2>&1 || status=$?
  check "$name" "$status" $(($(sent rxe0) - before0)) $(($(sent rxe1) - before1))
}

ports() {
  local status=0
  TUTTI_LOG=off timeout 150 "$bin/test_verbs" >"$RDMA_VM_JOB/ports" 2>&1 || status=$?
  check ports "$status"
}

info() {
  TUTTI_TRANSPORT='' "$bin/tutti-info" >"$RDMA_VM_JOB/info" 2>&1
  check info $?
}

collectives() {
  TUTTI_LOG=info bench all_reduce allreduce_bench -b 16 -e 1M -f 16 -n 8 -w 1 -c 3
  bench broadcast broadcast_bench -b 16 -e 1M -f 16 -n 8 -w 1 -c 3
  TUTTI_ALGO=ring bench ring allreduce_bench -b 4K -e 256K -f 64 -n 5 -w 1 -c 3
  TUTTI_LOG=info TUTTI_ALGO=ring bench registered allreduce_bench -b 1M -e 1M -n 4 -w 1 -c 3 --registered
  bench many allreduce_bench -b 64 -e 64 -n 1000 -w 2 -c 1000
}

disturbed() {
  local link
  for link in 0.0 0.1 1.0 1.1; do rdma_vm_netem "$link" delay 200us 100us loss 0.5%; done
  bench disturbed allreduce_bench -b 8 -e 256K -f 64 -n 10 -w 1 -c 5
  for link in 0.0 0.1 1.0 1.1; do rdma_vm_netem "$link" off; done
}

# A registered buffer that is written again as soon as it can be, while cards must repeat what was lost.
reuse() {
  local link status=0
  for link in 0.0 0.1; do rdma_vm_netem "$link" delay 1ms loss 2%; done
  TUTTI_LOG=info TUTTI_IB_TIMEOUT=14 rdma_vm_run --id "$bin/tutti-info" -- timeout 100 "$bin/reuse" 20 524288 >"$RDMA_VM_JOB/reuse" 2>&1 || status=$?
  check reuse "$status"
  for link in 0.0 0.1; do rdma_vm_netem "$link" off; done
}

# One port alone, on both rails.
one_port() {
  local status=0
  rdma_vm_run --bind --id "$bin/tutti-info" -- timeout 60 "$bin/port_bench" -b 8 -e 64K -f 64 -n 100 -w 5 -c 20 >"$RDMA_VM_JOB/one_port" 2>&1 || status=$?
  check one_port "$status"
}

# has_sent DEVICE PACKETS
has_sent() { (($(sent "$1") >= $2)); }

is_active() { [[ $(<"/sys/class/infiniband/$1/ports/1/state") == *ACTIVE* ]]; }

# disturb NAME PACKETS "HOW..." "BACK..." PROGRAM OPTION...: one rank on each node; the commands HOW are run when rxe1 has sent so many packets, and BACK at the end.
disturb() {
  local name=$1 packets=$2 status=0 job link
  TUTTI_LOG=info TUTTI_IB_TIMEOUT=14 TUTTI_IB_RETRY_COUNT=3 rdma_vm_run --id "$bin/tutti-info" -- \
    timeout 100 "$bin/$5" "${@:6}" >"$RDMA_VM_JOB/$name" 2>&1 &
  job=$!
  await 60 has_sent rxe1 $(($(sent rxe1) + packets))
  eval "$3"
  wait "$job" || status=$?
  check "$name" "$status"
  eval "$4"
  for link in 0 1 2 3; do await 10 is_active "rxe$link"; done
}

# In the middle of large all-reduces, every result of which is verified.
large=(allreduce_bench -b 1M -e 1M -n 2 -w 0 -c 60)
pulled() { printf 'rdma_vm_link %s down; ' "$@"; }
mended() { printf 'rdma_vm_link %s up; ' "$@"; }
failover() { disturb one_rail 1000 "$(pulled 0.1)" "$(mended 0.1)" "${large[@]}"; }
all_rails() { disturb all_rails 1000 "$(pulled 0.0 0.1)" "$(mended 0.0 0.1)" "${large[@]}"; }
two_communicators() { disturb two_communicators 300 "$(pulled 0.1)" "$(mended 0.1)" two_communicators 5; }
# go_on FIFO: whoever reads there is told to.
go_on() {
  # shellcheck disable=SC2016
  timeout 10 bash -c 'echo go >"$0"' "$1"
}

# cut_off HOW RANK...: all rails of rank 0 are pulled when those ranks are ready, as cut_off.cpp says. Both ranks speak at once, which one process writes down.
cut_off() {
  local name=cut_off_$1 status=0 job rank fifo=/tmp/cut_off_$1 said=$RDMA_VM_JOB/cut_off_$1
  mkfifo "$fifo".{0,1}
  TUTTI_TIMEOUT=40s TUTTI_IB_TIMEOUT=14 TUTTI_IB_RETRY_COUNT=3 rdma_vm_run --id "$bin/tutti-info" -- timeout 60 "$bin/cut_off" "$1" "$fifo" 2>&1 | cat >"$said" &
  job=$!
  for rank in "${@:2}"; do await 30 grep -q "rank $rank is ready" "$said" || status=101; done
  rdma_vm_link 0.0 down
  rdma_vm_link 0.1 down
  [[ $1 == wait ]] || go_on "$fifo.0"
  await 30 grep -q 'rank 0 has left' "$said" || status=102
  go_on "$fifo.1"
  wait "$job" || status=$?
  check "$name" "$status"
  rdma_vm_link 0.0 up
  rdma_vm_link 0.1 up
  await 10 is_active rxe0
  await 10 is_active rxe1
}
leaver() { cut_off leave 0 1; }
sender() { cut_off go_on 0 1; }
waiter() { cut_off wait 1; }

# What was written by a rail arrives seconds after it was given up.
late() {
  local status=0
  VERBS_TEST_HOLD='rdma_vm_netem 0.1 delay 4s' timeout 60 "$bin/test_verbs" -w NoTests '[late]' >"$RDMA_VM_JOB/late" 2>&1 || status=$?
  check late "$status"
  rdma_vm_netem 0.1 off
}

# pair NAME PROGRAM OPTION...: one rank on each node, with statistics.
pair() {
  TUTTI_STATS=$RDMA_VM_JOB/$1.%r.json rdma_vm_run --bind --id "$bin/tutti-info" -- \
    timeout 100 "$bin/$2" "${@:3}" >"$RDMA_VM_JOB/$1" 2>&1
}

# One rail of node 0 at a quarter of the other.
uneven() {
  local status=0
  rdma_vm_rate 0.0 100mbit
  rdma_vm_rate 0.1 25mbit
  TUTTI_LOG=info TUTTI_SLICE_BYTES=32K TUTTI_CREDITS=8 pair uneven allreduce_bench -b 1M -e 1M -n 17 -w 0 -c 5 || status=$?
  check uneven "$status"
  rdma_vm_rate 0 off
}

# A link that is pulled, and is back before a packet is given up: the rail is passed over meanwhile, and used again.
blink() {
  local status=0 job before said=$RDMA_VM_JOB/blink
  TUTTI_LOG=info TUTTI_IB_TIMEOUT=18 pair blink allreduce_bench -b 1M -e 1M -n 60 -w 0 -c 5 &
  job=$!
  await 60 has_sent rxe1 $(($(sent rxe1) + 1000))
  ip addr add 10.9.0.1/24 dev v1
  rdma_vm_link 0.1 down
  await 20 grep -q 'rail rxe1: IBV_EVENT_PORT_ERR' "$said" || status=101
  rdma_vm_link 0.1 up
  await 20 grep -q 'rail rxe1: IBV_EVENT_PORT_ACTIVE' "$said" || status=102
  before=$(sent rxe1)
  wait "$job" || status=$?
  check blink "$status" $(($(sent rxe1) - before))
  status=0
  TUTTI_LOG=off timeout 90 "$bin/test_verbs" -w NoTests '[.link]' >"$RDMA_VM_JOB/link" 2>&1 || status=$?
  check link "$status"
  ip addr del 10.9.0.1/24 dev v1
}

# Four ranks, each a node of its own with one rail, so that three send to each one: the same all-reduce with more and more credits. Its slices are too
# large to travel inside records, so they are counted until they have arrived.
credits() {
  local credits status
  for credits in 2 4 8; do
    status=0
    # shellcheck disable=SC2016  # for the shell on the node
    TUTTI_LOG=info TUTTI_ALGO=hierarchical_direct TUTTI_SLICE_BYTES=16K TUTTI_CREDITS=$credits rdma_vm_run -n 2 --id "$bin/tutti-info" -- bash -c \
      'export TUTTI_NODE_ID=alone$RANK TUTTI_IB_HCA=rxe$RANK; exec timeout 60 "$0" "$@"' \
      "$bin/allreduce_bench" -b 512K -e 512K -n 2 -w 0 -c 1 >"$RDMA_VM_JOB/credits$credits" 2>&1 || status=$?
    check "credits$credits" "$status"
  done
}

# A node that has no device: verbs is refused where it is forced, and UCX used where it is not.
mixed() {
  local status=0
  # shellcheck disable=SC2016  # for the shell on the node
  rdma_vm_run --id "$bin/tutti-info" -n 1 -- bash -c 'if [[ $RANK == 1 ]]; then export TUTTI_IB_HCA=^rxe0,rxe1,rxe2,rxe3; fi; exec timeout 60 "$0" "$@"' \
    "$bin/allreduce_bench" -b 8 -e 8 -n 5 >"$RDMA_VM_JOB/forced" 2>&1 || status=$?
  check forced "$status"
  status=0
  # shellcheck disable=SC2016
  TUTTI_TRANSPORT='' UCX_TLS=tcp TUTTI_LOG=info rdma_vm_run --id "$bin/tutti-info" -n 1 -- bash -c \
    'if [[ $RANK == 1 ]]; then export TUTTI_IB_HCA=^rxe0,rxe1,rxe2,rxe3; fi; exec timeout 60 "$0" "$@"' \
    "$bin/allreduce_bench" -b 8 -e 8 -n 5 >"$RDMA_VM_JOB/mixed" 2>&1 || status=$?
  check mixed "$status"
}

# Device memory, of emulated devices, in builds with CUDA: one rank on each node, until a rail that is pulled has been found dead; and a rank that ends.
device() {
  local status=0 devices=${bin%/*}/lib/libtutti_emulated_cuda.so enough=$RDMA_VM_JOB/device.enough
  [[ -e $devices ]] || return 0
  export TUTTI_CUDA_LIBRARY=$devices TUTTI_EMULATED_MULTIPROCESSORS=1 TUTTI_EMULATED_THREADS=1
  TUTTI_STATS=$RDMA_VM_JOB/device.%r.json disturb device 100 \
    "$(pulled 0.1) await 60 grep -q 'dead) from now on' '$RDMA_VM_JOB/device'; touch '$enough'" "$(mended 0.1)" device_ranks 262144 "$enough"
  rdma_vm_run --id "$bin/tutti-info" -- timeout 60 "$bin/device_ranks" 4096 >"$RDMA_VM_JOB/device_kill" 2>&1 || status=$?
  check device_kill "$status"
  unset TUTTI_CUDA_LIBRARY TUTTI_EMULATED_MULTIPROCESSORS TUTTI_EMULATED_THREADS
}

# Every system call of a rank on each node between its marks (verbs_calls.cpp). Written to the guest's own memory: each line makes the rank wait.
# Leaks are not looked for by sanitizers, which would want to be the one who traces.
calls() {
  local status=0 trace=/tmp/calls rank
  # shellcheck disable=SC2016  # for the shell on the node
  ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 TUTTI_SPIN=1s TUTTI_IB_TIMEOUT=14 rdma_vm_run --bind --id "$bin/tutti-info" -- bash -c \
    'exec timeout 60 strace -f -y -o "$1.$RANK" "$0"' "$bin/verbs_calls" "$trace" >"$RDMA_VM_JOB/calls" 2>&1 || status=$?
  for rank in 0 1; do cp "$trace.$rank" "$RDMA_VM_JOB/calls.$rank" || status=101; done
  check calls "$status"
}

(($# > 0)) || set -- info ports one_port collectives disturbed reuse failover late all_rails leaver sender waiter two_communicators uneven blink credits mixed device calls
for part in "$@"; do
  $part
  check time "$part" "$(cut -d ' ' -f 1 /proc/uptime)"
done
