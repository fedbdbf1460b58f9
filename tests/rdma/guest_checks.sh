#!/usr/bin/env bash
# What rdma_vm_test.py runs in the guest, two nodes of two rails each: every part prints lines of `CHECK NAME VALUE...`, which the test judges on the host.
#
# Usage: guest_checks.sh BIN [PART...]   (BIN: the folder of the build's programs; default all parts)
# shellcheck disable=SC2317  # the parts are called by their names
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
bin=$1
shift

# state DEVICE
state() { sed 's/.*: //' "/sys/class/infiniband/$1/ports/1/state"; }

# counter LINK DEVICE NAME
counter() { rdma_vm_counters "$1" | awk -v device="$2" -v name="$3" '$1 == device && $2 == name { print $3 }'; }

# pair PROGRAM OPTION...: on rail 0 of node 1, against the same on rail 0 of node 0; prints what the former says.
pair() {
  local server tries said code=1
  rdma_vm_on 0 timeout 20 "$1" -d rxe0 "${@:2}" >/dev/null 2>&1 &
  server=$!
  # The server cannot be asked whether it listens: whoever connects is its client.
  for ((tries = 0; tries < 100 && code != 0; ++tries)); do
    kill -0 "$server" 2>/dev/null || break
    code=0
    said=$(rdma_vm_on 1 timeout 20 "$1" -d rxe2 "${@:2}" 10.2.0.1 2>&1) || code=$?
    ((code == 0)) || sleep 0.1
  done
  wait "$server" || code=$?
  printf '%s\n' "$said"
  return "$code"
}

# Microseconds of an iteration, or nothing.
pingpong() { pair ibv_rc_pingpong -g 1 "$@" | sed -nE 's|.* = ([0-9]+)\.[0-9]+ usec/iter.*|\1|p'; }

# The same where packets are lost. If the last acknowledgement was, the server may be gone by the time at which it is asked for again: then once more.
pingpong_repeated() {
  local tries said=''
  for ((tries = 0; tries < 4; ++tries)); do
    said=$(pingpong "$@")
    [[ -z $said ]] || break
  done
  printf '%s\n' "$said"
}

has_state() { [[ $(state "$1") == "$2" ]]; }

nodes_and_devices() {
  local k
  for k in 0 1 2 3; do
    check device "rxe$k" "$(state "rxe$k")"
    check gids "rxe$k" "$(cat /sys/class/infiniband/"rxe$k"/ports/1/gids/{1,2} | tr '\n' ' ')"
  done
  # shellcheck disable=SC2016  # for the shell on the node
  rdma_vm_on 1 bash -c 'echo "CHECK node $(hostname) $TUTTI_NODE_ID $TUTTI_IB_HCA $(ls /sys/class/net | xargs) $(ls /dev/shm | wc -l)"'
  # shellcheck disable=SC2016
  rdma_vm_run -n 2 -- bash -c 'echo "CHECK rank $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $(hostname)"'
  # shellcheck disable=SC2016
  rdma_vm_run --tag --bind -- bash -c 'echo "tagged $(taskset -cp $$ | sed "s/.*: //")"; exit $((RANK * 3))' | sed 's/^/CHECK /'
  check status of_a_rank_that_fails "${PIPESTATUS[0]}"
  check words "$(rdma_vm_on 0 printf '%s|' 'a b' "\$HOME" "'" '*')"
}

traffic() {
  local before
  before=$(counter 0 rxe0 sent_pkts)
  check pingpong "$(pingpong -n 100)"
  check sent $(($(counter 0 rxe0 sent_pkts) - before)) by_the_other_rail "$(counter 0.1 rxe1 sent_pkts)"
  pair ib_write_lat -x 1 -s 8 -n 100 >"$RDMA_VM_JOB/write_lat"
  check write_lat $?
}

disturbed() {
  local said
  rdma_vm_netem 0.0 delay 20ms
  check pingpong_delayed "$(pingpong -n 10)"
  rdma_vm_netem 0.0 loss 10%
  check pingpong_lossy "$(pingpong_repeated -n 40)"
  check lost "$(tc -s qdisc show dev v0 | sed -nE 's/.*dropped ([0-9]+).*/\1/p' | head -n 1)"
  check repeated $(($(counter 0 rxe0 completer_retry_err) + $(counter 1 rxe2 completer_retry_err)))
  rdma_vm_netem 0.0 off
  # The bucket lets 8 of 40 messages pass at once; at 2 Mbit/s each of the others takes 16 ms, a quarter of the time after which it is repeated.
  rdma_vm_rate 0.0 2mbit
  check pingpong_slow "$(pingpong -s 4096 -n 40)"
  rdma_vm_rate 0.0 off
  check shaped "$(tc qdisc show dev v0 | grep -cE 'netem|tbf')"
  said=$(rdma_vm_netem 0 nonsense 1 2>&1)
  check refused netem $? "$(tail -n 1 <<<"$said")"
  said=$(rdma_vm_rate 0 fast 2>&1)
  check refused rate $? "$said"
  said=$(rdma_vm_link 0.2 down 2>&1)
  check refused link $? "$said"
  said=$(rdma_vm_on 2 true 2>&1)
  check refused on $? "$said"
}

cable() {
  rdma_vm_link 0.1 down
  await 10 has_state rxe1 DOWN
  check pulled "$(state rxe0) $(state rxe1) $(state rxe3)"
  rdma_vm_link 0.1 up
  await 10 has_state rxe1 ACTIVE
  check plugged "$(state rxe1)"
}

ucx() {
  local before after status=0
  before=$(counter 1 rxe2 sent_pkts)
  TUTTI_TRANSPORT=ucx UCX_TLS=rc_verbs,ud_verbs TUTTI_TIMEOUT=60s rdma_vm_run --id "$bin/tutti-info" -- \
    timeout 100 "$bin/allreduce_bench" -b 8 -e 64K -f 8192 -n 10 -w 2 -c 2 >"$RDMA_VM_JOB/ucx" 2>&1 || status=$?
  after=$(counter 1 rxe2 sent_pkts)
  check ucx "$status" $((after - before))
}

mpi() {
  if ! type -P mpirun >/dev/null; then
    check mpi none
    return
  fi
  # shellcheck disable=SC2016
  rdma_vm_mpirun -- bash -c 'echo "CHECK mpi $(hostname) $TUTTI_IB_HCA $OMPI_COMM_WORLD_SIZE"'
}

(($# > 0)) || set -- nodes_and_devices traffic disturbed cable ucx mpi
for part in "$@"; do
  $part
  check time "$part" "$(cut -d ' ' -f 1 /proc/uptime)"
done
echo 'written to the other stream' >&2
check environment "${TUTTI_ALGO-}" "${CHOSEN-}" "$PWD"
exit 7
