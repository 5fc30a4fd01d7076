#!/usr/bin/env bash
# Undoes apply.sh: the values that the kernel had before its first run, now and after the next start.
set -euo pipefail

cd "$(dirname "$(realpath "$0")")"
# shellcheck source-path=SCRIPTDIR source=knobs.sh
source ./knobs.sh

[ -e "$BEFORE" ] || {
    echo "nothing to undo: there is no $BEFORE"
    exit 0
}
must_be_allowed
while IFS= read -r line; do
    name=${line%% = *}
    value=${line#* = }
    set_knob "$name" "$value"
    echo "restored $name = $value"
done <"$BEFORE"
rm -f "$CONF" "$BEFORE"
