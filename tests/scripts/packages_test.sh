#!/usr/bin/env bash
# scripts/install_packages.sh with a package manager of our own: what is missing is asked for, and what can be had only.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"

# stand_in NAME: a program of that name, which does what standard input says.
stand_in() {
  { echo '#!/usr/bin/env bash' && cat; } >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

# $ABSENT and $UNKNOWN are names between blanks. The real one, too, writes on when it has told of a candidate.
stand_in dpkg-query <<'END'
if [[ " $ABSENT " == *" ${*: -1} "* ]]; then exit 1; fi
echo installed
END
stand_in apt-cache <<'END'
if [[ " $UNKNOWN " == *" $2 "* ]]; then exit 0; fi
printf '%s:\n  Installed: (none)\n  Candidate: 1.0\n' "$2"
for ((i = 0; i < 5000; ++i)); do echo '     1.0 500 a line of the table of versions'; done
END
stand_in apt-get <<'END'
printf '%s\n' "$*" >>"$ASKED"
END
stand_in sudo <<'END'
[[ $1 == -n ]] && shift
exec "$@"
END

export ABSENT UNKNOWN ASKED=$scratch/asked

# asks TOLD EXPECTED ARGUMENT...: the packages that apt-get is to install, in the order in which it was asked.
asks() {
  local told=$1 expected=$2 got
  shift 2
  : >"$ASKED"
  # What was asked for is not there afterwards, which is an error of its own.
  PATH=$scratch/bin:$PATH "$repo_root/scripts/install_packages.sh" "$@" >"$scratch/out" 2>&1 || true
  got=$(sed -nE 's/.* install -y --no-install-recommends //p' "$ASKED" | sort -u | tr '\n' ' ')
  if [[ ${got% } != "$expected" ]]; then
    cat "$scratch/out" >&2
    die "not so: $told: asked for '${got% }', expected '$expected'"
  fi
  say "ok: $told"
}

# Nothing may be waited for.
stand_in sleep <<'END'
END

ABSENT='' UNKNOWN=''
asks 'where all is there, nothing is asked for' '' --tests
ABSENT='ninja-build'
asks 'what is missing is asked for' 'ninja-build'
ABSENT='pkg-config pkgconf' UNKNOWN='pkg-config'
asks 'of two names the one that can be had' 'pkgconf'
ABSENT='qemu-system-x86 chromium' UNKNOWN='chromium'
asks 'what tests can do without is asked for where it can be had' 'qemu-system-x86' --tests
asks 'but not by who only builds' ''
asks 'a virtual machine needs it' 'qemu-system-x86' --vm
