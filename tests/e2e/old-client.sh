#!/usr/bin/env bash
# A client as people wrote them for the original product: copies everything from one API
# to another with curl, grep, awk and a little python. It knows nothing but the first
# dialect and looks for `"status": "success"` and for the trailer of texts byte by byte.
#
# old-client.sh FROM_URL FROM_KEY TO_URL TO_KEY      (URLs end in /nw-api/)
set -euo pipefail
from=$1 from_key=$2 to=$3 to_key=$4
trailer="{'status': 'success'}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "old-client: $*" >&2
    exit 1
}

fetch() { # CALL FILE
    curl --silent --max-time 20 "$from$1" --data "key=$from_key" >"$2"
}

json() { # CALL FILE
    fetch "$1" "$2"
    grep -q '"status": "success"' "$2" || fail "$1 did not succeed: $(cat "$2")"
}

text() { # CALL FILE
    fetch "$1" "$2"
    [ "$(tail -n 1 "$2")" = "$trailer" ] || fail "$1 lacks its trailer: $(cat "$2")"
    sed -i '$d' "$2"
}

post() { # CALL BODY
    curl --silent --max-time 20 "$to$1" --header 'Content-type: application/json' --data "$2" |
        grep -q success || fail "$1 was refused: $2"
}

quoted() { # TEXT: as a JSON string
    python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"
}

# Settings of the module and of the analysis: flat objects, sent as they came.
for name in dyn mlc; do
    json "get_${name}_settings?format=json" "$work/settings"
    body=$(python3 - "$work/settings" "$to_key" <<'PYTHON'
import json, sys
settings = json.load(open(sys.argv[1]))
del settings["status"]
print(json.dumps({"key": sys.argv[2], "set": settings}) if len(settings) > 1 else "")
PYTHON
)
    [ -z "$body" ] || post "set_${name}_settings" "$body"
done

# The block list, an entry a line.
text get_dyn_bl "$work/list"
entries=$(python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))' <"$work/list")
post set_dyn_bl "{\"key\": \"$to_key\", \"set\": {\"active\": \"true\", \"bl\": $entries}}"

# Virtual hosts: a list in a text in a Python literal.
fetch get_vhosts_list "$work/vhosts"
grep -q "'status': 'success'" "$work/vhosts" || fail "get_vhosts_list did not succeed"
vhosts=$(sed -e "s/.*'vhosts_list': '//" -e "s/'}\$//" "$work/vhosts")
post set_vhosts_list "{\"key\": \"$to_key\", \"vhosts_list\": $vhosts}"

# Exclusions: words of a line, counted by awk; 7 and 8 may come in either order.
text get_dyn_wl "$work/exclusions"
while IFS= read -r line; do
    active=$(echo "$line" | awk '{print tolower($4)}')
    rl_id=$(echo "$line" | awk '{print $6}' | cut -d: -f2)
    domain=$(echo "$line" | awk '{for (i = 7; i <= 8; i++) if ($i ~ /^domain=/) print substr($i, 8)}')
    places=$(echo "$line" | awk '{for (i = 7; i <= 8; i++) if ($i ~ /^"Z:/) print substr($i, 4, length($i) - 4)}')
    zones=${places%%\$*}
    extension=${places#"$zones"}
    body="{\"key\": \"$to_key\", \"add\": {\"rl_id\": \"$rl_id\", \"domain\": \"$domain\", \"mz\": \"${zones%|}\""
    post set_dyn_wl "$body, \"extension\": $(quoted "$extension"), \"active\": $active}}"
done <"$work/exclusions"

# Extended rules: a JSON object a line, sent without its id.
text get_dyn_erl "$work/rules"
while IFS= read -r line; do
    rule=$(python3 -c '
import json, sys
rule = json.loads(sys.argv[1])
del rule["id"]
print(json.dumps({field: value for field, value in rule.items() if value not in ("", [])}))' "$line")
    post set_dyn_erl "{\"key\": \"$to_key\", \"add\": $rule}"
done <"$work/rules"

# Trainings and models answer with JSON objects.
json get_models_list_uri "$work/models"
json get_training_uri "$work/training"
curl --silent --max-time 20 "${from}get_event_log" --data "key=$from_key" | grep -q '"status": "success"' ||
    fail "get_event_log did not succeed"
echo copied
