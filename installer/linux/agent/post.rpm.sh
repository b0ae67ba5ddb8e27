# After installing or upgrading: the user, the token that waits, the units.
systemd-sysusers /usr/lib/sysusers.d/seatbeat-agent.conf || :
TOKEN=/etc/seatbeat-agent/token
if [ -e /var/lib/seatbeat-agent/identity.toml ]; then
    rm -f "$TOKEN"
else
    if [ ! -s "$TOKEN" ] && [ -n "${SEATBEAT_TOKEN:-}" ]; then
        (umask 077 && printf '%s\n' "$SEATBEAT_TOKEN" > "$TOKEN.new" && mv -f "$TOKEN.new" "$TOKEN")
    fi
    if [ -e "$TOKEN" ]; then
        chown root:root "$TOKEN" && chmod 0600 "$TOKEN"
    fi
fi
UNITS="seatbeat-agent-helper.socket seatbeat-agent-enrol.service seatbeat-agent.service"
if [ "$1" -eq 1 ]; then
    # An agent that waits to be enabled by hand on each of a thousand machines would be of no use.
    systemctl --no-reload enable $UNITS >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -eq 1 ]; then
        systemctl start $UNITS >/dev/null 2>&1 || :
    else
        # A helper that runs may be carrying out an order: it ends by itself, and the next one is the new one.
        systemctl try-restart seatbeat-agent.service >/dev/null 2>&1 || :
    fi
fi
