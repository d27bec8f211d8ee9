#!/bin/sh
# Stands before the real CNI plugin of its name, and misbehaves as the files in ORDERS say. Each is called
# PLUGIN.VERB.before|after.WHAT.NUMBER and obeyed once, by whoever manages to remove it:
#   fail      report an error ("after": although the real one has done its work)
#   hang      for ever
#   die       by SIGKILL
#   garbage   print half a result, and end well
#   crowd     leave a child behind that keeps the output open
#   block     rename the file to its name with ".reached", and go on when that is gone
ORDERS=/run/private/orders
name=${0##*/}
for directory in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do
    if [ -x "$directory/$name" ]; then
        real=$directory/$name
        break
    fi
done

obey() {
    for order in "$ORDERS/$name.$CNI_COMMAND.$1."*; do
        case $order in
        *.reached | *\*) continue ;;
        *.block.*)
            mv "$order" "$order.reached" 2>/dev/null || continue
            while [ -e "$order.reached" ]; do sleep 0.01; done
            continue
            ;;
        esac
        rm "$order" 2>/dev/null || continue
        case $order in
        *.fail.*)
            printf '{"code": 100, "msg": "told to fail %s %s"}' "$1" "$CNI_COMMAND"
            exit 1
            ;;
        *.hang.*) exec sleep 86400 ;;
        *.die.*) kill -9 $$ ;;
        *.garbage.*)
            printf '{"cniVersion": "1.0.0", "ips": ['
            exit 0
            ;;
        *.crowd.*) sleep 86400 & ;;
        esac
    done
}

set -- "$ORDERS"/*
[ -e "$1" ] || exec "$real"
obey before
output=$("$real")
status=$?
obey after
printf '%s' "$output"
exit $status
