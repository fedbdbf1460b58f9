#!/usr/bin/env bash
# Installs the distribution packages that building, running and testing Tutti need, and nothing that is there already.
#
# Debian 12, Ubuntu 24.04 and later. Where nothing is missing apt is not called at all; the package lists are
# fetched only when a wanted package is unknown or fails to install. Works as root or through sudo.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/install_packages.sh [--tests] [--check] [--help]
  --tests  also what scripts/test.sh needs (clang, Catch2, formatters, ...)
  --vm     also what scripts/rdma_vm.sh needs (QEMU, RDMA tools), which --tests installs if it can be had
  --check  install nothing: say what is missing, and exit 1 if anything is
END
}

# `a|b` is met by either; the first that the distribution has is installed.
build_packages=(g++ cmake ninja-build ccache libfmt-dev libcli11-dev nlohmann-json3-dev libopenmpi-dev openmpi-bin
  'pkg-config|pkgconf' libhwloc-dev libucx-dev libibverbs-dev libpmix-dev)
# libclang-rt-dev (sanitizer and fuzzer runtimes of the default clang) has only a versioned name on some releases.
test_packages=(catch2 clang clang-format clang-tidy 'libclang-rt-dev|libclang-rt-18-dev|libclang-rt-14-dev'
  python3 python3-jsonschema python3-numpy python3-yaml yamllint librsvg2-bin strace shellcheck git iproute2)
vm_packages=(qemu-system-x86 kmod ibverbs-utils ibverbs-providers perftest iproute2 xz-utils util-linux)
# Tests that need these are skipped without them: not every distribution has them as a package.
optional_packages=(chromium)

installed() {
  local name names
  IFS='|' read -ra names <<<"$1"
  for name in "${names[@]}"; do
    # A package of several architectures prints one state each; one that is installed is enough.
    if grep -qx installed < <(dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null); then return 0; fi
  done
  return 1
}

known() { grep -q '^ *Candidate: [^(]' < <(apt-cache policy "$1" 2>/dev/null); }

# The first name of `a|b` that apt knows; none where it knows none.
known_name() {
  local name names
  IFS='|' read -ra names <<<"$1"
  for name in "${names[@]}"; do
    if known "$name"; then
      echo "$name"
      return 0
    fi
  done
  return 1
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -q "$@"
}

# Old lists that name versions which are gone, a lock held by another apt, a network that fails for a moment: each is
# answered by fetching the lists and trying again, later each time.
install_all() {
  local spec names pause code=0
  for spec in "$@"; do
    if ! known_name "$spec" >/dev/null; then
      apt update || warn 'the package lists could not be fetched'
      break
    fi
  done
  for pause in 3 10 30 0; do
    names=()
    for spec in "$@"; do names+=("$(known_name "$spec" || echo "${spec%%|*}")"); done
    code=0
    apt install -y --no-install-recommends "${names[@]}" || code=$?
    if ((code == 0 || pause == 0)); then break; fi
    warn "apt-get install failed with status $code; again in $pause s"
    sleep "$pause"
    apt update || warn 'the package lists could not be fetched'
  done
  return "$code"
}

missing() {
  local spec
  for spec in "$@"; do installed "$spec" || echo "$spec"; done
}

# Installs what of `optional` is missing and known to apt; what cannot be had is told, and no failure.
install_optional() {
  local spec
  for spec in "$@"; do
    if installed "$spec" || ! known "$spec" || ! as_root true; then continue; fi
    apt install -y --no-install-recommends "$spec" || warn "$spec could not be installed: the tests that need it will be skipped"
  done
}

main() {
  local wanted=("${build_packages[@]}") optional=() absent check=0
  while (($#)); do
    case $1 in
      --tests)
        wanted+=("${test_packages[@]}")
        optional+=("${optional_packages[@]}" "${vm_packages[@]}")
        ;;
      --vm) wanted+=("${vm_packages[@]}") ;;
      --check) check=1 ;;
      -h | --help)
        usage
        return
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done

  have dpkg-query || die "this is no Debian or Ubuntu: install what these packages hold in the system's own way," \
    "then use --no-install: ${wanted[*]}"
  mapfile -t absent < <(missing "${wanted[@]}")
  if ((${#absent[@]} == 0)); then
    ((check)) || install_optional ${optional[@]+"${optional[@]}"}
    say 'packages: all there'
    return
  fi
  ((check == 0)) || die "missing: ${absent[*]}"
  as_root true || die "neither root nor sudo to install what is missing; as root: apt-get install ${absent[*]%%|*}"
  say "packages: installing ${absent[*]}"
  local code=0
  install_all "${absent[@]}" || code=$?
  mapfile -t absent < <(missing "${absent[@]}")
  ((${#absent[@]} == 0)) || die "apt-get failed (status $code); still missing: ${absent[*]}"
  install_optional ${optional[@]+"${optional[@]}"}
  say 'packages: all there'
}

main "$@"
