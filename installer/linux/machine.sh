# A machine to try packages on: a container with a systemd of its own and no network. For scripts that set `scratch` to a
# folder of their own and `base` to where the base system is kept; it is fetched once. To be read by `source`.

machine=$scratch/machine
leader=
nspawn=

# needs COMMAND DEBIAN_PACKAGE
needs() {
  command -v "$1" >/dev/null && return
  if [ "${CI:-}" != true ]; then
    echo "skipped: needs $1 (apt-get install $2)"
    exit 0
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

step() { printf '\n== %s\n' "$*"; }

# machine_made: its files, with a stand-in of the vendor's agent to install: its package, unit, process and answers.
machine_made() {
  [ -x "$base/bookworm/usr/bin/rpm" ] || {
    rm -rf "$base/bookworm"
    timeout 1500 debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,rpm \
      bookworm "$base/bookworm" >/dev/null
  }
  cp -a "$base/bookworm" "$machine"
  printf '127.0.0.1 localhost collector.example\n' >"$machine/etc/hosts"
  rm -f "$machine/etc/machine-id"
  local tree=$machine/usr/lib/tree
  mkdir -p "$tree/DEBIAN" "$tree/opt/ds_agent" "$tree/lib/systemd/system" "$tree/var/opt/ds_agent"
  cat >"$tree/DEBIAN/control" <<'END'
Package: ds-agent
Version: 20.0.0.7303
Architecture: all
Maintainer: A fixture <fixture@example.com>
Description: laid out as the vendor's agent
END
  cat >"$tree/lib/systemd/system/ds_agent.service" <<'END'
[Unit]
Description=Deep Security Agent
[Service]
ExecStart=/opt/ds_agent/ds_agent infinity
[Install]
WantedBy=multi-user.target
END
  cat >"$tree/opt/ds_agent/dsa_query" <<'END'
#!/bin/sh
[ "$2" = GetAgentStatus ] || { echo 'Component.AM.mode: on'; exit; }
echo 'AgentStatus.agentState: green'
echo 'AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/'
END
  chmod 0755 "$tree/opt/ds_agent/dsa_query"
  cp "$machine/usr/bin/sleep" "$tree/opt/ds_agent/ds_agent"
  dpkg-deb --root-owner-group --build "$tree" "$machine/root/ds-agent.deb" >/dev/null
  rm -r "$tree"
}

machine_on() {
  setsid systemd-nspawn -q -D "$machine" --private-network --register=no --keep-unit --console=pipe \
    -b systemd.unit=multi-user.target >"$scratch/console.log" 2>&1 </dev/null &
  nspawn=$!
  for _ in $(seq 60); do
    leader=$(pgrep -P "$nspawn" | head -n 1 || true)
    [ -n "$leader" ] && inside systemctl is-active --quiet multi-user.target 2>/dev/null && break
    sleep 1
  done
  inside systemctl is-active multi-user.target
}

machine_off() {
  [ -z "$leader" ] || nsenter -t "$leader" -a systemctl poweroff >/dev/null 2>&1 || true
  [ -z "$nspawn" ] || timeout 60 tail --pid="$nspawn" -f /dev/null || kill "$nspawn" 2>/dev/null || true
  leader= nspawn=
}

# inside COMMAND...: in the machine, as root.
inside() {
  nsenter -t "$leader" -a /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}

# until_true SECONDS COMMAND...
until_true() {
  local seconds=$1
  shift
  for _ in $(seq "$seconds"); do
    "$@" >/dev/null 2>&1 && return
    sleep 1
  done
  echo "not so after $seconds s: $*"
  "$@"
}

# expect TEXT COMMAND...: its output has the text.
expect() {
  local text=$1 said
  shift
  said=$("$@" 2>&1) || { printf '%s\n' "$said"; return 1; }
  grep -qF -- "$text" <<<"$said" || { printf 'no "%s" in what `%s` says:\n%s\n' "$text" "$*" "$said"; return 1; }
}

# refused TEXT COMMAND...: it fails, and says the text.
refused() {
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then printf 'not refused: %s\n%s\n' "$*" "$said"; return 1; fi
  grep -qF -- "$text" <<<"$said" || { printf 'no "%s" in what `%s` says:\n%s\n' "$text" "$*" "$said"; return 1; }
}

# as_of TIME: all programs start as of another day, which is all that is not as at a customer's.
as_of() {
  local unit program start
  for program in seatbeat seatbeat-agent; do
    printf '#!/bin/sh\nexec /usr/bin/%s --clock %s "$@"\n' "$program" "$1" >"$machine/usr/local/bin/$program"
    chmod 0755 "$machine/usr/local/bin/$program"
  done
  for unit in seatbeat seatbeat-agent seatbeat-agent-enrol; do
    start=$(sed -n 's,^ExecStart=/usr/bin/,/usr/local/bin/,p' "installer/systemd/$unit.service")
    mkdir -p "$machine/etc/systemd/system/$unit.service.d"
    printf '[Service]\nExecStart=\nExecStart=%s\n' "$start" >"$machine/etc/systemd/system/$unit.service.d/clock.conf"
  done
  inside systemctl daemon-reload
}

# Each file of the machine but what any install or any boot writes, and who is known there.
listing() {
  inside find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
    -o -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd \
    -o -path /root \) -prune -o -print | grep -v -e '^/etc/[a-z]*-$' -e '^/etc/\.pwd\.lock$' | sort
  inside cut -d: -f1 /etc/passwd /etc/group | sort
}
