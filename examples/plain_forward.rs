//! The plainest forwarder that `tokio-tun` makes, for `scripts/bench.sh` to compare with.
//!
//! One idea: a device in each of two namespaces, and for each way a task that reads a packet and writes it to the other.
//! No table, no policy, no offload: what is left of a router in user space when it does nothing but forward.

#![expect(clippy::print_stdout, reason = "the script that runs this waits for a line")]

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::Handle;
use tokio_tun::Tun;
use vnet::sys::netns::Netns;

/// The longest packet of IP.
const PACKET_MAX: usize = 65_535;

#[derive(Parser)]
struct Arguments {
    /// Namespaces by name; each gets a device.
    one: String,
    other: String,
    #[arg(long, default_value = "tun0")]
    device: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { one, other, device } = Arguments::parse();
    let [one, other] = [open(&one, &device)?, open(&other, &device)?];
    println!("ready");
    let there = tokio::spawn(forward(Arc::clone(&one), Arc::clone(&other)));
    let back = tokio::spawn(forward(other, one));
    there.await??;
    back.await??;
    Ok(())
}

fn open(namespace: &str, device: &str) -> Result<Arc<Tun>> {
    let runtime = Handle::current();
    let build = || {
        let _runtime = runtime.enter();
        Tun::builder().name(device).up().build()
    };
    let tuns = Netns::named(namespace)?.run(build)?.with_context(|| format!("no device in {namespace}"))?;
    let tun = tuns.into_iter().next().with_context(|| format!("no queue of {device}"))?;
    Ok(Arc::new(tun))
}

async fn forward(from: Arc<Tun>, to: Arc<Tun>) -> io::Result<()> {
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let length = from.recv(&mut packet).await?;
        to.send_all(&packet[..length]).await?;
    }
}
