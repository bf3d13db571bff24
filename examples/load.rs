//! Load for `scripts/bench.sh`: UDP flat out in bursts, ping-pong latency with blocking sockets, TCP connects, a SYN flood.
//!
//! Every role is one process, started inside a network namespace by the script. Servers say `ready` on stdout; results
//! are one line of JSON. It measures nothing by itself and knows nothing of the router between its two ends.

#![expect(clippy::print_stdout, reason = "the result is printed for the script that runs this")]

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use rustix::net::{
    AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect, ipproto, send, sendmmsg,
    socket_with,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use vnet::wire::build;

/// Datagrams handed to the kernel in one call.
const BURST: usize = 32;
/// A sender that is ahead of its rate sleeps so long, and the kernel adds about as much.
const BREATH: Duration = Duration::from_micros(50);
/// A sink takes this long a silence for the end.
const SILENCE: Duration = Duration::from_millis(400);
/// An exchange without an answer is given up; a busy machine may let a process wait for long.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// More exchanges without an answer than this are no measurement.
const LOST_MAX: u32 = 10;
/// A server without clients ends.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Arguments {
    /// Run on this core only.
    #[arg(long, global = true)]
    cpu: Option<usize>,
    #[command(subcommand)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Counts datagrams until none comes.
    Sink { listen: SocketAddr },
    /// Sends datagrams as fast as it can.
    Blast {
        to: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// One flow goes out in bursts; several take turns, a datagram each.
        #[arg(long, default_value_t = 1)]
        flows: usize,
        /// Datagrams a second, as evenly as sleeping allows. Without it, as many as it can.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Answers TCP and UDP.
    Echo { listen: SocketAddr },
    /// Sends a number, waits for its echo, and so on.
    Pingpong {
        transport: Transport,
        to: SocketAddr,
        #[arg(long, default_value_t = 10_000)]
        count: usize,
    },
    /// Opens TCP connections one after another, with one exchange in each.
    Connects {
        to: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Sends SYNs from one port after another, at a steady pace, and hears no answer.
    Flood {
        to: SocketAddrV4,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        #[arg(long, default_value_t = 20_000)]
        per_second: u32,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Transport {
    Tcp,
    Udp,
    /// UDP, each exchange from a socket and a port of its own: both packets are the first of their direction.
    Fresh,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).with_context(|| format!("no core {cpu}"))?;
    }
    match arguments.role {
        Role::Sink { listen } => sink(listen),
        Role::Blast { to, seconds, size, flows, rate } => {
            blast(to, Duration::from_secs_f64(seconds), size, flows, rate.unwrap_or(f64::INFINITY))
        }
        Role::Echo { listen } => echo(listen),
        Role::Pingpong { transport, to, count } => pingpong(transport, to, count),
        Role::Connects { to, seconds } => connects(to, Duration::from_secs_f64(seconds)),
        Role::Flood { to, seconds, per_second } => flood(to, Duration::from_secs_f64(seconds), per_second),
    }
}

fn ready() -> io::Result<()> {
    println!("ready");
    io::stdout().flush()
}

fn sink(listen: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    ready()?;
    let mut packets = 0_u64;
    let mut buffer = [0; 2048];
    while socket.recv(&mut buffer).is_ok() {
        if packets == 0 {
            socket.set_read_timeout(Some(SILENCE))?;
        }
        packets += 1;
    }
    println!("{{\"packets\":{packets}}}");
    Ok(())
}

fn blast(to: SocketAddr, duration: Duration, size: usize, flows: usize, rate: f64) -> Result<()> {
    let sockets = (0..flows).map(|_| connected_udp(to)).collect::<io::Result<Vec<_>>>()?;
    let payload = vec![0; size];
    let started = Instant::now();
    let mut packets = 0_u32;
    while started.elapsed() < duration {
        if f64::from(packets) > started.elapsed().as_secs_f64() * rate {
            thread::sleep(BREATH);
            continue;
        }
        if let [socket] = &sockets[..] {
            packets += burst(socket, &payload)?;
        } else {
            for socket in &sockets {
                packets += u32::from(socket.send(&payload).is_ok());
            }
        }
    }
    println!("{{\"packets\":{packets},\"seconds\":{}}}", started.elapsed().as_secs_f64());
    Ok(())
}

fn burst(socket: &UdpSocket, payload: &[u8]) -> Result<u32> {
    let slice = [IoSlice::new(payload)];
    let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BURST] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut messages: Vec<_> = nothing.iter_mut().map(|ancillary| MMsgHdr::new(&slice, ancillary)).collect();
    match sendmmsg(socket, &mut messages, SendFlags::empty()) {
        Ok(sent) => Ok(sent as u32),
        Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn connected_udp(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

fn echo(listen: SocketAddr) -> Result<()> {
    let datagrams = UdpSocket::bind(listen)?;
    let streams = TcpListener::bind(listen)?;
    ready()?;
    thread::spawn(move || {
        for stream in streams.incoming().flatten() {
            echo_stream(stream);
        }
    });
    datagrams.set_read_timeout(Some(PATIENCE))?;
    let mut number = [0; 4];
    while let Ok((_, from)) = datagrams.recv_from(&mut number) {
        datagrams.send_to(&number, from)?;
    }
    Ok(())
}

fn echo_stream(mut stream: TcpStream) {
    let mut number = [0; 4];
    let _ = stream.set_nodelay(true);
    while stream.read_exact(&mut number).is_ok() && stream.write_all(&number).is_ok() {}
}

fn pingpong(transport: Transport, to: SocketAddr, count: usize) -> Result<()> {
    let mut exchange: Box<dyn FnMut(u32) -> io::Result<Duration>> = match transport {
        Transport::Tcp => {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(move |number| {
                let started = Instant::now();
                stream.write_all(&number.to_be_bytes())?;
                stream.read_exact(&mut [0; 4])?;
                Ok(started.elapsed())
            })
        }
        Transport::Udp => {
            let socket = connected_udp(to)?;
            Box::new(move |number| ask(&socket, number))
        }
        Transport::Fresh => Box::new(move |number| ask(&connected_udp(to)?, number)),
    };
    let mut micros = Vec::with_capacity(count);
    let mut lost = 0;
    let warm_up = count as u32 / 10;
    for number in 1.. {
        match exchange(number) {
            Ok(took) if number > warm_up => micros.push(took.as_secs_f64() * 1e6),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && lost < LOST_MAX => lost += 1,
            Err(error) => return Err(error.into()),
        }
        if micros.len() == count {
            break;
        }
    }
    micros.sort_by(f64::total_cmp);
    let [p50, p99] = [count / 2, count * 99 / 100].map(|at| micros[at]);
    println!("{{\"p50\":{p50:.2},\"p99\":{p99:.2},\"lost\":{lost}}}");
    Ok(())
}

/// How long one exchange took.
fn ask(socket: &UdpSocket, number: u32) -> io::Result<Duration> {
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let started = Instant::now();
    socket.send(&number.to_be_bytes())?;
    let mut answer = [0; 4];
    // An answer to an exchange that was given up is passed over.
    while answer != number.to_be_bytes() {
        socket.recv(&mut answer)?;
    }
    Ok(started.elapsed())
}

fn connects(to: SocketAddr, duration: Duration) -> Result<()> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < duration {
        let mut stream = TcpStream::connect_timeout(&to, LOST_AFTER)?;
        // The echo keeps the client from running ahead of the server's backlog.
        stream.write_all(&[1; 4])?;
        stream.read_exact(&mut [0; 4])?;
        // Closed by a reset: thousands of sockets in TIME_WAIT would use up the ports.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        count += 1;
    }
    if count == 0 {
        bail!("no connection in {duration:?}");
    }
    println!("{{\"per_second\":{:.0}}}", f64::from(count) / started.elapsed().as_secs_f64());
    Ok(())
}

fn flood(to: SocketAddrV4, duration: Duration, per_second: u32) -> Result<()> {
    const SYN: u8 = 0x02;
    // What a socket towards it is bound to.
    let source = connected_udp(to.into())?.local_addr()?.ip();
    let raw = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    connect(&raw, &SocketAddr::from(to))?;
    let started = Instant::now();
    let mut sent = 0_u32;
    while started.elapsed() < duration {
        let due = started.elapsed().as_secs_f64() * f64::from(per_second);
        while f64::from(sent) < due {
            let from = SocketAddr::new(source, 1024 + (sent % 60_000) as u16);
            // A full queue is part of a flood.
            let _ = send(&raw, &build::tcp(from, to.into(), SYN, &[]), SendFlags::empty());
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!("{{\"packets\":{sent},\"seconds\":{}}}", started.elapsed().as_secs_f64());
    Ok(())
}
