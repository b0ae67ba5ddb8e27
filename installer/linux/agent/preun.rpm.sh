# Before the last one is removed nothing of the agent's runs any more.
if [ "$1" -eq 0 ]; then
    UNITS="seatbeat-agent.service seatbeat-agent-enrol.service seatbeat-agent-helper.socket"
    systemctl --no-reload disable $UNITS >/dev/null 2>&1 || :
    if [ -d /run/systemd/system ]; then
        systemctl stop $UNITS seatbeat-agent-helper.service >/dev/null 2>&1 || :
    fi
fi
