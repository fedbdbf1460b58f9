#!/usr/bin/env bash
# Second program of the guest (scripts/rdma_vm.sh), process 1, in the host's user land: makes nodes and rxe devices, runs the command,
# and turns the machine off.
#
# All that it gets and gives lies in the control folder, which the host and the guest both write:
#   settings, environment, command    from the host: what to make, and what to run
#   started                           the command has been started
#   out, err                          what it writes
#   status, over_time                 its exit status; that its time was up
#
# Nodes are namespaces, as those of scripts/cluster.sh; their first processes are the same program. The rxe devices all live in the
# initial network namespace, the only one where this kernel's driver works: the ranks of node i use the devices of node i, and
# everything between two devices crosses the switch, a bridge in a namespace of its own.
set -Eeuo pipefail
control=/run/rdma_vm
# These are in settings.
nodes='' rails='' mtu='' limit='' job='' kernel='' directory='' scripts=''

# The machine runs with -no-reboot: a reset ends it.
turn_off() {
  sync
  echo b >/proc/sysrq-trigger
  sleep 10
}

give_up() {
  echo "rdma_vm: $*" >/dev/kmsg
  turn_off
}

mount_what_is_missing() {
  mkdir -p /dev/shm /dev/pts
  mount -t tmpfs -o mode=1777 shm /dev/shm
  mount -t devpts -o ptmxmode=666 pts /dev/pts
  ln -sf /proc/self/fd /dev/fd
  ln -sf fd/0 /dev/stdin
  ln -sf fd/1 /dev/stdout
  ln -sf fd/2 /dev/stderr
  mkdir -p /run/lock /run/netns
  chmod 1777 /tmp
  mkdir -p "$job"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none job "$job"
  local version
  version=$(uname -r)
  mkdir -p "/lib/modules/$version"
  mount --bind "$kernel/lib/modules/$version" "/lib/modules/$version"
}

set_limits() {
  local process
  ulimit -l unlimited
  ulimit -c 0
  # The receiving half of every packet runs there; ranks that poll must not keep it from running.
  for process in $(pgrep ksoftirqd); do chrt -f -p 1 "$process"; done
}

# Several interfaces of one kernel, each with an address of its own, as if they were on different hosts.
set_network_rules() {
  local of
  for of in all default; do
    sysctl -qw "net.ipv4.conf.$of.rp_filter=0" "net.ipv4.conf.$of.accept_local=1" "net.ipv4.conf.$of.arp_ignore=1" \
      "net.ipv4.conf.$of.arp_announce=2" "net.ipv6.conf.$of.accept_dad=0"
  done
  ip link set lo up
}

# await SECONDS COMMAND...: until it succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.02
  done
}

is_active() { [[ $(<"/sys/class/infiniband/$1/ports/1/state") == *ACTIVE* ]]; }

# add_device NUMBER NODE RAIL: rxeNUMBER on vNUMBER, which hangs on port pNUMBER of the switch. A rail is a subnet of its own.
add_device() {
  local k=$1 node=$2 rail=$3
  ip -batch - <<BATCH
link add v$k mtu $mtu type veth peer name p$k mtu $mtu netns switch
addr add 10.1.$rail.$((node + 1))/24 dev v$k
addr add fd00:0:0:$rail::$((node + 1))/64 dev v$k nodad
link set v$k up
BATCH
  ip -n switch link set "p$k" master br0 up
  rdma link add "rxe$k" type rxe netdev "v$k"
}

make_devices() {
  local node rail k
  ip netns add switch
  ip -n switch -batch - <<BATCH
link add br0 mtu $mtu type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set br0 up
BATCH
  for ((node = 0; node < nodes; ++node)); do
    for ((rail = 0; rail < rails; ++rail)); do add_device $((node * rails + rail)) "$node" "$rail"; done
  done
  for ((k = 0; k < nodes * rails; ++k)); do await 10 is_active "rxe$k" || give_up "rxe$k does not become active"; done
}

names_of_nodes() {
  local node
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.2.0.254 switch\n'
  for ((node = 0; node < nodes; ++node)); do printf '10.2.0.%d node%d\n' $((node + 1)) "$node"; done
}

# connect_node NODE PID: its interface for TCP, and a name for `ip netns exec`.
connect_node() {
  ip -batch - <<BATCH
link add q$1 type veth peer name eth0 netns $2
link set q$1 master tcp0 up
BATCH
  nsenter --target "$2" --net -- ip -batch - <<BATCH
addr add 10.2.0.$(($1 + 1))/24 brd + dev eth0
link set eth0 up
BATCH
  touch "/run/netns/node$1"
  mount --bind "/proc/$2/ns/net" "/run/netns/node$1"
}

make_nodes() {
  local text node name pid
  text=$(names_of_nodes)
  printf '%s\n' "$text" >/etc/hosts
  hostname switch
  ip -batch - <<BATCH
link add tcp0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
addr add 10.2.0.254/24 dev tcp0
link set tcp0 up
BATCH
  mkdir /dev/shm/cluster
  mkfifo /dev/shm/cluster/reports
  exec 4<>/dev/shm/cluster/reports
  for ((node = 0; node < nodes; ++node)); do
    unshare --net --uts --ipc --mount --pid --fork --kill-child -- \
      bash "$scripts/cluster_host.sh" "node$node" "$text" 3>&4 4>&- </dev/null &
  done
  for ((node = 0; node < nodes; ++node)); do
    read -r -t 20 name pid <&4 || give_up 'a node does not start'
    echo "$pid" >"/dev/shm/cluster/$name"
    connect_node "${name#node}" "$pid"
  done
  exec 4>&-
  rm /dev/shm/cluster/reports
}

# The commands of commands.sh, by their names.
make_commands() {
  local name
  mkdir -p /run/rdma_vm_commands
  for name in $(bash "$scripts/rdma_vm/commands.sh" names); do ln -s "$scripts/rdma_vm/commands.sh" "/run/rdma_vm_commands/$name"; done
}

# Runs the command as the host would: both outputs are pipes, and are read to their ends.
run_command() {
  local status=0 start=$SECONDS out err
  cd "$directory" 2>/dev/null || cd "$job"
  exec {out}> >(exec cat >>"$control/out")
  readers=($!)
  exec {err}> >(exec cat >>"$control/err")
  readers+=($!)
  : >"$control/started"
  timeout --kill-after=5 "$limit" env PATH="/run/rdma_vm_commands:$PATH" bash "$control/command" \
    >&"$out" 2>&"$err" {out}>&- {err}>&- </dev/null || status=$?
  if ((SECONDS - start >= limit && (status == 124 || status == 137))); then : >"$control/over_time"; fi
  exec {out}>&- {err}>&-
  echo "$status" >"$control/status"
}

# What the command has left running may hold its outputs open; it has no use any more. (Commands of the shell alone: starting a program
# takes long in an emulated machine.)
await_outputs() {
  local process words
  if await 2 outputs_closed; then return; fi
  for process in /proc/[0-9]*; do
    process=${process#/proc/}
    # Threads of the kernel have no words.
    read -r -d '' words <"/proc/$process/cmdline" || true
    if [[ -n $words && $process != 1 && " ${readers[*]} " != *" $process "* ]]; then kill -KILL "$process" || true; fi
  done 2>/dev/null
  await 5 outputs_closed || true
}
outputs_closed() { ! kill -0 "${readers[0]}" 2>/dev/null && ! kill -0 "${readers[1]}" 2>/dev/null; }

main() {
  exec </dev/null >/dev/kmsg 2>&1
  # shellcheck source=/dev/null
  source "$control/settings"
  # shellcheck source=/dev/null
  source "$control/environment"
  export PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  mount_what_is_missing
  set_limits
  set_network_rules
  make_devices
  make_nodes
  make_commands
  run_command
  await_outputs
  turn_off
}

trap 'give_up "the guest could not be made (line $LINENO)"' ERR
trap 'give_up "the guest could not be made"' EXIT
main
