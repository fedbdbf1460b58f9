#!/usr/bin/env bash
# read_statistics_test.sh PROGRAM READER: a program writes its statistics, and the reader makes sense of them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
TUTTI_STATS=$folder/stats.json "$1" > /dev/null
text=$(python3 "$2" "$folder/stats.json")
printf '%s\n' "$text"
grep -Eq '^4 operations of rank 0, 4 compared with all ranks$' <<< "$text"
grep -Eq '^all_reduce +64 +[0-9.]+ +[0-9.]+ +[0-9.]+$' <<< "$text"
grep -Eq '^rank [0-3] cost most: the last to arrive in (25|50|75|100)% of operations' <<< "$text"
