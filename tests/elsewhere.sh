#!/usr/bin/env bash
# Runs the tests as somebody else, somewhere else: what passes only where it was written is a fault.
#
#   tests/elsewhere.sh sample      a few minutes' worth, all differences at once (part of `make test`)
#   tests/elsewhere.sh NAME …      the whole suite under each: user host kolkata newfoundland c umask year load
#   tests/elsewhere.sh together    the whole suite under those of the sample at once, but the load
#   tests/elsewhere.sh all         under each by itself
#
# Pytest's arguments may follow `--`. What this machine does not allow is said, and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

places=() given=()
while [ $# -gt 0 ]; do
  if [ "$1" = -- ]; then shift; given=("$@"); break; fi
  places+=("$1"); shift
done
[ "${places[*]-}" = all ] && places=(user host kolkata newfoundland c umask year load)
[ ${#places[@]} -gt 0 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }

scratch=$(mktemp -d)
children=()
tidy() {
  for child in "${children[@]-}"; do [ -z "$child" ] || kill "$child" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap tidy EXIT

say() { printf '\n== %s\n' "$*"; }
left_out() { printf '== LEFT OUT: %s\n' "$*"; }

# Whoever runs it reads the checkout, and writes nothing into it.
export PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY="$scratch/hypothesis"
python=$(realpath -s "${BIN:-.venv/bin}")/python

tests() {
  "${before[@]+"${before[@]}"}" "$python" -m pytest -p no:cacheprovider -q \
    --basetemp="$scratch/run" "${given[@]+"${given[@]}"}" "$@"
}

nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env "HOME=$scratch/home" "TMPDIR=$scratch")

as_another_user() {
  # `nobody` has no home, no name in some containers, and may read and not write.
  if [ "$(id -u)" != 0 ]; then left_out 'another user: only root may become one'; return 1; fi
  if ! "${nobody[@]}" true 2>/dev/null; then left_out 'another user: setpriv may not'; return 1; fi
  chown 65534:65534 "$scratch"
  before+=("${nobody[@]}")
  "${nobody[@]}" "$python" -c 'import openbell' 2>/dev/null && return
  # The interpreter lies where only root may look: for these processes alone, that folder is
  # covered by one that holds nothing else.
  local prefix shut
  prefix=$("$python" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
  shut=/$(cut -d/ -f2 <<<"$prefix")
  before=(unshare --mount bash -euc 'own=$(umask); umask 022; mkdir -p "$1/kept"; mount --bind "$2" "$1/kept"; mount -t tmpfs -o mode=755 tmpfs "$3"
    mkdir -p "$2"; mount --bind "$1/kept" "$2"; umask "$own"; shift 3; exec "$@"' sh "$scratch" "$prefix" "$shut" "${before[@]}")
  if ! "${before[@]}" "$python" -c 'import openbell'; then
    left_out "another user: it may not read $PWD, or run $python"; before=(); return 1
  fi
}

on_another_host() {
  if ! unshare --uts true 2>/dev/null; then left_out 'another host name: unshare may not'; return 1; fi
  before=(unshare --uts sh -c 'hostname somewhere-else && exec "$@"' sh "${before[@]+"${before[@]}"}")
}

in_another_year() {
  if ! command -v faketime >/dev/null; then left_out 'another year: faketime is not installed'; return 1; fi
  # Durations stay true: what waits for a monotonic clock must not.
  before+=(env FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 faketime '2031-03-09 01:59:30')
}

under_load() {
  for _ in 1 2; do yes >/dev/null & children+=($!); done
}

failed=0
for place in "${places[@]}"; do
  before=()
  case $place in
    sample)
      say 'another user, host name, zone, language, umask, and load, at once: a sample'
      as_another_user || true
      on_another_host || true
      under_load
      ( umask 077; export TZ=America/St_Johns LANG=C LC_ALL=C
        tests -m 'not slow' tests/adapters/stores/test_sqlite.py tests/adapters/test_files_sink.py \
          tests/adapters/test_sources_csv.py tests/runtime/lifetime/test_old_snapshots.py \
          tests/runtime/config tests/market/test_windows.py ) || failed=1
      tidy; scratch=$(mktemp -d); children=()
      continue ;;
    together)
      say 'another user, host name, zone, language and umask, at once'
      as_another_user || true
      on_another_host || true
      before+=(env TZ=America/St_Johns LANG=C LC_ALL=C)
      before=(sh -c 'umask 077 && exec "$@"' sh "${before[@]}")
      run=(tests -m 'not slow') ;;
    user) say 'as another user'; as_another_user || continue; run=(tests -m 'not slow') ;;
    host) say 'under another host name'; on_another_host || continue; run=(tests -m 'not slow') ;;
    kolkata) say 'TZ=Asia/Kolkata'; before=(env TZ=Asia/Kolkata); run=(tests -m 'not slow') ;;
    newfoundland) say 'TZ=America/St_Johns'; before=(env TZ=America/St_Johns); run=(tests -m 'not slow') ;;
    c) say 'LANG=C'; before=(env LANG=C LC_ALL=C); run=(tests -m 'not slow') ;;
    umask) say 'umask 077'; before=(sh -c 'umask 077 && exec "$@"' sh); run=(tests -m 'not slow') ;;
    year) say 'in another year'; in_another_year || continue; run=(tests -m 'not slow') ;;
    load) say 'beside two busy processes'; under_load; run=(tests -m 'not slow') ;;
    *) echo "$place: not a place; use user host kolkata newfoundland c umask year load, together, all, or sample"; exit 2 ;;
  esac
  "${run[@]}" -n 2 || failed=1
done
exit $failed
