#!/usr/bin/env bash
# What rdma_vm_test.py runs on two guests: RDMA between them, connected by their connection manager; then one machine is lost.
set -uo pipefail

echo "CHECK host $(hostname) $NODE $NODES $TUTTI_NODE_ID $TUTTI_IB_HCA"
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
echo "CHECK write_lat $code"
echo "CHECK sent $(cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts)"
if ((NODE == 0)); then exit 0; fi
# The other one's last words come first, and then this host is no more.
sleep 1
echo b >/proc/sysrq-trigger
