#!/usr/bin/env bash
# Commands inside a guest of scripts/rdma_vm.sh, each by its name: run programs on nodes, and disturb links.
#
# A node is known by its number. A link is NODE (all its rails), NODE.RAIL, or NODE.tcp (what its ranks use for TCP). It has two ends:
# the node's own interface, and the port of the switch where it is plugged in.
set -euo pipefail
# Both are in settings.
nodes=0 rails=0
# By its real name: it is called by links.
scripts=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
name=$(basename "$0")
files=/dev/shm/cluster
names=(rdma_vm_on rdma_vm_agent rdma_vm_run rdma_vm_mpirun rdma_vm_netem rdma_vm_rate rdma_vm_link rdma_vm_counters)

usage() {
  cat <<'END'
Inside a guest of scripts/rdma_vm.sh:

rdma_vm_on NODE PROGRAM...
      runs a program on a node: in its network, under its host name nodeI, among its processes, with TUTTI_NODE_ID and TUTTI_IB_HCA set;
      UCX_NET_DEVICES and UCX_IB_GID_INDEX, where they are not set, so that UCX finds this node's devices only
rdma_vm_run [-n RANKS] [--nodes K] [--tag] [--bind] [--id TUTTI-INFO] [--] PROGRAM...
      a job of RANKS (default 1) on each of the first K nodes (default all), with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
      MASTER_ADDR and MASTER_PORT set; waits for all, and exits with the status of the first rank that failed
      --bind      rank k runs on processor k (of those there are, in turn): two that poll on one processor get a turn every 4 ms only
      --id PATH   sets TUTTI_RANK, TUTTI_SIZE and TUTTI_UNIQUE_ID too, as the benchmarks want it; the program at PATH makes the id
rdma_vm_mpirun [-n RANKS] [--nodes K] [--tag] [--mca NAME VALUE] [-x NAME[=VALUE]] [--] PROGRAM...
      the same by Open MPI
rdma_vm_netem LINK WORDS... | off
      what leaves the node by this link is treated as tc-netem says: delay 50us 20us loss 0.1%
rdma_vm_rate LINK RATE [QUEUE] | off
      limits it to a rate such as 200mbit, in both directions; QUEUE bytes may wait (default 1048576), the rest is lost
rdma_vm_link LINK down | up
      pulls the cable, plugs it in; the node sees its port go down, its peers see nothing
rdma_vm_counters LINK
      lines of DEVICE NAME VALUE: hw_counters of the devices, and the bytes and packets of their interfaces

A LINK is NODE (all its rails), NODE.RAIL or NODE.tcp.
END
}

usage_error() {
  echo "$name: $* (see $name --help)" >&2
  exit 2
}

# shellcheck source=/dev/null
source /run/rdma_vm/settings 2>/dev/null || true

need_node() {
  if ! [[ $1 =~ ^[0-9]{1,3}$ ]] || ((10#$1 >= nodes)); then usage_error "there is no node '$1': they are 0 to $((nodes - 1))"; fi
}

devices_of() {
  local rail list=
  for ((rail = 0; rail < rails; ++rail)); do list+=${list:+,}rxe$(($1 * rails + rail)); done
  echo "$list"
}

# --- running ----------------------------------------------------------------------------------------------------------

# on_node NODE PROGRAM...: in the place of this process.
on_node() {
  local node=$1 words
  shift
  printf -v words '%q ' "$@"
  export TUTTI_NODE_ID=node$node TUTTI_IB_HCA UCX_NET_DEVICES UCX_IB_GID_INDEX
  TUTTI_IB_HCA=$(devices_of "$node")
  UCX_NET_DEVICES=${UCX_NET_DEVICES:-${TUTTI_IB_HCA//,/:1,}:1,eth0}
  # An address of IPv6: UCX 1.13 makes no connection by one of IPv4.
  UCX_IB_GID_INDEX=${UCX_IB_GID_INDEX:-2}
  exec bash "$scripts/cluster_agent.sh" "node$node" "exec $words"
}

run_on() {
  (($# >= 2)) || usage_error 'a node and a program are needed'
  need_node "$1"
  on_node "$@"
}

# What mpirun is given in place of ssh: as there, the words of the command are joined and read by a shell.
run_agent() { on_node "${1#node}" bash -c "${*:2}"; }

# Sets `ranks` (of a node), `hosts`, `tag`, `bind` and `maker`, and `options` and `program` to the rest.
parse_job() {
  ranks=1
  hosts=$nodes
  tag=0
  bind=0
  maker=
  options=()
  while (($#)); do
    case $1 in
      -n)
        [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "-n needs a whole number from 1 up, not '${2:-}'"
        ranks=$2
        shift
        ;;
      --nodes)
        if ! [[ ${2:-} =~ ^[1-9][0-9]{0,2}$ ]] || (($2 > nodes)); then usage_error "--nodes needs a number from 1 to $nodes, not '${2:-}'"; fi
        hosts=$2
        shift
        ;;
      --tag) tag=1 ;;
      --bind)
        [[ $name == rdma_vm_run ]] || usage_error "unknown option '$1'"
        bind=1
        ;;
      --id)
        [[ $name == rdma_vm_run ]] || usage_error "unknown option '$1'"
        [[ -x ${2:-} ]] || usage_error "--id needs a program, not '${2:-}'"
        maker=$2
        shift
        ;;
      --mca)
        [[ $name == rdma_vm_mpirun ]] || usage_error "unknown option '$1'"
        (($# >= 3)) || usage_error '--mca needs a name and a value'
        options+=(--mca "$2" "$3")
        shift 2
        ;;
      -x)
        [[ $name == rdma_vm_mpirun ]] || usage_error "unknown option '$1'"
        (($# >= 2)) || usage_error '-x needs a name'
        options+=(-x "$2")
        shift
        ;;
      --)
        shift
        break
        ;;
      -*) usage_error "unknown option '$1'" ;;
      *) break ;;
    esac
    shift
  done
  (($# > 0)) || usage_error 'a program is needed'
  program=("$@")
}

start_rank() {
  local rank=$1
  export RANK=$rank WORLD_SIZE=$((ranks * hosts)) LOCAL_RANK=$((rank % ranks)) LOCAL_WORLD_SIZE=$ranks \
    MASTER_ADDR=10.2.0.1 MASTER_PORT=$port
  if [[ -n $maker ]]; then export TUTTI_RANK=$RANK TUTTI_SIZE=$WORLD_SIZE TUTTI_UNIQUE_ID=$id; fi
  if ((bind)); then taskset -cp $((rank % $(nproc))) "$BASHPID" >/dev/null; fi
  on_node $((rank / ranks)) "${program[@]}"
}

run_job() {
  local ranks hosts tag bind maker options program port rank id='' status=0 code processes=() process
  parse_job "$@"
  if [[ -n $maker ]]; then id=$(on_node 0 "$maker" --unique-id); fi
  # Jobs one after the other must not meet: a port of its own for each.
  port=$((20000 + $$ % 10000))
  for ((rank = 0; rank < ranks * hosts; ++rank)); do
    if ((tag)); then
      (start_rank "$rank") > >(sed -u "s/^/[$rank] /") 2> >(sed -u "s/^/[$rank] /" >&2) &
    else
      (start_rank "$rank") &
    fi
    processes+=($!)
  done
  for process in "${processes[@]}"; do
    code=0
    wait "$process" || code=$?
    ((status != 0)) || status=$code
  done
  return "$status"
}

run_mpi() {
  local ranks hosts tag bind maker options program node slots='' variable
  parse_job "$@"
  for ((node = 0; node < hosts; ++node)); do slots+=${slots:+,}node$node:$ranks; done
  if ((tag)); then options+=(--tag-output); fi
  for variable in $(compgen -e | grep -E '^(TUTTI|UCX)_'); do
    # These are the node's own.
    [[ $variable == TUTTI_NODE_ID || $variable == TUTTI_IB_HCA ]] || options+=(-x "$variable")
  done
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  # No InfiniBand of Open MPI's own, which would look for devices that are not its node's.
  exec mpirun -np $((ranks * hosts)) --host "$slots" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \
    --mca plm_rsh_agent "/run/rdma_vm_commands/rdma_vm_agent" --mca plm_rsh_no_tree_spawn 1 --mca orte_tmpdir_base /dev/shm \
    --mca btl_tcp_if_include 10.2.0.0/24 --mca oob_tcp_if_include 10.2.0.0/24 --mca pml ob1 --mca btl self,vader,tcp \
    ${options[@]+"${options[@]}"} "${program[@]}"
}

# --- links ------------------------------------------------------------------------------------------------------------

# Sets `links` to lines of NODE-SIDE-INTERFACE SWITCH-SIDE-INTERFACE KIND.
parse_link() {
  local node=${1%%.*} part=all rail
  [[ $1 != *.* ]] || part=${1#*.}
  need_node "$node"
  links=()
  case $part in
    tcp) links=("$node eth0 q$node") ;;
    all) for ((rail = 0; rail < rails; ++rail)); do links+=("$node v$((node * rails + rail)) p$((node * rails + rail))"); done ;;
    *)
      if ! [[ $part =~ ^[0-9]{1,2}$ ]] || ((10#$part >= rails)); then
        usage_error "there is no rail '$part': they are 0 to $((rails - 1)), and tcp"
      fi
      links=("$node v$((node * rails + part)) p$((node * rails + part))")
      ;;
  esac
}

# near COMMAND...: where the node's end of the link is; far: where the switch's is.
near() { if [[ $inside == eth0 ]]; then ip netns exec "node$node" "$@"; else "$@"; fi; }
far() { if [[ $inside == eth0 ]]; then "$@"; else ip netns exec switch "$@"; fi; }

# Both files hold what is wished of the node's end; netem comes first, and the bucket below it.
shape() {
  local netem rate parent=root
  netem=$(cat "$files/$outside.netem" 2>/dev/null) || true
  rate=$(cat "$files/$outside.rate" 2>/dev/null) || true
  near tc qdisc del dev "$inside" root 2>/dev/null || true
  far tc qdisc del dev "$outside" root 2>/dev/null || true
  if [[ -n $netem ]]; then
    # shellcheck disable=SC2086  # several words
    near tc qdisc add dev "$inside" root handle 1: netem limit 20000 $netem || return 1
    parent='parent 1:1'
  fi
  if [[ -n $rate ]]; then
      # shellcheck disable=SC2086
    near tc qdisc add dev "$inside" $parent handle 10: tbf $rate || return 1
    # shellcheck disable=SC2086
    far tc qdisc add dev "$outside" root handle 10: tbf $rate || return 1
  fi
}

# on_each COMMAND: with node, inside and outside set, for every link of `links`.
on_each() {
  local link node inside outside
  for link in "${links[@]}"; do
    read -r node inside outside <<<"$link"
    "$@"
  done
}

wish() {
  local what=$1
  shift
  if [[ $* == off ]]; then rm -f "$files/$outside.$what"; else echo "$*" >"$files/$outside.$what"; fi
  if shape; then return; fi
  rm -f "$files/$outside.$what"
  shape
  return 1
}

set_netem() {
  local links
  (($# >= 2)) || usage_error "a link is needed, and what tc-netem shall do, or 'off'"
  parse_link "$1"
  on_each wish netem "${@:2}" || usage_error "tc does not take '${*:2}'"
}

# Sets `bucket` to a token bucket for a rate such as 200mbit: it lets 5 ms pass at once, for timers are that late in an emulated machine.
parse_rate() {
  local unit burst
  [[ ${2:-1} =~ ^[1-9][0-9]{0,8}$ ]] || usage_error "a queue is a number of bytes, not '$2'"
  [[ $1 =~ ^([1-9][0-9]{0,5})([kmg]?)bit$ ]] || usage_error "a rate is a number with kbit, mbit or gbit, not '$1'"
  case ${BASH_REMATCH[2]} in
    k) unit=1000 ;;
    m) unit=1000000 ;;
    g) unit=1000000000 ;;
    *) unit=1 ;;
  esac
  burst=$((BASH_REMATCH[1] * unit / 8 / 200))
  ((burst >= 32768)) || burst=32768
  bucket="rate $1 burst $burst limit $((burst + ${2:-1048576}))"
}

set_rate() {
  local links bucket=off
  (($# == 2 || $# == 3)) || usage_error "a link is needed, and a rate, or 'off'"
  [[ $2 == off ]] || parse_rate "${@:2}"
  parse_link "$1"
  on_each wish rate "$bucket" || usage_error "tc does not take '$2'"
}

set_link() {
  local links
  (($# == 2)) || usage_error "a link is needed, and 'down' or 'up'"
  [[ $2 == down || $2 == up ]] || usage_error "a link can be 'down' or 'up', not '$2'"
  parse_link "$1"
  plug() { far ip link set "$outside" "$1"; }
  on_each plug "$2"
}

count() {
  local file device=rxe${inside#v}
  [[ $inside != eth0 ]] || usage_error 'TCP has no such counters'
  for file in "/sys/class/infiniband/$device/ports/1/hw_counters"/*; do
    [[ ${file##*/} == lifespan ]] || echo "$device ${file##*/} $(<"$file")"
  done
  for file in {t,r}x_{bytes,packets}; do echo "$device $file $(<"/sys/class/net/$inside/statistics/$file")"; done
}

show_counters() {
  local links
  (($# == 1)) || usage_error 'a link is needed'
  parse_link "$1"
  on_each count
}

main() {
  if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    usage
    return
  fi
  case $name in
    rdma_vm_on) run_on "$@" ;;
    rdma_vm_agent) run_agent "$@" ;;
    rdma_vm_run) run_job "$@" ;;
    rdma_vm_mpirun) run_mpi "$@" ;;
    rdma_vm_netem) set_netem "$@" ;;
    rdma_vm_rate) set_rate "$@" ;;
    rdma_vm_link) set_link "$@" ;;
    rdma_vm_counters) show_counters "$@" ;;
    *)
      [[ ${1:-} == names ]] || usage_error "this is called by one of its names: ${names[*]}"
      printf '%s\n' "${names[@]}"
      ;;
  esac
}

main "$@"
