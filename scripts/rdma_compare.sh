#!/usr/bin/env bash
# Verbs against perftest and against UCX, and several rails against one: in a guest of scripts/rdma_vm.sh, on the same devices, in turns.
#
# Times in such a guest are those of instructions, and they change with what else the machine has to do. So every contender runs in every
# turn, shortly after the others, and what is compared is the median of its turns.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

turns=5
parts=()
rate=40
bin=''
# A packet that is not answered is sent again after the same time by every contender, the 67 ms of perftest: in a guest that happens now and then.
readonly timeout_exponent=14

usage() {
  cat <<'END'
Usage: scripts/rdma_vm.sh --nodes 2 --limit 900 -- scripts/rdma_compare.sh [options] BIN
  BIN            folder of the build's programs (port_bench, allreduce_bench, tutti-info)
  --part NAME    latency, bandwidth, collective or rails; may be given several times (default: all, rails where a node has two)
  --turns N      how often each contender runs (default 5)
  --rate MBIT    rails: each is capped to so many Mbit/s (default 40)
  --help

latency     port_bench by verbs and by UCX, ib_write_lat, and ib_send_lat, which like Tutti takes a completion for what comes: 2 B to 4 KiB
bandwidth   port_bench by verbs, and ib_write_bw: 64 KiB to 1 MiB
collective  all-reduce of two ranks, one on each node, by verbs and by UCX (rc_verbs): 8 B to 2 MiB
rails       port_bench by verbs, capped: one rail, two, and two of which the second has a quarter (needs --rails 2)

latency, bandwidth and collective use the first rail of each node. A row has the medians of the turns, and their ratio.
END
}

usage_error() {
  warn "$* (see --help)"
  exit 2
}

parse() {
  while (($#)); do
    case $1 in
      --part)
        need_value "$@"
        [[ $2 =~ ^(latency|bandwidth|collective|rails)$ ]] || usage_error "--part needs latency, bandwidth, collective or rails, not '$2'"
        parts+=("$2")
        shift
        ;;
      --turns | --rate)
        need_count "$@"
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      -*) usage_error "unknown option '$1'" ;;
      *)
        [[ -z $bin ]] || usage_error "one folder is enough, and not '$1' too"
        bin=$1
        ;;
    esac
    shift
  done
}

# What the parts need is there; otherwise it is told before anything runs.
check() {
  local program
  [[ -n $bin ]] || usage_error "the folder of the build's programs is missing"
  for program in port_bench allreduce_bench tutti-info; do
    [[ -x $bin/$program ]] || usage_error "there is no program '$program' in '$bin'"
  done
  have rdma_vm_run || die 'this runs in a guest: scripts/rdma_vm.sh --nodes 2 -- scripts/rdma_compare.sh BIN'
  ((RDMA_VM_NODES >= 2)) || die "two nodes are needed, and the guest has $RDMA_VM_NODES (scripts/rdma_vm.sh --nodes 2)"
  if ((${#parts[@]} == 0)); then
    parts=(latency bandwidth collective)
    ((RDMA_VM_RAILS < 2)) || parts+=(rails)
  fi
  if [[ " ${parts[*]} " == *' rails '* ]] && ((RDMA_VM_RAILS < 2)); then
    die 'the part rails needs two rails on each node (scripts/rdma_vm.sh --rails 2)'
  fi
  if [[ " ${parts[*]} " == *' latency '* || " ${parts[*]} " == *' bandwidth '* ]]; then
    for program in ib_write_lat ib_send_lat ib_write_bw; do
      have "$program" || die "missing: $program (package perftest); on the host: scripts/install_packages.sh --vm"
    done
  fi
}

# --- contenders -------------------------------------------------------------------------------------------------------

# on_rails COUNT PROGRAM...: two ranks, one on each of two nodes, each on a processor of its own, with the first COUNT rails of their nodes.
on_rails() {
  # shellcheck disable=SC2016  # for the shell on the node
  rdma_vm_run --bind --nodes 2 --id "$bin/tutti-info" -- bash -c '
    TUTTI_IB_HCA=$(cut -d , -f "1-$1" <<<"$TUTTI_IB_HCA")
    export TUTTI_IB_HCA UCX_NET_DEVICES=${TUTTI_IB_HCA//,/:1,}:1
    shift
    exec timeout 120 "$@"' - "$@"
}

# port TRANSPORT RAILS OPTION...: the rows of port_bench. UCX needs ud_verbs beside rc_verbs, to connect.
port() {
  local transport=$1 count=$2
  shift 2
  UCX_TLS=rc_verbs,ud_verbs TUTTI_IB_TIMEOUT=$timeout_exponent on_rails "$count" "$bin/port_bench" --transport "$transport" "$@" >"$scratch/out" || die "port_bench failed: $(cat "$scratch/out")"
  if [[ $transport == ucx ]] && ! grep -q 'rc_verbs' "$scratch/out"; then die "UCX does not use rc_verbs: $(head -n 1 "$scratch/out")"; fi
  grep -v '^#' "$scratch/out"
}

# is_listening PORT
is_listening() { grep -q ":$(printf %04X "$1") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6; }

# run_perftest PROGRAM OPTION...: its row, in $scratch/row. The server takes a processor of its own, as the ranks do.
run_perftest() {
  local server end port=18515
  taskset -c 0 timeout 120 "$1" -d rxe0 -x 1 -F -u "$timeout_exponent" -p "$port" "${@:2}" >"$scratch/server" 2>&1 &
  server=$!
  end=$((SECONDS + 30))
  until is_listening "$port"; do
    ((SECONDS < end)) || die "$1 does not start: $(cat "$scratch/server")"
    sleep 0.05
  done
  taskset -c 1 timeout 120 "$1" -d "rxe$RDMA_VM_RAILS" -x 1 -F -u "$timeout_exponent" -p "$port" "${@:2}" 127.0.0.1 >"$scratch/out" 2>&1 ||
    die "$1 failed: $(cat "$scratch/out")"
  wait "$server" || die "$1 failed: $(cat "$scratch/server")"
  awk '/^ *#bytes/ { rows = 1; next } rows && /^ *[0-9]/' "$scratch/out" >"$scratch/row"
}

# perftest PROGRAM OPTION...: prints its row. perftest measures the processor's clock first, and where it was held up meanwhile its times are
# infinite: then it is run again.
perftest() {
  local try
  for try in 1 2 3; do
    run_perftest "$@"
    if ! grep -qE 'inf|nan' "$scratch/row"; then break; fi
    warn "$1 could not measure the clock ($try)"
  done
  cat "$scratch/row"
}

# note PART SIZE CONTENDER: keeps the number on standard input.
note() {
  local value
  read -r value
  [[ $value =~ ^[0-9.]+$ ]] || die "$3 at $2: no number, but '$value'"
  echo "$1 $2 $3 $value" >>"$scratch/samples"
}

# --- parts ------------------------------------------------------------------------------------------------------------

# note_rows PART COLUMN CONTENDER SIZE...: keeps that column of the rows of these sizes, in $scratch/rows.
note_rows() {
  local bytes
  for bytes in "${@:4}"; do awk -v bytes="$bytes" -v column="$2" '$1 == bytes { print $column }' "$scratch/rows" | note "$1" "$bytes" "$3"; done
}

latency_turn() {
  local sizes=(2 8 64 512 4096) bytes
  port verbs 1 --test latency -b 2 -e 4K -n 500 >"$scratch/rows"
  note_rows latency 3 verbs "${sizes[@]}"
  for bytes in "${sizes[@]}"; do
    perftest ib_write_lat -s "$bytes" -n 500 | awk '{ print $5 }' | note latency "$bytes" ib_write_lat
    perftest ib_send_lat -s "$bytes" -n 500 | awk '{ print $5 }' | note latency "$bytes" ib_send_lat
  done
  port ucx 1 --test latency -b 2 -e 4K -n 500 >"$scratch/rows"
  note_rows latency 3 ucx "${sizes[@]}"
}

bandwidth_turn() {
  local sizes=(65536 262144 1048576) bytes
  port verbs 1 --test bandwidth -b 64K -e 1M -f 4 -n 50 -w 8 -c 4 >"$scratch/rows"
  note_rows bandwidth 3 verbs "${sizes[@]}"
  for bytes in "${sizes[@]}"; do perftest ib_write_bw -s "$bytes" -n 50 --report_gbits | awk '{ print $4 }' | note bandwidth "$bytes" ib_write_bw; done
}

# all_reduce TRANSPORT SMALLEST LARGEST ITERATIONS SIZE...: of these sizes
all_reduce() {
  UCX_TLS=rc_verbs,ud_verbs TUTTI_TRANSPORT=$1 on_rails 1 "$bin/allreduce_bench" -b "$2" -e "$3" -f 8 -n "$4" -c 5 >"$scratch/out" ||
    die "allreduce_bench failed: $(cat "$scratch/out")"
  grep -v '^#' "$scratch/out" >"$scratch/rows"
  note_rows collective 7 "$1" "${@:5}"
}

collective_turn() {
  local transport
  for transport in verbs ucx; do all_reduce "$transport" 8 32K 300 8 64 512 4096 32768; done
  for transport in verbs ucx; do all_reduce "$transport" 256K 2M 20 262144 2097152; done
}

# capped RATE0 RATE1 RAILS NAME
capped() {
  local node
  for node in 0 1; do
    rdma_vm_rate "$node.0" "$1"
    rdma_vm_rate "$node.1" "$2"
  done
  port verbs "$3" --test bandwidth -b 64K -e 64K -n 300 -w 100 -c 4 | awk '{ print $3 * 1000 }' | note rails 65536 "$4"
}

rails_turn() {
  local node link
  capped "${rate}mbit" "${rate}mbit" 1 one
  awk '{ print $4 * 1.25 }' <(tail -n 1 "$scratch/samples") | note rails 65536 sum
  capped "${rate}mbit" "${rate}mbit" 2 two
  capped "${rate}mbit" "$((rate * 250))kbit" 2 one_and_a_quarter
  for node in 0 1; do
    for link in 0 1; do rdma_vm_rate "$node.$link" off; done
  done
}

# --- what came of it --------------------------------------------------------------------------------------------------

# table PART UNIT CONTENDER...: medians, and the first one by each of the others.
table() {
  echo "# $1, $2; medians of the turns"
  sort -k 4,4g "$scratch/samples" | awk -v part="$1" -v names="${*:3}" '
    $1 == part { n[$2, $3]++; value[$2, $3, n[$2, $3]] = $4; sizes[$2] }
    function median(size, name,  k) { k = n[size, name]; if (!k) return 0; return (value[size, name, int((k + 1) / 2)] + value[size, name, int(k / 2) + 1]) / 2 }
    END {
      count = split(names, name, " ")
      printf "%-10s", "# bytes"
      for (i = 1; i <= count; ++i) printf " %18s", name[i]
      for (i = 2; i <= count; ++i) printf " %20s", "by " name[i]
      print ""
      for (size in sizes) {
        printf "%-10s", size
        for (i = 1; i <= count; ++i) printf " %18.3f", median(size, name[i])
        for (i = 2; i <= count; ++i) printf " %20.2f", (n[size, name[i]] ? median(size, name[1]) / median(size, name[i]) : 0)
        print ""
      }
    }' | sort -s -k 1,1g
}

print_part() {
  case $1 in
    latency) table latency 'p50 of half a round trip, us' verbs ib_write_lat ib_send_lat ucx ;;
    bandwidth) table bandwidth 'Gbit/s' verbs ib_write_bw ;;
    collective) table collective 'all-reduce p50, us' verbs ucx ;;
    rails)
      table rails "Mbit/s, each rail capped to $rate" two one
      table rails 'Mbit/s, the second rail at a quarter of that; the sum is 1.25 times one' one_and_a_quarter sum
      ;;
  esac
}

finish() {
  local part
  for part in "${parts[@]}"; do
    if grep -q "^$part " "$scratch/samples"; then print_part "$part"; fi
  done
  rm -rf "$scratch"
}

main() {
  local turn part
  parse "$@"
  check
  scratch=$(mktemp -d)
  touch "$scratch/samples"
  # What has been measured is told, however it ends: the time of a guest has a limit.
  trap finish EXIT
  trap 'exit 143' TERM INT
  for ((turn = 1; turn <= turns; ++turn)); do
    for part in "${parts[@]}"; do
      warn "turn $turn of $turns: $part ($(elapsed $SECONDS) so far)"
      "${part}_turn"
    done
  done
}

main "$@"
