#!/usr/bin/env bash
# Verbs against perftest and against UCX, several rails against one, and more credits against fewer: in a guest of scripts/rdma_vm.sh, on the same
# devices, in turns.
#
# Times in such a guest are those of instructions, and they change with what else the machine has to do. So every contender runs in every
# turn, shortly after the others, and what is compared is the median of its turns.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

turns=5
parts=()
rate=''
bin=''
# A packet that is not answered is sent again after the same time by every contender, the 67 ms of perftest: in a guest that happens now and then.
readonly timeout_exponent=14
# Of the part victim: TUTTI_CREDITS, of which auto is what one gets unasked, and the last the most there can be.
readonly victim_credits=(2 auto 16)
readonly victim_iterations=400

usage() {
  cat <<'END'
Usage: scripts/rdma_vm.sh --nodes 2 --limit 900 -- scripts/rdma_compare.sh [options] BIN
  BIN            folder of the build's programs (port_bench, allreduce_bench, tutti-info)
  --part NAME    latency, bandwidth, collective, rails or victim; may be given several times (default: all, rails where a node has two
                 and victim where there are four nodes)
  --turns N      how often each contender runs (default 5)
  --rate MBIT    rails: each is capped to so many Mbit/s (default 40); victim: so is node 0 (default 20)
  --help

latency     port_bench by verbs and by UCX, ib_write_lat, and ib_send_lat, which like Tutti takes a completion for what comes: 2 B to 4 KiB
bandwidth   port_bench by verbs, and ib_write_bw: 64 KiB to 1 MiB
collective  all-reduce of two ranks, one on each node, by verbs and by UCX (rc_verbs): 8 B to 2 MiB
rails       port_bench by verbs, capped: one rail, two, and two of which the second has a quarter (needs --rails 2)
victim      8-byte all-reduce of four ranks on four nodes, while the same ranks' other communicator all-reduces 2 MiB, so that three send to node 0, whose link
            is capped: its times with few credits, the default and the most (needs --nodes 4)

All but rails use the first rail of each node. A row has the medians of the turns, and their ratio. In victim a row is a number of credits: `in flight` is
the most that one sender had in puts to node 0, `queue` the most that was seen waiting at the switch for it, `alone` are the times without the other
communicator, p99.9 and max are of the samples of all turns, and `repeats` is how often, in all turns, rxe sent again, which it does at times though nothing
was lost: an outlier of the time-out each. TUTTI_SLICE_BYTES (default here 4K) and TUTTI_IB_TIMEOUT (default here 14, 67 ms) are the user's.
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
        [[ $2 =~ ^(latency|bandwidth|collective|rails|victim)$ ]] || usage_error "--part needs latency, bandwidth, collective, rails or victim, not '$2'"
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
    ((RDMA_VM_NODES < 4)) || parts+=(victim)
  fi
  if [[ " ${parts[*]} " == *' rails '* ]] && ((RDMA_VM_RAILS < 2)); then
    die 'the part rails needs two rails on each node (scripts/rdma_vm.sh --rails 2)'
  fi
  if [[ " ${parts[*]} " == *' victim '* ]] && ((RDMA_VM_NODES < 4)); then
    die 'the part victim needs four nodes (scripts/rdma_vm.sh --nodes 4)'
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
  local node link rate=${rate:-40}
  capped "${rate}mbit" "${rate}mbit" 1 one
  awk '{ print $4 * 1.25 }' <(tail -n 1 "$scratch/samples") | note rails 65536 sum
  capped "${rate}mbit" "${rate}mbit" 2 two
  capped "${rate}mbit" "$((rate * 250))kbit" 2 one_and_a_quarter
  for node in 0 1; do
    for link in 0 1; do rdma_vm_rate "$node.$link" off; done
  done
}

# Ranks that wait leave the processors to the network. Slices are small: what stands in the queue must pass before the time-out, or is sent again.
disturbed_all_reduce() {
  # shellcheck disable=SC2016  # for the shell on the node
  TUTTI_TRANSPORT=verbs TUTTI_CREDITS=$1 TUTTI_SLICE_BYTES=${TUTTI_SLICE_BYTES:-4K} TUTTI_IB_TIMEOUT=${TUTTI_IB_TIMEOUT:-$timeout_exponent} TUTTI_SPIN=0s TUTTI_SLEEP_AFTER=0s TUTTI_LOG=info \
    rdma_vm_run --nodes 4 --id "$bin/tutti-info" -- bash -c 'export TUTTI_IB_HCA=${TUTTI_IB_HCA%%,*}; exec timeout 300 "$@"' - \
    "$bin/allreduce_bench" -b 8 -e 8 -n "$victim_iterations" -w 10 -c 5 --aggressor all_reduce:2M --raw "$scratch/raw" >"$scratch/out" 2>&1 ||
    die "allreduce_bench failed: $(cat "$scratch/out")"
}

# The most that a rank had in flight to rank 0.
most_in_flight() {
  sed -nE 's/.*  rank 0 \(node node0\): verbs .* at most ([0-9]+)([KM]i)?B? in flight.*/\1\2/p' "$scratch/out" | numfmt --from=auto | sort -n | tail -n 1
}

# How often rxe sent again what it had sent, on all nodes.
repeats() {
  local node
  for ((node = 0; node < 4; ++node)); do rdma_vm_counters "$node.0"; done | awk '$2 == "completer_retry_err" { sum += $3 } END { print sum + 0 }'
}

# Writes again and again how many bytes wait at the switch for node 0, until it is ended.
watch_queue() {
  while :; do
    ip netns exec switch tc -s qdisc show dev p0 | sed -nE 's/.*backlog ([0-9]+)b.*/\1/p'
    sleep 0.1
  done
}

victim_turn() {
  local credits dropped before watch
  rdma_vm_rate 0.0 "${rate:-20}mbit" 8388608
  for credits in "${victim_credits[@]}"; do
    before=$(repeats)
    watch_queue >"$scratch/queue" &
    watch=$!
    disturbed_all_reduce "$credits"
    kill "$watch"
    wait "$watch" || true
    sort -n "$scratch/queue" | tail -n 1 | note victim "$credits" queue
    echo $(($(repeats) - before)) | note victim "$credits" repeats
    most_in_flight | note victim "$credits" in_flight
    sed -nE 's/.*"alone":\{"p50_us":([0-9.]+),.*/\1/p' "$scratch/raw" | note victim "$credits" alone_p50
    sed -nE 's/.*"alone":\{[^}]*"p99_us":([0-9.]+),.*/\1/p' "$scratch/raw" | note victim "$credits" alone_p99
    sed -nE 's/.*"us": ?\[([^]]*)\].*/\1/p' "$scratch/raw" | tr ',' '\n' | sort -g >"$scratch/times"
    awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }' "$scratch/times" | note victim "$credits" p50
    awk '{ t[NR] = $1 } END { print t[int(NR * 0.99 + 0.999999)] }' "$scratch/times" | note victim "$credits" p99
    sed "s/^/$credits /" "$scratch/times" >>"$scratch/victim"
  done
  # What is lost is sent again: that would be another matter.
  dropped=$(ip netns exec switch tc -s qdisc show dev p0 | sed -nE 's/.*dropped ([0-9]+).*/\1/p' | head -n 1)
  [[ $dropped == 0 ]] || die "the queue of node 0 was full: ${dropped:-no count of} packets dropped"
  rdma_vm_rate 0.0 off
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

# A row for each number of credits.
victim_table() {
  local credits
  echo "# victim, ms; node 0 capped to ${rate:-20} Mbit/s; medians of the turns, p99.9 and max of all samples"
  printf '%-9s %14s %10s %10s %10s %10s %10s %10s %10s %8s %8s\n' '# credits' 'in flight, KiB' 'queue, KiB' 'alone p50' 'alone p99' p50 p99 p99.9 max samples repeats
  for credits in "${victim_credits[@]}"; do
    { sort -k 4,4g "$scratch/samples" && sed 's/^/all /' "$scratch/victim" | sort -k 3,3g; } | awk -v credits="$credits" '
      $1 == "victim" && $2 == credits { value[$3, ++n[$3]] = $4 }
      $1 == "victim" && $2 == credits && $3 == "repeats" { repeats += $4 }
      $1 == "all" && $2 == credits { all[++count] = $3 }
      function median(name,  k) { k = n[name]; return k ? (value[name, int((k + 1) / 2)] + value[name, int(k / 2) + 1]) / 2 : 0 }
      END {
        if (!count) exit
        printf "%-9s %14.1f %10.1f %10.1f %10.1f %10.1f %10.1f", credits, median("in_flight") / 1024, median("queue") / 1024, median("alone_p50") / 1000, median("alone_p99") / 1000,
          median("p50") / 1000, median("p99") / 1000
        if (count < 1000) printf " %10s", "-"
        else printf " %10.1f", all[int(count * 0.999 + 0.999999)] / 1000
        printf " %10.1f %8d %8d\n", all[count] / 1000, count, repeats
      }'
  done
}

print_part() {
  case $1 in
    latency) table latency 'p50 of half a round trip, us' verbs ib_write_lat ib_send_lat ucx ;;
    bandwidth) table bandwidth 'Gbit/s' verbs ib_write_bw ;;
    collective) table collective 'all-reduce p50, us' verbs ucx ;;
    victim) victim_table ;;
    rails)
      table rails "Mbit/s, each rail capped to ${rate:-40}" two one
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
  touch "$scratch/samples" "$scratch/victim"
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
