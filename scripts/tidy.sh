#!/usr/bin/env bash
# Runs clang-tidy over the library's own sources, several at once; any finding is an error.
#
# Needs a build folder with compile_commands.json, made by clang (gcc's flags are not all known to clang-tidy).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/tidy.sh [options] [FILE...]
  --build DIR    the build folder (default build/clang)
  --changed REF  only sources that differ from REF, and those beside a header that does
  --quick        without the static analyzer, which takes most of the time
  --jobs N       how many at once (default: the processors there are)
END
}

build_dir=$repo_root/build/clang
jobs=$(cores)
changed_since=
checks=()
files=()
while (($#)); do
  case $1 in
    --build)
      need_value "$@"
      build_dir=$(realpath -m -- "$2")
      shift
      ;;
    --changed)
      need_value "$@"
      changed_since=$2
      shift
      ;;
    --quick) checks=('--checks=-clang-analyzer-*') ;;
    --jobs | -j)
      need_count "$@"
      jobs=$2
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*) die "unknown option '$1' (see --help)" ;;
    *) files+=("$1") ;;
  esac
  shift
done

# A header has no compile command of its own: a change in it is seen through the sources of its folder.
changed_sources() {
  local changed folders
  changed=$(git diff --name-only "$changed_since" -- '*.cpp' '*.h')
  folders=$(grep '\.h$' <<<"$changed" | xargs -r -n1 dirname | sort -u) || true
  while IFS= read -r file; do
    if grep -qxF -- "$file" <<<"$changed" || grep -qxF -- "$(dirname "$file")" <<<"$folders"; then
      printf '%s\n' "$file"
    fi
  done
}

have clang-tidy || die 'clang-tidy is missing: scripts/install_packages.sh --tests'
[[ -f $build_dir/compile_commands.json ]] || die "no compile_commands.json in $build_dir: build with clang first"
cd "$repo_root"
[[ -z $changed_since ]] || git rev-parse --verify --quiet "$changed_since^{commit}" >/dev/null ||
  die "no such commit: $changed_since"
if ((${#files[@]} == 0)); then
  mapfile -t files < <(tracked 'core/*.cpp' 'collectives/*.cpp' 'transports/*.cpp' 'runtime/*.cpp')
  [[ -z $changed_since ]] || mapfile -t files < <(printf '%s\n' "${files[@]}" | changed_sources)
fi
if ((${#files[@]} == 0)); then
  [[ -n $changed_since ]] || die 'no sources found'
  say 'no source has changed'
  exit 0
fi
printf '%s\0' "${files[@]}" | xargs -0 -n1 -P "$jobs" clang-tidy --quiet -p "$build_dir" ${checks[@]+"${checks[@]}"}
say "${#files[@]} sources without findings"
