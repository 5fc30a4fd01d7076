# shellcheck shell=bash disable=SC2034 # what is set here is used by those who read it
# The kernel settings of a host that holds many connections: each with its value, why, what it costs
# and how it is undone. Read by apply.sh, check.sh and revert.sh; it changes nothing by itself.
#
# A knob is one line of `knobs`: name, comparison, value.
#   min   the kernel's value may be larger
#   is    it must be this one
#   has   these ports must be among those of its list
#   ring  io_uring: this one, or it is left to one group

# Where the settings are; a test has a copy of its own.
readonly ROOT=${LONGWIRE_SYSCTL_ROOT:-/proc/sys}
readonly CONF=${LONGWIRE_SYSCTL_CONF:-/etc/sysctl.d/90-longwire.conf}
readonly BEFORE=${LONGWIRE_SYSCTL_BEFORE:-/var/lib/longwire/sysctl.before}

# Bytes of kernel memory for one connection: CONNECTION_KERNEL_BYTES of src/limits.rs, which has the
# measurement.
readonly KERNEL_BYTES_PER_CONNECTION=4510
# Bytes of user memory for one session with a user and a channel, with room.
readonly USER_BYTES_PER_CONNECTION=400
readonly PAGE_BYTES=4096
# Connections of one source address to one port; a proxy or a load generator on one address needs
# them all.
readonly PORTS_FIRST=1024
readonly PORTS_LAST=65535
# Ports that longwire listens on by default, which are within that range.
readonly PORTS_SERVED=8000,9000

usage() {
    cat <<USAGE
usage: $(basename "$0") [--connections N] [--ram GIB] [--ports PORT,PORT]

  --connections N   connections that the host shall hold (default 1000000)
  --ram GIB         memory of the host (default: what it has)
  --ports LIST      ports that longwire listens on (default $PORTS_SERVED)
USAGE
}

# Reads the arguments into `connections`, `ram_bytes` and `ports`.
read_arguments() {
    connections=1000000
    ports=$PORTS_SERVED
    ram_bytes=$(awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo)
    while [ $# -gt 0 ]; do
        case $1 in
            --connections) connections=$(number "${2-}" "$1") ;;
            --ram)
                ram_bytes=$(number "${2-}" "$1")
                ram_bytes=$((ram_bytes << 30))
                ;;
            --ports)
                ports=${2-}
                check_ports "$ports" "$1"
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                usage >&2
                exit 2
                ;;
        esac
        shift 2
    done
}

# Ends where the list $1 is not one of ports, before anything is changed.
check_ports() {
    local port
    for port in ${1//,/ }; do
        number "$port" "$2" >/dev/null
        if [ "$port" -gt 65535 ]; then
            echo "$(basename "$0"): $2 takes ports, and $port is none" >&2
            exit 2
        fi
    done
    case ,$1, in
        *,,*)
            echo "$(basename "$0"): $2 takes PORT,PORT, not '$1'" >&2
            exit 2
            ;;
    esac
}

number() {
    case $1 in
        '' | *[!0-9]* | 0)
            echo "$(basename "$0"): $2 takes a number above 0, not '$1'" >&2
            exit 2
            ;;
    esac
    echo "$1"
}

larger() { [ "$1" -gt "$2" ] && echo "$1" || echo "$2"; }

# All knobs for `connections` and `ram_bytes`.
knobs() {
    # Files of the whole host: one for each connection, a tenth more for everything else.
    #   reason  accept and open fail with ENFILE beyond it
    #   cost    none until they are open
    echo "fs.file-max min $((connections + connections / 10 + 100000))"

    # Descriptors that one process may be allowed at all; `ulimit -n` and LimitNOFILE= end here.
    #   reason  with it, one shard per core holds everything; without, longwire starts more shards
    #   cost    8 bytes for each descriptor of a table that is as large
    echo "fs.nr_open min $(larger $((connections + connections / 10)) 1048576)"

    # Connections that wait for accept, per listener; longwire asks for 4096 on each shard.
    #   reason  a storm of reconnects is not dropped while a shard does something else
    #   cost    memory of those that wait, which they need anyway
    echo "net.core.somaxconn min 4096"

    # Connections that wait for the last packet of their handshake, per listener.
    #   reason  beyond it SYNs are answered with cookies, which lose TCP options, or are dropped
    #   cost    some 300 bytes for each that waits
    echo "net.ipv4.tcp_max_syn_backlog min 8192"

    # SYN cookies when that queue is full all the same.
    #   reason  a flood of SYNs must not keep others out
    #   cost    connections made so have no window scaling or SACK
    echo "net.ipv4.tcp_syncookies is 1"

    # Packets of one core that wait for the network stack.
    #   reason  the default of 1000 drops packets when thousands of clients answer a ping at once
    #   cost    memory of the packets while they wait
    echo "net.core.netdev_max_backlog min 16384"

    # Pages of socket buffers of the whole host: no pressure below a quarter of the memory left
    # beside the connections, none dropped below a half of it.
    #   reason  beyond the third number connections are cut; the defaults allow an eighth of the RAM
    #   cost    what lies in buffers is not there for anything else
    local free=$((ram_bytes - connections * (KERNEL_BYTES_PER_CONNECTION \
        + USER_BYTES_PER_CONNECTION)))
    local pages=$(($(larger "$free" $((ram_bytes / 8))) / PAGE_BYTES))
    echo "net.ipv4.tcp_mem is $((pages / 4)) $((pages * 3 / 8)) $((pages / 2))"

    # Bytes of one socket's buffers: least, initial, most. What waits to be read or sent decides how
    # much of it is taken; an idle socket takes none.
    #   reason  a million clients that do not read may not take 4 MiB each
    #   cost    at 100 ms, one connection moves at most 2.5 MB/s
    echo "net.ipv4.tcp_rmem is 4096 131072 262144"
    echo "net.ipv4.tcp_wmem is 4096 16384 262144"

    # Sockets without a process, such as those of clients that vanished after a close.
    #   reason  beyond it they are reset at once
    #   cost    up to 64 KB each, with what they still have to send
    echo "net.ipv4.tcp_max_orphans min $(larger $((connections / 4)) 65536)"

    # Closed connections whose port rests for a minute.
    #   reason  beyond it the kernel forgets them, and late packets reach new connections
    #   cost    about 250 bytes each
    echo "net.ipv4.tcp_max_tw_buckets min $(larger $((connections / 4)) 65536)"

    # A port that rests may be taken again for a connection that this host opens.
    #   reason  a proxy in front on this host would run out of ports otherwise
    #   cost    none: time stamps tell old packets from new ones
    echo "net.ipv4.tcp_tw_reuse min 1"

    # Ports for connections that this host opens, to back ends or from a proxy in front.
    #   reason  28,000 by default, to one address
    #   cost    servers on these ports must be started before they are taken, or be reserved below
    echo "net.ipv4.ip_local_port_range is $PORTS_FIRST $PORTS_LAST"

    # Ports that the kernel gives to none of those connections.
    #   reason  longwire could not listen while one of them has its port, after a restart for example
    #   cost    none; whoever asks for such a port by its number gets it
    echo "net.ipv4.ip_local_reserved_ports has $ports"

    # The first window after silence stays what it was.
    #   reason  most connections are silent between two messages; each would start slow again
    #   cost    a burst into a path that has become slower meanwhile
    echo "net.ipv4.tcp_slow_start_after_idle is 0"

    # Connections in the accept queue of a listener that is closed move to another one.
    #   reason  no connection is lost when a process with listeners on the same port ends
    #   cost    none
    echo "net.ipv4.tcp_migrate_req is 1"

    # Mappings of one process: 120 shards and their rings at most.
    #   reason  each ring has three mappings, each thread two
    #   cost    none until they are there
    echo "vm.max_map_count min 65530"

    # io_uring for everybody, or for one group (1, and kernel.io_uring_group has its number): who has
    # chosen that keeps it, and puts longwire into the group.
    #   reason  longwire stands on it
    #   cost    other programs may use it, too
    echo "kernel.io_uring_disabled ring 0"

    # Entries of connection tracking, where it is loaded: the firewall remembers every connection.
    #   reason  when the table is full, packets of new connections are dropped
    #   cost    about 320 bytes each; better: do not track the port (README)
    echo "net.netfilter.nf_conntrack_max min $((connections + connections / 10 + 65536))"
}

path_of() { echo "$ROOT/${1//.//}"; }

# Sets knob $1 to $2.
set_knob() {
    echo "$2" >"$(path_of "$1")" || {
        echo "$(basename "$0"): $1 cannot be set; in a container, run it on the host" >&2
        exit 1
    }
}

# Ends where the settings cannot be changed.
must_be_allowed() {
    [ -w "$(path_of fs.file-max)" ] || {
        echo "$(basename "$0"): run it as root: sudo $0" >&2
        exit 1
    }
}

# The value that the kernel has now, its numbers separated by one blank; fails where there is none.
current() {
    local path
    path=$(path_of "$1")
    [ -r "$path" ] || return 1
    local values
    read -r -a values <"$path"
    echo "${values[*]}"
}

# Whether value $3 of the kernel satisfies knob $1 (min, is, has or ring) with value $2.
satisfies() {
    case $1 in
        min) [ "$3" -ge "$2" ] ;;
        is) [ "$3" = "$2" ] ;;
        has) [ -z "$(missing_ports "$2" "$3")" ] ;;
        ring) [ "$3" = "$2" ] || { [ "$3" = 1 ] && has_ring_group; } ;;
    esac
}

# Whether io_uring is left to one group; -1 is none.
has_ring_group() {
    local group
    group=$(current kernel.io_uring_group) && [ "$group" -ge 0 ]
}

# The value to set for knob $1 with value $2 where the kernel's is $3: a list keeps what it has.
value_to_set() {
    if [ "$1" = has ] && [ -n "$3" ]; then
        echo "$3,$(missing_ports "$2" "$3")"
    else
        echo "$2"
    fi
}

# Those of the ports $1 that are not in the kernel's list $2, such as 7000,8000-8010.
missing_ports() {
    local missing='' port range
    for port in ${1//,/ }; do
        for range in ${2//,/ }; do
            [ "$port" -lt "${range%-*}" ] || [ "$port" -gt "${range#*-}" ] || continue 2
        done
        missing+=,$port
    done
    echo "${missing#,}"
}
