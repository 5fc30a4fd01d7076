#!/usr/bin/env bash
# Sets the kernel of this host for many connections, now and after the next start; knobs.sh says
# what, why, and what it costs. Values that are good already stay. revert.sh undoes it.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
# shellcheck source-path=SCRIPTDIR source=knobs.sh
source ./knobs.sh

read_arguments "$@"
must_be_allowed

wanted=$(knobs)
mkdir -p "$(dirname "$BEFORE")" "$(dirname "$CONF")"
touch "$BEFORE"
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
echo "# Written by longwire's tuning/host/apply.sh --connections $connections." >"$lines"

while read -r name comparison value; do
    if ! now=$(current "$name"); then
        echo "absent   $name: this kernel has none"
        continue
    fi
    if ! satisfies "$comparison" "$value" "$now"; then
        # Only the first time: a second run must not take our own value for the one before.
        grep -q "^$name = " "$BEFORE" || echo "$name = $now" >>"$BEFORE"
        value=$(value_to_set "$comparison" "$value" "$now")
        set_knob "$name" "$value"
        echo "set      $name = $value (was ${now:-empty})"
    else
        echo "good     $name = $now"
    fi
    # Also what is good now, if it was set here: it has to be so after the next start.
    if grep -q "^$name = " "$BEFORE"; then
        echo "$name = $(current "$name")" >>"$lines"
    fi
done <<<"$wanted"

install -m 0644 "$lines" "$CONF"
echo "kept in $CONF; what was before is in $BEFORE"
