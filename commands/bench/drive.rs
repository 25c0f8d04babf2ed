//! Runs the clients of a measurement: as many threads as are useful, each with a runtime of its
//! own, so that no client's work hops between processors; all begin at once.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::live::Live;
use super::meter::{Meter, Spent};
use super::plan::{Plan, PlanArgs};
use super::process::rss_peak_bytes;
use super::recorder::{Counts, Recorder};
use super::session::Session;
use super::trust::Processors;
use super::watcher::RunBar;
use crate::fields::Field;

/// How often the thread that waits for the others looks up.
const LOOK: Duration = Duration::from_millis(20);

/// Which sum a client counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What the run measures.
    Main,
    /// The producers, where what is measured are consumers.
    Producers,
}

/// What a kind of client does.
pub(super) trait Load: Sync {
    /// A client that is ready to begin.
    type Client;

    /// What the client of this number counts for.
    fn side(&self, _number: usize) -> Side {
        Side::Main
    }

    /// Makes the client of this number.
    async fn connect(&self, number: usize) -> anyhow::Result<Self::Client>;

    /// Does its work until the plan says that it is over.
    async fn run(&self, client: Self::Client, plan: &Plan, recorder: &RefCell<Recorder>);
}

/// What a run found.
#[derive(Debug)]
pub(super) struct Driven {
    /// Of [`Side::Main`].
    pub(super) counts: Counts,
    /// Of [`Side::Producers`].
    pub(super) produced: Counts,
    /// When counting started.
    pub(super) started_at: Timestamp,
    pub(super) client_cpu_s: f64,
    pub(super) server: Option<ServerUse>,
    /// What all processors did meanwhile, and for how long that was.
    pub(super) processors: Processors,
    pub(super) watched: Duration,
    /// Threads that the clients ran on.
    pub(super) threads: usize,
}

/// What the broker spent while it was measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ServerUse {
    pub(super) cpu_s: f64,
    /// Resident at the end.
    pub(super) rss_bytes: u64,
    /// The most since the process started.
    pub(super) rss_peak_bytes: u64,
    /// None where nothing was counted that has bytes.
    pub(super) cpu_s_per_gb: Option<f64>,
}

/// The same as programs read it.
pub(super) const SERVER_FIELDS: &[Field] = &[
    Field::number("cpu_s", "CPU time.").unit("seconds"),
    Field::integer("rss_bytes", "Resident memory at the end.").unit("bytes"),
    Field::integer("rss_peak_bytes", "The most there was since the process started.").unit("bytes"),
    Field::number("cpu_s_per_gb", "CPU time for 10^9 bytes; null: there were none.")
        .unit("seconds")
        .nullable(),
];

/// What the clients of one thread count.
struct Sums {
    main: RefCell<Recorder>,
    producers: RefCell<Recorder>,
}

impl Sums {
    /// Whoever watches sees [`Side::Main`].
    fn new(plan: &Plan, live: &Arc<Live>) -> Sums {
        let none = |live| RefCell::new(Recorder::new(plan.start, live));
        Sums { main: none(Some(Arc::clone(live))), producers: none(None) }
    }

    fn of(&self, side: Side) -> &RefCell<Recorder> {
        match side {
            Side::Main => &self.main,
            Side::Producers => &self.producers,
        }
    }

    fn merge(&mut self, other: Sums) {
        self.main.get_mut().merge(other.main.into_inner());
        self.producers.get_mut().merge(other.producers.into_inner());
    }
}

/// What the threads of a run share.
struct Shared<'a, L> {
    load: &'a L,
    session: &'a Session,
    args: &'a PlanArgs,
    plan: OnceLock<Plan>,
    live: Arc<Live>,
    connected: Barrier,
    is_broken: AtomicBool,
}

/// Runs so many clients on so many threads.
pub(super) fn drive<L: Load>(
    load: &L,
    args: &PlanArgs,
    clients: usize,
    threads: usize,
    session: &Session,
) -> anyhow::Result<Driven> {
    let threads = threads.clamp(1, clients);
    let shared = Shared {
        load,
        session,
        args,
        plan: OnceLock::new(),
        live: Arc::new(Live::new()),
        connected: Barrier::new(threads + 1),
        is_broken: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let shared = &shared;
        let workers: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || work(shared, (first..clients).step_by(threads))))
            .collect();
        shared.connected.wait();
        watch(shared.plan(), &shared.live, workers, session.pid())
    })
}

impl<L> Shared<'_, L> {
    /// Whoever asks first, after all are connected, sets the time.
    fn plan(&self) -> &Plan {
        self.plan.get_or_init(|| self.args.plan(Instant::now()))
    }
}

/// One thread, with the clients of these numbers.
fn work<L: Load>(
    shared: &Shared<'_, L>,
    numbers: impl Iterator<Item = usize> + Clone,
) -> anyhow::Result<Sums> {
    let sides = numbers.clone().map(|number| shared.load.side(number));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let connected = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let clients = try_join_all(numbers.map(|n| shared.load.connect(n)));
        let clients = runtime.block_on(shared.session.attended(clients))?;
        Ok((runtime, clients))
    });
    if connected.is_err() {
        shared.is_broken.store(true, Ordering::Relaxed);
    }
    shared.connected.wait();
    let (runtime, clients) = connected?;
    let plan = shared.plan();
    let sums = Sums::new(plan, &shared.live);
    if !shared.is_broken.load(Ordering::Relaxed) {
        let clients = clients.into_iter().zip(sides);
        let running = clients.map(|(client, side)| shared.load.run(client, plan, sums.of(side)));
        let running: FuturesUnordered<_> = running.collect();
        runtime.block_on(shared.session.attended(running.collect::<()>().map(Ok)))?;
    }
    Ok(sums)
}

/// Waits for the threads, shows what they do, and reads what the processes spend while they count.
fn watch(
    plan: &Plan,
    live: &Arc<Live>,
    workers: Vec<ScopedJoinHandle<'_, anyhow::Result<Sums>>>,
    pid: Option<u32>,
) -> anyhow::Result<Driven> {
    let threads = workers.len();
    let are_done = || workers.iter().all(ScopedJoinHandle::is_finished);
    let bar = RunBar::new();
    while Instant::now() < plan.start && !are_done() {
        bar.show(plan, live);
        std::thread::sleep(LOOK.min(plan.start.saturating_duration_since(Instant::now())));
    }
    let started_at = Timestamp::now();
    let mut meter = Meter::start(pid);
    while !are_done() {
        std::thread::sleep(LOOK);
        meter.look(plan.start);
        bar.show(plan, live);
    }
    bar.finish();
    let spent = meter.stop(plan.start);
    let mut sums = Sums::new(plan, live);
    for worker in workers {
        let counted = worker.join();
        sums.merge(counted.unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))?);
    }
    let (mut counts, produced) =
        (sums.main.into_inner().finish(), sums.producers.into_inner().finish());
    spent.attach(&mut counts.intervals);
    let gigabytes = (counts.bytes > 0).then_some(counts.bytes as f64 / 1e9);
    let server = spent.server.map(|(cpu_s, rss_bytes)| ServerUse {
        cpu_s,
        rss_bytes,
        rss_peak_bytes: pid.and_then(rss_peak_bytes).unwrap_or(rss_bytes),
        cpu_s_per_gb: gigabytes.map(|gigabytes| cpu_s / gigabytes),
    });
    let Spent { client_cpu_s, processors, watched, .. } = spent;
    Ok(Driven { counts, produced, started_at, client_cpu_s, server, processors, watched, threads })
}
