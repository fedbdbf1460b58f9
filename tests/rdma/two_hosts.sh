#!/usr/bin/env bash
# What rdma_vm_test.py runs on two guests: RDMA between them, connected by their connection manager; then one machine is lost.
#
# Usage: two_hosts.sh [BIN]   (BIN: the folder of the build's programs; with it also a rank of Tutti on each host, by verbs)
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bin=${1:-}

# ranks NAME COMMAND...: one on each host.
ranks() {
  local id=$RDMA_VM_JOB/$1
  if ((NODE == 0)); then "$bin/tutti-info" --unique-id >"$id.new" && mv "$id.new" "$id"; fi
  await 30 test -s "$id" || return 1
  TUTTI_TRANSPORT=verbs TUTTI_TIMEOUT=40s TUTTI_RANK=$NODE TUTTI_SIZE=2 TUTTI_UNIQUE_ID=$(<"$id") timeout 60 "${@:2}"
}

check host "$(hostname)" "$NODE" "$NODES" "$TUTTI_NODE_ID" "$TUTTI_IB_HCA"
code=1
if ((NODE == 0)); then
  timeout 60 ib_write_lat -R -d rxe0 -x 1 -s 8 -n 50 >/dev/null 2>&1
  code=$?
else
  for ((tries = 0; tries < 100 && code != 0; ++tries)); do
    timeout 60 ib_write_lat -R -d rxe0 -x 1 -s 8 -n 50 node0 >/dev/null 2>&1
    code=$?
    ((code == 0)) || sleep 0.2
  done
fi
check write_lat "$code"
check sent "$(cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts)"

if [[ -n $bin ]]; then
  said=$(ranks all_reduce "$bin/allreduce_bench" -b 8 -e 256K -f 16 -n 20 -w 2 -c 20 2>&1)
  check all_reduce $?
  ((NODE != 0)) || grep 'wrong elements' <<<"$said"
  # Rank 0 has sent all that it has to, and only waits for rank 1, when that host is no more.
  export TUTTI_IB_TIMEOUT=14 TUTTI_IB_RETRY_COUNT=3
  fifo=/tmp/never_written
  mkfifo "$fifo.1"
  if ((NODE == 0)); then
    said=$(ranks lost "$bin/cut_off" wait "$fifo" 2>/dev/null)
    check lost $?
    echo "$said"
  else
    ranks lost "$bin/cut_off" wait "$fifo" >/tmp/lost 2>&1 &
    await 40 grep -q 'is ready' /tmp/lost
  fi
fi
if ((NODE == 0)); then exit 0; fi
# The other one's last words come first, and then this host is no more.
sleep 1
echo b >/proc/sysrq-trigger
