//! What the machine gives: descriptors, memory, a file system, syncs, time and ports.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rivvend::broker::{clock, low_water_bytes};
use rivvend::config::Config;
use rivvend::serve::doubt_about_syncs;
use rivvend::storage::Disk as _;
use rivvend::storage::file::FileDisk;
use rivvend::storage::platform::filesystem_kind;
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::output::human_size;

/// Open files that a broker with a few thousand partitions and clients is at ease with.
const OPEN_FILES_EASY: u64 = 65_536;
/// Fewer than this are used up by the broker's own files and a few clients.
const OPEN_FILES_MIN: u64 = 1024;
/// Syncs that are timed at most, and for how long.
const SYNCS_MAX: usize = 100;
const SYNC_TIME: Duration = Duration::from_secs(1);
/// A disk whose 99th percentile is worse holds up every acknowledgement.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// No device makes anything durable in less.
const SYNC_INCREDIBLE: Duration = Duration::from_micros(5);

/// The broker raises its soft limit to the hard one by itself.
pub(super) fn open_files() -> Finding {
    let name = "open files";
    let Some(limit) = getrlimit(Resource::Nofile).maximum else {
        return Finding::ok(name, "no limit");
    };
    let detail = format!("at most {limit}");
    let advice = format!("raise the hard limit (LimitNOFILE={OPEN_FILES_EASY}, or ulimit -Hn)");
    match limit {
        OPEN_FILES_EASY.. => Finding::ok(name, detail),
        OPEN_FILES_MIN.. => Finding::warning(name, detail, advice),
        _ => Finding::critical(name, detail, advice),
    }
}

pub(super) fn locked_memory() -> Finding {
    let limit = getrlimit(Resource::Memlock).maximum;
    let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit} B"));
    Finding::ok("locked memory", format!("{limit}; this build locks none"))
}

pub(super) fn filesystem(place: &Path) -> Finding {
    let name = "file system";
    match filesystem_kind(place) {
        Ok(kind) => match doubt_about_syncs(kind) {
            None => Finding::ok(name, kind.to_string()),
            Some(doubt) => {
                let detail = format!("{kind}: {doubt}: a sync means nothing there");
                Finding::warning(name, detail, "put the data directory on a local disk")
            }
        },
        Err(error) => Finding::warning(name, error.to_string(), "see why the system will not tell"),
    }
}

pub(super) fn space(place: &Path, config: &Config) -> Finding {
    let name = "free space";
    let space = match FileDisk::default().space(place) {
        Ok(space) => space,
        Err(error) => {
            return Finding::warning(name, error.to_string(), "see why the system will not tell");
        }
    };
    let configured = config.storage.low_water_bytes.map(|size| size.0);
    let mark = low_water_bytes(configured, space);
    let (free, total) = (human_size(space.free_bytes), human_size(space.total_bytes));
    let detail = format!("{free} of {total}; producers are refused below {}", human_size(mark));
    let advice = "enlarge the disk, delete topics, or shorten their retention";
    match space.free_bytes {
        free if free < mark => Finding::critical(name, detail, advice),
        free if free < 2 * mark => Finding::warning(name, detail, advice),
        _ => Finding::ok(name, detail),
    }
}

/// Appends and syncs small blocks in a file that nobody sees for long.
pub(super) fn syncs(place: &Path) -> Finding {
    let name = "sync latency";
    let path = place.join(format!(".doctor-{}", std::process::id()));
    let mut times = match time_syncs(&path) {
        Ok(times) => times,
        Err(error) => {
            let detail = format!("{}: {error}", place.display());
            return Finding::critical(name, detail, "let this user write there");
        }
    };
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (median, slow) = (at(0.5), at(0.99));
    let detail = format!(
        "4 KiB: p50 {:.2} ms, p99 {:.2} ms ({} syncs)",
        median.as_secs_f64() * 1e3,
        slow.as_secs_f64() * 1e3,
        times.len()
    );
    if median < SYNC_INCREDIBLE {
        let advice =
            "no device is that fast: syncs are probably ignored, so a power cut loses data";
        Finding::warning(name, detail, advice)
    } else if slow > SYNC_SLOW {
        let advice = "each acknowledgement waits for one: use a faster disk, or durability: os \
                      where a power cut may lose the newest records";
        Finding::warning(name, detail, advice)
    } else {
        Finding::ok(name, detail)
    }
}

fn time_syncs(path: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    // The descriptor is enough, and whatever ends this process leaves nothing behind.
    fs::remove_file(path)?;
    let block = [0x5A; 4096];
    let (begun, mut times) = (Instant::now(), Vec::with_capacity(SYNCS_MAX));
    while times.is_empty() || (times.len() < SYNCS_MAX && begun.elapsed() < SYNC_TIME) {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

/// Time stamps of records and retention go by the clock; files of the future say that it went back.
pub(super) fn clock(data_dir: &Path) -> Finding {
    let name = "clock";
    match clock::behind(data_dir) {
        None => Finding::ok(name, format!("{:.0}", jiff::Timestamp::now())),
        Some(behind) => {
            let seconds = behind.as_secs();
            let detail = format!("{seconds} s behind what was last written to the data directory");
            Finding::warning(name, detail, "set the clock, and keep it with NTP or chrony")
        }
    }
}

/// Whether the listeners find their ports free, or in the hands of the broker of this directory.
pub(super) fn ports(config: &Config, held: bool) -> Vec<Finding> {
    let native = &config.server.bind_address;
    let listeners = [("native port", native.port), ("http port", config.server.http_port)];
    listeners.map(|(name, port)| port_finding(name, &native.host, port, held)).into()
}

fn port_finding(name: &'static str, host: &str, port: u16, held: bool) -> Finding {
    let place = format!("{host}:{port}");
    let bound = (host, port).to_socket_addrs().and_then(|mut addresses| match addresses.next() {
        Some(address) => TcpListener::bind(address).map(drop),
        None => Err(std::io::ErrorKind::AddrNotAvailable.into()),
    });
    match bound {
        Ok(()) if port == 0 => Finding::ok(name, "any free one"),
        Ok(()) => Finding::ok(name, format!("{place} is free")),
        Err(error) if held && error.kind() == std::io::ErrorKind::AddrInUse => {
            Finding::ok(name, format!("{place} is in use, and the broker of the directory runs"))
        }
        Err(error) => {
            let advice = "stop what uses it, or choose another with --bind and --http-port";
            Finding::critical(name, format!("{place}: {error}"), advice)
        }
    }
}
