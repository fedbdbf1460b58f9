#!/usr/bin/env bash
# Downloads and unpacks the packages that Tutti is built with into a folder, to be carried to a machine that has a GPU but neither these
# packages nor a network (scripts/gpu_ci.sh --deps). Nothing is installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/gpu_deps.sh DIR
  DIR  where the packages are unpacked: DIR/usr/include, DIR/usr/lib, ...; made where it does not exist

The packages are those of this machine's distribution and architecture (Debian, Ubuntu): run it on the same release as
the machine with the GPU has. apt-get must know the packages (apt-get update).
END
}

packages=(libfmt-dev libcli11-dev nlohmann-json3-dev libhwloc-dev libucx-dev libpmix-dev catch2 pkgconf pkgconf-bin ninja-build)

# Every machine with a compiler has these.
base='^(auto|cdebconf|debianutils|install-info|libacl|libaudit|libbsd|libcap|libdebian|libgdbm|libnewt|libpam|libperl'
base+='|libreadline|libselinux|libsemanage|libsepol|libslang|libtextwrap|libtinfo|libx|libxau|libc6|libc-bin|libc-dev-bin|libcrypt|libgcc-s1|gcc-|gcc$|g\+\+|cpp|libstdc\+\+|linux-libc-dev|debconf|dpkg|perl|python3|libpython|zlib1g|libssl|openssl|tzdata|init-system-helpers|sensible-utils|passwd|adduser|sysvinit-utils|lsb-base)'

# The packages and all that they need, one a line.
wanted() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    "$@" 2>/dev/null | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u | grep -Ev "$base"
}

# Debian's .pc files say /usr: here they say where they lie.
relocate() {
  local root=$1 file up
  while IFS= read -r file; do
    up=$(realpath --relative-to="$(dirname "$file")" "$root/usr")
    sed -i -E "s#(^|[^a-z])/usr(/|\$)#\1\${pcfiledir}/$up\2#g" "$file"
  done < <(find "$root/usr" -path '*pkgconfig/*.pc' -type f)
}

main() {
  local dir='' name
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      -*) die "unknown option '$1' (see --help)" ;;
      *)
        [[ -z $dir ]] || die "one folder, not '$dir' and '$1' (see --help)"
        dir=$1
        ;;
    esac
    shift
  done
  [[ -n $dir ]] || die 'a folder is needed (see --help)'
  if ! have apt-get || ! have dpkg; then die 'this is no Debian or Ubuntu'; fi
  mkdir -p "$dir"
  dir=$(realpath "$dir")

  local names=() known=()
  mapfile -t names < <(wanted "${packages[@]}")
  # Not all of these exist: some are names that several packages provide.
  mapfile -t known < <(apt-cache --no-all-versions show "${names[@]}" 2>/dev/null | sed -n 's/^Package: //p' | sort -u)
  for name in "${packages[@]}"; do
    [[ " ${known[*]} " == *" $name "* ]] || die "apt-get does not know $name: apt-get update, or another distribution"
  done

  local archives
  archives=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$archives'" EXIT
  say "downloading ${#known[@]} packages"
  (cd "$archives" && apt-get -qq -o APT::Sandbox::User=root download "${known[@]}")
  for name in "$archives"/*.deb; do dpkg -x "$name" "$dir"; done
  relocate "$dir"
  printf '%s\n' "${archives}"/*.deb | sed 's|.*/||' >"$dir/packages.txt"
  say "$dir: $(du -sh "$dir" | cut -f 1), ${#known[@]} packages (packages.txt lists them)"
}

main "$@"
