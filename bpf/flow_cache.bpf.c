// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Carries packets of decided flows from one guest to another inside the kernel.
//
// Each interface of a guest has two devices in the router's namespace: the other end of its veth pair, and a TAP that
// the daemon reads. A packet of a flow in the map goes straight into the receiver's namespace. Every other packet goes up
// to the daemon by the TAP, and what the daemon writes there goes to the guest.
//
// The map is a cache of decisions. Each entry is of one epoch of the daemon's tables and state; the daemon ends an epoch
// by a new number. Whatever is not plain goes up: fragments, options, other protocols, packets that begin or end a
// connection, checksums that nothing vouches for, sizes over the receiver's MTU. Of ICMP, only echoes are carried.
//
// An entry says what the packets look like at the receiver: addresses and ports may be others there, and gateways on the
// way count hops. Checksums follow by differences that the daemon has worked out.
//
// No packet overtakes those of its flow that went up before. A new entry waits: its packets still go up, each with a mark
// in place of its Ethernet destination, and the daemon reports the marks that it has passed on. Once that is the last
// one, nothing of the flow is on its way up, and the entry carries. Every other segment of TCP that goes up has a mark,
// too: the program must not open the next connection before it.
//
// Connections of one kind, from one address to one port of another, may differ in their source port alone. Where the
// tables ask none for it, the daemon grants that kind: then the program opens such a connection by itself, carries it to its
// end, and announces it. Each one takes of a credit that the daemon gives back. The program opens none while a segment from
// the same port is on its way up: the old connection's reset would come after the new one's SYN.
//
// Of a flow that a capture wants, the daemon gets copies: the packets stay with the kernel. A copy that finds no room is
// counted, and nothing waits for it.
//
// `scripts/bpf.sh` builds flow_cache.bpf.o.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// A flow in one direction, as it comes from one port. src/sys/flow_cache.rs has the same layouts.
struct flow_key {
	__u32 port; // The index of the sender's veth end here.
	__u8 version;
	__u8 protocol;
	__be16 src_port, dst_port;
	__u16 zero;
	__be32 src[4], dst[4]; // An IPv4 address is in the first word.
};

struct flow {
	__u64 epoch;
	__u64 timeout; // Nanoseconds without a packet after which the daemon decides anew.
	__u64 last; // Monotonic nanoseconds.
	__u64 packets; // As on a wire: of a super-packet, its segments.
	__u64 bytes; // As on a wire, from the IP header on: each segment repeats the headers.
	__u64 missed; // Packets whose copies found no room.
	__u32 out; // The index of the receiver's veth end here.
	__u16 mtu;
	__u8 ttl;
	__u8 ended; // A packet has begun or ended its connection since.
	__u8 ethernet[12]; // Receiver and sender.
	__u16 slot; // In PASSED, as long as the flow waits; then 0.
	__u16 zero;
	__u32 mark; // Of the packet that went up last.
	__u32 last_mark; // Behind it the flow waits no longer.
	__u32 copies; // By which the daemon knows copies of its packets; 0: it wants none.
	__u32 most; // Bytes of a copy.
	__be32 src[4], dst[4]; // At the receiver, as in the key.
	__be16 src_port, dst_port;
	__u32 address_sum, port_sum; // What each adds to a checksum; 0: they are the key's.
	__u8 translated; // The receiver's view differs from the key.
	__u8 hops; // By how many the receiver's TTL is less.
	__u8 granted; // It was opened here: its FIN and RST are carried, too.
	__u8 unused;
	__be32 expects; // The number that TCP's sender has acknowledged last.
	__u32 signals; // What TCP's flags said so far, of a connection that was opened here.
};

// Connections that differ in their source port alone: the key is that of their first packet, with zero in its place. Of
// two values, the first is of packets from there, the second of answers.
struct grant {
	__u64 epoch;
	__u64 timeout; // As of a flow.
	__u64 last; // When one was opened last.
	__u32 number;
	__u32 out;
	__u16 mtu[2];
	__u8 ttl[2];
	__u8 zero[2];
	__u8 ethernet[2][12];
};

// A connection that was opened.
struct opened {
	__u64 at; // Monotonic nanoseconds.
	__u32 grant; // Its number.
	__be16 src_port;
	__u16 len; // Of its first packet.
};

// Bits of `signals`. src/dataplane/state/flow/tcp.rs has the same.
#define SIGNAL_SYN 1
#define SIGNAL_FIN 2
#define SIGNAL_RST 4
#define SIGNAL_OTHER 8

// The Ethernet destination of a packet that goes up: zeros, unless it is a segment of TCP or its flow waits.
struct mark {
	__u16 slot;
	__u32 number;
} __attribute__((packed));

// Flows that wait have the slots below this one. Other segments have the slots from here on, by the hash of their flow.
#define SEGMENTS (1 << 15)

// What else the number of such a segment says: ENDED if it has ended an entry; RENEWED if it also opens a connection after
// one that is over.
#define ENDED 1
#define RENEWED 2
#define SAYS 3

// A copy of a packet: its first bytes, behind what the sender's kernel has left undone (`struct virtio_net_hdr`).
struct copy {
	__u64 at; // Monotonic nanoseconds.
	__u32 flow; // Its `copies`.
	__u32 len; // Of the whole packet.
	__u32 kept;
	__u16 zero;
	__u8 flags, gso_type;
	__u16 hdr_len, gso_size, csum_start, csum_offset;
	__u8 bytes[];
};

// A map's definition, as the loader reads it from the section `maps`.
struct map {
	__u32 type, key_size, value_size, max_entries, flags;
};

struct map FLOWS SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct flow_key),
	.value_size = sizeof(struct flow),
	.max_entries = 1000000,
	.flags = BPF_F_NO_PREALLOC,
};

struct map EPOCH SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 1,
};

// Of each veth end its TAP, and of each TAP its veth end.
struct map TWINS SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 1 << 17,
	.flags = BPF_F_NO_PREALLOC,
};

// By slot, the mark that the daemon has passed on last. The daemon writes to its memory.
struct map PASSED SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 1 << 16,
	.flags = BPF_F_MMAPABLE,
};

// By hash, the mark of the segment that went up last, of those whose flow does not wait.
struct map SENT_UP SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = SEGMENTS,
};

// How many copies found no room. The daemon reads its memory.
struct map MISSED SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 1,
	.flags = BPF_F_MMAPABLE,
};

// What copies wait in: at 100,000 packets of 1,500 bytes a second, a tenth of a second.
struct map COPIES SEC("maps") = {
	.type = BPF_MAP_TYPE_RINGBUF,
	.max_entries = 16 << 20,
};

struct map GRANTS SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct flow_key),
	.value_size = sizeof(struct grant),
	.max_entries = 1 << 14,
	.flags = BPF_F_NO_PREALLOC,
};

// How many more connections may be opened, and how many were. The daemon shares this memory.
#define CREDIT 0
#define COUNT 1
struct map OPENINGS SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 2,
	.flags = BPF_F_MMAPABLE,
};

// The connections that were opened. There is room for all that the credit allows.
struct map OPENED SEC("maps") = {
	.type = BPF_MAP_TYPE_RINGBUF,
	.max_entries = 256 << 10,
};

// What a new flow is written in, since it is too large for the stack.
struct map FRESH SEC("maps") = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(struct flow),
	.max_entries = 1,
};

// What a message of ICMP is read into, to add it up.
struct message {
	__u8 bytes[1536 + 4];
};

struct map MESSAGE SEC("maps") = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(struct message),
	.max_entries = 1,
};

// The program that carries. The kernel empties this map with its last descriptor, which the daemon has: without it
// nothing is forwarded.
struct map CARRIES SEC("maps") = {
	.type = BPF_MAP_TYPE_PROG_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 1,
};

#define ETHERNET sizeof(struct ethhdr)

// Bytes for which there is room in a copy: for what has no payload, for one packet, and for a super-packet.
#define SHORT 128
#define PLAIN 1536
#define JUMBO 9216
#define LARGEST 65600

// What the program needs to know of a packet.
struct packet {
	struct flow_key key;
	__u32 len; // From the IP header on.
	__u32 ip_header; // Lengths of both headers.
	__u32 transport_header;
	__u16 checksum; // Of the transport header.
	__u8 ttl;
	__u8 turns; // It begins or ends a connection.
	__u8 opens; // It begins one.
	__u8 signals; // What its flags say.
	__u8 partial; // Its checksum is left to the device.
	__be32 expects; // What TCP acknowledges.
};

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

// The most bytes that bpf_csum_diff() takes at once.
#define CHUNK 512

// Whether a message of ICMP adds up. Linux leaves the checksum to no device, and vouches for none.
static __always_inline bool adds_up(struct __sk_buff *skb, const struct packet *p, __u64 sum)
{
	__u32 first = 0, len = p->len - p->ip_header;
	struct message *message = bpf_map_lookup_elem(&MESSAGE, &first);

	if (!message || len < 8 || len > 3 * CHUNK || bpf_skb_load_bytes(skb, ETHERNET + p->ip_header, message->bytes, len))
		return false;
	// An odd rest is added up with zeros behind it.
	__builtin_memset(message->bytes + len, 0, 4);
	len = (len + 3) & ~3u;
#pragma unroll
	for (int chunk = 0; chunk < 3; chunk++) {
		__u32 *part = (void *)(message->bytes + chunk * CHUNK);
		__u32 most = len > CHUNK ? CHUNK : len;

		if (most)
			sum += (__u32)bpf_csum_diff(0, 0, part, most, 0);
		len -= most;
	}
	return fold(sum) == 0xffff;
}

// Whether a segment is a bare header with a right checksum. A kernel without a socket sends such resets.
static __always_inline bool is_bare(struct __sk_buff *skb, const struct packet *p, __u64 sum)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 *words = data + ETHERNET + p->ip_header;

	if (p->key.protocol != IPPROTO_TCP || p->len != p->ip_header + sizeof(struct tcphdr))
		return false;
	if ((void *)(words + 5) > end)
		return false;
	return fold(sum + words[0] + words[1] + words[2] + words[3] + words[4]) == 0xffff;
}

// Packets whose checksum the sender's kernel has left to the device carry the sum of the pseudo-header. Another
// checksum may be wrong, unless the kernel or this program has verified it.
static __always_inline bool is_vouched_for(struct __sk_buff *skb, struct packet *p, __u64 addresses)
{
	__u64 sum = addresses + bpf_htons(p->key.protocol) + bpf_htons(p->len - p->ip_header);

	if (p->key.protocol == IPPROTO_ICMP)
		return adds_up(skb, p, 0);
	if (p->key.protocol == IPPROTO_ICMPV6)
		return adds_up(skb, p, sum);
	p->partial = skb->gso_size || p->checksum == fold(sum);
	return p->partial || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0 || is_bare(skb, p, sum);
}

// Of IPv4 (RFC 792). The header of <linux/icmp.h> needs a C library for this target.
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8

// The identifier of an echo is both ports of its flow. Both versions lay it out alike.
static __always_inline bool parse_echo(void *at, void *end, struct packet *p)
{
	struct icmp6hdr *icmp = at;
	bool request, reply;

	if ((void *)(icmp + 1) > end || icmp->icmp6_code)
		return false;
	if (p->key.version == 4) {
		request = p->key.protocol == IPPROTO_ICMP && icmp->icmp6_type == ICMP_ECHO;
		reply = p->key.protocol == IPPROTO_ICMP && icmp->icmp6_type == ICMP_ECHO_REPLY;
	} else {
		request = p->key.protocol == IPPROTO_ICMPV6 && icmp->icmp6_type == ICMPV6_ECHO_REQUEST;
		reply = p->key.protocol == IPPROTO_ICMPV6 && icmp->icmp6_type == ICMPV6_ECHO_REPLY;
	}
	p->key.src_port = icmp->icmp6_identifier;
	p->key.dst_port = icmp->icmp6_identifier;
	p->transport_header = sizeof(*icmp);
	return request || reply;
}

static __always_inline bool parse_transport(struct __sk_buff *skb, void *at, struct packet *p)
{
	void *end = (void *)(long)skb->data_end;

	if (p->key.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end || tcp->doff < 5)
			return false;
		p->key.src_port = tcp->source;
		p->key.dst_port = tcp->dest;
		p->transport_header = tcp->doff * 4;
		p->checksum = tcp->check;
		p->turns = tcp->syn | tcp->fin | tcp->rst;
		p->opens = tcp->syn && !(tcp->ack | tcp->fin | tcp->rst);
		p->signals = tcp->rst	? SIGNAL_RST
			     : tcp->syn ? SIGNAL_SYN
			     : tcp->fin ? SIGNAL_FIN | SIGNAL_OTHER
					: SIGNAL_OTHER;
		p->expects = tcp->ack ? tcp->ack_seq : 0;
	} else if (p->key.protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;

		// A super-packet may be one of a tunnel, whose segments are another size.
		if ((void *)(udp + 1) > end || skb->gso_size)
			return false;
		p->key.src_port = udp->source;
		p->key.dst_port = udp->dest;
		p->transport_header = sizeof(*udp);
		p->checksum = udp->check;
		// Bytes behind the datagram have no checksum.
		if (bpf_ntohs(udp->len) != p->len - p->ip_header)
			return false;
	} else {
		return parse_echo(at, end, p);
	}
	return p->ip_header + p->transport_header <= p->len;
}

static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETHERNET;
	__u32 *words = (void *)ip;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5)
		return false;
	// More fragments or an offset, or the reserved bit.
	if (ip->frag_off & bpf_htons(0xbfff) || bpf_ntohs(ip->tot_len) != p->len)
		return false;
	if (fold((__u64)words[0] + words[1] + words[2] + words[3] + words[4]) != 0xffff)
		return false;
	p->key.version = 4;
	p->key.protocol = ip->protocol;
	p->key.src[0] = ip->saddr;
	p->key.dst[0] = ip->daddr;
	p->ttl = ip->ttl;
	p->ip_header = sizeof(*ip);
	return parse_transport(skb, ip + 1, p) && is_vouched_for(skb, p, (__u64)ip->saddr + ip->daddr);
}

static __always_inline bool parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + ETHERNET;
	__u64 sum = 0;

	if ((void *)(ip + 1) > end || ip->version != 6 || bpf_ntohs(ip->payload_len) + sizeof(*ip) != p->len)
		return false;
	p->key.version = 6;
	p->key.protocol = ip->nexthdr;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		p->key.src[i] = ip->saddr.in6_u.u6_addr32[i];
		p->key.dst[i] = ip->daddr.in6_u.u6_addr32[i];
		sum += (__u64)p->key.src[i] + p->key.dst[i];
	}
	p->ttl = ip->hop_limit;
	p->ip_header = sizeof(*ip);
	return parse_transport(skb, ip + 1, p) && is_vouched_for(skb, p, sum);
}

// A guest's own destination never goes up: it could be taken for a mark.
static __always_inline int up_with(struct __sk_buff *skb, __u16 slot, __u32 number)
{
	struct mark mark = { .slot = slot, .number = number };
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 port = skb->ifindex;
	__u32 *tap = bpf_map_lookup_elem(&TWINS, &port);

	if (!tap || data + ETHERNET > end)
		return TC_ACT_SHOT;
	__builtin_memcpy(data, &mark, sizeof(mark));
	return bpf_redirect(*tap, 0);
}

static __always_inline int to_daemon(struct __sk_buff *skb)
{
	return up_with(skb, 0, 0);
}

static __always_inline __u32 hash(const struct flow_key *key)
{
	__u32 hash = key->port;

#pragma unroll
	for (int i = 0; i < 4; i++)
		hash = ((hash ^ key->src[i]) * 0x9e3779b1 ^ key->dst[i]) * 0x85ebca6b;
	return (hash ^ key->src_port << 16 ^ key->dst_port) * 0xc2b2ae35 >> 17;
}

// Sends up a packet that no entry carries.
static __always_inline int up(struct __sk_buff *skb, const struct flow_key *key, __u32 says)
{
	__u32 at = hash(key);
	__u32 *last = bpf_map_lookup_elem(&SENT_UP, &at);

	if (key->protocol != IPPROTO_TCP || !last)
		return up_with(skb, 0, 0);
	return up_with(skb, SEGMENTS + at, (__sync_fetch_and_add(last, SAYS + 1) + SAYS + 1) | says);
}

// Whether a segment of a flow without an entry may still be on its way up. One that was lost there counts until another one
// has passed. Two flows with the same hash share a slot: one may hold up the other's SYN. If they are in two queues, the
// one that passes last may hide the other.
static __always_inline bool is_under_way(const struct flow_key *key)
{
	__u32 at = hash(key), slot = SEGMENTS + at;
	volatile __u32 *last = bpf_map_lookup_elem(&SENT_UP, &at);
	volatile __u64 *passed = bpf_map_lookup_elem(&PASSED, &slot);

	return !last || !passed || ((__u32)*passed & ~SAYS) != *last;
}

// Whether packets of the flow may still be on their way up.
static __always_inline bool waits(const struct flow *flow)
{
	__u32 slot = flow->slot;
	volatile __u64 *passed;

	if (!slot || flow->mark == flow->last_mark)
		return false;
	passed = bpf_map_lookup_elem(&PASSED, &slot);
	return passed && *passed != flow->mark;
}

// The packets that come back.
static __always_inline void answers_of(const struct flow *flow, const struct flow_key *key, struct flow_key *back)
{
	back->port = flow->out;
	back->version = key->version;
	back->protocol = key->protocol;
	back->src_port = flow->dst_port;
	back->dst_port = flow->src_port;
	__builtin_memcpy(back->src, flow->dst, sizeof(back->src));
	__builtin_memcpy(back->dst, flow->src, sizeof(back->dst));
}

// No packet is carried in either direction until the daemon has seen this one. Returns whether the flags that were seen here
// say that the connection is over.
static __always_inline bool end(struct flow *flow, struct flow_key *key)
{
	struct flow_key back = {};
	struct flow *answers;

	flow->ended = 1;
	answers_of(flow, key, &back);
	answers = bpf_map_lookup_elem(&FLOWS, &back);
	if (!answers)
		return flow->signals & SIGNAL_RST;
	answers->ended = 1;
	return (flow->signals | answers->signals) & SIGNAL_RST || flow->signals & answers->signals & SIGNAL_FIN;
}

// Whether an entry is of a connection before this one, from the same port: the other direction has none. The first packet
// of this connection went up, so the SYN that answers must go up, too.
static __always_inline bool is_left_over(const struct flow *flow, const struct flow_key *key)
{
	struct flow_key back = {};

	answers_of(flow, key, &back);
	return !bpf_map_lookup_elem(&FLOWS, &back);
}

// Writes one direction of a connection, as its packets go from `key`'s port to `out`.
static __always_inline bool insert(struct flow *flow, const struct flow_key *key, const struct grant *grant, __u32 out,
				   const int direction, __u64 now)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->epoch = grant->epoch;
	flow->timeout = grant->timeout;
	flow->last = now;
	flow->out = out;
	flow->mtu = grant->mtu[direction];
	flow->ttl = grant->ttl[direction];
	flow->granted = 1;
	__builtin_memcpy(flow->ethernet, grant->ethernet[direction], sizeof(flow->ethernet));
	__builtin_memcpy(flow->src, key->src, sizeof(flow->src));
	__builtin_memcpy(flow->dst, key->dst, sizeof(flow->dst));
	flow->src_port = key->src_port;
	flow->dst_port = key->dst_port;
	return !bpf_map_update_elem(&FLOWS, key, flow, BPF_NOEXIST);
}

// Announces a connection, and lets both of its directions be carried. The daemon hears of it before any of its packets.
static __always_inline bool announce(struct flow_key *key, const struct grant *grant, __u16 len, __u64 *count)
{
	__u32 first = 0;
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow *fresh = bpf_map_lookup_elem(&FRESH, &first);
	struct opened *opened;
	struct flow_key back = {};

	opened = fresh ? bpf_ringbuf_reserve(&OPENED, sizeof(*opened), 0) : 0;
	if (!opened)
		return false;
	if (!insert(fresh, key, grant, grant->out, 0, now)) {
		bpf_ringbuf_discard(opened, BPF_RB_NO_WAKEUP);
		return false;
	}
	answers_of(fresh, key, &back);
	if (!insert(fresh, &back, grant, key->port, 1, now)) {
		bpf_map_delete_elem(&FLOWS, key);
		bpf_ringbuf_discard(opened, BPF_RB_NO_WAKEUP);
		return false;
	}
	opened->at = bpf_ktime_get_ns();
	opened->grant = grant->number;
	opened->src_port = key->src_port;
	opened->len = len;
	bpf_ringbuf_submit(opened, BPF_RB_NO_WAKEUP);
	__sync_fetch_and_add(count, 1);
	return true;
}

// Opens a connection of a kind that the daemon has granted.
static __always_inline bool open(struct packet *p, __u64 epoch)
{
	__u32 at_credit = CREDIT, at_count = COUNT;
	__be16 src_port = p->key.src_port;
	__u64 *credit, *count;
	struct grant *grant;

	p->key.src_port = 0;
	grant = bpf_map_lookup_elem(&GRANTS, &p->key);
	p->key.src_port = src_port;
	if (!grant || grant->epoch != epoch || grant->ttl[0] != p->ttl || p->len > grant->mtu[0])
		return false;
	credit = bpf_map_lookup_elem(&OPENINGS, &at_credit);
	count = bpf_map_lookup_elem(&OPENINGS, &at_count);
	if (!credit || !count || *(volatile __s64 *)credit <= 0)
		return false;
	if ((__s64)__sync_fetch_and_add(credit, -1) > 0 && announce(&p->key, grant, p->len, count)) {
		grant->last = bpf_ktime_get_coarse_ns();
		return true;
	}
	__sync_fetch_and_add(credit, 1);
	return false;
}

// Room for a copy has a size that is known here.
static __always_inline bool copied(struct __sk_buff *skb, const struct flow *flow, const struct packet *p,
				   __u32 kept, const __u32 room)
{
	struct copy *copy = bpf_ringbuf_reserve(&COPIES, sizeof(*copy) + room, 0);
	bool tcp = p->key.protocol == IPPROTO_TCP;

	if (!copy)
		return false;
	copy->at = bpf_ktime_get_ns();
	copy->flow = flow->copies;
	copy->len = p->len;
	copy->kept = kept;
	copy->zero = 0;
	copy->flags = p->partial ? VIRTIO_NET_HDR_F_NEEDS_CSUM : VIRTIO_NET_HDR_F_DATA_VALID;
	copy->gso_type = !skb->gso_size		? VIRTIO_NET_HDR_GSO_NONE
			 : p->key.version == 4	? VIRTIO_NET_HDR_GSO_TCPV4
						: VIRTIO_NET_HDR_GSO_TCPV6;
	copy->hdr_len = skb->gso_size ? p->ip_header + p->transport_header : 0;
	copy->gso_size = skb->gso_size;
	copy->csum_start = p->partial ? p->ip_header : 0;
	copy->csum_offset = !p->partial ? 0 : tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
	if (kept - 1 >= room || bpf_skb_load_bytes(skb, ETHERNET, copy->bytes, kept)) {
		bpf_ringbuf_discard(copy, BPF_RB_NO_WAKEUP);
		return false;
	}
	bpf_ringbuf_submit(copy, BPF_RB_NO_WAKEUP);
	return true;
}

static __always_inline void copy(struct __sk_buff *skb, struct flow *flow, const struct packet *p)
{
	__u32 kept = p->len < flow->most ? p->len : flow->most, first = 0;
	__u64 *missed;
	bool done;

	if (kept <= SHORT)
		done = copied(skb, flow, p, kept, SHORT);
	else if (kept <= PLAIN)
		done = copied(skb, flow, p, kept, PLAIN);
	else if (kept <= JUMBO)
		done = copied(skb, flow, p, kept, JUMBO);
	else
		done = copied(skb, flow, p, kept, LARGEST);
	if (done)
		return;
	__sync_fetch_and_add(&flow->missed, 1);
	missed = bpf_map_lookup_elem(&MISSED, &first);
	if (missed)
		__sync_fetch_and_add(missed, 1);
}

// Notes what TCP's flags say. Segments of one end may be here on several processors at once. Most say nothing new.
static __always_inline void note(struct flow *flow, __u32 signals)
{
	// An end that sent a reset sends nothing more: that one was forged or stale.
	if (signals & SIGNAL_OTHER && flow->signals & SIGNAL_RST)
		__sync_fetch_and_and(&flow->signals, ~SIGNAL_RST);
	if (signals & ~flow->signals)
		__sync_fetch_and_or(&flow->signals, signals);
}

// Writes what the receiver sees; of a fresh packet, so that all of it is in one piece.
static __always_inline bool translate(struct __sk_buff *skb, const struct flow *flow, const struct packet *p)
{
	bool tcp = p->key.protocol == IPPROTO_TCP;
	__u32 checksum = ETHERNET + p->ip_header + (tcp ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check));
	__u64 mangled = tcp ? 0 : BPF_F_MARK_MANGLED_0;
	void *data, *end;
	__be16 *ports;

	// These know whether the checksum is left to the device: then it has no ports in it yet.
	if (flow->address_sum && bpf_l4_csum_replace(skb, checksum, 0, flow->address_sum, BPF_F_PSEUDO_HDR | mangled))
		return false;
	if (flow->port_sum && bpf_l4_csum_replace(skb, checksum, 0, flow->port_sum, mangled))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (p->key.version == 4) {
		struct iphdr *ip = data + ETHERNET;

		ports = (void *)(ip + 1);
		if ((void *)(ports + 2) > end)
			return false;
		ip->check = ~fold((__u64)(__u16)~ip->check + flow->address_sum);
		ip->saddr = flow->src[0];
		ip->daddr = flow->dst[0];
	} else {
		struct ipv6hdr *ip = data + ETHERNET;

		ports = (void *)(ip + 1);
		if ((void *)(ports + 2) > end)
			return false;
		__builtin_memcpy(&ip->saddr, flow->src, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, flow->dst, sizeof(ip->daddr));
	}
	ports[0] = flow->src_port;
	ports[1] = flow->dst_port;
	return true;
}

// As the gateways on the way do: less than the packet's TTL, which the daemon has compared.
static __always_inline bool count_hops(struct __sk_buff *skb, const struct flow *flow, const struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (p->key.version == 4) {
		struct iphdr *ip = data + ETHERNET;
		__u16 *word = (void *)&ip->ttl;
		__u16 before;

		if ((void *)(ip + 1) > end)
			return false;
		before = *word;
		ip->ttl -= flow->hops;
		ip->check = ~fold((__u64)(__u16)~ip->check + (__u16)~before + *word);
	} else {
		struct ipv6hdr *ip = data + ETHERNET;

		if ((void *)(ip + 1) > end)
			return false;
		ip->hop_limit -= flow->hops;
	}
	return true;
}

SEC("classifier/carry")
int carry(struct __sk_buff *skb)
{
	struct packet p = {};
	struct flow *flow;
	__u32 segments = 1, first = 0, headers, largest;
	__u64 *at_epoch, epoch, now;
	void *data, *end_of_data;
	bool plain, fresh = false;

	p.key.port = skb->ifindex;
	p.len = skb->len - ETHERNET;
	if (skb->vlan_present)
		return to_daemon(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		plain = parse_ipv4(skb, &p);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		plain = parse_ipv6(skb, &p);
	else
		plain = false;
	if (!plain)
		return to_daemon(skb);
	at_epoch = bpf_map_lookup_elem(&EPOCH, &first);
	if (!at_epoch)
		return to_daemon(skb);
	epoch = *(volatile __u64 *)at_epoch;
	flow = bpf_map_lookup_elem(&FLOWS, &p.key);
	if (!flow && p.opens && !skb->gso_size && !is_under_way(&p.key)) {
		fresh = open(&p, epoch);
		if (fresh)
			flow = bpf_map_lookup_elem(&FLOWS, &p.key);
	}
	if (!flow)
		return up(skb, &p.key, 0);
	if (p.turns && !fresh &&
	    (p.opens || !flow->granted || (p.signals & SIGNAL_SYN && is_left_over(flow, &p.key))))
		return up(skb, &p.key, end(flow, &p.key) && p.opens ? RENEWED : ENDED);
	headers = p.ip_header + p.transport_header;
	largest = p.len;
	if (skb->gso_size) {
		largest = headers + skb->gso_size;
		if (largest > p.len)
			largest = p.len;
		segments = (p.len - headers + skb->gso_size - 1) / skb->gso_size;
		if (!segments)
			segments = 1;
	}
	now = bpf_ktime_get_coarse_ns();
	if (flow->epoch != epoch || flow->ended || flow->ttl != p.ttl || largest > flow->mtu ||
	    (__s64)(now - flow->last) > (__s64)flow->timeout)
		return up(skb, &p.key, 0);
	if (waits(flow)) {
		flow->mark++;
		return up_with(skb, flow->slot, flow->mark);
	}
	flow->slot = 0;
	data = (void *)(long)skb->data;
	end_of_data = (void *)(long)skb->data_end;
	if (data + ETHERNET > end_of_data)
		return to_daemon(skb);
	__builtin_memcpy(data, flow->ethernet, sizeof(flow->ethernet));
	if (flow->copies)
		copy(skb, flow, &p);
	if (flow->translated && !translate(skb, flow, &p))
		return TC_ACT_SHOT;
	if (flow->hops && !count_hops(skb, flow, &p))
		return TC_ACT_SHOT;
	if (flow->granted)
		note(flow, p.signals);
	if (p.expects)
		flow->expects = p.expects;
	flow->last = now;
	__sync_fetch_and_add(&flow->packets, segments);
	__sync_fetch_and_add(&flow->bytes, p.len + (segments - 1) * headers);
	return bpf_redirect_peer(flow->out, 0);
}

SEC("classifier/from_guest")
int from_guest(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &CARRIES, 0);
	return TC_ACT_SHOT;
}

SEC("classifier/from_daemon")
int from_daemon(struct __sk_buff *skb)
{
	__u32 tap = skb->ifindex;
	__u32 *port = bpf_map_lookup_elem(&TWINS, &tap);

	return port ? bpf_redirect_peer(*port, 0) : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
