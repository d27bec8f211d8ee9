#!/usr/bin/env bash
# deb.sh WHEEL DIRECTORY: build a Debian package from a wheel, for the python3 of this Debian or Ubuntu.
set -euo pipefail

wheel=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")
cd "${BASH_SOURCE%/*}/.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
chmod 755 "$stage"

/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "The package needs a distribution whose python3 is 3.11 or later: Debian 12, Ubuntu 24.04" >&2
    exit 1
}
home=/usr/lib/dockercni
root=$stage/root
python=$root$home/bin/python3

# The program gets a virtual environment of its own, without pip: packages are not to be installed into it.
/usr/bin/python3 -m venv --without-pip "$root$home"
.venv/bin/python -m pip --python "$python" install --quiet --disable-pip-version-check --root-user-action=ignore \
    --no-compile "$wheel" </dev/null
find "$root$home/bin" -type f ! -name 'dockercni*' -delete
rm -r "$root$home/include"
sed -i "1s|^#!.*|#!$home/bin/python3|" "$root$home"/bin/dockercni*
sed -i "/^command =/d" "$root$home/pyvenv.cfg"
mkdir -p "$root/usr/bin"
ln -s "../lib/dockercni/bin/dockercni" "$root/usr/bin/dockercni"

# Generated from the program's own tables.
ask() { "$python" -B -m dockercni "$@"; }
share=$root/usr/share
ask man --directory "$share/man/man8" >/dev/null
gzip -9n "$share"/man/man8/*.8
mkdir -p "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
ask completion bash >"$share/bash-completion/completions/dockercni"
ask completion zsh >"$share/zsh/vendor-completions/_dockercni"
ask completion fish >"$share/fish/vendor_completions.d/dockercni.fish"
mkdir -p "$root/etc/dockercni"
ask settings --example >"$root/etc/dockercni/dockercni.toml"
# Compiled files are part of the package: root would write them at the first run, and dpkg would not remove them.
"$python" -B -m compileall -q -s "$root" --invalidation-mode unchecked-hash "$root$home/lib"

# Units go where the helpers of the package manager expect them.
units=$root/usr/lib/systemd/system
mkdir -p "$units" "$root/usr/lib/tmpfiles.d"
packaged=$(echo "$root$home"/lib/python3*/site-packages/dockercni/systemd)
install -m 644 "$packaged"/*.{service,socket,timer} "$units"
install -m 644 "$packaged/dockercni.tmpfiles" "$root/usr/lib/tmpfiles.d/dockercni.conf"

mkdir -p "$share/doc/dockercni"
install -m 644 LICENSE "$share/doc/dockercni/copyright"
gzip -9nc CHANGELOG.md >"$share/doc/dockercni/changelog.gz"

version=$("$python" -B -c 'import dockercni; print(dockercni.__version__)')
architecture=$(dpkg --print-architecture)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
mkdir "$root/DEBIAN"
for name in control postinst prerm postrm; do
    sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@PYTHON@/3.$minor/; s/@NEXT@/3.$((minor + 1))/" \
        -e "s/@UNITS@/$(cd "$units" && echo *)/" "packaging/debian/$name" >"$root/DEBIAN/$name"
done
chmod 755 "$root"/DEBIAN/p*
echo /etc/dockercni/dockercni.toml >"$root/DEBIAN/conffiles"
dpkg-deb --root-owner-group --build "$root" "$output/dockercni_${version}_$architecture.deb"
