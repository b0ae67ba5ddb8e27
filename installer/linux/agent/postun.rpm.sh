# Who this machine was stays in /var/lib/seatbeat-agent and -helper: rpm knows no purge.
if [ "$1" -eq 0 ]; then
    rm -f /etc/seatbeat-agent/token
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload >/dev/null 2>&1 || :
    fi
fi
