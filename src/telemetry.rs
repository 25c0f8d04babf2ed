//! What the process tells about itself: numbers as plain atomic values that their owners add to,
//! their rendering in the Prometheus text format, and the set-up of the log. Nothing here knows
//! brokers, sockets or clocks; who measures a time brings it.
//!
//! Adding to a value is one relaxed atomic operation. Labels have bounded sets of values: enums of
//! ours, and topic names up to [`TOPIC_SERIES_MAX`], beyond which topics share one series.

mod compaction;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use self::compaction::CompactionMetrics;
use crate::limits::TOPIC_SERIES_MAX;

/// The name under which topics beyond the bound are counted. No topic can be called so.
const OTHER_TOPICS: &str = "(other)";

/// How long the log stays silent about a reason it has just reported.
const REPEAT_AFTER_MS: u64 = 10_000;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds to it; negative amounts subtract.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of a histogram's buckets in microseconds; what is longer goes into one more.
const BUCKETS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

/// Builds a page in the Prometheus text format. A family's samples must follow its `family` call.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Starts a family: one metric with all its label values. `kind` is `counter`, `gauge` or
    /// `histogram`.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Exposition {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// One sample of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) -> &mut Exposition {
        self.row("", labels, None, value);
        self
    }

    /// The samples of one histogram of the family.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) -> &mut Exposition {
        let mut count = 0;
        for (bucket, value) in histogram.buckets.iter().enumerate() {
            count += value.load(Relaxed);
            let bound = match BUCKETS_US.get(bucket) {
                Some(&us) => (us as f64 / 1e6).to_string(),
                None => "+Inf".to_owned(),
            };
            self.row("_bucket", labels, Some(&bound), count);
        }
        self.row("_sum", labels, None, histogram.sum_us.load(Relaxed) as f64 / 1e6);
        self.row("_count", labels, None, count);
        self
    }

    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn row(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl fmt::Display,
    ) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        for (index, (label, text)) in all.enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.line(format_args!("{label}=\"{}\"", Escaped(text)));
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    fn line(&mut self, arguments: fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a string never fails");
    }
}

/// A label value with the three characters escaped that the format reserves.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$row:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$row])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The label's value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

mod groups;
pub use groups::{CommitRefusal, GroupMetrics, RebalanceCause};

labels! {
    /// Where a connection came in.
    Listener {
        /// The port for clients.
        Client = "client",
        /// The Unix socket in the data directory.
        Unix = "unix",
        /// The HTTP port.
        Http = "http",
        /// This process itself.
        Embedded = "embedded",
    }
}

labels! {
    /// Why a connection or request was turned away.
    Reason {
        /// A frame declares a length that is out of bounds.
        FrameSize = "frame_size",
        /// Bytes that are no frame, or a frame that breaks the protocol.
        Malformed = "malformed",
        /// The first bytes did not come in time.
        HandshakeTimeout = "handshake_timeout",
        /// A frame did not come in time.
        SlowBody = "slow_body",
        /// The peer does not read what it asked for.
        SlowReader = "slow_reader",
        /// Nothing was heard for a long time.
        Idle = "idle",
        /// The first bytes are a TLS hello.
        Tls = "tls",
        /// The first bytes are HTTP on a port that does not speak it.
        Http = "http",
        /// The version is not spoken here.
        UnsupportedVersion = "unsupported_version",
        /// A peer from another machine while authentication is off.
        ProtectedMode = "protected_mode",
        /// A local process that is neither root nor the owner of the data directory.
        Credentials = "credentials",
        /// Too many connections.
        Connections = "connections",
        /// Too many connections from one address.
        ConnectionsPerAddress = "connections_per_address",
        /// The process has no file descriptor left.
        FileDescriptors = "file_descriptors",
        /// Too many streams on one connection.
        Streams = "streams",
        /// A file that was being sent could not be read, or a partition's disk failed.
        Storage = "storage",
        /// A request that makes no sense.
        InvalidRequest = "invalid_request",
        /// `acks` that do not exist.
        InvalidAcks = "invalid_acks",
        /// A batch whose checksum does not match its bytes.
        CorruptMessage = "corrupt_message",
        /// A batch or record that breaks a rule of its format.
        InvalidRecord = "invalid_record",
        /// A batch or answer above its limit.
        MessageTooLarge = "message_too_large",
        /// A batch of another format version.
        UnsupportedFormat = "unsupported_format",
        /// A batch compressed in a way that is not known.
        UnsupportedCompression = "unsupported_compression",
        /// A time stamp outside what the topic accepts.
        InvalidTimestamp = "invalid_timestamp",
        /// A sequence number that does not follow the last one.
        Sequence = "sequence",
        /// A producer that a newer one has replaced.
        Fenced = "fenced",
        /// A leader epoch that is not the present one.
        LeaderEpoch = "leader_epoch",
        /// A conditional append that found another end.
        UnexpectedOffset = "unexpected_offset",
        /// An offset that is not in the log.
        OffsetOutOfRange = "offset_out_of_range",
        /// A topic or partition that does not exist.
        UnknownTopic = "unknown_topic",
        /// A name that exists already.
        TopicExists = "topic_exists",
        /// A name that no topic may have.
        InvalidTopic = "invalid_topic",
        /// A number of partitions that no topic may have.
        InvalidPartitions = "invalid_partitions",
        /// A number of replicas that there can not be.
        InvalidReplicationFactor = "invalid_replication_factor",
        /// A setting that does not exist or can not have this value.
        InvalidConfig = "invalid_config",
        /// A bound of the cluster.
        Policy = "policy",
        /// Somebody who may not do this.
        Authorization = "authorization",
        /// Too little room on the disk.
        DiskFull = "disk_full",
        /// Stored records that are damaged.
        Corruption = "corruption",
        /// Too much pending work.
        Overloaded = "overloaded",
        /// A data directory that is open for reading only.
        ReadOnly = "read_only",
    }
}

impl Reason {
    /// Whether a client that does nothing wrong meets it in the course of things: something has
    /// changed that it could not know of yet.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(
            self,
            Reason::Fenced
                | Reason::LeaderEpoch
                | Reason::UnexpectedOffset
                | Reason::OffsetOutOfRange
                | Reason::UnknownTopic
                | Reason::TopicExists
        )
    }
}

/// One of each for every reason.
#[derive(Debug)]
struct PerReason<T>([T; Reason::ALL.len()]);

impl<T> PerReason<T> {
    fn of(&self, reason: Reason) -> &T {
        &self.0[reason as usize]
    }
}

impl<T: Default> Default for PerReason<T> {
    fn default() -> PerReason<T> {
        PerReason(std::array::from_fn(|_| T::default()))
    }
}

/// Numbers of the edge.
#[derive(Debug, Default)]
pub struct EdgeMetrics {
    accepted: [Counter; Listener::ALL.len()],
    open: [Gauge; Listener::ALL.len()],
    rejected: [PerReason<Counter>; Listener::ALL.len()],
    /// Bytes read from sockets of clients.
    pub network_received_bytes: Counter,
    /// Bytes written to sockets of clients.
    pub network_sent_bytes: Counter,
    /// Requests that were started.
    pub requests: Counter,
    /// From the last byte of a request to its answer.
    pub request_seconds: Histogram,
}

impl EdgeMetrics {
    /// Counts a connection that was let in.
    pub fn opened(&self, listener: Listener) {
        self.accepted[listener as usize].add(1);
        self.open[listener as usize].add(1);
    }

    /// Counts the end of a connection that was let in.
    pub fn closed(&self, listener: Listener) {
        self.open[listener as usize].add(-1);
    }

    /// Counts something turned away.
    pub fn rejected(&self, listener: Listener, reason: Reason) {
        self.rejected[listener as usize].of(reason).add(1);
    }

    /// How often something was turned away there for this reason.
    #[must_use]
    pub fn rejections(&self, listener: Listener, reason: Reason) -> u64 {
        self.rejected[listener as usize].of(reason).get()
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self, listener: Listener) -> i64 {
        self.open[listener as usize].get()
    }

    fn render(&self, page: &mut Exposition) {
        page.family("rivven_connections", "gauge", "Open connections.");
        for &listener in Listener::ALL {
            page.sample(&[("listener", listener.as_str())], self.connections(listener));
        }
        page.family("rivven_connections_accepted_total", "counter", "Connections let in.");
        for &listener in Listener::ALL {
            let accepted = self.accepted[listener as usize].get();
            page.sample(&[("listener", listener.as_str())], accepted);
        }
        page.family("rivven_rejected_total", "counter", "Connections and requests turned away.");
        for &listener in Listener::ALL {
            for &reason in Reason::ALL {
                let count = self.rejections(listener, reason);
                if count > 0 {
                    let labels = [("listener", listener.as_str()), ("reason", reason.as_str())];
                    page.sample(&labels, count);
                }
            }
        }
        page.family("rivven_network_received_bytes_total", "counter", "Bytes read from clients.")
            .sample(&[], self.network_received_bytes.get());
        page.family("rivven_network_sent_bytes_total", "counter", "Bytes written to clients.")
            .sample(&[], self.network_sent_bytes.get());
        page.family("rivven_requests_total", "counter", "Requests started.")
            .sample(&[], self.requests.get());
        page.family(
            "rivven_request_seconds",
            "histogram",
            "From a request's last byte to its answer.",
        )
        .histogram(&[], &self.request_seconds);
    }
}

/// Numbers of one topic. Whoever works on the topic holds this and adds to it.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Records appended on behalf of producers.
    pub messages_received: Counter,
    /// Records sent to consumers, as far as their batches say.
    pub messages_sent: Counter,
    /// Bytes of batches appended on behalf of producers.
    pub bytes_received: Counter,
    /// Bytes of batches sent to consumers.
    pub bytes_sent: Counter,
    /// Bytes that the topic's segments hold on this node.
    pub storage_bytes: Gauge,
}

type Topics = BTreeMap<Arc<str>, Arc<TopicMetrics>>;

/// All numbers of the process.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Numbers of the edge.
    pub edge: EdgeMetrics,
    /// Numbers of compaction.
    pub compaction: CompactionMetrics,
    /// How long `fdatasync` takes.
    pub sync_seconds: Histogram,
    /// 1 since the configuration was to be read again and could not be used.
    pub config_reload_failed: Gauge,
    /// 1 while peers from other machines are refused because authentication is off.
    pub protected_mode: Gauge,
    /// Partition logs opened during the start.
    pub recovery_logs_done: Gauge,
    /// Partition logs the start has to open.
    pub recovery_logs_total: Gauge,
    /// Bytes read and checked during the start.
    pub recovery_bytes_done: Gauge,
    /// Bytes the start has to read.
    pub recovery_bytes_total: Gauge,
    /// How long the start took, in milliseconds; 0 while it lasts.
    pub recovery_ms: Gauge,
    topics: ArcSwap<Topics>,
    /// What deleted topics had counted, so that the totals never fall.
    retired: TopicMetrics,
    /// Shared by the topics beyond the bound.
    others: Arc<TopicMetrics>,
}

impl Telemetry {
    /// The numbers of a topic, made on first use.
    #[must_use]
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        if let Some(found) = self.topics.load().get(name) {
            return Arc::clone(found);
        }
        let fresh = Arc::new(TopicMetrics::default());
        self.topics.rcu(|topics| {
            let mut topics = Topics::clone(topics);
            if topics.len() < TOPIC_SERIES_MAX {
                topics.entry(name.into()).or_insert_with(|| Arc::clone(&fresh));
            }
            topics
        });
        Arc::clone(self.topics.load().get(name).unwrap_or(&self.others))
    }

    /// Ends the series of a topic that is gone. What it counted stays in the totals.
    pub fn forget_topic(&self, name: &str) {
        let before = self.topics.rcu(|topics| {
            let mut topics = Topics::clone(topics);
            topics.remove(name);
            topics
        });
        if let Some(gone) = before.get(name) {
            for (total, part) in self.retired.traffic().iter().zip(gone.traffic()) {
                total.add(part.get());
            }
        }
    }

    /// Everything in the Prometheus text format; the broker may add its own families.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        let mut page = Exposition::default();
        page.family("rivven_build_info", "gauge", "The version that runs.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.edge.render(&mut page);
        self.render_topics(&mut page);
        self.render_recovery(&mut page);
        self.compaction.render(&mut page);
        page.family("rivven_protected_mode", "gauge", "1 while other machines are refused.")
            .sample(&[], self.protected_mode.get());
        page.family(
            "rivven_config_reload_failed",
            "gauge",
            "1 if the last reload kept the old configuration.",
        )
        .sample(&[], self.config_reload_failed.get());
        page.family("rivven_sync_seconds", "histogram", "How long fdatasync takes.")
            .histogram(&[], &self.sync_seconds);
        page
    }

    fn render_topics(&self, page: &mut Exposition) {
        let topics = self.topics.load();
        let named = || {
            topics
                .iter()
                .map(|(name, topic)| (&**name, &**topic))
                .chain(std::iter::once((OTHER_TOPICS, &*self.others)))
        };
        for (index, [total, per_topic, help]) in TRAFFIC.into_iter().enumerate() {
            let parts = named().map(|(_, topic)| topic.traffic()[index].get());
            let sum = self.retired.traffic()[index].get() + parts.sum::<u64>();
            page.family(total, "counter", help).sample(&[], sum);
            page.family(per_topic, "counter", help);
            for (name, topic) in named() {
                page.sample(&[("topic", name)], topic.traffic()[index].get());
            }
        }
        page.family("rivven_storage_bytes", "gauge", "Bytes of the topic's segments on this node.");
        for (name, topic) in named() {
            page.sample(&[("topic", name)], topic.storage_bytes.get());
        }
    }

    fn render_recovery(&self, page: &mut Exposition) {
        let rows: [(&'static str, &Gauge, &str); 5] = [
            ("rivven_recovery_logs_done", &self.recovery_logs_done, "Logs opened by the start."),
            ("rivven_recovery_logs_total", &self.recovery_logs_total, "Logs the start opens."),
            ("rivven_recovery_bytes_done", &self.recovery_bytes_done, "Bytes the start has read."),
            ("rivven_recovery_bytes_total", &self.recovery_bytes_total, "Bytes the start reads."),
            ("rivven_recovery_ms", &self.recovery_ms, "How long the start took; 0 while it lasts."),
        ];
        for (name, gauge, help) in rows {
            page.family(name, "gauge", help).sample(&[], gauge.get());
        }
    }
}

/// Name of the total, name per topic, help, in the order of [`TopicMetrics::traffic`].
const TRAFFIC: [[&str; 3]; 4] = [
    [
        "rivven_messages_received_total",
        "rivven_topic_messages_received_total",
        "Records appended for producers.",
    ],
    [
        "rivven_messages_sent_total",
        "rivven_topic_messages_sent_total",
        "Records sent to consumers.",
    ],
    [
        "rivven_bytes_received_total",
        "rivven_topic_bytes_received_total",
        "Bytes of batches appended for producers.",
    ],
    [
        "rivven_bytes_sent_total",
        "rivven_topic_bytes_sent_total",
        "Bytes of batches sent to consumers.",
    ],
];

impl TopicMetrics {
    fn traffic(&self) -> [&Counter; 4] {
        [&self.messages_received, &self.messages_sent, &self.bytes_received, &self.bytes_sent]
    }
}

/// Keeps the log readable under attack: each reason is reported once, then not again for ten
/// seconds, and the next report says how many were left out.
#[derive(Debug, Default)]
pub struct Quiet {
    reasons: PerReason<Muted>,
}

#[derive(Debug, Default)]
struct Muted {
    until_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Quiet {
    /// Whether to report now, and how many reports of this reason were left out before.
    pub fn report(&self, reason: Reason, monotonic_ms: u64) -> Option<u64> {
        let muted = self.reasons.of(reason);
        let until = muted.until_ms.load(Relaxed);
        let next = monotonic_ms + REPEAT_AFTER_MS;
        // Of several threads that find the silence over, the one whose exchange succeeds speaks.
        if monotonic_ms >= until
            && muted.until_ms.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
        {
            return Some(muted.left_out.swap(0, Relaxed));
        }
        muted.left_out.fetch_add(1, Relaxed);
        None
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error("{0:?} is no log level: use error, warn, info, debug, trace, or module=level pairs")]
    Level(String),
    /// There is a log already.
    #[error("the log is set up already")]
    Twice,
}

/// The log of this process, as far as it can be changed.
#[derive(Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Changes what is written from now on.
    ///
    /// # Errors
    /// When the level can not be read; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        // It fails otherwise only when the log is gone, which lives as long as the process.
        self.filter.reload(filter(level)?).map_err(|_| LogError::Level(level.to_owned()))
    }
}

/// Sends the log of this process to standard error. `level` is a level or a list of directives like
/// `info,rivvend::net=debug`.
///
/// # Errors
/// When the level can not be read, or when there is a log already.
pub fn start_log(format: LogFormat, level: &str) -> Result<Log, LogError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let writer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            registry.with(writer.with_ansi(std::io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => registry.with(writer.json().flatten_event(true)).try_init(),
    };
    started.map(|()| Log { filter: handle }).map_err(|_| LogError::Twice)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    // The consensus library tells its inner life at this level, which is noise to an operator.
    let directives = if level == "info" { "info,openraft=error" } else { level };
    EnvFilter::try_new(directives).map_err(|_| LogError::Level(level.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(telemetry: &Telemetry) -> String {
        telemetry.exposition().into_text()
    }

    #[test]
    fn totals_are_sums_over_topics_and_survive_a_deleted_one() {
        let telemetry = Telemetry::default();
        telemetry.topic("orders").messages_received.add(3);
        telemetry.topic("events").messages_received.add(4);
        assert!(page(&telemetry).contains("\nrivven_messages_received_total 7\n"));
        telemetry.forget_topic("orders");
        let text = page(&telemetry);
        assert!(text.contains("\nrivven_messages_received_total 7\n"));
        assert!(!text.contains("topic=\"orders\""));
        assert!(text.contains("\nrivven_topic_messages_received_total{topic=\"events\"} 4\n"));
    }

    #[test]
    fn topics_beyond_the_bound_share_one_series() {
        let telemetry = Telemetry::default();
        let names: Vec<_> = (0..TOPIC_SERIES_MAX).map(|i| format!("t{i}")).collect();
        let full: Topics =
            names.iter().map(|name| (Arc::from(name.as_str()), Arc::default())).collect();
        telemetry.topics.store(Arc::new(full));
        telemetry.topic("one-more").storage_bytes.add(5);
        telemetry.topic("and-another").storage_bytes.add(5);
        let text = page(&telemetry);
        assert!(text.contains("\nrivven_storage_bytes{topic=\"(other)\"} 10\n"));
        assert!(!text.contains("one-more"));
    }

    #[test]
    fn a_histogram_counts_cumulatively_in_seconds() {
        let histogram = Histogram::default();
        for us in [50, 51, 700, 20_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut page = Exposition::default();
        page.family("t_seconds", "histogram", "Test.").histogram(&[("a", "b")], &histogram);
        let text = page.into_text();
        for row in [
            "t_seconds_bucket{a=\"b\",le=\"0.00005\"} 1\n",
            "t_seconds_bucket{a=\"b\",le=\"0.0001\"} 2\n",
            "t_seconds_bucket{a=\"b\",le=\"0.001\"} 3\n",
            "t_seconds_bucket{a=\"b\",le=\"10\"} 3\n",
            "t_seconds_bucket{a=\"b\",le=\"+Inf\"} 4\n",
            "t_seconds_sum{a=\"b\"} 20.000801\n",
            "t_seconds_count{a=\"b\"} 4\n",
        ] {
            assert!(text.contains(row), "{row} is missing in {text}");
        }
    }

    #[test]
    fn label_values_can_not_break_out_of_their_quotes() {
        let mut page = Exposition::default();
        page.family("t", "gauge", "Test.").sample(&[("l", "a\"b\\c\nd")], 1);
        assert!(page.into_text().ends_with("t{l=\"a\\\"b\\\\c\\nd\"} 1\n"));
    }

    #[test]
    fn a_reason_is_reported_once_in_ten_seconds_and_says_what_was_left_out() {
        let quiet = Quiet::default();
        assert_eq!(quiet.report(Reason::Tls, 0), Some(0));
        assert_eq!(quiet.report(Reason::Tls, 1), None);
        assert_eq!(quiet.report(Reason::Tls, 9_999), None);
        assert_eq!(quiet.report(Reason::Http, 9_999), Some(0), "reasons do not mute each other");
        assert_eq!(quiet.report(Reason::Tls, 10_000), Some(2));
    }

    #[test]
    fn a_level_that_is_none_is_refused_by_name() {
        let refusal = start_log(LogFormat::Text, "rivvend=loud").expect_err("no level");
        assert!(refusal.to_string().contains("\"rivvend=loud\""));
    }
}
