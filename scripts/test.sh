#!/usr/bin/env bash
# Runs every check and test, after installing what only the tests need (not what vnet needs: that is nothing).
# As root on Debian missing programs are installed by apt; otherwise the tests that want them are skipped, and this
# says so. With CI=true nothing may be skipped: what is missing is then an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

# program=package
needed=(
    iperf3=iperf3 arping=arping nft=nftables iptables-legacy=iptables tcpdump=tcpdump ping=iputils-ping ip=iproute2
    jq=jq setpriv=util-linux curl=curl openssl=openssl
    dig=bind9-dnsutils python3=python3 vtysh=frr bird=bird2 gobgpd=gobgpd
)

# Prints the packages of missing programs. Administrators' programs may not be on a user's PATH.
missing() {
    local entry
    for entry in "${needed[@]}"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${entry%%=*}" >/dev/null || printf '%s\n' "${entry#*=}"
    done
}

mapfile -t packages < <(missing)
if ((${#packages[@]})) && ((EUID == 0)) && command -v apt-get >/dev/null; then
    say "Installing what only the tests need: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2
    apt-get -qq install --yes --no-install-recommends "${packages[@]}" </dev/null >&2
    mapfile -t packages < <(missing)
fi
if ((${#packages[@]})); then
    say "Missing: ${packages[*]}. Tests that use them will be skipped; to run them: sudo apt-get install ${packages[*]}"
fi
if ((EUID != 0)); then
    say "Not root: tests that make named namespaces or run as several users will be skipped."
fi
if [[ ${CI:-} == true ]] && { ((${#packages[@]})) || ((EUID != 0)); }; then
    say "CI=true: nothing may be skipped. Run as root, with the packages above installed."
    exit 4
fi

exec bash scripts/check.sh
