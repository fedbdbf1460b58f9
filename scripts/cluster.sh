#!/usr/bin/env bash
# Emulated clusters: several "hosts" on this machine, each with its own network interface, host name, processes and shared
# memory, joined by one switch, and programs started across them with mpirun.
#
# A host is a set of namespaces. All hosts of a cluster live inside those of its switch (cluster_switch.sh): nothing of a cluster is
# in the machine's own network, no file is left anywhere, clusters do not see one another, and all that `down` has to do is to kill
# one process. A cluster is found by its name in /proc; there is no state besides.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'END_OF_TEXT'
Usage: scripts/cluster.sh [--name NAME] COMMAND

  up N [--rate RATE] [--delay TIME] [--mtu BYTES] [--hold]
        makes N hosts, a1 ... aN (addresses 10.77.0.k and fd77::k, seen from inside the cluster only)
        --rate 1gbit   limits every link, both ways       --delay 50us   on the way out of each host (twice in a round trip)
        --hold         the cluster ends when its standard input is closed: by then at the latest, whoever made it is gone
  run [-n RANKS | --ranks R1,R2,...] [--hosts K] [--mca NAME VALUE] [-x NAME[=VALUE]] [--tag] [--] PROGRAM...
        mpirun across the hosts: RANKS (default 1) on each of the first K (default all), or R1 on a1, R2 on a2, ...
        TUTTI_* and UCX_* variables are passed on. UCX_TLS is tcp unless set.
  exec HOST PROGRAM...
        runs a program on one host (or on `switch`, which reaches all), in the current directory
  link HOST down | up | rate RATE | rate off
        pulls the host's cable, plugs it in, limits it in both directions
  bytes [--json | --reset]
        bytes and packets that went into and out of each host, headers included, since `up` or --reset
  status          the hosts; with no cluster of that name: exit status 1
  down [--all]    ends the cluster (--all: every cluster of this user) and all its processes; none is no error
  probe           exit status 0 where clusters can be made, else 77 and the reason

NAME (default: user and checkout; or CLUSTER_NAME) lets several clusters exist at once.
As root, or as a user who may make user namespaces, or by sudo without a password.
Exit status: that of the program for run and exec; else 0, 1 failed, 2 bad usage, 3 the kernel cannot delay packets,
4 namespaces are not permitted.
END_OF_TEXT
}

usage_error() {
  warn "$* (see --help)"
  exit 2
}

# need_argument OPTION VALUE...
need_argument() { (($# >= 2)) || usage_error "$1 needs a value"; }
need_number() {
  need_argument "$@"
  [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || usage_error "$1 needs a whole number from 1 up, not '$2'"
}

default_name() {
  printf '%s-%s-%s' "$(id -un)" "$(basename "$repo_root")" "$(cksum <<<"$repo_root" | cut -c 1-4)" | tr -c 'A-Za-z0-9_.-' _
}

# --- who we are -------------------------------------------------------------------------------------------------------

# Sets `own_user`: the options of unshare and nsenter with which a user who is not root becomes it inside. Runs the script again by
# sudo where there is no other way.
become_root() {
  own_user=()
  enter_user=()
  (($(id -u) != 0)) || return 0
  if unshare --user --map-root-user --net true 2>/dev/null; then
    own_user=(--user --map-root-user)
    enter_user=(--user --preserve-credentials)
  elif have sudo && sudo -n true 2>/dev/null; then
    local kept
    kept=$(compgen -e | grep -E '^(TUTTI|UCX)_' | paste -sd,) || true
    exec sudo -n ${kept:+--preserve-env="$kept"} CLUSTER_NAME="$name" bash "${BASH_SOURCE[0]}" "${arguments[@]}"
  fi
}

need_tools() {
  local tool
  for tool in unshare nsenter setpriv ip tc awk; do
    have "$tool" || not_permitted "$tool is missing (packages util-linux, iproute2)"
  done
}

not_permitted() {
  warn "emulated hosts are not possible here: $*"
  exit "${not_permitted_code:-4}"
}

# --- finding a cluster ------------------------------------------------------------------------------------------------

# Is process $1 the first process of a cluster's switch, of ours? Sets `found_name`.
is_switch() {
  local words=() line
  [[ -O /proc/$1 ]] || return 1
  mapfile -d '' -t words 2>/dev/null <"/proc/$1/cmdline" || return 1
  ((${#words[@]} > 3)) && [[ ${words[1]} == */cluster_switch.sh && ${words[3]} == serve ]] || return 1
  found_name=${words[2]}
  # Its number ends with 1 in its own process namespace; shells that it forks have the same words and another number.
  while IFS= read -r line; do [[ $line != NSpid:*[[:space:]]1 ]] || return 0; done 2>/dev/null <"/proc/$1/status"
  return 1
}

# Sets `switch` to the first process of the switch of cluster `name`, or to nothing.
find_switch() {
  local process
  switch=
  for process in /proc/[0-9]*; do
    if is_switch "${process#/proc/}" 2>/dev/null && [[ $found_name == "$name" ]]; then
      switch=${process#/proc/}
      return
    fi
  done
}

need_switch() {
  find_switch
  [[ -n $switch ]] || die "there is no cluster '$name': scripts/cluster.sh up N makes it"
}

# in_switch COMMAND...: in its namespaces, in this directory. The command ends when whoever waits for it does.
in_switch() {
  nsenter --target "$switch" "${enter_user[@]}" --net --uts --ipc --mount --pid -- \
    env -C "$PWD" setpriv --pdeathsig TERM "$@"
}

on_switch() { in_switch bash "$here/cluster_switch.sh" "$name" "$@"; }

# --- commands ---------------------------------------------------------------------------------------------------------

# start_switch INPUT ARGUMENT...: the first process of the switch, a child of nobody's, with descriptor INPUT for its standard
# input; it writes to descriptor 1 until it is ready.
start_switch() {
  local fd input=$1
  shift
  # Who waits for the end of a pipe of ours must not wait for the cluster's.
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if ((fd > 2 && fd != 255 && fd != input)); then exec {fd}>&-; fi
  done
  exec setsid unshare "${own_user[@]}" --net --uts --ipc --mount --pid --fork --kill-child -- \
    bash "$here/cluster_switch.sh" "$name" serve "$@" <&"$input" 2>&1
}

# await_switch INPUT ARGUMENT...: sets `ready` and, where it failed, `told`.
await_switch() {
  local line started
  ready=0
  told=
  exec {started}< <(start_switch "$@")
  local starter=$!
  while IFS= read -r -t 15 -u "$started" line; do
    if [[ $line == ready ]]; then
      ready=1
      break
    fi
    told+=${told:+$'\n'}$line
  done
  exec {started}<&-
  if ((ready)); then return; fi
  code=0
  wait "$starter" || code=$?
}

bring_up() {
  local hosts='' rate=off delay=none mtu=1500 input code ready told
  exec {input}</dev/null
  while (($#)); do
    case $1 in
      --rate)
        need_argument "$@"
        rate=$2
        shift
        ;;
      --delay)
        need_argument "$@"
        delay=$2
        [[ $delay =~ ^[0-9]+(us|ms|s)$ ]] || usage_error "--delay needs a time such as 50us or 10ms, not '$delay'"
        shift
        ;;
      --mtu)
        need_number "$@"
        mtu=$2
        shift
        ;;
      --hold) exec {input}<&0 ;;
      -*) usage_error "unknown option '$1' of up" ;;
      *)
        [[ -z $hosts ]] || usage_error "one number of hosts, not '$1' as well"
        hosts=$1
        ;;
    esac
    shift
  done
  if ! [[ $hosts =~ ^[1-9][0-9]{0,2}$ ]] || ((hosts > 250)); then usage_error 'up needs a number of hosts, 1 to 250'; fi
  need_tools

  # One at a time: that there is no such cluster must stay true until it is there.
  exec 9<"${BASH_SOURCE[0]}"
  flock --timeout 30 9 || die 'another "up" does not come to its end'
  find_switch
  [[ -z $switch ]] || die "cluster '$name' is up already (status shows it, down ends it)"
  await_switch "$input" "$hosts" "$rate" "$delay" "$mtu"
  ((ready)) && return
  find_switch
  [[ -z $switch ]] || end_switch "$switch"
  case $told in
    *'not permitted'* | *'Permission denied'* | *'unshare failed'* | *'not supported'* | *'Unknown device type'*)
      not_permitted "${told//$'\n'/; }"
      ;;
    '') die 'the switch did not start within 15 s' ;;
  esac
  warn "${told#cluster: }"
  exit "$((code == 2 || code == 3 ? code : 1))"
}

probe() {
  local not_permitted_code=77
  name=$name-probe-$$
  (bring_up 1) || exit
  take_down
}

# Lets those run on who wait outside for a command in the cluster whose switch is $1: nsenter stops when what it waits for is
# stopped, and while it does not take note that this has been killed, the kernel does not end the switch.
wake_waiters() {
  local process words
  for process in /proc/[0-9]*; do
    mapfile -d '' -t words 2>/dev/null <"$process/cmdline" || continue
    if [[ ${words[*]:0:3} == "nsenter --target $1" && -O $process ]]; then kill -CONT "${process#/proc/}" 2>/dev/null || true; fi
  done
}

# end_switch PID: kills it, and with it all processes of its hosts; bounded.
end_switch() {
  local tries
  kill -KILL "$1" 2>/dev/null || true
  wake_waiters "$1" 2>/dev/null
  for ((tries = 0; tries < 1000; ++tries)); do
    [[ -e /proc/$1 ]] || return 0
    sleep 0.01
  done
  die "process $1 of cluster '$name' was killed and does not end: $(grep -s State "/proc/$1/status" || true)"
}

take_down() {
  local all=0 process
  while (($#)); do
    case $1 in
      --all) all=1 ;;
      *) usage_error "down does not know '$1'" ;;
    esac
    shift
  done
  if ((!all)); then
    find_switch
    [[ -z $switch ]] || end_switch "$switch"
    return
  fi
  for process in /proc/[0-9]*; do
    if is_switch "${process#/proc/}" 2>/dev/null; then end_switch "${process#/proc/}"; fi
  done
}

# Sets `slots` (a1:2,a2:1) and `ranks` from the ranks of each host.
share_out() {
  local each=$1 list=$2 hosts=$3 there k counts
  there=$(in_switch bash -c 'ls /dev/shm/cluster' | grep -cE '^a[0-9]+$')
  if [[ -n $list ]]; then
    IFS=, read -ra counts <<<"$list"
    ((hosts == 0 || hosts == ${#counts[@]})) || usage_error "--ranks names ${#counts[@]} hosts, --hosts $hosts"
    hosts=${#counts[@]}
  fi
  ((hosts > 0)) || hosts=$there
  ((hosts <= there)) || usage_error "cluster '$name' has $there hosts, not $hosts"
  for ((k = 1; k <= hosts; ++k)); do
    [[ -z $list ]] || each=${counts[k - 1]}
    [[ $each =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "--ranks needs numbers from 1 up, not '$list'"
    slots+=${slots:+,}a$k:$each
    ranks=$((ranks + each))
  done
}

run_ranks() {
  local each=1 list='' hosts=0 options=() slots='' ranks=0 variable
  while (($#)); do
    case $1 in
      -n)
        need_number "$@"
        each=$2
        shift
        ;;
      --ranks)
        need_argument "$@"
        list=$2
        shift
        ;;
      --hosts)
        need_number "$@"
        hosts=$2
        shift
        ;;
      --mca)
        (($# >= 3)) || usage_error '--mca needs a name and a value'
        options+=(--mca "$2" "$3")
        shift 2
        ;;
      -x)
        need_argument "$@"
        options+=(-x "$2")
        shift
        ;;
      --tag) options+=(--tag-output) ;;
      --)
        shift
        break
        ;;
      -*) usage_error "unknown option '$1' of run" ;;
      *) break ;;
    esac
    shift
  done
  (($# > 0)) || usage_error 'run needs a program'
  have mpirun || die 'mpirun is missing (package openmpi-bin)'
  need_switch
  share_out "$each" "$list" "$hosts"

  # Nothing may find the shared memory of another host, were it visible; and tcp is what is to be tested.
  export UCX_TLS=${UCX_TLS:-tcp}
  for variable in $(compgen -e | grep -E '^(TUTTI|UCX)_'); do options+=(-x "$variable"); done
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  # Open MPI cannot know that its hosts share the processors.
  ((ranks <= $(cores))) || options=(--mca mpi_yield_when_idle 1 ${options[@]+"${options[@]}"})
  # Open MPI's own files go where they end with the hosts.
  exec_in_switch mpirun -np "$ranks" --host "$slots" --oversubscribe --bind-to none \
    --mca plm_rsh_agent "$here/cluster_agent.sh" --mca plm_rsh_no_tree_spawn 1 --mca orte_tmpdir_base /dev/shm \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    ${options[@]+"${options[@]}"} "$@"
}

# In the place of this process, so that what happens to it - a signal, its end - happens to the command.
exec_in_switch() {
  exec nsenter --target "$switch" "${enter_user[@]}" --net --uts --ipc --mount --pid -- \
    env -C "$PWD" setpriv --pdeathsig TERM "$@"
}

run_on_host() {
  (($# >= 2)) || usage_error 'exec needs a host and a program'
  local host=$1 words
  shift
  need_switch
  if [[ $host == switch ]]; then exec_in_switch "$@"; fi
  # The agent reads a command as a shell does.
  printf -v words '%q ' "$@"
  exec_in_switch bash "$here/cluster_agent.sh" "$host" "exec $words"
}

set_link() {
  (($# >= 2)) || usage_error 'link needs a host, and down, up or rate'
  case $2 in
    down | up) (($# == 2)) || usage_error "link $1 $2 takes nothing more" ;;
    rate) (($# == 3)) || usage_error 'link HOST rate needs a rate, or off' ;;
    *) usage_error "link cannot do '$2': down, up or rate" ;;
  esac
  need_switch
  on_switch link "$@"
}

show_bytes() {
  local what=text
  (($# <= 1)) || usage_error 'bytes takes one option'
  case ${1:-} in
    '') ;;
    --json) what=json ;;
    --reset) what=reset ;;
    *) usage_error "bytes does not know '$1'" ;;
  esac
  need_switch
  on_switch bytes "$what"
}

show_status() {
  (($# == 0)) || usage_error 'status takes no arguments'
  need_switch
  say "cluster $name, process $switch"
  on_switch status
}

main() {
  name=${CLUSTER_NAME:-$(default_name)}
  local arguments=("$@") command
  while [[ ${1:-} == -* ]]; do
    case $1 in
      --name)
        need_argument "$@"
        name=$2
        shift 2
        ;;
      -h | --help)
        usage
        return
        ;;
      *) usage_error "unknown option '$1'" ;;
    esac
  done
  [[ $name =~ ^[A-Za-z0-9_.-]{1,64}$ ]] || usage_error "a cluster's name has letters, digits and _.- only, not '$name'"
  (($# > 0)) || usage_error 'a command is missing'
  command=$1
  shift
  if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    usage
    return
  fi
  case $command in
    up | run | exec | link | bytes | status | down | probe) become_root ;;
    *) usage_error "unknown command '$command'" ;;
  esac
  case $command in
    up) bring_up "$@" ;;
    run) run_ranks "$@" ;;
    exec) run_on_host "$@" ;;
    link) set_link "$@" ;;
    bytes) show_bytes "$@" ;;
    status) show_status "$@" ;;
    down) take_down "$@" ;;
    probe) probe ;;
  esac
}

main "$@"
