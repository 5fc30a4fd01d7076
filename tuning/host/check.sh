#!/usr/bin/env bash
# Says which kernel settings of this host are good for many connections, and changes nothing.
# Ends with 0 if all are, and with 1 if one is not.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")"
# shellcheck source-path=SCRIPTDIR source=knobs.sh
source ./knobs.sh

read_arguments "$@"
wanted=$(knobs)
missing=0
while read -r name comparison value; do
    if ! now=$(current "$name"); then
        echo "absent   $name"
    elif satisfies "$comparison" "$value" "$now"; then
        echo "good     $name = $now"
    else
        value=$(value_to_set "$comparison" "$value" "$now")
        echo "low      $name = $now, wants $value: sysctl -w '$name=$value'"
        missing=$((missing + 1))
    fi
done <<<"$wanted"

needed=$((connections * (KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION)))
if [ "$needed" -gt "$ram_bytes" ]; then
    echo "low      memory: $connections connections need $((needed >> 20)) MiB before the first" \
        "message, and there are $((ram_bytes >> 20))"
    missing=$((missing + 1))
fi
[ "$missing" = 0 ]
