#!/usr/bin/env bash
# Second program of the guest (scripts/rdma_vm.sh), process 1, in the host's user land: makes nodes and rxe devices, runs the command,
# and turns the machine off.
#
# All that it gets and gives lies in the control folder, which the host and the guest both write:
#   settings, environment, command    from the host: what to make, and what to run
#   started                           the command has been started
#   out, err                          what it writes
#   status, over_time                 its exit status; that its time was up
#   guest                             what this program has to complain of
#
# Node i has the network namespace node<i>, where its ranks find eth0 for TCP, and a first process (node.sh), whose other namespaces they
# share. The rxe devices all live in the initial network namespace, the only one where this kernel's driver works: the ranks of node i
# use the devices of node i, and everything between two devices crosses a bridge in the namespace `switch`.
#
# To start a program takes long in an emulated machine: what can be done by the shell itself, in one batch, or by the static busybox, is.
set -Eeuo pipefail
control=/run/rdma_vm
# These are in settings.
nodes='' rails='' mtu='' limit='' boot_limit='' job='' kernel='' directory='' scripts='' wired=''

# The machine runs with -no-reboot: a reset ends it.
turn_off() {
  "${busybox:-busybox}" sync
  echo b >/proc/sysrq-trigger
  sleep 10
}

give_up() {
  echo "$*"
  turn_off
}

mount_what_is_missing() {
  local name version
  "$busybox" mkdir -p /dev/shm /dev/pts /run/lock /run/netns "$job"
  "$busybox" mount -t tmpfs -o mode=1777 shm /dev/shm
  "$busybox" mount -t devpts -o ptmxmode=666 pts /dev/pts
  "$busybox" mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none job "$job"
  "$busybox" ln -sf /proc/self/fd /dev/fd
  for name in stdin:0 stdout:1 stderr:2; do "$busybox" ln -sf "fd/${name#*:}" "/dev/${name%:*}"; done
  "$busybox" chmod 1777 /tmp
  version=$(</proc/sys/kernel/osrelease)
  "$busybox" mkdir -p "/lib/modules/$version"
  "$busybox" mount --bind "$kernel/lib/modules/$version" "/lib/modules/$version"
}

set_limits() {
  local process name
  ulimit -l unlimited
  ulimit -c 0
  # The receiving half of every packet runs there; ranks that poll must not keep it from running.
  for process in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$process/comm" || continue
    if [[ $name == ksoftirqd/* ]]; then chrt -f -p 1 "${process#/proc/}" >/dev/null; fi
  done
}

# Several interfaces of one kernel, each with an address of its own, as if they were on different hosts.
set_network_rules() {
  local of rule
  for of in all default; do
    for rule in ipv4/conf/$of/{rp_filter=0,accept_local=1,arp_ignore=1,arp_announce=2} ipv6/conf/$of/accept_dad=0; do
      echo "${rule#*=}" >"/proc/sys/net/${rule%=*}"
    done
  done
}

# await SECONDS COMMAND...: until it succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    "$busybox" usleep 20000
  done
}

# --- network ----------------------------------------------------------------------------------------------------------

# each_device FUNCTION: sets k, node and rail for the function, which is called for every device.
each_device() {
  local node rail k
  for ((node = 0; node < nodes; ++node)); do
    for ((rail = 0; rail < rails; ++rail)); do
      k=$((node * rails + rail))
      "$1"
    done
  done
}

# rxe<k> on v<k>, which hangs on port p<k> of the switch. Every device reaches every other; the third number of an address is its rail.
print_interface() {
  cat <<BATCH
link add v$k mtu $mtu type veth peer name p$k mtu $mtu netns switch
addr add 10.1.$rail.$((node + 1))/16 dev v$k
addr add fd00::$rail:$((node + 1))/64 dev v$k nodad
link set v$k up
BATCH
}
# What leaves by v<k> goes through the switch, although its destination is an address of this kernel too. (For IPv4 the kernel does so
# by itself.)
print_route() {
  cat <<BATCH
route add fd00::/64 dev v$k table $((100 + k))
route add local fd00::$rail:$((node + 1)) dev v$k table $((100 + k))
rule add pref 10 oif v$k lookup $((100 + k))
BATCH
}
print_port() { echo "link set p$k master br0 up"; }
print_device() { echo "link add rxe$k type rxe netdev v$k"; }
# A port is active when its interface has a carrier; who connects before the addresses are among its GIDs fails.
is_active() {
  local state gid
  read -r state <"/sys/class/infiniband/rxe$k/ports/1/state"
  read -r gid <"/sys/class/infiniband/rxe$k/ports/1/gids/2"
  [[ $state == *ACTIVE* && $gid != 0000:0000:0000:0000:* ]]
}
await_device() { await 10 is_active || give_up "rxe$k does not become active"; }

print_tcp() {
  local node
  echo 'link add tcp0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0'
  for ((node = 0; node < nodes; ++node)); do
    printf 'netns add node%d\nlink add q%d type veth peer name eth0 netns node%d\nlink set q%d master tcp0 up\n' "$node" "$node" "$node" "$node"
  done
  printf 'addr add 10.2.0.254/24 dev tcp0\nlink set tcp0 up\nlink set lo up\n'
}

print_tcp_of_node() {
  printf 'link set lo up\naddr add 10.2.0.%d/24 brd + dev eth0\naddr add fd02::%d/64 dev eth0 nodad\nlink set eth0 up\n' $(($1 + 1)) $(($1 + 1))
}

make_network() {
  local node
  set_network_rules
  { echo 'netns add switch' && print_tcp && each_device print_interface; } | ip -batch -
  { each_device print_route && printf 'rule add pref 100 lookup local\nrule del pref 0\n'; } | ip -6 -batch -
  {
    echo "link add br0 mtu $mtu type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    echo 'link set br0 up'
    each_device print_port
  } | ip -n switch -batch -
  for ((node = 0; node < nodes; ++node)); do print_tcp_of_node "$node" | ip -n "node$node" -batch - & done
  each_device print_device | rdma -b -
  each_device await_device
  wait
}

# One guest of two: it is one node, and its interface leads to the other guest.
make_wire() {
  local k=0 peer=$((1 - wired))
  await 10 test -e /sys/class/net/eth0 || give_up 'there is no eth0'
  echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
  ip -batch - <<BATCH
link set lo up
link set eth0 mtu $mtu
addr add 10.2.0.$((wired + 1))/24 dev eth0
addr add fd00::$((wired + 1))/64 dev eth0 nodad
link set eth0 up
BATCH
  rdma link add rxe0 type rxe netdev eth0
  await_device
  print_names >/etc/hosts
  echo "node$wired" >/proc/sys/kernel/hostname
  await "$boot_limit" "$busybox" ping -c 1 -W 1 "10.2.0.$((peer + 1))" >/dev/null || give_up 'the other guest does not answer'
}

# --- nodes ------------------------------------------------------------------------------------------------------------

print_names() {
  local node
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.2.0.254 switch\n'
  for ((node = 0; node < nodes; ++node)); do printf '10.2.0.%d node%d\n' $((node + 1)) "$node"; done
}

# Their process numbers are in /dev/shm/cluster, where scripts/cluster_agent.sh looks for them.
make_nodes() {
  local node name pid
  print_names >/etc/hosts
  echo switch >/proc/sys/kernel/hostname
  "$busybox" mkdir /dev/shm/cluster
  "$busybox" mkfifo /dev/shm/cluster/reports
  exec 4<>/dev/shm/cluster/reports
  for ((node = 0; node < nodes; ++node)); do
    "$busybox" nsenter --net="/run/netns/node$node" "$(type -P unshare)" --uts --ipc --mount --pid --fork --kill-child -- \
      "$busybox" sh "$scripts/rdma_vm/node.sh" "node$node" "$busybox" 3>&4 4>&- &
  done
  for ((node = 0; node < nodes; ++node)); do
    read -r -t 20 name pid <&4 || give_up 'a node does not start'
    echo "$pid" >"/dev/shm/cluster/$name"
  done
  exec 4>&-
}

# The commands of commands.sh, by their names.
make_commands() {
  local name
  "$busybox" mkdir -p /run/rdma_vm_commands
  for name in $(bash "$scripts/rdma_vm/commands.sh" names); do "$busybox" ln -s "$scripts/rdma_vm/commands.sh" "/run/rdma_vm_commands/$name"; done
}

# --- the command ------------------------------------------------------------------------------------------------------

# Runs the command as the host would: both outputs are pipes, and are read to their ends.
run_command() {
  local status=0 start=${EPOCHREALTIME/./} took out err
  cd "$directory" 2>/dev/null || cd "$job"
  exec {out}> >(exec cat >>"$control/out")
  readers=($!)
  exec {err}> >(exec cat >>"$control/err")
  readers+=($!)
  : >"$control/started"
  timeout --kill-after=5 "$limit" env PATH="/run/rdma_vm_commands:$PATH" bash "$control/command" \
    >&"$out" 2>&"$err" {out}>&- {err}>&- </dev/null || status=$?
  took=$((${EPOCHREALTIME/./} - start))
  # A command may end with such a status by itself.
  if (((status == 124 || status == 137) && took > limit * 1000000 - 100000)); then : >"$control/over_time"; fi
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
  exec </dev/null >>"$control/guest" 2>&1
  # shellcheck source=/dev/null
  source "$control/settings"
  # shellcheck source=/dev/null
  source "$control/environment"
  export PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  busybox=$kernel/busybox
  mount_what_is_missing
  set_limits
  if [[ -n $wired ]]; then
    make_wire
  else
    make_network
    make_nodes
    make_commands
  fi
  run_command
  await_outputs
  turn_off
}

trap 'give_up "the guest could not be made (line $LINENO)"' ERR
trap 'give_up "the guest could not be made"' EXIT
main
