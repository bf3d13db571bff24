//! vnet: a userspace router that forwards real packets the way Azure virtual networks do.
//!
//! Everything hangs on two straight lines. Configuration flows down the first, packets along the second:
//!
//! ```text
//! YAML text --config::load--> Network --compile::compile--> Snapshot --publish--> workers
//!
//! TUN read --Packet::parse--> process(&Snapshot, &Flows, PortId, now, &mut Packet, &mut observer)
//!          --Verdict--> TUN write | counter
//! ```
//!
//! | module | what lives there | what it must not know |
//! |---|---|---|
//! | [`azure`] | well-known addresses, and the rules that this program follows, with their texts | anything else here |
//! | [`wire`] | bytes and fields: IP, TCP, UDP, ICMP, checksums, offload header | anything else here |
//! | [`model`] | Azure's nouns as validated, immutable values | YAML, tables, packets, I/O |
//! | [`arm`] | templates, dumps and plans to ARM resources, and these to the text of a topology file | tables, the system |
//! | [`config`] | YAML to model, every mistake at once with its place and its fix | tables, the system |
//! | [`dataplane`] | `tables` (a publish replaces them), `state` (packets change it), `pipeline` (the walk, and `fast_path` for known flows) | names, model, file descriptors, clocks, logs |
//! | [`bgp`] | messages, session state machine, routes, a network's BGP topology; `driver` runs them on sockets | tables, dataplane |
//! | [`compile`] | effective routes and NSGs to a `Snapshot` | I/O, threads, time |
//! | [`analysis`] | `explain`, `lint`, `plan`, `views`, `reach`: answers over model and tables, as data | printing, I/O |
//! | [`flow_log`] | flow logs: Azure's record formats, and the files | the model's YAML, packets |
//! | [`sys`] | every system call, all `unsafe` | any other module |
//! | [`platform`] | what the platform serves (DNS, metadata) and probes (backends' health), on real sockets in its namespace | tables |
//! | [`worker`] | poll, read a batch, process, write | model, config, compile |
//! | [`daemon`] | owns the model and what it has learned, recompiles, publishes, answers its socket (`api`) | packets |
//! | [`lab`] | a topology up, down, exec, clean | dataplane |
//! | [`cli`] | one file a subcommand; the only module that prints | |
//!
//! A module may use those above it in this table and never those below; `tests/architecture` holds the exact arrows.
//!
//! `docs/internals` has the rest: a packet's way, the fast path, threads, decisions, and a newcomer's questions.

pub mod analysis;
pub mod arm;
pub mod azure;
pub mod bgp;
pub mod cli;
pub mod compile;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod flow_log;
pub mod lab;
pub mod model;
pub mod platform;
pub mod sys;
pub mod wire;
pub mod worker;
