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

# Given when the kernel starts, so it is told and counts for nothing. A negative number is that of
# another namespace's table, which is shared.
if buckets=$(current net.ipv4.tcp_ehash_entries) && [ "${buckets#-}" -lt "$connections" ]; then
    echo "slow     net.ipv4.tcp_ehash_entries = $buckets, wants $connections: thash_entries=$connections on" \
        "the kernel's command line"
fi

needed=$((connections * (KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION)))
if [ "$needed" -gt "$ram_bytes" ]; then
    echo "low      memory: $connections connections need $((needed >> 20)) MiB before the first" \
        "message, and there are $((ram_bytes >> 20))"
    missing=$((missing + 1))
fi
[ "$missing" = 0 ]
