#!/usr/bin/env bash
# The switch of an emulated cluster (scripts/cluster.sh) and what is done from there: namespaces of its own that hold
# a bridge, one port for each host, and all hosts' processes.
#
# Usage: cluster_switch.sh NAME serve HOSTS RATE DELAY MTU    the first process: builds the cluster, then stays
#        cluster_switch.sh NAME link HOST down|up|rate RATE   (the rest are run inside, by nsenter)
#        cluster_switch.sh NAME bytes text|json|reset
#        cluster_switch.sh NAME status
#
# Everything hangs on the first process. Its process namespace contains those of the hosts, the only references to
# the network namespaces are processes in it, and its files are on a private tmpfs: killing it removes the cluster.
# Host k is named ak, has the addresses 10.77.0.k and fd77::k, and hangs on port pk. The switch has 10.77.0.254.
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
files=/dev/shm/cluster

die() {
  echo "cluster: $*" >&2
  exit "${code:-1}"
}

number_of() {
  [[ $1 =~ ^a[1-9][0-9]*$ && -e $files/$1 ]] || die "there is no host '$1' in this cluster"
  echo "${1#a}"
}

inside() {
  local pid
  read -r pid <"$files/$1"
  shift
  nsenter --target "$pid" --net -- "$@"
}

# --- links ------------------------------------------------------------------------------------------------------------

# Bytes a second of a rate as tc takes it: 250mbit, 1gbit, 100mbps (bytes).
bytes_per_second() {
  local number unit
  [[ ${1,,} =~ ^([0-9]{1,9})([kmgt]?)(bit|bps)$ ]] || return 1
  number=$((10#${BASH_REMATCH[1]}))
  case ${BASH_REMATCH[2]} in
    k) unit=1000 ;;
    m) unit=1000000 ;;
    g) unit=1000000000 ;;
    t) unit=1000000000000 ;;
    *) unit=1 ;;
  esac
  if [[ ${BASH_REMATCH[3]} == bit ]]; then number=$((number * unit / 8)); else number=$((number * unit)); fi
  ((number > 0)) || return 1
  echo "$number"
}

# The arguments of a token bucket. The burst holds two of the largest segments that veth passes whole, so that none has
# to be cut; the queue is 20 ms long, and no shorter than a usual switch's.
bucket() {
  local rate=$1 burst=131072 queue
  burst=$((rate / 500 > burst ? rate / 500 : burst))
  queue=$((rate / 50 > 524288 ? rate / 50 : 524288))
  echo "tbf rate ${rate}bps burst $burst limit $((burst + queue))"
}

# shape HOST: what $files/HOST.rate and .delay ask for, in both directions. A delay is on the way out of each host.
shape() {
  local host=$1 rate delay port
  read -r rate <"$files/$host.rate"
  read -r delay <"$files/$host.delay"
  port=p$(number_of "$host")
  tc qdisc del dev "$port" root 2>/dev/null || true
  inside "$host" tc qdisc del dev eth0 root 2>/dev/null || true
  # shellcheck disable=SC2046  # several words
  if [[ $delay != none ]]; then
    inside "$host" tc qdisc add dev eth0 root handle 1: netem delay "$delay" limit 200000
    [[ $rate == off ]] || inside "$host" tc qdisc add dev eth0 parent 1:1 handle 10: $(bucket "$rate")
  elif [[ $rate != off ]]; then
    inside "$host" tc qdisc add dev eth0 root $(bucket "$rate")
  fi
  # shellcheck disable=SC2046
  [[ $rate == off ]] || tc qdisc add dev "$port" root $(bucket "$rate")
}

set_link() {
  local host=$1 number rate
  number=$(number_of "$host")
  case $2 in
    # The host sees its carrier go, as with a cable that is pulled.
    down | up) ip link set "p$number" "$2" ;;
    rate)
      rate=off
      [[ $3 == off ]] || rate=$(bytes_per_second "$3") || code=2 die "'$3' is no rate: expected off, 250mbit, 1gbit, ..."
      echo "$rate" >"$files/$host.rate"
      shape "$host"
      ;;
  esac
}

# --- counters ---------------------------------------------------------------------------------------------------------

# `HOST BYTES-IN PACKETS-IN BYTES-OUT PACKETS-OUT` by host. What a port has sent went into its host.
counters() {
  ip -s -o link show type veth | awk '{
    port = $2; sub(/@.*|:.*/, "", port); sub(/^p/, "a", port)
    n = split($0, part, "\\")
    for (i = 1; i < n; ++i) {
      split(part[i + 1], v, " ")
      if (part[i] ~ /RX: *bytes/) { out = v[1] " " v[2] }
      if (part[i] ~ /TX: *bytes/) { into = v[1] " " v[2] }
    }
    print port, into, out
  }' | sort -V
}

print_bytes() {
  if [[ $1 == reset ]]; then
    counters >"$files/counted"
    return
  fi
  counters | awk -v json="$1" '
    NR == FNR { for (i = 2; i <= 5; ++i) base[$1, i] = $i; next }
    FNR == 1 && json != "json" { printf "%-6s %16s %12s %16s %12s\n", "host", "bytes in", "packets in", "bytes out", "packets out" }
    {
      form = "%-6s %16.0f %12.0f %16.0f %12.0f\n"
      if (json == "json") {
        form = "{\"host\": \"%s\", \"bytes_in\": %.0f, \"packets_in\": %.0f, \"bytes_out\": %.0f, \"packets_out\": %.0f}"
        form = (FNR > 1 ? ", " : "[") form
      }
      printf form, $1, $2 - base[$1, 2], $3 - base[$1, 3], $4 - base[$1, 4], $5 - base[$1, 5]
    }
    END { if (json == "json") print "]" }' "$files/counted" -
}

print_status() {
  local file host link rate delay pid processes
  printf '%-6s %-14s %-10s %-6s %-14s %-8s %s\n' host IPv4 IPv6 link rate delay processes
  for file in "$files"/a+([0-9]); do
    host=${file##*/}
    link=down
    [[ $(ip -o link show "p${host#a}") != *'state UP'* ]] || link=up
    read -r rate <"$files/$host.rate"
    read -r delay <"$files/$host.delay"
    read -r pid <"$file"
    [[ $rate == off ]] || rate=$((rate * 8 / 1000))kbit
    processes=$(processes_of "$pid")
    printf '%-6s %-14s %-10s %-6s %-14s %-8s %s\n' \
      "$host" "10.77.0.${host#a}" "fd77::${host#a}" "$link" "$rate" "$delay" "$processes"
  done
}

# How many processes share the process namespace of $1, without its first one and the sleep that this waits for.
processes_of() {
  local wanted process count=0
  wanted=$(readlink "/proc/$1/ns/pid")
  for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/ns/pid" 2>/dev/null) == "$wanted" ]]; then count=$((count + 1)); fi
  done
  echo $((count > 2 ? count - 2 : 0))
}

# --- the first process ------------------------------------------------------------------------------------------------

hosts_file() {
  local k
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.77.0.254 switch\n'
  for ((k = 1; k <= $1; ++k)); do printf '10.77.0.%d a%d\nfd77::%d a%d\n' "$k" "$k" "$k" "$k"; done
}

# Starts the first process of each host at once, then waits for all.
start_hosts() {
  local hosts=$1 text k name pid
  text=$(hosts_file "$hosts")
  mkfifo "$files/reports"
  exec 4<>"$files/reports"
  for ((k = 1; k <= hosts; ++k)); do
    {
      unshare --net --uts --ipc --mount --pid --fork --kill-child -- \
        bash "$here/cluster_host.sh" "a$k" "$text" 3>&4 4>&- </dev/null || echo "a$k failed" >&4
    } 2>&1 &
  done
  for ((k = 1; k <= hosts; ++k)); do
    read -r -t 10 name pid <&4 || die 'a host did not start within 10 s'
    [[ $pid != failed ]] || die "host $name could not be made"
    echo "$pid" >"$files/$name"
  done
  exec 4>&-
  rm "$files/reports"
}

connect_host() {
  local k=$1 mtu=$2 pid
  read -r pid <"$files/a$k"
  ip -batch - <<BATCH
link add p$k mtu $mtu type veth peer name eth0 mtu $mtu netns $pid
link set p$k master br0 up
BATCH
  inside "a$k" ip -batch - <<BATCH
addr add 10.77.0.$k/24 brd + dev eth0
addr add fd77::$k/64 dev eth0 nodad
link set eth0 up
BATCH
}

serve() {
  local hosts=$1 rate=$2 delay=$3 mtu=$4 k
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mkdir "$files"
  mount -t proc proc /proc
  hostname switch
  if [[ -e /etc/hosts ]]; then
    hosts_file "$hosts" >"$files/names"
    mount --bind "$files/names" /etc/hosts
  fi
  if [[ $delay != none ]]; then
    tc qdisc add dev lo root netem delay 1ms 2>/dev/null || code=3 die '--delay needs netem (sch_netem), which this kernel has not'
    tc qdisc del dev lo root
  fi
  [[ $rate == off ]] || rate=$(bytes_per_second "$rate") || code=2 die "'$2' is no rate: expected 250mbit, 1gbit, ..."

  ip -batch - <<BATCH
link set lo up
link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set br0 mtu $mtu up
addr add 10.77.0.254/24 dev br0
addr add fd77::254/64 dev br0 nodad
BATCH
  start_hosts "$hosts"
  for ((k = 1; k <= hosts; ++k)); do
    connect_host "$k" "$mtu"
    echo "$rate" >"$files/a$k.rate"
    echo "$delay" >"$files/a$k.delay"
    if [[ $rate != off || $delay != none ]]; then shape "a$k"; fi
  done
  counters | awk '{ print $1, 0, 0, 0, 0 }' >"$files/counted"
}

command=$2
shift 2
case $command in
  serve)
    serve "$@"
    echo ready
    # Nobody may be kept waiting for the end of what we were started with.
    exec >/dev/null 2>&1
    trap '' INT HUP TERM
    # A shell that waits reaps every child, adopted ones too.
    if [[ ! /dev/stdin -ef /dev/null ]]; then cat || true; else while :; do sleep 86400 || true; done; fi
    ;;
  link) set_link "$@" ;;
  bytes) print_bytes "$@" ;;
  status) print_status ;;
  *) die "unknown command '$command'" ;;
esac
