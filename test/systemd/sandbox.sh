#!/bin/sh
# Turns the namespaces it was started in into a sandbox and becomes the sandbox's PID 1: systemd.
# Started by rig.ts as the first process of new mount, pid, uts, ipc and net namespaces.
#
# Nothing here may reach the host: what is written lands in a tmpfs, /tmp and /run are private
# (systemd empties /tmp when it boots), /sys and /proc/sys are read-only, /dev holds no hardware.
#
# Environment: RIG_ID (unique name), RIG_CHECKOUT (shown read-only at /opt/chassis-power),
# RIG_NODE (the node binary, shown as /opt/node/bin/node), RIG_SYSTEMD (path of the systemd binary).
set -eu
umask 022

# Later mounts must not spread to the host, and a mount over /tmp must not hide where we work: the
# working place is a tmpfs on /mnt, which exists on every Debian.
mount --make-rprivate /
mount -t tmpfs -o size=1g,mode=755 rig /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/cgroup

# A cgroup of our own, so that systemd's slices do not appear among the host's. Runs that were killed left
# theirs: one that holds no process and is not new (another sandbox may be about to enter it) is removed.
mount -t cgroup2 cgroup2 /mnt/cgroup
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
find "/mnt/cgroup${own%/}" -maxdepth 1 -name 'chassis-power-rig-*' -mmin +5 | while read -r stale; do
  if grep -qx 'populated 0' "$stale/cgroup.events"; then
    find "$stale" -depth -type d -exec rmdir {} + || :
  fi
done
mkdir "/mnt/cgroup${own%/}/$RIG_ID"
echo 0 >"/mnt/cgroup${own%/}/$RIG_ID/cgroup.procs"
umount /mnt/cgroup

mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root

mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger

mount --bind /sys sys
mount -o remount,bind,ro sys

mount -t tmpfs -o mode=755,nosuid,size=1m tmpfs dev
for node in null zero full random urandom tty; do
  : >"dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm

mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mkdir run/lock
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp

mkdir -p opt/chassis-power opt/node/bin
mount --bind "$RIG_CHECKOUT" opt/chassis-power
mount -o remount,bind,ro opt/chassis-power
: >opt/node/bin/node
mount --bind "$RIG_NODE" opt/node/bin/node

# Of what the host has enabled nothing starts here: the journal and the bus are all that is left.
rm -rf etc/systemd/system etc/systemd/system.conf.d etc/systemd/journald.conf.d \
  etc/systemd/system-generators run/systemd usr/local/lib/systemd
mkdir -p etc/systemd/system
rm -rf usr/lib/systemd/system-generators usr/lib/systemd/system-environment-generators
find usr/lib/systemd/system -type l -path '*.wants/*' \
  ! -name 'systemd-journald*' ! -name 'dbus.socket' -delete
find usr/lib/systemd/system -name 'obmc-*' -delete
find usr/lib/systemd/system -name 'op-*' -delete
: >etc/fstab
rm -f etc/machine-id var/lib/dbus/machine-id
printf '%s\n' "$RIG_ID" | md5sum | cut -c1-32 >etc/machine-id
printf 'chassis-power-rig\n' >etc/hostname
hostname chassis-power-rig
printf '%s\n' "$RIG_ID" >etc/chassis-power-rig

# The cgroup namespace begins in our own cgroup, so its tree is all that the sandbox sees. setpriv takes
# away what could change the machine under it: clock, modules, raw I/O, kernel log, new device nodes.
exec unshare --cgroup /bin/sh -c '
  set -eu
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
  exec env -i container=chassis-power-rig PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-mknod,-wake_alarm,-mac_admin,-mac_override \
    chroot . "$0" --system --unit=basic.target --show-status=no --log-target=journal
' "$RIG_SYSTEMD" </dev/null
