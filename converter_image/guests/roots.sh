#!/bin/sh
# Makes what files are verified in: for each of three architectures a folder with Python 3.11 of Debian 12 and a
# runtime, and qemu, which runs two of them. Nothing is installed on the machine, and root is not needed.
#
#   PIP="python3 -m pip" sh roots.sh FOLDER     makes FOLDER/amd64, arm64, armhf, bin and doc
#
# Needs apt-get, dpkg-deb and Debian's keys (the package debian-archive-keyring), on x86-64. MIRROR is the archive
# that packages come from; unless it is set, the one that this machine's apt takes Debian from.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/bin" "$1/doc"
into=$(cd "$1" && pwd)
suite=bookworm
qemu_suite=trixie # the first with qemu 10: under older ones LiteRT for Arm dies

if [ "$(uname -m)" != x86_64 ]; then
    echo "roots.sh: what it makes is for x86-64, and this machine is $(uname -m)" >&2
    exit 1
fi
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
if [ -z "$mirror" ]; then
    echo "roots.sh: apt here takes nothing from Debian: set MIRROR to the address of an archive of it" >&2
    exit 1
fi

keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || keys=/usr/share/keyrings/debian-archive-keyring.pgp

# fetch SUITE ARCHITECTURE FOLDER PACKAGE...: unpacks the packages, and only these, into the folder. apt has
# lists and settings of its own for it.
fetch() {
    apt=$into/.apt-$1-$2
    from=$1 architecture=$2 root=$3
    shift 3
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/etc/apt.conf.d" "$apt/etc/preferences.d" "$apt/debs" "$root"
    : > "$apt/status"
    echo "deb [signed-by=$keys] $mirror $from main" > "$apt/etc/sources.list"
    cat > "$apt/apt.conf" << END
Dir::Etc "$apt/etc";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "";
Acquire::Languages "none";
END
    (
        cd "$apt/debs"
        export APT_CONFIG="$apt/apt.conf"
        apt-get update -qq -o Dir::Etc::sourceparts=/dev/null
        apt-get download -qq -o Dir::Etc::sourceparts=/dev/null "$@"
    )
    for package in "$apt"/debs/*.deb; do
        { dpkg-deb --field "$package" && echo; } >> "$into/doc/packages"
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink -f -
    done
    rm -rf "$apt"
}

# wheels ARCHITECTURE PLATFORM...: installs what ARCHITECTURE.txt names for a machine of another kind.
wheels() {
    architecture=$1
    shift
    for platform in "$@"; do set -- "$@" --platform "$platform"; shift; done
    $PIP --disable-pip-version-check --quiet install --no-cache-dir --no-compile --no-deps --only-binary=:all: \
        --require-hashes --python-version 3.11 --implementation cp --abi cp311 "$@" \
        --target "$into/$architecture/opt/site" -r "$here/$architecture.txt"
}

python="libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libcrypt1 python3.11-minimal
    libpython3.11-minimal libpython3.11-stdlib"
fetch $suite amd64 "$into/amd64" $python
fetch $suite arm64 "$into/arm64" $python libatomic1
fetch $suite armhf "$into/armhf" $python libatomic1 python3-numpy libblas3 liblapack3 libgfortran5
fetch $qemu_suite amd64 "$into/.qemu" qemu-user
cp "$into/.qemu/usr/bin/qemu-aarch64" "$into/.qemu/usr/bin/qemu-arm" "$into/bin"
cp "$into/.qemu/usr/share/doc/qemu-user/copyright" "$into/doc/qemu-copyright"
rm -rf "$into/.qemu"

wheels amd64 manylinux2014_x86_64 manylinux_2_17_x86_64
wheels arm64 manylinux_2_27_aarch64 manylinux_2_28_aarch64
wheels armhf manylinux_2_34_armv7l

for root in "$into/amd64" "$into/arm64" "$into/armhf"; do
    cd "$root"
    # Licenses stay.
    find usr/share -type f ! -name copyright -delete
    find usr/share -type l -delete
    find . -depth -type d -empty -delete
    rm -rf var etc/init.d usr/sbin usr/lib/*/gconv usr/lib/python3.11/lib2to3 usr/lib/python3.11/pydoc_data \
        usr/lib/python3.11/ensurepip usr/lib/python3.11/idlelib opt/site/bin \
        opt/site/ai_edge_litert/libLiteRtWebGpuAccelerator.so
    find . -type d -name tests -prune -exec rm -rf {} +
    find . -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.h' -o -name '*.c' \) -delete
done

# A root cannot be written to later. One Python compiles for all: they are of one version.
lib=$into/amd64/usr/lib/x86_64-linux-gnu
PYTHONHOME=$into/amd64/usr "$into/amd64/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
    --library-path "$into/amd64/lib/x86_64-linux-gnu:$lib" "$into/amd64/usr/bin/python3.11" -m compileall -q \
    --invalidation-mode unchecked-hash "$into"/*/usr/lib/python3.11 "$into"/*/usr/lib/python3/dist-packages \
    "$into"/*/opt/site
