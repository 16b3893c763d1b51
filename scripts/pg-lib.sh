# Sourced by the pg-* scripts: which PostgreSQL is meant, and how to ask and change it.
#
# A server is one of Debian's clusters (--cluster 15/main: configuration below
# /etc/postgresql, started by pg_ctlcluster) or a plain data folder (--data DIR:
# configuration inside, started by pg_ctl).
#
# Invariants: no password is ever an argument of a program; what a script writes goes to a
# temporary file first and is renamed; nothing is removed that was not asked for by name;
# running a script again changes nothing that is already as it should be.
#
# shellcheck shell=bash
set -euo pipefail
# What a function at the end of a pipe finds out is known after it.
shopt -s lastpipe

# Exit codes of all of them; pg-status has its own.
E_FAILED=1 E_USAGE=2 E_UNAVAILABLE=69 E_PERMISSION=77 E_CONFIG=78

# WAL that is kept for a replica without a slot, and for pg_rewind, which otherwise often
# ends with "could not find previous WAL record".
WAL_KEEP=1GB
# Beyond this a slot whose replica is away is given up: a dead replica must not fill the disk.
SLOT_KEEP=10GB
# A silent connection is given up after this time, seconds; PostgreSQL's own default is 60.
REPLICATION_TIMEOUT=10
# How long a server may take to start, to stop or to catch up, seconds.
PATIENCE=${NWAF_PG_PATIENCE:-60}
# How long a connection to another server may take, seconds.
CONNECT_TIMEOUT=3

CLUSTER="" DATA="" BIN="" LOG="" PASSWORDS="" OWNER=""
DATABASE=nwaf ROLE=nwaf REPLICATOR=replicator SUPERUSER=postgres SLOT=replica
API_FROM=() PEER_FROM=() TLS=no LISTEN="" PORT="" SOCKETS=""

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }
die() { # STATUS MESSAGE...
    local status=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$status"
}
usage_error() { die $E_USAGE "$*; ${0##*/} --help explains the options"; }

COMMON_HELP="\
Which server:
  --cluster VERSION/NAME   one of Debian's clusters, for example 15/main; without
                           --cluster and --data: the only cluster there is
  --data DIR               a plain data folder
  --bin DIR                PostgreSQL's programs (of the cluster's version, else the newest)
  --log FILE               with --data: the server's log (DIR.log)
  --superuser NAME         who asks the local server through its socket (postgres)

Roles and passwords:
  --passwords FILE         a PGPASSFILE with the passwords of both roles, readable by the
                           server's user only (nwaf.pgpass in that user's home folder)
  --replication-role NAME  who replicates (replicator)
  --slot NAME              the slot of the replica; one of its own for each (replica)

Environment: NWAF_PG_PATIENCE, seconds a server may take to start or to follow (60).
Exit codes: 0 done, 1 failed or refused, 2 wrong use, 69 the other server does not
answer, 77 permission, 78 configuration."

# Takes one option that several scripts know; TAKEN says how many words it was, 0 for none.
TAKEN=0
common_option() { # OPTION [VALUE]
    TAKEN=2
    case $1 in
    --cluster | --data | --bin | --log | --superuser | --passwords | --replication-role | --slot | \
        --api | --peer | --listen | --sockets | --port | --database | --role)
        [ $# -ge 2 ] && [ -n "$2" ] || usage_error "$1 needs a value"
        ;;
    esac
    case $1 in
    --cluster) CLUSTER=$2 ;;
    --data) DATA=$2 ;;
    --bin) BIN=$2 ;;
    --log) LOG=$2 ;;
    --superuser) SUPERUSER=$(identifier "$1" "$2") ;;
    --passwords) PASSWORDS=$2 ;;
    --replication-role) REPLICATOR=$(identifier "$1" "$2") ;;
    --slot) SLOT=$(identifier "$1" "$2") ;;
    --database) DATABASE=$(identifier "$1" "$2") ;;
    --role) ROLE=$(identifier "$1" "$2") ;;
    --api) API_FROM+=("$(network "$1" "$2")") ;;
    --peer) PEER_FROM+=("$(network "$1" "$2")") ;;
    --listen) LISTEN=$2 ;;
    --sockets) SOCKETS=$2 ;;
    --port)
        [[ $2 =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || usage_error "--port $2 is no number from 1 to 65535"
        PORT=$2
        ;;
    --tls) TLS=yes TAKEN=1 ;;
    *) TAKEN=0 ;;
    esac
}

# A name that needs no quoting anywhere.
identifier() { # OPTION VALUE
    [[ $2 =~ ^[a-z_][a-z0-9_]{0,62}$ ]] ||
        usage_error "$1 $2: a name has a-z, 0-9 and _, at most 63, and does not begin with a digit"
    printf '%s' "$2"
}

# An address with its mask, as pg_hba.conf wants it.
network() { # OPTION VALUE
    [[ $2 =~ ^[0-9a-fA-F.:]+(/[0-9]{1,3})?$ ]] || usage_error "$1 $2 is neither an address nor a network (10.0.0.0/24)"
    case $2 in
    */*) printf '%s' "$2" ;;
    *:*) printf '%s/128' "$2" ;;
    *) printf '%s/32' "$2" ;;
    esac
}

# Splits HOST, HOST:PORT or [V6]:PORT into PEER_HOST and PEER_PORT.
peer_address() { # OPTION VALUE
    PEER_PORT=5432
    case $2 in
    \[*\]:*) PEER_HOST=${2%%]*} PEER_PORT=${2##*]:} PEER_HOST=${PEER_HOST#[} ;;
    \[*\]) PEER_HOST=${2#[} PEER_HOST=${PEER_HOST%]} ;;
    *:*:*) PEER_HOST=$2 ;;
    *:*) PEER_HOST=${2%:*} PEER_PORT=${2##*:} ;;
    *) PEER_HOST=$2 ;;
    esac
    [[ $PEER_HOST =~ ^[0-9A-Za-z._:%-]+$ && $PEER_PORT =~ ^[0-9]{1,5}$ ]] ||
        usage_error "$1 $2 is no HOST, HOST:PORT or [IPV6]:PORT"
}

# --- Where the server is -------------------------------------------------------------------

# Sets KIND, DATA, CONF, BIN, OWNER, LOG, PASSWORDS. With `may-be-new` a server that does not
# exist yet is no error.
locate() { # [may-be-new]
    [ -z "$CLUSTER" ] || [ -z "$DATA" ] || usage_error "--cluster and --data exclude each other"
    if [ -n "$DATA" ]; then locate_plain; else locate_cluster "${1:-}"; fi
    if [ -e "$DATA" ]; then
        OWNER=$(stat -c %U "$DATA")
    elif [ "$(id -u)" = 0 ]; then
        OWNER=postgres
    else
        OWNER=$(id -un)
    fi
    [ "$OWNER" != root ] || die $E_CONFIG "$DATA belongs to root, and PostgreSQL never runs as root; chown it to postgres"
    id "$OWNER" >/dev/null 2>&1 || die $E_CONFIG "there is no user $OWNER; apt-get install postgresql creates postgres"
    [ "$(id -u)" = 0 ] || [ "$(id -un)" = "$OWNER" ] ||
        die $E_PERMISSION "$DATA belongs to $OWNER; run this as root or as $OWNER"
    if [ "${1:-}" != may-be-new ] && [ ! -s "$DATA/PG_VERSION" ]; then
        die $E_CONFIG "$DATA holds no PostgreSQL server; look at --cluster or --data (pg_lsclusters lists Debian's)"
    fi
    if [ -z "$PASSWORDS" ]; then
        PASSWORDS=$(getent passwd "$OWNER" | cut -d: -f6)/nwaf.pgpass
    fi
    PASSWORDS=$(realpath -m -- "$PASSWORDS")
    PATH=$BIN:$PATH
}

locate_plain() {
    KIND=plain
    DATA=$(realpath -m -- "$DATA")
    CONF=$DATA
    LOG=${LOG:-$DATA.log}
    [ -n "$BIN" ] || BIN=$(programs "$(cat "$DATA/PG_VERSION" 2>/dev/null || true)")
    [ -x "$BIN/postgres" ] || die $E_CONFIG "$BIN/postgres is not there; name PostgreSQL's programs with --bin"
}

locate_cluster() { # [may-be-new]
    KIND=debian
    command -v pg_lsclusters >/dev/null ||
        die $E_CONFIG "no --data is given, and pg_lsclusters is not installed: this is not Debian's PostgreSQL"
    if [ -z "$CLUSTER" ]; then
        [ "$(pg_lsclusters -h | wc -l)" = 1 ] ||
            usage_error "there is not exactly one cluster; name one with --cluster VERSION/NAME ($(pg_lsclusters -h | awk '{ printf "%s%s/%s", s, $1, $2; s = ", " }'))"
        CLUSTER=$(pg_lsclusters -h | awk '{ print $1 "/" $2 }')
    fi
    [[ $CLUSTER =~ ^([0-9]+)/([A-Za-z0-9_]+)$ ]] || usage_error "--cluster $CLUSTER is not VERSION/NAME, for example 15/main"
    CLUSTER_VERSION=${BASH_REMATCH[1]} CLUSTER_NAME=${BASH_REMATCH[2]}
    # The variable is that of Debian's own programs, for clusters of an ordinary user.
    CONF=${PG_CLUSTER_CONF_ROOT:-/etc/postgresql}/$CLUSTER
    [ -n "$BIN" ] || BIN=/usr/lib/postgresql/$CLUSTER_VERSION/bin
    [ -x "$BIN/postgres" ] || die $E_CONFIG "$BIN/postgres is not there; apt-get install postgresql-$CLUSTER_VERSION"
    read -r DATA LOG < <(pg_lsclusters -h | awk -v v="$CLUSTER_VERSION" -v n="$CLUSTER_NAME" '$1 == v && $2 == n { print $6, $7 }') || true
    LOG=${LOG:-/var/log/postgresql/postgresql-$CLUSTER_VERSION-$CLUSTER_NAME.log}
    if [ -z "$DATA" ]; then
        [ "${1:-}" = may-be-new ] || die $E_CONFIG "there is no cluster $CLUSTER; pg_lsclusters lists them"
        DATA=/var/lib/postgresql/$CLUSTER
    fi
}

# The folder of PostgreSQL's programs of a version, or of the newest.
programs() { # [VERSION]
    if [ -n "${1:-}" ]; then
        printf '/usr/lib/postgresql/%s/bin' "$1"
    elif compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
        dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -1)"
    else
        dirname "$(command -v postgres || echo /usr/lib/postgresql/15/bin/postgres)"
    fi
}

# --- Acting as the server's user -----------------------------------------------------------

as_owner() { # COMMAND...
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec runuser -u "$OWNER" -- "$@")
    else
        (cd / && exec "$@")
    fi
}

# Writes standard input to a file of the server's user; WRITTEN says whether that changed it.
WRITTEN=no
write_file() { # PATH
    local new="$1.nwaf-new"
    (umask 077 && cat >"$new")
    [ "$(id -u)" != 0 ] || chown "$OWNER:" "$new"
    if [ -f "$1" ] && cmp -s "$1" "$new"; then
        rm -f "$new"
        WRITTEN=no
    else
        [ ! -e "$1" ] || chmod --reference="$1" "$new"
        mv -f "$new" "$1"
        WRITTEN=yes
    fi
}

# --- The local server ----------------------------------------------------------------------

# The process id of the running server; nothing and status 1 when it does not run. A process
# is the server only if it works in this very folder: numbers are given anew.
running_pid() {
    local pid
    [ -f "$DATA/postmaster.pid" ] || return 1
    pid=$(head -n 1 "$DATA/postmaster.pid")
    [ "/proc/$pid/cwd" -ef "$DATA" ] || return 1
    printf '%s' "$pid"
}
is_running() { running_pid >/dev/null; }
is_replica_folder() { [ -e "$DATA/standby.signal" ]; }

# Asks the local server through its socket. Further words are options of psql. A server that
# hangs ends the question after SQL_SECONDS, if that is set.
sql() { # STATEMENT [OPTION...]
    local statement=$1 socket port
    shift
    { read -r _ && read -r _ && read -r _ && read -r port && read -r socket; } <"$DATA/postmaster.pid" 2>/dev/null ||
        die $E_FAILED "the server in $DATA does not run"
    PGCONNECT_TIMEOUT=$CONNECT_TIMEOUT as_owner ${SQL_SECONDS:+timeout "$SQL_SECONDS"} psql -XqAt -v ON_ERROR_STOP=1 \
        -h "${socket:-localhost}" -p "$port" -U "$SUPERUSER" -d postgres -w "$@" <<<"$statement"
}

start_server() {
    is_running && return
    say "starting PostgreSQL"
    if [ $KIND = debian ]; then
        pg_ctlcluster "$CLUSTER_VERSION" "$CLUSTER_NAME" start || start_failed
    else
        # Where only root may create files, the log must be there before the server is.
        [ -e "$LOG" ] || { (umask 077 && : >>"$LOG") && { [ "$(id -u)" != 0 ] || chown "$OWNER:" "$LOG"; }; }
        as_owner pg_ctl -D "$DATA" -l "$LOG" -s -w -t "$PATIENCE" start || start_failed
    fi
    await "the server to answer" sql 'select 1'
}

start_failed() {
    tail -n 8 "$LOG" 2>/dev/null | sed 's/^/    /' >&2 || true
    die $E_FAILED "PostgreSQL did not start; the end of $LOG is above"
}

stop_server() {
    is_running || return 0
    say "stopping PostgreSQL"
    if [ $KIND = debian ]; then
        pg_ctlcluster "$CLUSTER_VERSION" "$CLUSTER_NAME" stop --mode fast
    else
        as_owner pg_ctl -D "$DATA" -s -w -t "$PATIENCE" -m fast stop
    fi || die $E_FAILED "PostgreSQL did not stop within $PATIENCE s; nothing was changed"
}

# Waits until a command succeeds; its answer is dropped.
await() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die $E_FAILED "waited $PATIENCE s for $what; $(last_words)"
        sleep 0.1
    done
}
last_words() {
    printf 'the last line of %s: %s' "$LOG" "$(tail -n 1 "$LOG" 2>/dev/null || true)"
}

# The timeline of a server that runs. What pg_control says is old until the next checkpoint.
TIMELINE="select case when pg_is_in_recovery()
    then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end"

# --- Another server ------------------------------------------------------------------------

# Asks PEER_HOST:PEER_PORT as the role that replicates; the database postgres has what it needs.
peer_sql() { # STATEMENT [OPTION...]
    local statement=$1
    shift
    PGPASSFILE=$PASSWORDS PGCONNECT_TIMEOUT=$CONNECT_TIMEOUT PGSSLMODE=$(sslmode) PGAPPNAME=${0##*/} \
        as_owner timeout "${PEER_SECONDS:-$PATIENCE}" psql -XqAt -v ON_ERROR_STOP=1 \
        -h "$PEER_HOST" -p "$PEER_PORT" -U "$REPLICATOR" -d postgres -w "$@" <<<"$statement"
}
sslmode() { if [ $TLS = yes ]; then echo require; else echo prefer; fi; }

need_passwords() {
    [ -f "$PASSWORDS" ] || die $E_CONFIG "$PASSWORDS is not there; copy the file that pg-primary wrote, with owner $OWNER and mode 600"
    as_owner test -r "$PASSWORDS" || die $E_PERMISSION "$OWNER cannot read $PASSWORDS; chown it to $OWNER"
    # psql and the server ignore a file that others can read, and say so only in a log.
    [ "$(($(stat -c %a "$PASSWORDS") % 100))" = 0 ] || die $E_PERMISSION "others can read $PASSWORDS; chmod 600 it"
}

# The other server answers, is a primary and of the same version; else the script ends.
need_primary() {
    local answer
    need_passwords
    answer=$(peer_sql "select pg_is_in_recovery(), current_setting('server_version_num')::int / 10000" 2>&1) ||
        die $E_UNAVAILABLE "the primary $PEER_HOST:$PEER_PORT does not let $REPLICATOR in: ${answer#psql: error: }"
    [ "${answer%|*}" = f ] || die $E_FAILED "$PEER_HOST:$PEER_PORT is itself a replica; name the primary"
    PRIMARY_VERSION=${answer#*|}
    local ours
    ours=$(as_owner postgres --version | sed 's/.*) \([0-9]*\).*/\1/')
    [ "$PRIMARY_VERSION" = "$ours" ] ||
        die $E_CONFIG "the primary runs PostgreSQL $PRIMARY_VERSION, here is $ours in $BIN; both must be the same"
}

# The slot is there, and is not one that was given up for its size.
peer_slot() {
    local state
    state=$(peer_sql "select coalesce(wal_status, 'none'), active from pg_replication_slots where slot_name = '$SLOT'")
    case $state in
    lost\|f)
        say "slot $SLOT of the primary was given up because it kept too much; it is made anew"
        peer_sql "select pg_drop_replication_slot('$SLOT')" >/dev/null
        state=""
        ;;
    esac
    if [ -z "$state" ]; then
        peer_sql "select pg_create_physical_replication_slot('$SLOT', true)" >/dev/null
        note "slot $SLOT created on the primary"
    fi
}

# --- Configuration -------------------------------------------------------------------------

# The file the scripts write their settings to; nobody else's lines are in it.
settings_file() {
    if [ $KIND = debian ]; then printf '%s/conf.d/nwaf.conf' "$CONF"; else printf '%s/nwaf.conf' "$CONF"; fi
}
# What an earlier run wrote for a setting.
kept() { # NAME
    sed -n "s/^$1 = '\{0,1\}\([^']*\)'\{0,1\}\$/\1/p" "$(settings_file)" 2>/dev/null | tail -n 1
}

# What makes a plain server read it.
INCLUDE="include_if_exists = 'nwaf.conf'"

# Writes the settings of both roles, and of a replica if `connection` is given: either may
# become the other. CHANGED_SETTINGS says whether anything is different now.
CHANGED_SETTINGS=no
write_settings() { # [CONNECTION]
    local connection=${1:-} listen=${LISTEN:-$(kept listen_addresses)} port=${PORT:-$(kept port)} file
    local sockets=${SOCKETS:-$(kept unix_socket_directories)}
    file=$(settings_file)
    if [ $KIND = debian ]; then
        # pg_lsclusters and its kind look for the port in postgresql.conf.
        [ -z "$PORT" ] || pg_conftool "$CLUSTER_VERSION" "$CLUSTER_NAME" set port "$PORT"
        port=""
        mkdir -p "${file%/*}"
        grep -Eq "^ *include_dir *=? *'?conf.d'?" "$CONF/postgresql.conf" ||
            printf "\ninclude_dir = 'conf.d'\n" >>"$CONF/postgresql.conf"
    else
        # The last line wins, and a copied postgresql.conf may name the address of another server.
        if [ "$(grep -Ev '^[[:space:]]*(#|$)' "$CONF/postgresql.conf" | tail -n 1)" != "$INCLUDE" ]; then
            { grep -vxF "$INCLUDE" "$CONF/postgresql.conf" || true; printf '%s\n' "$INCLUDE"; } | write_file "$CONF/postgresql.conf"
        fi
        # What it is now, in whatever file.
        port=${port:-$(as_owner postgres -D "$CONF" -C port)}
    fi
    {
        echo "# Written by ${0##*/}, and replaced by it; put other settings elsewhere."
        echo "listen_addresses = '${listen:-*}'"
        [ -z "$port" ] || echo "port = $port"
        echo "password_encryption = scram-sha-256"
        echo "wal_level = replica"
        echo "wal_log_hints = on"
        echo "wal_keep_size = $WAL_KEEP"
        echo "max_slot_wal_keep_size = $SLOT_KEEP"
        echo "wal_sender_timeout = ${REPLICATION_TIMEOUT}s"
        echo "wal_receiver_timeout = ${REPLICATION_TIMEOUT}s"
        echo "wal_retrieve_retry_interval = 1s"
        echo "hot_standby = on"
        echo "hot_standby_feedback = on"
        [ -z "$sockets" ] || echo "unix_socket_directories = '$sockets'"
        if [ -n "$connection" ]; then
            replica_minimums
            echo "primary_conninfo = '$connection'"
            echo "primary_slot_name = '$SLOT'"
        fi
    } | write_file "$file"
    CHANGED_SETTINGS=$WRITTEN
}

# A replica refuses to start with less of these than its primary has.
replica_minimums() {
    local name theirs
    for name in max_connections max_worker_processes max_wal_senders max_prepared_transactions max_locks_per_transaction; do
        theirs=$(peer_sql "show $name")
        echo "$name = $theirs"
    done
}

connection_string() {
    printf 'host=%s port=%s user=%s passfile=%s sslmode=%s application_name=%s connect_timeout=%s' \
        "$PEER_HOST" "$PEER_PORT" "$REPLICATOR" "$PASSWORDS" "$(sslmode)" "$SLOT" "$CONNECT_TIMEOUT"
}

# The words of the connection to the primary that a replica has in its settings.
primary_of_settings() {
    local connection
    connection=$(kept primary_conninfo)
    [ -n "$connection" ] || return 1
    PEER_HOST=$(sed -n 's/.*\bhost=\([^ ]*\).*/\1/p' <<<"$connection")
    PEER_PORT=$(sed -n 's/.*\bport=\([^ ]*\).*/\1/p' <<<"$connection")
    PEER_PORT=${PEER_PORT:-5432}
    [ -n "$PEER_HOST" ]
}

# Makes a stopped server a replica of PEER_HOST:PEER_PORT.
become_replica() {
    # ALTER SYSTEM wins over every file, and both pg_basebackup and pg_rewind copy its file.
    if [ -f "$DATA/postgresql.auto.conf" ]; then
        grep -Ev '^ *(primary_conninfo|primary_slot_name|recovery_target[a-z_]*|restore_command) *=' "$DATA/postgresql.auto.conf" |
            write_file "$DATA/postgresql.auto.conf" || true
    fi
    write_settings "$(connection_string)"
    rm -f "$DATA/recovery.signal"
    write_file "$DATA/standby.signal" </dev/null
}

# Waits until the replica receives from its primary and has all that the primary has now.
await_streaming() {
    local position
    position=$(peer_sql 'select pg_current_wal_flush_lsn()') ||
        die $E_UNAVAILABLE "the primary $PEER_HOST:$PEER_PORT went away"
    await "replication from $PEER_HOST:$PEER_PORT" streams_to "$position"
}
streams_to() { # POSITION
    [ "$(sql "select pg_is_in_recovery() and pg_last_wal_replay_lsn() >= '$1' and
        exists (select from pg_stat_wal_receiver where status = 'streaming')")" = t ]
}

# Slots that the server had as a primary would keep WAL for ever: nobody reads from a replica here.
drop_own_slots() {
    local slot
    for slot in $(sql "select slot_name from pg_replication_slots where slot_type = 'physical' and not active"); do
        sql "select pg_drop_replication_slot('$slot')" >/dev/null
        note "slot $slot, which the server had as a primary, dropped"
    done
}

HBA_BEGIN="# nwaf begin: written by the pg-* scripts, which replace the lines up to the end"
HBA_END="# nwaf end"
# Lets in --api and --peer addresses. First, because the first line that fits decides.
write_hba() {
    WRITTEN=no
    [ ${#API_FROM[@]} != 0 ] || [ ${#PEER_FROM[@]} != 0 ] || return 0
    local type=host from file=$CONF/pg_hba.conf
    [ $TLS = no ] || type=hostssl
    {
        echo "$HBA_BEGIN"
        for from in "${API_FROM[@]}"; do hba_line $type "$DATABASE" "$ROLE" "$from"; done
        for from in "${PEER_FROM[@]}"; do
            hba_line $type replication "$REPLICATOR" "$from"
            # pg-status, pg-promote and pg-rewind ask here.
            hba_line $type postgres "$REPLICATOR" "$from"
        done
        echo "$HBA_END"
        awk -v begin="$HBA_BEGIN" -v end="$HBA_END" '$0 == begin { skip = 1 } !skip { print } $0 == end { skip = 0 }' "$file"
    } | write_file "$file"
}
hba_line() { printf '%-8s %-12s %-12s %-22s scram-sha-256\n' "$@"; }

# Loads configuration without a restart, and refuses what the server does not understand.
reload_settings() {
    local wrong
    # The server's own parser, on the files as they are now.
    wrong=$(as_owner postgres -D "$CONF" -C port 2>&1 >/dev/null) ||
        die $E_CONFIG "PostgreSQL does not understand its configuration: $wrong"
    wrong=$(sql "select format('pg_hba.conf line %s: %s', line_number, error) from pg_hba_file_rules where error is not null")
    [ -z "$wrong" ] || die $E_CONFIG "PostgreSQL does not understand its configuration: $wrong"
    sql 'select pg_reload_conf()' >/dev/null
}
# Settings that only a restart changes, and that wait for one.
pending_restart() {
    sql "select string_agg(name, ', ') from pg_settings where pending_restart"
}
