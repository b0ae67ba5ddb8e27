# After installing or upgrading: the user, the folders, the unit. Set up with `seatbeat init`, as root.
systemd-sysusers /usr/lib/sysusers.d/seatbeat.conf || :
install -d -o seatbeat -g seatbeat -m 0700 /var/lib/seatbeat || :
install -d -o root -g seatbeat -m 0750 /etc/seatbeat || :
if [ "$1" -eq 1 ]; then
    systemctl --no-reload enable seatbeat.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    systemctl try-restart seatbeat.service seatbeat-pass.service >/dev/null 2>&1 || :
fi
