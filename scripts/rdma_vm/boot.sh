# shellcheck shell=bash
# Boots one guest, runs a command in it, and passes on what it writes and its exit status.
#
# Sourced by scripts/rdma_vm.sh and scripts/rdma_two_vms.sh, after common.sh and kernel.sh. What the host and the guest tell each
# other lies in a control folder (see guest.sh). The end of a guest is never waited for without a limit: it must have started the
# command after boot_limit seconds, end it after `limit`, and be gone half a minute later.

: "${repo_root:?common.sh comes first}" "${vm_parts:?kernel.sh comes first}"
# prepare_kernel sets these.
kernel='' initramfs=''

# How a guest is made; the options of the scripts change these.
nodes=4
rails=1
mtu=9000
limit=300
boot_limit=90
memory=3072
cpus=$(cores)
((cpus >= 2)) || cpus=2
((cpus <= 8)) || cpus=8
accelerator=auto
job=
keep=0
only_prepare=0
passed=()
# The network of one guest of two: its number, and the words by which QEMU connects it. Without: a guest with nodes of its own.
wired=''
wire=()

# Four levels of page tables, and programs always at the same addresses: emulated, starting a program is then three times faster.
kernel_arguments='console=ttyS0 quiet panic=-1 nokaslr no_timer_check tsc=reliable clocksource=tsc mitigations=off audit=0
  nmi_watchdog=0 8250.nr_uarts=1 i8042.noaux i8042.nokbd random.trust_cpu=on preempt=full no5lvl norandmaps'

# --- options ----------------------------------------------------------------------------------------------------------

usage_error() {
  warn "$* (see --help)"
  exit 2
}

# number LOWEST HIGHEST OPTION VALUE...: sets `value`.
number() {
  (($# >= 4)) || usage_error "$3 needs a value"
  if ! [[ $4 =~ ^[0-9]{1,6}$ ]] || ((10#$4 < $1 || 10#$4 > $2)); then usage_error "$3 needs a whole number from $1 to $2, not '$4'"; fi
  value=$((10#$4))
}

text() { (($# >= 2)) || usage_error "$1 needs a value"; }

# parse_guest_option WORD...: the options that both scripts have. Sets `taken` to how many words it was, 0 for none of them.
# shellcheck disable=SC2034  # the scripts read `taken`
parse_guest_option() {
  local value
  taken=2
  case $1 in
    --mtu) number 1280 9000 "$@" && mtu=$value ;;
    --limit) number 1 86400 "$@" && limit=$value ;;
    --boot-limit) number 1 3600 "$@" && boot_limit=$value ;;
    --memory) number 512 262144 "$@" && memory=$value ;;
    --cpus) number 1 64 "$@" && cpus=$value ;;
    --accel)
      text "$@"
      [[ $2 =~ ^(auto|kvm|tcg)$ ]] || usage_error "--accel needs auto, kvm or tcg, not '$2'"
      accelerator=$2
      ;;
    --job)
      text "$@"
      [[ -d $2 && -w $2 ]] || usage_error "--job needs a folder that can be written, not '$2'"
      job=$(realpath -- "$2")
      ;;
    -x)
      text "$@"
      [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*(=|$) ]] || usage_error "-x needs NAME or NAME=VALUE, not '$2'"
      passed+=("$2")
      ;;
    *)
      taken=1
      case $1 in
        --keep) keep=1 ;;
        --prepare) only_prepare=1 ;;
        -h | --help)
          usage
          exit 0
          ;;
        *) taken=0 ;;
      esac
      ;;
  esac
}

# All that has to be there before a guest can be booted.
prepare() {
  need_programs
  prepare_kernel
  choose_accelerator
  ((!only_prepare)) || say "kernel $(<"$kernel/version"), run by $accelerator, in $kernel"
}

# --- accelerator ------------------------------------------------------------------------------------------------------

# A /dev/kvm that opens may still not be able to run this kernel: only a guest that starts is a proof.
kvm_works() {
  [[ -r /dev/kvm && -w /dev/kvm ]] || return 1
  local said
  said=$(timeout --kill-after=2 10 qemu-system-x86_64 -accel kvm -cpu host -M q35 -m 512 -nodefaults -no-user-config -display none \
    -no-reboot -serial stdio -kernel "$kernel/vmlinux" -initrd "$initramfs" -append 'console=ttyS0 quiet panic=-1 vm.probe=1' \
    </dev/null 2>/dev/null) || true
  [[ $said == *'this kernel runs'* ]]
}

# Settles `accelerator`: kvm or tcg. What a probe has found holds until the machine is booted again.
choose_accelerator() {
  local found known
  [[ $accelerator == auto ]] || return 0
  found=$kernel/accelerator.$(id -u)
  known=$(cat "$found" 2>/dev/null) || true
  if [[ ${known% *} == "$(</proc/sys/kernel/random/boot_id)" && $known =~ ' '(kvm|tcg)$ ]]; then
    accelerator=${known##* }
    return
  fi
  if kvm_works; then accelerator=kvm; else accelerator=tcg; fi
  echo "$(</proc/sys/kernel/random/boot_id) $accelerator" >"$found.$$"
  mv "$found.$$" "$found"
}

# --- the control folder -----------------------------------------------------------------------------------------------

# set_words NAME VALUE...: lines that a shell reads back.
set_words() { printf '%s=%q\n' "$@"; }

# The environment of the command: the variables of Tutti, UCX and the sanitizers, and those asked for.
write_environment() {
  local name item
  for name in $(compgen -e | grep -E '^(TUTTI_|UCX_|[A-Z]+SAN_OPTIONS$|PATH$|HOME$|LANG$|LD_LIBRARY_PATH$)'); do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
  for item in ${passed[@]+"${passed[@]}"}; do
    name=${item%%=*}
    if [[ $item == *=* ]]; then
      printf 'export %s=%q\n' "$name" "${item#*=}"
    elif [[ -v $name ]]; then
      printf 'export %s=%q\n' "$name" "${!name}"
    fi
  done
  printf 'export RDMA_VM_JOB=%q RDMA_VM_NODES=%q RDMA_VM_RAILS=%q\n' "$job" "$nodes" "$rails"
  [[ -z $wired ]] || printf 'export NODE=%q NODES=%q\n' "$wired" "$nodes"
}

# write_control COMMAND...
write_control() {
  set_words nodes "$nodes" rails "$rails" mtu "$mtu" limit "$limit" boot_limit "$boot_limit" job "$job" kernel "$kernel" directory "$PWD" \
    scripts "$repo_root/scripts" wired "$wired" >"$control/settings"
  write_environment >"$control/environment"
  printf 'exec ' >"$control/command"
  printf '%q ' "$@" >>"$control/command"
  cp "$vm_parts/guest.sh" "$control/"
  : >"$control/out"
  : >"$control/err"
  : >"$control/console"
}

# --- the machine ------------------------------------------------------------------------------------------------------

# offer NAME FOLDER [OPTIONS]: adds to `words` that a folder of the host can be mounted by that name.
offer() {
  words+=(-fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap${3:-}" -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

start_machine() {
  local words=() cpu=host how=kvm
  if [[ $accelerator == tcg ]]; then
    # QEMU's own AVX2 reads what a masked load masks out, and faults at the end of a page.
    cpu=max,avx2=off
    how=tcg,thread=multi
  fi
  # shellcheck disable=SC2054  # commas belong to the words
  words=(-name tutti,debug-threads=on -accel "$how" -cpu "$cpu" -M q35 -m "$memory" -smp "$cpus" -nodefaults -no-user-config -display none -no-reboot
    -kernel "$kernel/vmlinux" -initrd "$initramfs" -append "${kernel_arguments//$'\n'/ }" -serial "file:${control//,/,,}/console"
    -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng ${wire[@]+"${wire[@]}"})
  offer host_root / ,readonly=on
  offer control "$control"
  offer job "$job"
  # None of them may outlive its parent, however that ends.
  setpriv --pdeathsig KILL timeout --kill-after=5 $((boot_limit + limit + 30)) setpriv --pdeathsig KILL qemu-system-x86_64 "${words[@]}" \
    </dev/null >"$control/qemu" 2>&1 &
  machine=$!
}

runs() { kill -0 "$machine" 2>/dev/null; }

# Waits until the guest has started the command; false when it never will.
await_start() {
  local end=$((SECONDS + boot_limit))
  until [[ -e $control/started ]]; do
    runs || return 1
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# Sets `usable` to the numbers of the processors that this process may use.
list_processors() {
  local part words
  words=$(taskset -cp "$BASHPID")
  usable=()
  for part in $(tr ',' ' ' <<<"${words##*: }"); do
    part=${part%%:*}
    mapfile -t -O ${#usable[@]} usable < <(seq "${part%-*}" "${part#*-}")
  done
}

# Each processor of the guest gets one of this machine's to stay on, where there are enough. The scheduler, left alone, puts two that wake each other on
# one processor as soon as anything else runs here, and leaves them there: two ranks that poll, and perftest's programs likewise, then
# get it in turns of a tick, and every message takes 4 ms instead of 35 us. (Two guests need not be fast; and theirs are more than there are.)
bind_processors() {
  local process thread name usable number
  [[ -z $wired ]] || return 0
  list_processors
  ((cpus <= ${#usable[@]})) || return 0
  for process in $(<"/proc/$machine/task/$machine/children"); do
    for thread in "/proc/$process/task"/*; do
      name=$(<"$thread/comm")
      [[ $name =~ ^CPU\ ([0-9]+)/ ]] || continue
      number=${BASH_REMATCH[1]}
      taskset -cp "${usable[number]}" "${thread##*/}" >/dev/null
    done
  done 2>/dev/null || true
}

end_machine() {
  if [[ -n ${machine:-} ]]; then
    kill -TERM "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
  fi
  if [[ -n ${own_folder:-} ]] && ((!keep)); then rm -rf "$own_folder"; fi
}

# The end of what QEMU, the kernel and the guest's own program have said, for people.
tell_end() {
  local log
  warn "$1"
  for log in qemu console guest; do
    if [[ -s $control/$log ]]; then tail -n 20 "$control/$log" | tr -d '\r' | sed "s/^/    $log: /" >&2; fi
  done
}

# boot_guest COMMAND...: in a shell of its own, which ends with the command's exit status: 124 when its time was up, 125 when the
# guest did not start or died.
boot_guest() {
  local control machine own_folder='' readers=() why
  own_folder=$(mktemp -d "${TMPDIR:-/tmp}/tutti-vm.XXXXXX")
  trap end_machine EXIT
  trap 'exit 143' TERM INT HUP
  control=$own_folder/control
  mkdir "$control"
  if [[ -z $job ]]; then
    job=$own_folder/job
    mkdir "$job"
  fi
  ((keep == 0)) || warn "what the guest leaves is kept in $own_folder"
  write_control "$@"
  start_machine
  # The readers come to the end of what was written only after the machine has gone.
  tail -s 0.05 --pid="$machine" -c +1 -f "$control/out" &
  readers+=($!)
  tail -s 0.05 --pid="$machine" -c +1 -f "$control/err" >&2 &
  readers+=($!)
  if ! await_start; then
    why="the guest did not start the command within its $boot_limit s"
    runs || why='the guest ended before it had started the command'
    kill -TERM "$machine" 2>/dev/null || true
    wait "$machine" || true
    tell_end "$why"
    exit 125
  fi
  bind_processors
  wait "$machine" || true
  wait "${readers[@]}" || true
  if [[ -e $control/over_time ]]; then
    warn "the command was ended after its $limit s"
    exit 124
  fi
  if [[ ! -s $control/status ]]; then
    tell_end 'the guest died before the command came to its end'
    exit 125
  fi
  exit "$(<"$control/status")"
}
