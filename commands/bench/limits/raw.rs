//! The path of a produce request without a broker: one block over loopback, a write, perhaps a
//! sync, a small reply. *Plain* is what a simple server reaches, *best* what the machine allows to
//! one that also checksums every block.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::measurement::Measurement;
use super::server::{REPLY_BYTES, Server};
use super::{Limits, claim, joined};
use crate::bench::latency::Latencies;
use crate::bench::process::{Usage, cpu_s};
use crate::bench::stop;

/// One way to treat a block.
#[derive(Clone, Copy, Debug)]
struct Path {
    name: &'static str,
    durability: &'static str,
    sync: &'static str,
    is_best: bool,
}

const PLAIN: [Path; 2] = [
    Path { name: "raw.plain", durability: "os", sync: "never", is_best: false },
    Path { name: "raw.plain", durability: "fsync", sync: "after", is_best: false },
];
const BEST: [Path; 3] = [
    Path { name: "raw.best", durability: "os", sync: "behind", is_best: true },
    Path { name: "raw.best", durability: "fsync", sync: "after", is_best: true },
    Path { name: "raw.best_write_through", durability: "fsync", sync: "within", is_best: true },
];

/// Both paths over `bytes`: the plain one with one connection, the best with 1, 4 and 8.
pub(super) fn produce(limits: &Limits<'_>, bytes: u64) -> anyhow::Result<Vec<Measurement>> {
    let plain = PLAIN.into_iter().map(|path| (path, 1));
    let best = [1, 4, 8].into_iter().flat_map(|n| BEST.into_iter().map(move |path| (path, n)));
    plain.chain(best).map(|(path, n)| measure(limits, path, n, bytes)).collect()
}

fn measure(
    limits: &Limits<'_>,
    path: Path,
    connections: usize,
    bytes: u64,
) -> anyhow::Result<Measurement> {
    let part = limits.directory.part("raw")?;
    let server = Server::start(&arguments(limits, path, connections, part.path()))?;
    let streams = (0..connections).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    let count = bytes / limits.block.payload_bytes;
    let left = AtomicU64::new(count);
    let usage = (Usage::own(), server.usage()?);
    let begun = Instant::now();
    let all = std::thread::scope(|scope| {
        let (left, block) = (&left, &limits.block.bytes[..]);
        let senders: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(move || send_blocks(stream, block, left)))
            .collect();
        senders.into_iter().map(joined).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let elapsed = begun.elapsed();
    let (client_s, server_s) = (cpu_s(usage.0, Usage::own()), cpu_s(usage.1, server.usage()?));
    let mut latencies = Latencies::new();
    all.iter().for_each(|more| latencies.merge(more));
    drop(server);
    drop(part);
    limits.directory.settle()?;
    let block_bytes = limits.block.payload_bytes as usize;
    let measured = Measurement::new(path.name, connections, block_bytes, count, elapsed);
    let latency_ms = Some(latencies.quantiles());
    let measured = Measurement { durability: Some(path.durability.into()), latency_ms, ..measured };
    Ok(measured.with_cpu(client_s, server_s))
}

fn arguments(
    limits: &Limits<'_>,
    path: Path,
    connections: usize,
    directory: &std::path::Path,
) -> Vec<String> {
    let mut arguments = vec![
        "append".to_owned(),
        format!("--path={}", directory.display()),
        format!("--block={}", limits.block.bytes.len()),
        format!("--sync={}", path.sync),
    ];
    if path.is_best {
        arguments.push("--checksum".to_owned());
        arguments.push(format!("--window={}", limits.window_bytes / connections as u64));
    }
    arguments
}

fn send_blocks(mut stream: TcpStream, block: &[u8], left: &AtomicU64) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    while claim(left) {
        stop::check()?;
        let sent = Instant::now();
        stream.write_all(block)?;
        stream.read_exact(&mut [0; REPLY_BYTES])?;
        latencies.record(sent.elapsed());
    }
    Ok(latencies)
}
