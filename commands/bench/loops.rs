//! The two ways to send: a closed loop, which waits for answers, and an open one, which keeps to a
//! schedule whatever is answered. Owns the flags that choose between them. Knows nothing of what is
//! sent.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rivvend::limits::CONNECTION_IN_FLIGHT_MAX;

use super::pacer::Pacer;
use super::plan::{Plan, Turn};
use super::recorder::Recorder;

/// Pause after an error, so that a broker that refuses everything is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// How long after its end an open loop may still send what it is behind.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The highest rate that is worth asking for.
const RATE_MAX: u64 = 1_000_000_000;

/// The flags for either way.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PaceArgs {
    /// Batches that each producer has under way [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=(CONNECTION_IN_FLIGHT_MAX as i64)))]
    in_flight: Option<u16>,
    /// Records a second, over all producers, whatever the broker answers
    #[arg(long, value_name = "RECORDS", value_parser = rate)]
    rate: Option<u64>,
}

impl PaceArgs {
    pub(super) fn pace(self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Open(rate),
            None => Pace::Closed(self.in_flight.unwrap_or(1).into()),
        }
    }
}

/// Records a second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let rate = text.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| format!("is not a whole number from 1 to {RATE_MAX}"))
}

/// What makes a producer send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// So many records a second, over all producers.
    Open(u64),
    /// So many batches of each producer under way.
    Closed(usize),
}

impl Pace {
    /// As results name it.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Pace::Open(_) => "open",
            Pace::Closed(_) => "closed",
        }
    }

    pub(super) fn rate(self) -> Option<u64> {
        match self {
            Pace::Open(rate) => Some(rate),
            Pace::Closed(_) => None,
        }
    }

    pub(super) fn in_flight(self) -> Option<usize> {
        match self {
            Pace::Open(_) => None,
            Pace::Closed(in_flight) => Some(in_flight),
        }
    }

    /// Does one producer's part, until the plan says that it is over. `send` is told whether it
    /// counts and the time it was meant for, and says whether it went well; sends begin in order.
    pub(super) async fn run(
        self,
        plan: &Plan,
        recorder: &RefCell<Recorder>,
        part: Part,
        send: impl AsyncFn(Turn, Instant) -> bool,
    ) {
        match self {
            Pace::Open(rate) => {
                let schedule = Schedule::new(plan.begin, rate, part);
                open_loop(plan, recorder, schedule, part.in_flight_max, send).await;
            }
            Pace::Closed(in_flight) => {
                closed_loop(plan, u64::from(part.records), in_flight, send).await;
            }
        }
    }
}

/// The part of one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Which it is …
    pub(super) number: usize,
    /// … of how many.
    pub(super) producers: u16,
    /// Records that each send takes.
    pub(super) records: u32,
    /// Sends that an open loop has under way at once.
    pub(super) in_flight_max: usize,
}

/// Has so many sends of `records` under way at once, each begun when one before it has ended.
async fn closed_loop(
    plan: &Plan,
    records: u64,
    in_flight: usize,
    send: impl AsyncFn(Turn, Instant) -> bool,
) {
    let lane = async || {
        loop {
            let now = Instant::now();
            let Some(turn) = plan.claim(now, records) else { break };
            if !send(turn, now).await {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    };
    let lanes: FuturesUnordered<_> = (0..in_flight).map(|_| lane()).collect();
    lanes.collect::<()>().await;
}

/// Sends at each time of the schedule, late rather than not at all.
async fn open_loop(
    plan: &Plan,
    recorder: &RefCell<Recorder>,
    mut schedule: Schedule,
    in_flight_max: usize,
    send: impl AsyncFn(Turn, Instant) -> bool,
) {
    let fail = |why: String| recorder.borrow_mut().failed(1, || why);
    let pacer = match Pacer::new() {
        Ok(pacer) => pacer,
        Err(error) => return fail(error.to_string()),
    };
    let mut under_way = FuturesUnordered::new();
    while let Some(turn) = plan.claim(schedule.next, schedule.records) {
        if schedule.is_hopeless(plan.end) {
            fail("the broker can not take so many".to_owned());
            break;
        }
        let intended = schedule.advance();
        // First what is under way, which also starts what was added last.
        let waited = async {
            loop {
                tokio::select! {
                    biased;
                    Some(_) = under_way.next(), if !under_way.is_empty() => {}
                    waited = pacer.until(intended) => break waited,
                }
            }
        };
        if let Err(error) = waited.await {
            return fail(error.to_string());
        }
        while under_way.len() >= in_flight_max.clamp(1, CONNECTION_IN_FLIGHT_MAX) {
            under_way.next().await;
        }
        under_way.push(send(turn, intended));
    }
    under_way.collect::<Vec<bool>>().await;
}

/// When an open loop sends.
#[derive(Debug)]
struct Schedule {
    next: Instant,
    interval: Duration,
    records: u64,
}

impl Schedule {
    /// Producers take turns, so that their sends are spread evenly.
    fn new(begin: Instant, rate: u64, part: Part) -> Schedule {
        let one = Duration::from_secs_f64(f64::from(part.records) / rate as f64);
        let interval = one * u32::from(part.producers);
        Schedule { next: begin + one * part.number as u32, interval, records: part.records.into() }
    }

    /// The time of the next batch.
    fn advance(&mut self) -> Instant {
        let intended = self.next;
        self.next += self.interval;
        intended
    }

    /// Whether it is so late that there is no use in catching up.
    fn is_hopeless(&self, end: Option<Instant>) -> bool {
        let limit = end.unwrap_or(self.next) + CATCH_UP;
        Instant::now() > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_spreads_the_rate_over_its_producers() {
        let begin = Instant::now();
        let mut times: Vec<Instant> = (0..4)
            .flat_map(|number| {
                let part = Part { number, producers: 4, records: 10, in_flight_max: 1 };
                let mut schedule = Schedule::new(begin, 1_000, part);
                (0..25).map(move |_| schedule.advance())
            })
            .collect();
        times.sort();
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == Duration::from_millis(10)), "{gaps:?}");
    }
}
