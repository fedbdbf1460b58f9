#!/usr/bin/env bash
# Fetches UCC and Gloo at fixed versions and builds them, for the benchmarks' --baseline ucc,gloo.
#
# Nothing is installed outside the prefix. UCC is built on the UCX there is (pkg-config), in the newest version that this UCX suffices for.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/build_peers.sh [--prefix DIR] [--only ucc|gloo] [--jobs N] [--help]
  --prefix DIR  where they are installed (default build/peers)
  --only NAME   one of the two
  --jobs N      so many compilers at once (default: all cores)

Needs git, a C++ compiler, CMake and Ninja, for UCC also autoconf, automake, libtool and UCX's headers (libucx-dev). Then:
  cmake --preset release -DCMAKE_PREFIX_PATH=DIR
END
}

ucc_url=https://github.com/openucx/ucc
gloo_url=https://github.com/facebookincubator/gloo
# Versions as VERSION:COMMIT. From 1.4 on UCC needs what UCX has since 1.14.
ucc_new=v1.8.0:211e2f60436cba7c044195acb43752aa70eab38f
ucc_old=v1.3.0:1522ccff5e107451d747b1085b3f84714a6c2eea
gloo_version=main:cc441984208d0b54b4fc614301f41e82e951e5cd

# fetch URL COMMIT DIR: the tree of that commit, and no other.
fetch() {
  local url=$1 commit=$2 dir=$3
  if [[ -d $dir/.git && $(git -C "$dir" rev-parse -q --verify HEAD 2>/dev/null) == "$commit" ]]; then return; fi
  rm -rf "$dir"
  git init -q "$dir"
  git -C "$dir" fetch -q --depth 1 "$url" "$commit" || die "$url: commit $commit cannot be fetched"
  git -C "$dir" -c advice.detachedHead=false checkout -q FETCH_HEAD
  [[ $(git -C "$dir" rev-parse HEAD) == "$commit" ]] || die "$url: not the commit $commit"
}

need() {
  local program
  for program in "$@"; do have "$program" || die "$program is missing (Debian: apt install git cmake ninja-build autoconf automake libtool pkg-config)"; done
}

build_ucc() {
  local sources=$1 prefix=$2 jobs=$3 version=$ucc_new ucx
  need autoconf automake libtoolize make pkg-config
  pkg-config --exists ucx || die "UCC: no UCX was found by pkg-config (Debian: libucx-dev)"
  if ! pkg-config --atleast-version=1.14 ucx; then version=$ucc_old; fi
  ucx=$(pkg-config --variable=prefix ucx)
  say "UCC ${version%%:*} on UCX $(pkg-config --modversion ucx)"
  fetch "$ucc_url" "${version#*:}" "$sources/ucc"
  cd "$sources/ucc"
  ./autogen.sh >autogen.log 2>&1 || die "UCC: autogen.sh failed: $PWD/autogen.log"
  ./configure --prefix="$prefix" --with-ucx="$ucx" --without-cuda --without-rocm --without-nccl --without-rccl >configure.log 2>&1 ||
    die "UCC: configure failed: $PWD/configure.log"
  { make -j "$jobs" && make install; } >make.log 2>&1 || die "UCC: make failed: $PWD/make.log"
}

build_gloo() {
  local sources=$1 prefix=$2 jobs=$3
  need cmake ninja
  say "Gloo ${gloo_version#*:}"
  fetch "$gloo_url" "${gloo_version#*:}" "$sources/gloo"
  cmake -S "$sources/gloo" -B "$sources/gloo-build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" >"$sources/gloo.log" 2>&1 ||
    die "Gloo: cmake failed: $sources/gloo.log"
  cmake --build "$sources/gloo-build" -j "$jobs" --target install >>"$sources/gloo.log" 2>&1 || die "Gloo: the build failed: $sources/gloo.log"
}

main() {
  local prefix=$repo_root/build/peers jobs only=''
  jobs=$(cores)
  while (($#)); do
    case $1 in
      --prefix)
        need_value "$@"
        prefix=$(realpath -m "$2")
        shift
        ;;
      --only)
        need_value "$@"
        only=$2
        [[ $only == ucc || $only == gloo ]] || die "--only needs ucc or gloo, not '$only'"
        shift
        ;;
      --jobs)
        need_count "$@"
        jobs=$2
        shift
        ;;
      -h | --help)
        usage
        return
        ;;
      *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
  done
  need git
  mkdir -p "$prefix/src"
  if [[ $only != ucc ]]; then (build_gloo "$prefix/src" "$prefix" "$jobs"); fi
  if [[ $only != gloo ]]; then (build_ucc "$prefix/src" "$prefix" "$jobs"); fi
  say "built; now: cmake --preset release -DCMAKE_PREFIX_PATH=$prefix"
}

main "$@"
