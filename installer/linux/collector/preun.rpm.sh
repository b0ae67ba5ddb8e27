# Before the last one is removed the collector has ended.
if [ "$1" -eq 0 ]; then
    systemctl --no-reload disable seatbeat.service seatbeat-pass.service >/dev/null 2>&1 || :
    if [ -d /run/systemd/system ]; then
        systemctl stop seatbeat.service seatbeat-pass.service >/dev/null 2>&1 || :
    fi
fi
