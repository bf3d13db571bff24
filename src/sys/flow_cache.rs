//! The kernel's cache of decided flows: programs at the devices of guests, and the map of flows that they carry.
//!
//! One idea: a guest's veth pair ends in the router's namespace, where a program hands packets of known flows to the
//! receiver's namespace at once, and every other packet to a TAP that workers read. `bpf/flow_cache.bpf.c` is the
//! program; its object is part of this binary. What is in the map is its caller's business.
//!
//! Only this process holds programs, maps and the devices' namespace, so all go with it, however it ends. The kernel takes
//! a quarter of a second to remove devices; the program that carries is gone with the last descriptor of its map. Loading needs
//! `CAP_BPF` and `CAP_NET_ADMIN` outside of any user namespace; descriptors that are open need no right. Of what the
//! programs do, adding with the former value as the result came last, with Linux 5.12.

#![expect(unsafe_code, reason = "bpf(2), membarrier(2) and a map's memory")]

use std::error::Error;
use std::ffi::{c_int, c_long};
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::Map;
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};

use super::flow_copies::{FlowCopies, FlowCopy};
use super::netlink::{Link, Netlink};
use super::netns::Netns;
use super::opened_flows::OpenedFlows;

/// As `scripts/bpf.sh` builds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/flow_cache.bpf.o");

/// The most flows in the map, each direction by itself: 250 MB of the kernel's memory.
pub const FLOWS_MAX: usize = 1_000_000;

/// A flow in one direction, as it comes from one port: `struct flow_key` of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The index of the sender's veth end: see [`Port::index`].
    pub port: u32,
    pub version: u8,
    pub protocol: u8,
    /// In network byte order, as are addresses; IPv4 addresses fill the first four bytes.
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    pub zero: [u8; 2],
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

/// What becomes of a flow's packets, and what was carried: `struct flow` of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// It is in use as long as this is the cache's epoch.
    pub epoch: u64,
    /// Nanoseconds without a packet after which the next goes up.
    pub timeout: u64,
    /// When a packet was carried last, on the monotonic clock.
    pub last: u64,
    /// As on a wire: of a super-packet, its segments.
    pub packets: u64,
    /// As on a wire: each segment repeats the headers.
    pub bytes: u64,
    /// Packets whose copies found no room.
    pub missed: u64,
    /// The receiver's [`Port::index`].
    pub out: u32,
    pub mtu: u16,
    /// Of its packets; others go up.
    pub ttl: u8,
    /// Not zero once a packet has begun or ended its connection: packets go up.
    pub ended: u8,
    /// The Ethernet addresses of receiver and sender.
    pub ethernet: [u8; 12],
    /// As long as the flow waits for its packets that went up, where they are reported: see [`FlowCache::pass`]. Then zero.
    pub slot: u16,
    pub padding: u16,
    /// Of the packet that went up last.
    pub mark: u32,
    /// Behind this packet the flow waits no longer.
    pub last_mark: u32,
    /// By which copies of its packets are known; zero: none are made.
    pub copies: u32,
    /// Bytes of a copy.
    pub most: u32,
    /// As its receiver sees it, in the form of [`FlowKey`].
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    /// What other addresses, and other ports, add to a checksum; zero where they are the key's.
    pub address_sum: u32,
    pub port_sum: u32,
    /// Not zero if the receiver sees another tuple than the key's.
    pub translated: u8,
    /// By how many the receiver's TTL is less.
    pub hops: u8,
    /// Not zero if the kernel has opened its connection by a [`Grant`]: what ends it is carried, too.
    pub granted: u8,
    pub unused: u8,
    /// What the sender of TCP has acknowledged last, in network byte order; zero before.
    pub expects: [u8; 4],
    /// What TCP's flags said so far, of a connection that the kernel has opened: bits of SYN, FIN, RST and anything else, in
    /// this order.
    pub signals: u32,
}

/// Leave to open connections that differ in their source port alone: `struct grant` of the program. Of two values, the
/// first is of packets from where they are opened, the second of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Grant {
    /// As of a [`Flow`], of which a grant makes two.
    pub epoch: u64,
    pub timeout: u64,
    /// When a connection was opened last, on the monotonic clock.
    pub last: u64,
    /// By which connections name it.
    pub number: u32,
    pub out: u32,
    pub mtu: [u16; 2],
    pub ttl: [u8; 2],
    pub zero: [u8; 2],
    pub ethernet: [[u8; 12]; 2],
}

const _: () = assert!(size_of::<FlowKey>() == 44 && size_of::<Flow>() == 144 && size_of::<Grant>() == 64);

/// The most grants at a time.
pub const GRANTS_MAX: usize = 1 << 14;
/// The most connections that are opened and not yet known to be answered: as many as there is room for in [`OpenedFlows`].
pub const CREDIT: usize = 8192;
/// Words of the map `OPENINGS`.
const LEFT: usize = 0;
const COUNT: usize = 1;

/// Slots of flows that wait, the first of which is never in use. The slots behind them are of other segments of TCP, by
/// their flows' hash.
pub const SLOTS: usize = 1 << 15;
const ALL_SLOTS: usize = 2 * SLOTS;

/// In the mark of such a segment: it has begun or ended the connection of a flow that was carried.
const ENDED: u32 = 1;
/// The same of a segment that opens a connection after one that is over.
const RENEWED: u32 = 2;
const SAYS: u32 = 3;

/// What the program puts on a packet that goes up, in place of the Ethernet destination, so that none of its flow is
/// carried before it was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub slot: u16,
    pub number: u32,
}

impl Mark {
    /// Reads the destination of a frame from a guest with a [`Port`]; None unless it is a segment of TCP or its flow waits.
    pub fn of(destination: [u8; 6]) -> Option<Self> {
        let [s0, s1, n0, n1, n2, n3] = destination;
        let slot = u16::from_ne_bytes([s0, s1]);
        (slot != 0).then(|| Self { slot, number: u32::from_ne_bytes([n0, n1, n2, n3]) })
    }

    /// Whether its packet has ended a flow that was carried.
    pub const fn has_ended(self) -> bool {
        matches!(self.says(), ENDED | RENEWED)
    }

    /// Whether its packet opens a connection after one that is over, though the record may not say so yet.
    pub const fn has_renewed(self) -> bool {
        self.says() == RENEWED
    }

    /// The numbers of flows that wait say nothing else.
    const fn says(self) -> u32 {
        if (self.slot as usize) < SLOTS { 0 } else { self.number & SAYS }
    }
}

/// The programs and their maps.
#[derive(Debug)]
pub struct FlowCache {
    copies: Mutex<FlowCopies>,
    /// Without this descriptor the kernel carries nothing.
    _carries: OwnedFd,
    from_guest: OwnedFd,
    from_daemon: OwnedFd,
    flows: OwnedFd,
    epoch: OwnedFd,
    twins: OwnedFd,
    grants: OwnedFd,
    opened: OwnedFd,
    passed: Words,
    missed: Words,
    openings: Words,
    now: AtomicU64,
    beginning: Mutex<()>,
}

/// A guest's port: the router's end of its veth pair, with the programs in place. The pair goes when this is dropped.
#[derive(Debug)]
pub struct Port {
    cache: Arc<FlowCache>,
    namespace: Netns,
    name: String,
    index: u32,
    tap: u32,
    /// The guest's end is up.
    up: AtomicBool,
}

impl FlowCache {
    /// Loads the programs.
    pub fn load() -> io::Result<Self> {
        let mut object = EbpfLoader::new().btf(None).load(OBJECT).map_err(of_kernel)?;
        let from_guest = program(&mut object, "from_guest")?;
        let from_daemon = program(&mut object, "from_daemon")?;
        let carry = program(&mut object, "carry")?;
        let map = |name: &str| match object.map(name) {
            Some(Map::HashMap(map) | Map::Array(map) | Map::RingBuf(map) | Map::ProgramArray(map)) => {
                map.fd().as_fd().try_clone_to_owned()
            }
            _ => Err(io::Error::other(format!("no map {name}"))),
        };
        let (flows, epoch, twins) = (map("FLOWS")?, map("EPOCH")?, map("TWINS")?);
        let (passed, missed) = (Words::map(&map("PASSED")?, ALL_SLOTS)?, Words::map(&map("MISSED")?, 1)?);
        let openings = Words::map(&map("OPENINGS")?, 2)?;
        openings.all()[LEFT].store(CREDIT as u64, Ordering::Release);
        let carries = map("CARRIES")?;
        update(&carries, &0u32, &carry.as_raw_fd())?;
        let cache = Self {
            _carries: carries,
            copies: Mutex::new(FlowCopies::new(map("COPIES")?)),
            from_guest,
            from_daemon,
            flows,
            epoch,
            twins,
            grants: map("GRANTS")?,
            opened: map("OPENED")?,
            passed,
            missed,
            openings,
            now: AtomicU64::default(),
            beginning: Mutex::default(),
        };
        cache.begin_epoch()?;
        Ok(cache)
    }

    /// The present epoch. Zero is none.
    pub fn epoch(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// Begins another epoch. Once this returns, no packet is carried by flows of one before.
    pub fn begin_epoch(&self) -> io::Result<()> {
        const GLOBAL: c_int = 1;
        let one_at_a_time = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        update(&self.epoch, &0u32, &epoch)?;
        drop(one_at_a_time);
        // Programs run as RCU's readers: this waits for those that have read the epoch before.
        // SAFETY: the call takes numbers alone.
        check(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) })?;
        Ok(())
    }

    /// Adds a flow or replaces it. Fails if the map is full.
    pub fn put(&self, key: &FlowKey, flow: &Flow) -> io::Result<()> {
        update(&self.flows, key, flow)
    }

    /// The same. Fails if the program has written an entry for this key.
    pub fn put_new(&self, key: &FlowKey, flow: &Flow) -> io::Result<()> {
        let request = MapRequest::new(&self.flows, &raw const *key as u64, &raw const *flow as u64).only_new();
        // SAFETY: the kernel reads a key of 44 bytes and a value of 144, the sizes of this map's and of these types.
        unsafe { bpf(UPDATE, &request) }.map(drop)
    }

    pub fn find(&self, key: &FlowKey) -> Option<Flow> {
        let mut flow = Flow::default();
        let request = MapRequest::new(&self.flows, &raw const *key as u64, &raw mut flow as u64);
        // SAFETY: the kernel reads a key of 44 bytes and writes a value of 144, the sizes of this map's and of these types.
        unsafe { bpf(LOOKUP, &request) }.ok().map(|_| flow)
    }

    /// Removes a flow, if it is there.
    pub fn remove(&self, key: &FlowKey) {
        let request = MapRequest::new(&self.flows, &raw const *key as u64, 0);
        // SAFETY: the kernel reads a key of 44 bytes, the size of this map's and of this type.
        let _ = unsafe { bpf(DELETE, &request) };
    }

    /// Adds a grant or replaces it. Fails if there are too many.
    pub fn grant(&self, key: &FlowKey, grant: &Grant) -> io::Result<()> {
        update(&self.grants, key, grant)
    }

    pub fn find_grant(&self, key: &FlowKey) -> Option<Grant> {
        let mut grant = Grant::default();
        let request = MapRequest::new(&self.grants, &raw const *key as u64, &raw mut grant as u64);
        // SAFETY: the kernel reads a key of 44 bytes and writes a value of 64, the sizes of this map's and of these types.
        unsafe { bpf(LOOKUP, &request) }.ok().map(|_| grant)
    }

    /// Removes a grant, if it is there. A program that has read it may still open a connection.
    pub fn revoke(&self, key: &FlowKey) {
        let request = MapRequest::new(&self.grants, &raw const *key as u64, 0);
        // SAFETY: the kernel reads a key of 44 bytes, the size of this map's and of this type.
        let _ = unsafe { bpf(DELETE, &request) };
    }

    /// The connections that are opened from now on. There is one reader.
    pub fn opened_flows(&self) -> io::Result<OpenedFlows> {
        OpenedFlows::new(&self.opened)
    }

    /// How many connections were opened. Once a packet of a connection has come up, that connection is among these.
    pub fn count_opened(&self) -> u64 {
        self.openings.all()[COUNT].load(Ordering::Acquire)
    }

    /// Lets one more connection be opened, in place of one that was.
    pub fn give_credit(&self) {
        self.openings.all()[LEFT].fetch_add(1, Ordering::AcqRel);
    }

    /// Reports that a marked packet, and all of its flow before it, went on its way.
    pub fn pass(&self, mark: Mark) {
        self.passed.all()[usize::from(mark.slot)].store(mark.number.into(), Ordering::Release);
    }

    /// From now on copies can be taken; not before, since their memory is large.
    pub fn open_copies(&self) -> io::Result<()> {
        self.copies().open()
    }

    /// Until they are opened again no copies are taken.
    pub fn close_copies(&self) {
        self.copies().close();
    }

    /// Takes the copies that wait, in the order in which they were made.
    pub fn take_copies(&self, take: impl FnMut(&FlowCopy<'_>)) {
        self.copies().take(take);
    }

    fn copies(&self) -> MutexGuard<'_, FlowCopies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many copies found no room, of all flows.
    pub fn missed(&self) -> u64 {
        self.missed.all()[0].load(Ordering::Acquire)
    }

    /// Puts the programs in place between two devices of the calling thread's namespace, which is `namespace`.
    pub fn attach(self: &Arc<Self>, namespace: &Netns, name: &str, tap: &str) -> io::Result<Port> {
        let mut netlink = Netlink::open()?;
        let (index, tap) = (netlink.link(name)?.0, netlink.link(tap)?.0);
        let namespace = namespace.try_clone()?;
        update(&self.twins, &index, &tap)?;
        update(&self.twins, &tap, &index)?;
        netlink.filter_ingress(Link(index), self.from_guest.as_fd(), "from_guest")?;
        netlink.filter_ingress(Link(tap), self.from_daemon.as_fd(), "from_daemon")?;
        Ok(Port { cache: Arc::clone(self), namespace, name: name.to_owned(), index, tap, up: AtomicBool::new(false) })
    }

    /// Whether the kernel attaches programs in this way. Asks at the loopback device of the calling thread's namespace,
    /// which keeps the program.
    pub fn probe(&self) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let loopback = netlink.link("lo")?;
        netlink.filter_ingress(loopback, self.from_guest.as_fd(), "from_guest")
    }
}

/// The memory of an array map.
#[derive(Debug)]
struct Words {
    at: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: all access is atomic, and the memory stays until this is dropped.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    fn map(map: &OwnedFd, len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<AtomicU64>();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the place, and checks the map's length.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: NonNull::new(at.cast()).expect("the kernel maps nothing at zero"), len })
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: the memory is of this length, aligned to a page, and is never accessed but atomically.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: this maps the memory, and nothing refers to it any more.
        let _ = unsafe { libc::munmap(self.at.as_ptr().cast(), self.len * size_of::<AtomicU64>()) };
    }
}

/// `key` and `value` must have the sizes of this map's.
fn update<K, V>(map: &OwnedFd, key: &K, value: &V) -> io::Result<()> {
    let request = MapRequest::new(map, &raw const *key as u64, &raw const *value as u64);
    // SAFETY: the kernel reads a key and a value of the map's sizes. The callers, all in this file, pass those types.
    unsafe { bpf(UPDATE, &request) }.map(drop)
}

impl Port {
    pub fn cache(&self) -> &Arc<FlowCache> {
        &self.cache
    }

    /// Whether packets can be carried to it: its guest has the other end, and switched it on.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number by which flows name it.
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for Port {
    /// Where this thread may not remove devices, the pair goes with the namespace, when the process ends.
    fn drop(&mut self) {
        for device in [self.index, self.tap] {
            let request = MapRequest::new(&self.cache.twins, &raw const device as u64, 0);
            // SAFETY: the kernel reads a key of four bytes, the size of this map's.
            let _ = unsafe { bpf(DELETE, &request) };
        }
        let name = &self.name;
        let _ = self.namespace.run(|| Netlink::open()?.remove_link(name));
    }
}

#[cfg(test)]
impl FlowCache {
    /// For a test: none where programs may not be loaded. Where nothing may be skipped, they may.
    pub(crate) fn permitted() -> Option<Arc<Self>> {
        let cache = Self::load();
        assert!(cache.is_ok() || std::env::var("CI").is_err(), "{:?}", cache.err());
        cache.ok().map(Arc::new)
    }
}

fn program(object: &mut Ebpf, name: &str) -> io::Result<OwnedFd> {
    let program = object.program_mut(name).ok_or_else(|| io::Error::other(format!("no program {name}")))?;
    let program: &mut SchedClassifier = program.try_into().map_err(of_kernel)?;
    program.load().map_err(of_kernel)?;
    program.fd().map_err(of_kernel)?.as_fd().try_clone_to_owned()
}

/// The loader's error, as the kind that the kernel's own behind it has.
fn of_kernel(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    let error = error.into();
    let mut causes = iter::successors(Some(&*error as &(dyn Error + 'static)), |&error| error.source());
    let kind = causes.find_map(|error| error.downcast_ref::<io::Error>()).map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error)
}

const LOOKUP: c_int = 1;
const UPDATE: c_int = 2;
const DELETE: c_int = 3;

/// The part of the kernel's `union bpf_attr` that calls on an element of a map need.
#[repr(C)]
struct MapRequest {
    map: RawFd,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl MapRequest {
    fn new(map: &OwnedFd, key: u64, value: u64) -> Self {
        Self { map: map.as_raw_fd(), padding: 0, key, value, flags: 0 }
    }

    /// `BPF_NOEXIST`.
    const fn only_new(self) -> Self {
        Self { flags: 1, ..self }
    }
}

/// # Safety
///
/// `request` must be what the kernel reads for this command, and what it points to must outlive the call.
unsafe fn bpf<T>(command: c_int, request: &T) -> io::Result<RawFd> {
    // SAFETY: by this function's own contract.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *request, size_of::<T>()) };
    check(result).map(|fd| fd as RawFd)
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program writes is read as it was meant: the slot first, and the number behind it.
    #[test]
    fn a_mark_is_of_a_flow_that_waits_or_of_a_segment_that_may_say_an_end() {
        let written = |slot: u16, number: u32| {
            let ([s0, s1], [n0, n1, n2, n3]) = (slot.to_ne_bytes(), number.to_ne_bytes());
            [s0, s1, n0, n1, n2, n3]
        };
        for number in [0, ENDED, RENEWED] {
            assert_eq!(Mark::of(written(0, number)), None);
        }
        for (slot, number, says) in [
            (1, ENDED, [false; 2]),
            (0x7fff, 4 | RENEWED, [false; 2]),
            (0x8000, 0, [false; 2]),
            (0x8000, ENDED, [true, false]),
            (0x8000, RENEWED, [true; 2]),
            (0x8001, SAYS, [false; 2]),
            (u16::MAX, 7 << 20, [false; 2]),
            (u16::MAX, 7 << 20 | ENDED, [true, false]),
            (u16::MAX, !SAYS | RENEWED, [true; 2]),
        ] {
            let mark = Mark::of(written(slot, number)).expect("it has a slot");
            assert_eq!(mark, Mark { slot, number });
            assert_eq!([mark.has_ended(), mark.has_renewed()], says, "{mark:?}");
        }
    }
}
