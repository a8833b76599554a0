#!/bin/sh
# Becomes a systemd that runs a unit of docker/systemd and little else: started by booted.ts in namespaces of
# its own. The machine's files are seen copy-on-write; /sys and /proc/sys can only be read, and no other unit
# of the machine is wanted, so that nothing of the machine is changed. It has a bpffs of its own, mounted as
# systemd does it at a boot.
# Arguments: the package's folder, a config, an empty folder, a name for the cgroup, Node, the unit.
# Output: the process id outside.
set -eu
read -r pid _ </proc/self/stat
package=$1 config=$2 base=$3 node=$5 unit=$6 root=$3/root

# A cgroup of its own, which the test removes; it becomes the root of the namespace made below.
mount -t cgroup2 cgroup2 "$base"
mkdir "$base/$4"
echo $$ >"$base/$4/cgroup.procs"
umount "$base"
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t bpf -o mode=700 bpf "$root/sys/fs/bpf"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

mkdir -p "$root/opt/uoa-proxy" "$root/etc/uoa-proxy"
cp "$package/package.json" "$root/opt/uoa-proxy/"
for folder in dist node_modules; do
  mkdir "$root/opt/uoa-proxy/$folder"
  mount --bind "$(readlink -f "$package/$folder")" "$root/opt/uoa-proxy/$folder"
done
# Versions of the package, for the unit with instances.
for version in 0.1.0 0.2.0; do ln -s . "$root/opt/uoa-proxy/$version"; done
cp "$config" "$root/etc/uoa-proxy/proxy.yaml"
chmod 0644 "$root/etc/uoa-proxy/proxy.yaml"
[ -e /usr/bin/node ] || ln -s "$node" "$root/usr/bin/node"
rm -rf "$root"/etc/systemd/system/* "$root"/lib/systemd/system/*.wants
cp "$package"/docker/systemd/* "$root/etc/systemd/system/"
cat >"$root/etc/systemd/system/test.target" <<END
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service $unit
END

ip link set lo up
echo "$pid"
cd "$root"
mkdir outside
pivot_root . outside
umount -l /outside
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
  exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --log-target=journal'
