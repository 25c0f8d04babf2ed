//! What loopback does: how long a round trip takes, how fast bytes flow, and how fast a file flows
//! out of the page cache when a client asks for one range after the other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::Limits;
use super::measurement::Measurement;
use super::server::{ECHO_BYTES, REPLY_BYTES, Server, ask, create_warm};
use crate::bench::latency::Latencies;
use crate::bench::process::{Usage, cpu_s};
use crate::bench::stop;

const TIME: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(200);
/// Large enough to be no effect of the processor's caches, small enough to stay in the page cache.
const WARM_FILE_BYTES: u64 = 256 << 20;
/// As the client library asks for.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// Round trips of a small message.
pub(super) fn round_trip() -> anyhow::Result<Vec<Measurement>> {
    let server = Server::start(&["echo".to_owned()])?;
    let mut stream = server.connect()?;
    let mut message = [7; ECHO_BYTES];
    let mut latencies = Latencies::new();
    let (mut begun, mut count, mut is_warm) = (Instant::now(), 0, false);
    while !is_warm || begun.elapsed() < TIME {
        if !is_warm && begun.elapsed() > WARM_UP {
            (begun, count, is_warm, latencies) = (Instant::now(), 0, true, Latencies::new());
        }
        let sent = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        latencies.record(sent.elapsed());
        count += 1;
    }
    let measured = Measurement::new("loopback.rtt", 1, ECHO_BYTES, count, begun.elapsed());
    Ok(vec![Measurement { latency_ms: Some(latencies.quantiles()), ..measured }])
}

/// Bytes one way.
pub(super) fn bandwidth(limits: &Limits<'_>) -> anyhow::Result<Vec<Measurement>> {
    let block = &limits.block.bytes;
    let server =
        Server::start(&["sink".to_owned(), "--block".to_owned(), block.len().to_string()])?;
    let mut stream = server.connect()?;
    let usage = (Usage::own(), server.usage()?);
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        stream.write_all(block)?;
        count += 1;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0; REPLY_BYTES])?;
    let measured = Measurement::new("loopback.bandwidth", 1, block.len(), count, begun.elapsed());
    let client_s = cpu_s(usage.0, Usage::own());
    Ok(vec![measured.with_cpu(client_s, cpu_s(usage.1, server.usage()?))])
}

/// Requests for ranges of a file, answered with sendfile. Each connection reads a part of its own,
/// as consumers of different partitions do; in step they would read out of the processor's cache
/// what the first of them brought there.
pub(super) fn sendfile(limits: &Limits<'_>) -> anyhow::Result<Vec<Measurement>> {
    let part = limits.directory.part("sendfile")?;
    let file = part.path().join("warm");
    create_warm(&file, WARM_FILE_BYTES)?;
    let path = file.display().to_string();
    let server = Server::start(&["sendfile".to_owned(), "--path".to_owned(), path])?;
    [1, 4].into_iter().map(|connections| sendfile_to(&server, connections)).collect()
}

fn sendfile_to(server: &Server, connections: usize) -> anyhow::Result<Measurement> {
    const RANGE: usize = 1_000_000;
    stop::check()?;
    let streams = (0..connections).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    let usage = (Usage::own(), server.usage()?);
    let begun = Instant::now();
    let counts = std::thread::scope(|scope| {
        let readers: Vec<_> = streams
            .into_iter()
            .zip(0_u64..)
            .map(|(stream, number)| {
                let first = number * WARM_FILE_BYTES / connections as u64;
                scope.spawn(move || read_ranges(stream, first, RANGE, begun))
            })
            .collect();
        readers.into_iter().map(super::joined).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let elapsed = begun.elapsed();
    let mut latencies = Latencies::new();
    counts.iter().for_each(|(_, more)| latencies.merge(more));
    let count = counts.iter().map(|(count, _)| count).sum();
    let measured = Measurement::new("sendfile", connections, RANGE, count, elapsed);
    let measured = Measurement { latency_ms: Some(latencies.quantiles()), ..measured };
    let client_s = cpu_s(usage.0, Usage::own());
    Ok(measured.with_cpu(client_s, cpu_s(usage.1, server.usage()?)))
}

fn read_ranges(
    mut stream: TcpStream,
    first: u64,
    range: usize,
    begun: Instant,
) -> anyhow::Result<(u64, Latencies)> {
    sockopt::set_socket_recv_buffer_size(&stream, RECEIVE_BUFFER_BYTES)?;
    let mut buffer = vec![0; REPLY_BYTES + range];
    let (mut latencies, mut count, mut at) = (Latencies::new(), 0, first);
    while begun.elapsed() < TIME {
        let asked = Instant::now();
        ask(&mut stream, at, range as u64)?;
        stream.read_exact(&mut buffer)?;
        latencies.record(asked.elapsed());
        count += 1;
        at = (at + range as u64) % (WARM_FILE_BYTES - range as u64);
    }
    Ok((count, latencies))
}
