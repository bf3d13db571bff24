#!/usr/bin/env bash
# Measures this router against the kernel's own between two namespaces, and prints a table with ratios.
#
#   sudo scripts/bench.sh [--rounds N] [--seconds S] [--only LOADS] [--routers LIST] [--anyway] [--no-build] [--page]
#
# LOADS and LIST are names with commas between, as in `loads` and `all_routers` below; without them, everything is measured.
# The routers, each with its own pair of namespaces, take turns in every round, so that what disturbs the machine
# disturbs all alike:
#   kernel     veth - ip_forward - veth, no policy
#   nftables   the same with ten stateful rules in `forward`, in the order users write them: established first, then
#              eight that do not match, then the one that admits the flow. Established packets match at rule 1.
#   vnet       two VNets, a peering, an NSG of ten rules on both subnets; veth pairs, so that the kernel carries known flows
#   vnet-tun   the same with TUNs: every packet goes through the daemon
#   flowtable  nftables with a flowtable: what is established goes past the rules
#   vnet-plain vnet-tun with `offload: false`: plain 1500-byte packets, every checksum complete; where named by --routers
#   nftables-1000, vnet-1000: a thousand rules before the one that matches, for new connections and small datagrams
# In nftables-1000 they stand before `ct state established`, too: with that rule first, they cost once a flow, as in
# vnet; with rules in front of it, they cost with every packet. vnet-1000 has 999 before the match at each end, since an NSG
# has no more.
#   vnet-w1, vnet-w2, vnet-w4: vnet-tun with so many workers, where named by --routers
#   tokio-tun  the plainest forwarder in user space: reads a packet here, writes it there, knows no policy
#   ovs        Open vSwitch, its datapath in user space, the same ten rules with its connection tracking; if installed
#   kernel-chain, vnet-chain: both ways through an appliance, a third namespace that forwards: two hops
#   vnet-lb, vnet-snat: vnet with an internal load balancer before the server, and with a server in the lab's Internet, to
#              which the client comes by a NAT gateway; where named by --routers
# TCP's congestion control is CUBIC, the kernel's own default, not the machine's setting, and BBR in the loads that say so.
# BBR paces what it sends, so that a stream measures a timer as much as its way, and a socket that was made under it goes on
# pacing under any later algorithm. So sockets are made under Reno, which any namespace may set.
# Results go to target/bench.json; --page also writes its tables into docs/internals/performance.md. --anyway measures on a busy machine; such numbers are good for ratios at most.
set -euo pipefail
cd "$(dirname "$0")/.."

loads=(tcp1 tcp4 tcp16 both bbr1 bbr4 chain flooded paced udp1 udp16 udp256 big rate50 rate100 rate150 rate200 split same first loaded connects)
all_routers=(kernel nftables flowtable tokio-tun ovs vnet vnet-tun nftables-1000 vnet-1000 kernel-chain vnet-chain)
routers=()
has_flowtable() { unshare -n nft -f - <<<'table inet t { flowtable f { hook ingress priority 0; devices = { lo }; }; }'; }
for router in "${all_routers[@]}"; do
  case $router in
    ovs) { command -v ovs-vswitchd && command -v ethtool; } >/dev/null || continue ;;
    flowtable) has_flowtable 2>/dev/null || continue ;; # CONFIG_NF_FLOW_TABLE
  esac
  routers+=("$router")
done
rounds=5 seconds=2 anyway=0 build=1 page=0 congestion=cubic
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --only) IFS=, read -r -a loads <<<"$2"; shift 2 ;;
    --routers) IFS=, read -r -a routers <<<"$2"; shift 2 ;;
    --anyway) anyway=1; shift ;;
    --no-build) build=0; shift ;;
    --page) page=1; shift ;;
    *) sed -n '2,6p' "$0" >&2; exit 2 ;;
  esac
done

fail() { echo "bench: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root: it makes network namespaces"
for tool in ip nft iperf3 jq taskset; do
  command -v "$tool" >/dev/null || fail "$tool is missing (Debian: apt install iproute2 nftables iperf3 jq util-linux)"
done
[ "$build" = 0 ] || nice cargo build --release --bin vnet --example load --example plain_forward
built=${VNET_BUILT:-$PWD/target/release}
vnet=$built/vnet generator=$built/examples/load forwarder=$built/examples/plain_forward
for program in "$vnet" "$generator" "$forwarder"; do
  [ -x "$program" ] || fail "$program is not built: run this without --no-build"
done
mkdir -p target
cores=$(nproc)
[ "$cores" -ge 2 ] || fail "needs two cores: client and server run on different ones"

id=vb$$
work=$(mktemp -d)
pids=()

clean_up() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  for name in $(namespaces); do ip netns del "$name"; done
  rm -rf "$work"
}
namespaces() { ip netns list | awk -v id="$id-" 'index($1, id) == 1 {print $1}'; }
trap clean_up EXIT
trap 'exit 130' INT TERM

busy_percent() {
  local a b
  read -r -a a </proc/stat; sleep 1; read -r -a b </proc/stat
  local idle=$((b[4] - a[4])) total=0 i
  for i in 1 2 3 4 5 6 7 8; do total=$((total + b[i] - a[i])); done
  echo $((100 - 100 * idle / total))
}

# --- the routers; in each, the client has 10.1.0.4 and the server 10.2.0.4 ---

kernel_router() { # NAME
  local c=$id-$1-c r=$id-$1-r s=$id-$1-s
  ip netns add "$c"; ip netns add "$r"; ip netns add "$s"
  ip -n "$c" link add eth0 type veth peer name left netns "$r"
  ip -n "$s" link add eth0 type veth peer name right netns "$r"
  ip -n "$c" addr add 10.1.0.4/16 dev eth0; ip -n "$r" addr add 10.1.0.1/16 dev left
  ip -n "$s" addr add 10.2.0.4/16 dev eth0; ip -n "$r" addr add 10.2.0.1/16 dev right
  ip -n "$c" link set eth0 up; ip -n "$s" link set eth0 up
  ip -n "$r" link set left up; ip -n "$r" link set right up
  ip -n "$c" route add default via 10.1.0.1; ip -n "$s" route add default via 10.2.0.1
  ip netns exec "$r" sysctl -qw net.ipv4.ip_forward=1
}

tokio_tun() {
  local c=$id-tokio-tun-c s=$id-tokio-tun-s
  ip netns add "$c"; ip netns add "$s"
  "$forwarder" "$c" "$s" >"$work/tokio-tun.out" 2>"$work/tokio-tun.err" &
  pids+=($!)
  until_says "$work/tokio-tun.out" ready || fail "the forwarder did not start: $(cat "$work/tokio-tun.err")"
  ip -n "$c" addr add 10.1.0.4/16 dev tun0; ip -n "$s" addr add 10.2.0.4/16 dev tun0
  ip -n "$c" route add default dev tun0; ip -n "$s" route add default dev tun0
}

# Its own database and daemon, in the namespace of the router.
open_vswitch() {
  local r=$id-ovs-r at=$work/ovs end
  local there=(ip netns exec "$r" env OVS_RUNDIR="$at" OVS_DBDIR="$at" OVS_LOGDIR="$at")
  kernel_router ovs
  ip netns exec "$r" sysctl -qw net.ipv4.ip_forward=0
  ip -n "$r" addr flush dev left; ip -n "$r" addr flush dev right
  mkdir "$at"
  ovsdb-tool create "$at/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  "${there[@]}" ovsdb-server "$at/conf.db" --remote="punix:$at/db.sock" --unixctl="$at/db.ctl" -vconsole:off >"$work/ovs.err" 2>&1 &
  pids+=($!)
  for end in $(seq 100); do if [ -S "$at/db.sock" ]; then break; fi; sleep 0.05; done
  "${there[@]}" ovs-vsctl --db="unix:$at/db.sock" --timeout 20 --no-wait init
  "${there[@]}" ovs-vswitchd "unix:$at/db.sock" --unixctl="$at/switch.ctl" -vconsole:off >>"$work/ovs.err" 2>&1 &
  pids+=($!)
  "${there[@]}" ovs-vsctl --db="unix:$at/db.sock" --timeout 20 add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure \
    -- add-port br0 left -- set interface left ofport_request=1 -- add-port br0 right -- set interface right ofport_request=2
  # Its datapath takes packets as they are on a wire: whole checksums, nothing to be cut.
  for end in c s; do ip netns exec "$id-ovs-$end" ethtool -K eth0 tx off tso off gso off >/dev/null; done
  # It answers no ARP: the ends know each other as neighbours, by the addresses that its rules write.
  ip -n "$id-ovs-c" neigh replace 10.1.0.1 lladdr 02:00:00:00:01:01 dev eth0
  ip -n "$id-ovs-s" neigh replace 10.2.0.1 lladdr 02:00:00:00:02:01 dev eth0
  open_vswitch_rules | "${there[@]}" ovs-ofctl -O OpenFlow13 add-flows br0 -
}

open_vswitch_rules() {
  local c s
  c=$(ip netns exec "$id-ovs-c" cat /sys/class/net/eth0/address)
  s=$(ip netns exec "$id-ovs-s" cat /sys/class/net/eth0/address)
  cat <<FLOWS
table=0,priority=100,ip,actions=ct(table=1)
table=1,priority=200,ct_state=+trk+est,ip,actions=resubmit(,2)
table=1,priority=190,ct_state=+trk+rel,ip,actions=resubmit(,2)
table=1,priority=180,ct_state=+trk+inv,ip,actions=drop
table=1,priority=170,ip,nw_src=10.9.0.0/16,actions=drop
table=1,priority=160,ip,nw_dst=10.9.0.0/16,actions=drop
table=1,priority=150,tcp,nw_src=10.1.9.0/24,tp_dst=22,actions=drop
table=1,priority=140,tcp,nw_src=10.1.9.0/24,tp_dst=3389,actions=drop
table=1,priority=130,tcp,nw_dst=10.2.9.0/24,tp_dst=80,actions=ct(commit,table=2)
table=1,priority=130,tcp,nw_dst=10.2.9.0/24,tp_dst=443,actions=ct(commit,table=2)
table=1,priority=120,udp,nw_dst=10.2.9.0/24,tp_dst=53,actions=ct(commit,table=2)
table=1,priority=110,ip,nw_src=192.0.2.0/24,actions=ct(commit,table=2)
table=1,priority=100,ip,nw_src=10.1.0.0/16,nw_dst=10.2.0.0/16,actions=ct(commit,table=2)
table=2,ip,nw_dst=10.2.0.0/16,actions=dec_ttl,mod_dl_src:02:00:00:00:02:01,mod_dl_dst:$s,output:2
table=2,ip,nw_dst=10.1.0.0/16,actions=dec_ttl,mod_dl_src:02:00:00:00:01:01,mod_dl_dst:$c,output:1
FLOWS
}

# A namespace that forwards, and does not tell of shorter ways.
appliance() { # NAMESPACE
  ip netns exec "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.{all,default}.send_redirects=0
}

# What comes from either side goes to the appliance first; what comes from there, to where it is for.
kernel_chain() {
  kernel_router kernel-chain
  local r=$id-kernel-chain-r n=$id-kernel-chain-n side
  ip netns add "$n"
  appliance "$n"
  ip -n "$n" link add eth0 type veth peer name middle netns "$r"
  ip -n "$n" addr add 10.0.1.4/24 dev eth0; ip -n "$r" addr add 10.0.1.1/24 dev middle
  ip -n "$n" link set eth0 up; ip -n "$r" link set middle up
  ip -n "$n" route add default via 10.0.1.1
  ip -n "$r" route add default via 10.0.1.4 dev middle table 100
  for side in left right; do ip -n "$r" rule add iif "$side" lookup 100; done
}

nftables_rules() { # NAME
  ip netns exec "$id-$1-r" nft -f - <<'NFT'
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
    ip saddr 10.9.0.0/16 drop
    ip daddr 10.9.0.0/16 drop
    ip saddr 10.1.9.0/24 tcp dport 22 drop
    ip saddr 10.1.9.0/24 tcp dport 3389 drop
    ip daddr 10.2.9.0/24 tcp dport { 80, 443 } accept
    ip daddr 10.2.9.0/24 udp dport 53 accept
    ip saddr 192.0.2.0/24 accept
    ip saddr 10.1.0.0/16 ip daddr 10.2.0.0/16 accept
  }
}
NFT
}

# Before the rules, in both directions.
nftables_flowtable() {
  ip netns exec "$id-flowtable-r" nft -f - <<'NFT'
add flowtable inet filter f { hook ingress priority 0; devices = { left, right }; }
insert rule inet filter forward meta l4proto { tcp, udp } flow add @f
NFT
}

nftables_thousand_rules() {
  {
    echo 'table inet filter {'
    echo '  chain forward {'
    echo '    type filter hook forward priority filter; policy drop;'
    local n
    for n in $(seq 1000); do
      echo "    ip saddr 10.9.$((n / 250)).$((n % 250)) meta l4proto { tcp, udp } th dport $((2000 + n)) drop"
    done
    echo '    ct state established,related accept'
    echo '    ip saddr 10.1.0.0/16 ip daddr 10.2.0.0/16 accept'
    echo '  }'
    echo '}'
  } | ip netns exec "$id-nftables-1000-r" nft -f -
}

vnet_topology() { # NAME EMULATION GROUP-OF-CLIENT GROUP-OF-SERVER
  cat <<YAML
name: $id-$1
emulation: {$2}
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: default, addressPrefix: 10.1.0.0/16, networkSecurityGroup: $3}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: default, addressPrefix: 10.2.0.0/16, networkSecurityGroup: $4}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
virtualMachines:
$(machine client a/default 10.1.0.4 "$id-$1-c")
$(machine server b/default 10.2.0.4 "$id-$1-s")
networkSecurityGroups:
YAML
}

machine() { # NAME SUBNET ADDRESS NAMESPACE [MORE]: one that is there already
  echo "  - {name: $1, networkInterfaces: [{subnet: $2, privateIPAddress: $3, attach: {namespace: $4, interface: eth0}${5:+, $5}}]}"
}

security_rule() { # NAME PRIORITY DIRECTION ACCESS PROTOCOL SOURCE DESTINATION PORTS
  echo "      - {name: $1, priority: $2, direction: $3, access: $4, protocol: '$5', sourceAddressPrefix: $6," \
    "sourcePortRange: '*', destinationAddressPrefix: '$7', destinationPortRange: '$8'}"
}

chain_topology() { # NAME EMULATION
  local side
  cat <<YAML
name: $id-$1
emulation: {$2}
virtualNetworks:
  - name: hub
    location: westeurope
    addressSpace: [10.0.0.0/16]
    subnets: [{name: nva, addressPrefix: 10.0.1.0/24}]
    virtualNetworkPeerings:
      - {name: hub-a, remoteVirtualNetwork: a, allowForwardedTraffic: true}
      - {name: hub-b, remoteVirtualNetwork: b, allowForwardedTraffic: true}
YAML
  for side in "a 10.1" "b 10.2"; do
    cat <<YAML
  - name: ${side% *}
    location: westeurope
    addressSpace: [${side#* }.0.0/16]
    subnets: [{name: default, addressPrefix: ${side#* }.0.0/16, networkSecurityGroup: ten, routeTable: via-nva}]
    virtualNetworkPeerings: [{name: ${side% *}-hub, remoteVirtualNetwork: hub, allowForwardedTraffic: true}]
YAML
  done
  cat <<YAML
routeTables:
  - name: via-nva
    routes:
      - {name: all, addressPrefix: 10.0.0.0/8, nextHopType: VirtualAppliance, nextHopIpAddress: 10.0.1.4}
virtualMachines:
$(machine client a/default 10.1.0.4 "$id-$1-c")
$(machine server b/default 10.2.0.4 "$id-$1-s")
$(machine nva hub/nva 10.0.1.4 "$id-$1-n" "enableIPForwarding: true")
networkSecurityGroups:
YAML
}

# The client's side as in vnet; the other one is behind an address that is translated.
translated_topology() { # NAME EMULATION [OF-SUBNET]
  cat <<YAML
name: $id-$1
emulation: {$2}
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: default, addressPrefix: 10.1.0.0/16, networkSecurityGroup: ten${3:+, $3}}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: default, addressPrefix: 10.2.0.0/16, networkSecurityGroup: ten}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
virtualMachines:
$(machine client a/default 10.1.0.4 "$id-$1-c")
YAML
}

balanced_topology() { # NAME EMULATION
  translated_topology "$1" "$2"
  cat <<YAML
$(machine server b/default 10.2.0.4 "$id-$1-s" "loadBalancerBackendAddressPools: [lb/servers]")
loadBalancers:
  - name: lb
    frontendIPConfigurations: [{name: in, subnet: b/default, privateIPAddress: 10.2.0.200}]
    backendAddressPools: [{name: servers}]
    loadBalancingRules:
      - {name: all, frontendIPConfiguration: in, backendAddressPool: servers, protocol: All, frontendPort: 0, backendPort: 0}
networkSecurityGroups:
YAML
}

natted_topology() { # NAME EMULATION
  translated_topology "$1" "$2" "natGateway: nat"
  cat <<YAML
internet: {addresses: [198.18.0.4]}
publicIPAddresses: [{name: out}]
natGateways: [{name: nat, publicIpAddresses: [out]}]
networkSecurityGroups:
YAML
}

group_of_ten() {
  printf '  - name: ten\n    securityRules:\n'
  local n direction
  for direction in Inbound Outbound; do
    for n in 1 2 3 4; do security_rule "$direction$n" "10$n" $direction Deny Tcp "10.1.9.$n/32" '*' "2$n"; done
    security_rule "${direction}Allow" 200 $direction Allow '*' 10.0.0.0/8 10.0.0.0/8 '*'
  done
}

group_of_thousand() { # NAME DIRECTION
  printf '  - name: %s\n    securityRules:\n' "$1"
  local n
  for n in $(seq 999); do
    security_rule "r$n" $((100 + n)) "$2" Deny '*' "10.9.$((n / 250)).$((n % 250))/32" '*' $((2000 + n))
  done
  security_rule last 2000 "$2" Allow '*' 10.0.0.0/8 10.0.0.0/8 '*'
}

vnet_router() { # NAME EMULATION RULES
  ip netns add "$id-$1-c"; ip netns add "$id-$1-s"
  case $3 in
    ten) { vnet_topology "$1" "$2" ten ten; group_of_ten; } ;;
    chain)
      ip netns add "$id-$1-n"
      appliance "$id-$1-n"
      { chain_topology "$1" "$2"; group_of_ten; } ;;
    balanced) { balanced_topology "$1" "$2"; group_of_ten; } ;;
    natted) { natted_topology "$1" "$2"; group_of_ten; } ;;
    thousand)
      vnet_topology "$1" "$2" sends receives
      group_of_thousand sends Outbound; group_of_thousand receives Inbound ;;
  esac >"$work/$1.yaml"
  "$vnet" run "$work/$1.yaml" >"$work/$1.out" 2>"$work/$1.err" &
  pids+=($!)
  until_says "$work/$1.out" . || fail "vnet run did not start: $(cat "$work/$1.err")"
}

until_says() { # FILE PATTERN: within five seconds
  local n
  for n in $(seq 100); do
    if grep -q "$2" "$1" 2>/dev/null; then return 0; fi
    sleep 0.05
  done
  return 1
}

# --- loads; each prints numbers for one router ---

client() { ip netns exec "$id-$router-c" "$@"; }
server() { ip netns exec "$(server_place)" "$@"; }

server_place() {
  if [ "$router" = vnet-snat ]; then echo "$id-$router-internet"; else echo "$id-$router-s"; fi
}

# Where the server has its address, and where the client asks for it.
listens_at() { if [ "$router" = vnet-snat ]; then echo 198.18.0.4; else echo 10.2.0.4; fi; }
asked_at() { if [ "$router" = vnet-lb ]; then echo 10.2.0.200; else listens_at; fi; }

# Starts a server of `load` in the background and waits until it listens.
start_server() { # FILE ARGUMENTS...
  local file=$1; shift
  : >"$file"
  ip netns exec "$(server_place)" "$generator" "$@" >"$file" &
  server_pid=$!
  pids+=("$server_pid")
  until_says "$file" ready || fail "the server did not start"
}

stop_server() {
  kill "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  unset 'pids[-1]'
}

tcp() { # STREAMS [LOAD [ARGUMENT-OF-IPERF3]]
  local before
  # iperf3 3.12 now and then fails in select(2) at its own end: once more, then.
  before=$(busy_ticks)
  if ! transfer "$1" "${3-}"; then
    grep -q 'select failed' "$work/iperf" || fail "iperf3: $(cat "$work/iperf")"
    before=$(busy_ticks)
    transfer "$1" "${3-}" || fail "iperf3, twice: $(cat "$work/iperf")"
  fi
  record "${2:-tcp$1}" "$(jq '[.end | .sum_received, .sum_received_bidir_reverse | values | .bits_per_second] | add / 1e9' "$work/iperf")"
  if [ $# = 1 ] && [ "$1" = 1 ]; then
    record cpu "$(jq --argjson ticks $(($(busy_ticks) - before)) '10 * $ticks / (.end.sum_received.bytes * 8 / 1e9)' "$work/iperf")"
  fi
}

# Hundredths of a second that all cores were busy.
busy_ticks() { awk '/^cpu / {print $2 + $3 + $4 + $7 + $8}' /proc/stat; }

transfer() { # STREAMS [ARGUMENT]
  ip netns exec "$(server_place)" iperf3 -s -1 -p 5201 >/dev/null &
  local pid=$! n ok=0
  pids+=("$pid")
  for n in $(seq 100); do
    if server ss -ltn | grep -q :5201; then break; fi
    sleep 0.05
  done
  client iperf3 -c "$(asked_at)" -p 5201 -C "$congestion" -t "$seconds" -P "$1" ${2:+"$2"} -J >"$work/iperf" || ok=1
  [ "$ok" = 0 ] || kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  unset 'pids[-1]'
  return "$ok"
}

# One stream during a flood of 20,000 SYNs a second to a closed port, from a new port each time.
tcp_under_flood() { # LOAD [ARGUMENT-OF-IPERF3]
  ip netns exec "$id-$router-c" "$generator" flood "$(asked_at):9" --seconds $((seconds + 5)) >/dev/null &
  local pid=$!
  pids+=("$pid")
  tcp 1 "$@"
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  unset 'pids[-1]'
}

udp() { # LOAD ARGUMENTS-OF-BLAST...
  local name=$1; shift
  blast "$@"
  record "$name" "$(jq --argjson d "$delivered" '$d / .seconds / 1e3' "$work/blast")"
  record "$name-loss" "$(jq --argjson d "$delivered" '100 * (1 - $d / .packets)' "$work/blast")"
}

# The loss at so many thousand datagrams a second. Nothing is recorded for a router that cannot be offered that many.
udp_at() { # THOUSANDS
  blast --flows 16 --rate "$1e3"
  if jq -e --argjson rate "$1" '.packets / .seconds > 0.97e3 * $rate' "$work/blast" >/dev/null; then
    record "rate$1" "$(jq --argjson d "$delivered" '100 * (1 - $d / .packets)' "$work/blast")"
  fi
}

blast() { # ARGUMENTS: leaves what was sent in $work/blast, how many arrived in $delivered
  start_server "$work/sink" sink "$(listens_at):7000"
  client "$generator" blast "$(asked_at):7000" --seconds "$seconds" "$@" >"$work/blast"
  wait "$server_pid" || true
  unset 'pids[-1]'
  delivered=$(grep packets "$work/sink" | jq .packets)
}

pingpong() { # LOAD SERVER-CORE [COUNT [TRANSPORT]]
  start_server "$work/echo" echo "$(listens_at):7001" --cpu "$2"
  client "$generator" pingpong "${4:-udp}" "$(asked_at):7001" --cpu 0 --count "${3:-8000}" >"$work/pingpong"
  stop_server
  record "$1-p50" "$(jq .p50 "$work/pingpong")"
  record "$1-p99" "$(jq .p99 "$work/pingpong")"
  record "$1-lost" "$(jq .lost "$work/pingpong")"
}

pingpong_beside_stream() {
  # Not by the functions: what they start outlives a shell that is killed.
  ip netns exec "$(server_place)" iperf3 -s -1 -p 5201 >/dev/null &
  local server=$! client n
  pids+=("$server")
  for n in $(seq 100); do
    if server ss -ltn | grep -q :5201; then break; fi
    sleep 0.05
  done
  ip netns exec "$id-$router-c" iperf3 -c "$(asked_at)" -p 5201 -C "$congestion" -t 60 >/dev/null &
  client=$!
  pids+=("$client")
  sleep 0.3
  pingpong loaded 1 2000
  kill "$client" "$server" 2>/dev/null || true
  wait "$client" "$server" 2>/dev/null || true
  unset 'pids[-1]' 'pids[-1]'
}

connects() {
  start_server "$work/echo" echo "$(listens_at):7001"
  client "$generator" connects "$(asked_at):7001" --seconds 1 >"$work/connects"
  stop_server
  record connects "$(jq '.per_second / 1e3' "$work/connects")"
}

record() { # LOAD VALUE
  echo "{\"router\":\"$router\",\"load\":\"$1\",\"value\":$2}" >>"$work/samples"
}

resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }

# The daemon's memory with the hub-and-spoke lab of the demo up.
demo_memory() {
  sed "s/^name:.*/name: $id-demo/" config/hub-spoke.yaml >"$work/demo.yaml"
  "$vnet" run "$work/demo.yaml" >"$work/demo.out" 2>"$work/demo.err" &
  local pid=$!
  pids+=("$pid")
  until_says "$work/demo.out" . || fail "the demo lab did not start: $(cat "$work/demo.err")"
  resident_kib "$pid"
  kill "$pid"; wait "$pid" 2>/dev/null || true
  unset 'pids[-1]'
}

# Of what was measured, a row a load: median and range of each router, a ratio, and what it should be.
report() {
  jq -n --arg kernel "$(uname -r)" --argjson cores "$cores" --argjson rounds "$rounds" --argjson demo "$1" \
    --argjson busy "$busy" --slurpfile samples "$work/samples" '
    def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
    def summary: {median: median, min: min, max: max, samples: .};
    {kernel: $kernel, cores: $cores, rounds: $rounds, busy_percent: $busy, demo_rss_kib: $demo,
     results: ($samples | group_by(.load) | map({key: .[0].load, value:
       (group_by(.router) | map({key: .[0].router, value: (map(.value) | summary)}) | from_entries)}) | from_entries)}
  ' >target/bench.json
  rows vnet nftables kernel nftables flowtable tokio-tun ovs vnet vnet-tun <<'ROWS'
tcp1        TCP x1, Gbit/s             1.2
tcp4        TCP x4, Gbit/s             1.15
tcp16       TCP x16, Gbit/s            1.05
both        TCP both ways, Gbit/s
bbr1        BBR: TCP x1, Gbit/s        1.0
bbr4        . TCP x4, Gbit/s           1.0
flooded     TCP x1 under a flood       1.0
paced       . asked for 3 Gbit/s       0.98
cpu         TCP x1, core-ms a Gbit     -1.0
udp1        UDP 64 B, kpps             1.2
udp1-loss   . lost, %                  +0
udp16       UDP 16 flows, kpps         1.2
udp16-loss  . lost, %                  +0
udp256      UDP 256 flows, kpps        1.3
udp256-loss . lost, %                  +0
big         UDP 1400 B, kpps
big-loss    . lost, %
rate50      16 flows, 50k/s: lost, %   +0.5
rate100     16 flows, 100k/s: lost, %  +0.5
rate150     16 flows, 150k/s: lost, %  +0.5
rate200     16 flows, 200k/s: lost, %
split-p50   ping-pong p50, us          -0.95
split-p99   . p99
same-p50    same core p50, us          -0.85
same-p99    . p99
loaded-p50  beside a stream p50, us
loaded-p99  . p99                      -1.0
connects    connects, k/s              1.0
ROWS
  rows vnet-1000 nftables-1000 nftables-1000 vnet-1000 <<'ROWS'
udp1        1000 rules: UDP 64 B, kpps
udp1-loss   . lost, %
connects    1000 rules: connects, k/s
ROWS
  rows vnet-1000 vnet vnet vnet-1000 <<'ROWS'
udp1        against ten: UDP 64 B      0.97
connects    . connects, k/s            0.97
ROWS
  rows vnet vnet-tun nftables vnet-tun vnet <<'ROWS'
first-p50   first packets: p50, us    -1.3
first-p99   . p99
ROWS
  rows vnet-w1 vnet-w2 vnet-w1 vnet-w2 vnet-w4 <<'ROWS'
tcp1        1, 2, 4 workers: TCP x1, Gbit/s
tcp4        . TCP x4, Gbit/s
udp1        . UDP 64 B, kpps
udp16       . UDP 16 flows, kpps
split-p50   . ping-pong p50, us
split-p99   . . p99
same-p50    . same core p50, us
connects    . connects, k/s
ROWS
  rows vnet-chain kernel-chain kernel-chain vnet-chain <<'ROWS'
chain       through an appliance: TCP  1.1
ROWS
  for translating in vnet-lb vnet-snat; do
    rows "$translating" vnet vnet "$translating" <<'ROWS'
tcp1        translated: TCP x1, Gbit/s     0.9
tcp4        . TCP x4, Gbit/s               0.9
both        . TCP both ways, Gbit/s        0.9
udp1        . UDP 64 B, kpps               0.9
udp16       . UDP 16 flows, kpps           0.9
big         . UDP 1400 B, kpps             0.95
split-p50   . ping-pong p50, us
connects    . connects, k/s
ROWS
  done
  echo "median (min-max) of $rounds rounds; kernel $(uname -r), $cores cores; demo lab: $(($1 / 1024)) MiB resident (bar < 64)"
}

# A table of routers, with the ratio of one of them to another, or their difference, and its bar: at least, at most after a
# minus, that much more after a plus.
rows() { # ONE OTHER ROUTER... <LOAD-TITLE-BAR
  local ours=$1 theirs=$2
  shift 2
  jq -rR --slurpfile all target/bench.json --arg routers "$*" --arg ours "$ours" --arg theirs "$theirs" '
    def show: if fabs >= 100 then round else (. * 100 | round / 100) end | tostring;
    def bound: if startswith("-") then "<= " + .[1:] elif startswith("+") then "<= \(.)" else ">= \(.)" end;
    def cell: if . == null then "-" else "\(.median | show) (\(.min | show)-\(.max | show))" end;
    ($routers | split(" ")) as $routers
    | [capture("^(?<load>[^ ]+) +(?<title>.+?)( +(?<bar>[-+]?[0-9.]+))?$")]
    | .[] | . as {$load, $title, $bar}
    | $all[0].results[$load] as $found
    | select($found != null and any($routers[]; $found[.] != null))
    | $found[$ours].median as $a | $found[$theirs].median as $b
    | (if $a == null or $b == null then null
       elif ($title | test("lost")) then {text: "\($a - $b | show) more", held: ($bar != null and $a - $b <= ($bar | tonumber))}
       elif $b == 0 then null
       else ($a / $b) as $ratio | {text: ($ratio | show), held: ($bar != null and
         (($bar | tonumber) as $bound | if $bound < 0 then $ratio <= -$bound else $ratio >= $bound end))} end) as $verdict
    | [$title] + ($routers | map($found[.] | cell))
      + [if $verdict == null then "" else $verdict.text end,
         if $verdict == null or $bar == null then "" else "\($bar | bound) \(if $verdict.held then "ok" else "MISSED" end)" end]
    | @tsv' | { printf 'load'; printf '\t%s' "$@"; printf '\tratio\tbar\n'; cat; } | column -t -s "$(printf '\t')"
  echo
}

# The tables between the two marks of the page: ratios of what was measured, and nothing else.
write_page() {
  local file=docs/internals/performance.md
  {
    ratios nftables kernel nftables flowtable tokio-tun ovs vnet vnet-tun <<'ROWS'
tcp1       TCP, one stream
tcp4       TCP, four streams
tcp16      TCP, sixteen streams
both       TCP, one stream each way at once
bbr1       TCP, one stream under BBR
bbr4       TCP, four streams under BBR
flooded    TCP, one stream beside 20,000 SYNs a second
paced      the same, asked for 3 Gbit/s
cpu        processor time a gigabit (less is better)
udp1       UDP of 64 bytes, one flow, packets delivered
udp16      UDP of 64 bytes, 16 flows, packets delivered
udp256     UDP of 64 bytes, 256 flows, packets delivered
split-p50  round trip, ends on two cores, median time (less is better)
same-p50   round trip, ends on one core, median time (less is better)
first-p50  round trip of a flow's first packets, median time (less is better)
loaded-p50 round trip beside a TCP stream, median time (less is better)
loaded-p99 the same, one in a hundred takes longer (less is better)
connects   TCP connects a second
ROWS
    echo
    ratios vnet vnet vnet-lb vnet-snat <<'ROWS'
tcp1       behind a balancer, through a NAT gateway: TCP, one stream
tcp4       TCP, four streams
udp1       UDP of 64 bytes, one flow, packets delivered
udp16      UDP of 64 bytes, 16 flows, packets delivered
split-p50  round trip, ends on two cores, median time (less is better)
connects   TCP connects a second
ROWS
    echo
    ratios nftables-1000 nftables-1000 vnet-1000 <<'ROWS'
udp1       a thousand rules: UDP of 64 bytes, one flow, packets delivered
connects   a thousand rules: TCP connects a second
ROWS
    echo
    ratios kernel-chain kernel-chain vnet-chain <<'ROWS'
chain      through an appliance: TCP, one stream
ROWS
  } >"$work/tables"
  awk -v tables="$work/tables" '
    /<!-- end of bench -->/ { inside = 0 }
    !inside
    /<!-- bench: / { inside = 1; while ((getline line <tables) > 0) print line }
  ' "$file" >"$work/page.md"
  cp "$work/page.md" "$file"
}

# A markdown table: of each router that was measured, the ratio of its median to that of the first one named.
ratios() { # TO ROUTER... <LOAD-TITLE
  local to=$1 router measured=()
  shift
  for router in "$@"; do
    if jq -e --arg router "$router" 'any(.results[]; has($router))' target/bench.json >/dev/null; then measured+=("$router"); fi
  done
  set -- "${measured[@]}"
  jq -rR --slurpfile all target/bench.json --arg routers "$*" --arg to "$to" '
    def show: if . >= 10 then . * 10 | round / 10 else . * 100 | round / 100 end | tostring;
    ($routers | split(" ")) as $routers
    | capture("^(?<load>[^ ]+) +(?<title>.+)$") | . as {$load, $title}
    | $all[0].results[$load] as $found
    | select($found[$to].median // 0 != 0)
    | "| " + ([$title] + ($routers | map(if $found[.] then $found[.].median / $found[$to].median | show else "-" end))
      | join(" | ")) + " |"' | {
    printf '| load |'; printf ' %s |' "$@"
    printf '\n|---|'; printf -- '--:|%.0s' "$@"
    echo
    cat
  }
}

# One load on one router; names as in `loads`.
measure() { # LOAD
  case $1 in
    tcp1) tcp 1 ;;
    tcp4) tcp 4 ;;
    tcp16) tcp 16 ;;
    both) tcp 1 both --bidir ;;
    bbr1) congestion=bbr tcp 1 bbr1 ;;
    bbr4) congestion=bbr tcp 4 bbr4 ;;
    chain) tcp 1 chain ;;
    flooded) tcp_under_flood flooded ;;
    paced) tcp_under_flood paced -b3G ;;
    udp1) udp udp1 --flows 1 ;;
    udp16) udp udp16 --flows 16 ;;
    udp256) udp udp256 --flows 256 ;;
    big) udp big --flows 1 --size 1400 ;;
    rate*) udp_at "${1#rate}" ;;
    split) pingpong split 1 ;;
    same) pingpong same 0 ;;
    first) pingpong first 1 2000 fresh ;;
    loaded) pingpong_beside_stream ;;
    connects) connects ;;
    *) fail "no load is called $1: ${loads[*]}" ;;
  esac
}

# Under a thousand rules only what starts flows, or is bound by packets; a chain is a load of its own. Beside a stream the
# other forwarders in user space lose more round trips than make a figure.
concerns() { # LOAD: this router
  case $router:$1 in
    *-1000:udp1 | *-1000:connects) true ;;
    *-1000:*) false ;;
    tokio-tun:loaded | ovs:loaded) false ;;
    *-chain:chain) true ;;
    *-chain:* | *:chain) false ;;
    *:bbr*) grep -qw bbr /proc/sys/net/ipv4/tcp_available_congestion_control ;;
    # A port rests for a while before the same destination sees it again: they would run out.
    vnet-snat:connects | vnet-snat:flooded | vnet-snat:paced) false ;;
    *) true ;;
  esac
}

busy=$(busy_percent)
if [ "$busy" -gt 10 ] && [ "$anyway" = 0 ]; then
  fail "the machine is $busy % busy; stop what runs, or say --anyway"
fi

for router in "${routers[@]}"; do
  case $router in
    kernel) kernel_router kernel ;;
    nftables) kernel_router nftables; nftables_rules nftables ;;
    tokio-tun) tokio_tun ;;
    ovs) open_vswitch ;;
    nftables-1000) kernel_router nftables-1000; nftables_thousand_rules ;;
    vnet) vnet_router vnet "device: veth" ten ;;
    vnet-tun) vnet_router vnet-tun "device: tun" ten ;;
    flowtable) kernel_router flowtable; nftables_rules flowtable; nftables_flowtable ;;
    vnet-plain) vnet_router vnet-plain "device: tun, offload: false" ten ;;
    vnet-1000) vnet_router vnet-1000 "device: veth" thousand ;;
    kernel-chain) kernel_chain ;;
    vnet-chain) vnet_router vnet-chain "device: veth" chain ;;
    vnet-lb) vnet_router vnet-lb "device: veth" balanced ;;
    vnet-snat) vnet_router vnet-snat "device: veth" natted ;;
    vnet-w[1-9]) vnet_router "$router" "device: tun, workers: ${router#vnet-w}" ten ;;
    *) fail "no router is called $router: ${all_routers[*]}" ;;
  esac
done
for namespace in $(namespaces); do ip netns exec "$namespace" sysctl -qw net.ipv4.tcp_congestion_control=reno; done
demo=$(demo_memory)

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  for load in "${loads[@]}"; do
    for router in "${routers[@]}"; do
      if concerns "$load"; then measure "$load"; fi
    done
  done
done
report "$demo"
if [ "$page" = 1 ]; then write_page; fi
