# shellcheck shell=bash
# What the scripts share: where the tree is, how many jobs, becoming root, and stages that are timed and logged.
#
# Sourced, never run. A stage is a function run in a subshell with `set -e`, its output in $logs/STAGE.log; what
# it returns is remembered, and run_stage itself always succeeds: exit with stages_status at the end. (A stage
# must never be called behind `if`, `&&` or `||`: bash would switch its `set -e` off.)

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$repo_root/build/logs

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
  warn "$*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Processors that this process may use.
cores() { nproc 2>/dev/null || echo 1; }

# Whole processor cores, as Open MPI counts its slots: two hardware threads of one core are one.
physical_cores() {
  local usable whole
  usable=$(cores)
  whole=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || whole=0
  if ((whole > 0 && whole < usable)); then echo "$whole"; else echo "$usable"; fi
}

# need_value OPTION VALUE...: dies unless the option that takes a value was given one.
need_value() { (($# >= 2)) || die "$1 needs a value (see --help)"; }

# need_count OPTION VALUE: dies unless VALUE is a whole number from 1 up.
need_count() {
  need_value "$@"
  [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 needs a whole number from 1 up, not '$2'"
}

# as_root COMMAND...: runs it as root, by sudo where we are not; returns 126 where neither is possible.
as_root() {
  if (($(id -u) == 0)); then
    "$@"
  elif have sudo && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 126
  fi
}

# The system's own python: the distribution's modules (jsonschema) belong to it, not to another one first in PATH.
system_python() { if [[ -x /usr/bin/python3 ]]; then echo /usr/bin/python3; else echo python3; fi; }

# knows PROGRAM OPTION: whether its help names the option. (It is read to the end: a reader that leaves early would end the program by a signal.)
knows() { [[ $("$1" --help 2>/dev/null) == *"$2"* ]]; }

# Tracked files that match the patterns, one a line; in a source archive without git, those found on disk.
tracked() {
  cd "$repo_root" || return
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -- "$@" | while IFS= read -r file; do [[ ! -f $file ]] || printf '%s\n' "$file"; done
  else
    local names=() pattern
    for pattern in "$@"; do names+=(-o -path "./$pattern"); done
    find . -path ./build -prune -o -type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
  fi
}

cxx_files() { tracked '*.h' '*.hpp' '*.inl' '*.c' '*.cpp' '*.cu' '*.cuh'; }

elapsed() {
  local seconds=$1
  if ((seconds >= 60)); then printf '%dm%02ds' $((seconds / 60)) $((seconds % 60)); else printf '%ds' "$seconds"; fi
}

# What the stages did, in the order in which they ran.
stage_names=()
stage_states=()
stage_seconds=()

record_stage() {
  stage_names+=("$1")
  stage_states+=("$2")
  stage_seconds+=("$3")
}

# run_stage NAME FUNCTION ARGUMENT...: one line on the terminal, the rest in the log; its tail if it failed.
run_stage() {
  local name=$1 log=$logs/$1.log start=$SECONDS code seconds
  shift
  mkdir -p "$logs"
  say "[$name] started $(date -u +%H:%M:%S) UTC"
  set +e
  (
    set -euo pipefail
    "$@"
  ) >"$log" 2>&1 </dev/null
  code=$?
  set -e
  seconds=$((SECONDS - start))
  if ((code == 0)); then
    record_stage "$name" passed "$seconds"
    say "[$name] passed in $(elapsed "$seconds")"
  else
    record_stage "$name" FAILED "$seconds"
    say "[$name] FAILED with status $code after $(elapsed "$seconds"); the end of $log:"
    tail -n 100 "$log" | sed 's/^/    /'
  fi
}

# leave_out_stage NAME REASON: a stage that was asked for and cannot run is a failure, told as such.
leave_out_stage() {
  say "[$1] not run: $2"
  record_stage "$1" 'not run' 0
}

# skip_stage NAME REASON: what this machine cannot judge; shown in the table, and no failure.
skip_stage() {
  say "[$1] skipped: $2"
  record_stage "$1" skipped 0
}

stage_passed() {
  local i
  for i in "${!stage_names[@]}"; do
    if [[ ${stage_names[i]} == "$1" ]]; then
      [[ ${stage_states[i]} == passed ]]
      return
    fi
  done
  return 1
}

stage_table() {
  local i total=0
  printf '%-10s %-8s %8s\n' stage result time
  for i in "${!stage_names[@]}"; do
    printf '%-10s %-8s %8s\n' "${stage_names[i]}" "${stage_states[i]}" "$(elapsed "${stage_seconds[i]}")"
    total=$((total + stage_seconds[i]))
  done
  printf '%-10s %-8s %8s\n' total '' "$(elapsed "$total")"
}

# 0 when at least one stage ran and none failed.
stages_status() {
  local state passed=1
  for state in "${stage_states[@]}"; do
    case $state in
      passed) passed=0 ;;
      skipped) ;;
      *) return 1 ;;
    esac
  done
  return "$passed"
}

# choose_launcher RANKS: sets `launch` to what stands before the benchmark's name; empty where no MPI launcher works.
choose_launcher() {
  local ranks=$1
  launch=()
  if ! have mpirun; then
    say 'no mpirun here: the benchmark starts its own ranks'
    return
  fi
  launch=(mpirun -np "$ranks")
  # Other MPI launchers neither refuse root nor count slots.
  if grep -q 'Open MPI' < <(mpirun --version 2>/dev/null </dev/null); then
    if (($(id -u) == 0)); then launch+=(--allow-run-as-root); fi
    if ((ranks > $(physical_cores))); then
      say "$ranks ranks on $(physical_cores) cores: ranks share cores, so times are longer and vary more"
      launch+=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1)
    fi
  fi
  mkdir -p "$logs"
  if ! "${launch[@]}" true >"$logs/mpirun.log" 2>&1 </dev/null; then
    say "mpirun does not work here (build/logs/mpirun.log): the benchmark starts its own ranks"
    launch=()
  fi
}
