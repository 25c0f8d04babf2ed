//! `consume --group`: reads what the coordinator of a group gives this member, from what the group
//! has committed on, and commits what has been printed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rivvend::client::{Client, ClientError};
use rivvend::protocol::error::ErrorCode;
use rivvend::protocol::native::message::{
    CommitOffsets, FetchOffsets, GroupHeartbeat, JoinGroup, JoinGroupResult, LeaveGroup,
    LeavingMember, OffsetToCommit, TopicPartitions,
};
use rivvend::record::Scratch;

use super::fetcher::{Fetched, Fetcher, Reading};
use super::printer::Printer;
use super::{ConsumeArgs, print_batch};
use crate::failure::{Exit, Failure, Outcome};
use crate::positions;
use crate::target::Session;

/// What has been printed is committed at the latest after so long.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
const SESSION_MS: u32 = 45_000;
const REBALANCE_MS: u32 = 60_000;
/// Longest that a rebalance may take until this member is told.
const JOIN_TIME: Duration = Duration::from_secs(120);
/// Between two tries while a coordinator is not there.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A member of the group.
struct Member<'a> {
    session: &'a Session,
    args: &'a ConsumeArgs,
    group: &'a str,
    topics: Vec<String>,
    id: String,
    generation: i32,
    heartbeat: Duration,
    /// Next offset of each partition, and whether the group knows of it.
    printed: BTreeMap<(String, i32), (i64, bool)>,
    committed_at: Instant,
}

/// Why reading stopped.
enum End {
    /// Everything was read, enough was printed, or somebody interrupted.
    Done,
    /// The group rebalances.
    Rebalance,
}

pub(super) async fn run(session: &Session, args: &ConsumeArgs, group: &str) -> Outcome {
    let topics = super::topics(&session.client, args).await?;
    let mut member = Member {
        session,
        args,
        group,
        topics: topics.into_iter().map(|(name, _)| name).collect(),
        id: String::new(),
        generation: -1,
        heartbeat: Duration::from_secs(3),
        printed: BTreeMap::new(),
        committed_at: Instant::now(),
    };
    let mut printer = Printer::new(args.form());
    let outcome = member.read(&mut printer).await;
    printer.flush()?;
    member.leave().await;
    outcome
}

impl Member<'_> {
    fn client(&self) -> &Client {
        &self.session.client
    }

    async fn read(&mut self, printer: &mut Printer) -> Outcome {
        while !self.session.interrupt.is_asked() {
            let mut interrupt = self.session.interrupt.clone();
            let joined = tokio::select! {
                joined = self.join() => joined?,
                () = interrupt.wait() => break,
            };
            let readings = self.begin(&joined).await?;
            // Without a partition and with an end there is nothing to wait for.
            if readings.is_empty() && self.args.is_bounded() {
                break;
            }
            let timeout = self.args.target.timeout;
            let fetcher =
                Fetcher::start(self.client(), readings, self.args.read_committed, timeout);
            match self.print_all(fetcher, printer).await? {
                End::Done => break,
                End::Rebalance => {}
            }
        }
        printer.flush()?;
        self.commit().await?;
        Ok(Exit::Ok)
    }

    /// Joins until it is a member of a generation.
    async fn join(&mut self) -> Result<JoinGroupResult, Failure> {
        let begun = Instant::now();
        loop {
            let join = JoinGroup {
                group: self.group.to_owned(),
                member: self.id.clone(),
                topics: self.topics.clone(),
                session_timeout_ms: SESSION_MS,
                rebalance_timeout_ms: REBALANCE_MS,
                reason: "rivvend consume".to_owned(),
                ..JoinGroup::default()
            };
            match self.client().join_group(join, JOIN_TIME).await {
                Ok(joined) => {
                    self.id.clone_from(&joined.member);
                    self.generation = joined.generation;
                    self.heartbeat =
                        Duration::from_millis(u64::from(joined.heartbeat_interval_ms.max(100)));
                    return Ok(joined);
                }
                Err(error) if is_forgotten(&error) => self.id.clear(),
                Err(error)
                    if error.is_retriable() && begun.elapsed() < self.args.target.timeout =>
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where reading begins: at what is committed, or where the command line says.
    async fn begin(&mut self, joined: &JoinGroupResult) -> Result<Vec<Reading>, Failure> {
        self.printed.clear();
        let fetch =
            FetchOffsets { group: self.group.to_owned(), partitions: joined.assignment.clone() };
        let mut committed = BTreeMap::new();
        if !joined.assignment.is_empty() {
            for offset in self.client().fetch_offsets(fetch).await? {
                committed.insert((offset.topic, offset.partition), offset.committed);
            }
        }
        let mut readings = Vec::new();
        for TopicPartitions { topic, partitions } in &joined.assignment {
            let bounds = positions::bounds(self.client(), topic, partitions).await?;
            let from = self.args.offset.from;
            let client = self.client();
            let starts = positions::resolve(client, topic, partitions, &bounds, from).await?;
            for ((partition, bounds), start) in partitions.iter().zip(bounds).zip(starts) {
                let known = committed.get(&(topic.clone(), *partition)).copied();
                let next = known.filter(|offset| *offset >= 0).unwrap_or(start);
                let stop = self.args.is_bounded().then_some(bounds.end);
                readings.push(Reading { topic: topic.clone(), partition: *partition, next, stop });
            }
        }
        Ok(readings)
    }

    async fn print_all(
        &mut self,
        mut fetcher: Fetcher,
        printer: &mut Printer,
    ) -> Result<End, Failure> {
        let mut interrupt = self.session.interrupt.clone();
        let mut scratch = Scratch::default();
        let mut beat = tokio::time::interval(self.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                biased;
                () = interrupt.wait() => break End::Done,
                _ = beat.tick() => {
                    printer.flush()?;
                    if self.is_late() {
                        self.commit().await?;
                    }
                    if !self.is_alive().await? {
                        break End::Rebalance;
                    }
                }
                fetched = fetcher.next() => {
                    let Some(fetched) = fetched else { break End::Done };
                    if self.print(&fetched?, printer, &mut scratch)? {
                        break End::Done;
                    }
                }
            }
        };
        printer.flush()?;
        self.commit().await?;
        Ok(ended)
    }

    /// Prints what was fetched; whether that is enough.
    fn print(
        &mut self,
        fetched: &Fetched,
        printer: &mut Printer,
        scratch: &mut Scratch,
    ) -> Result<bool, Failure> {
        for batch in &fetched.batches {
            let before = printer.count;
            print_batch(printer, fetched, batch, self.args.num, scratch)?;
            let base = batch.header().base_offset.0;
            let mut next = base + i64::from(batch.header().last_offset_delta) + 1;
            let is_enough = self.args.num.is_some_and(|num| printer.count >= num);
            if is_enough {
                // The last batch may have been printed in part; what was not is read again.
                next = next.min(base.max(fetched.from) + (printer.count - before) as i64);
            }
            next = fetched.stop.map_or(next, |stop| next.min(stop));
            let key = (fetched.topic.to_string(), fetched.partition);
            self.printed.insert(key, (next, false));
            if is_enough {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_late(&self) -> bool {
        self.committed_at.elapsed() >= COMMIT_INTERVAL
    }

    /// Says that the member is alive; whether its generation still is.
    async fn is_alive(&mut self) -> Result<bool, Failure> {
        let heartbeat = GroupHeartbeat {
            group: self.group.to_owned(),
            member: self.id.clone(),
            instance: String::new(),
            generation: self.generation,
        };
        match self.client().group_heartbeat(heartbeat).await {
            Ok(()) => Ok(true),
            Err(error) if has_to_rejoin(&error) => {
                if is_forgotten(&error) {
                    self.id.clear();
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Commits what has been printed and is not committed yet. A member that is none any more has
    /// nothing to say: who reads on begins where the group is.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.committed_at = Instant::now();
        let offsets: Vec<OffsetToCommit> = self
            .printed
            .iter()
            .filter(|(_, (_, is_committed))| !is_committed)
            .map(|((topic, partition), (offset, _))| OffsetToCommit {
                topic: topic.clone(),
                partition: *partition,
                offset: *offset,
                ..OffsetToCommit::default()
            })
            .collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let commit = CommitOffsets {
            group: self.group.to_owned(),
            member: self.id.clone(),
            instance: String::new(),
            generation: self.generation,
            offsets,
        };
        let results = match self.client().commit_offsets(commit).await {
            Ok(results) => results,
            Err(error) if has_to_rejoin(&error) => {
                eprintln!("warning: the group has moved on; what was printed last may come again");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for result in results {
            if let Some(error) = result.error {
                return Err(error.into());
            }
            if let Some((_, is_committed)) = self.printed.get_mut(&(result.topic, result.partition))
            {
                *is_committed = true;
            }
        }
        Ok(())
    }

    /// The others need not wait for the session to end. If that fails, they do.
    async fn leave(&self) {
        if self.id.is_empty() {
            return;
        }
        let members = vec![LeavingMember { member: self.id.clone(), instance: String::new() }];
        let reason = "the consumer is done".to_owned();
        let leave = LeaveGroup { group: self.group.to_owned(), members, reason };
        drop(self.client().leave_group(leave).await);
    }
}

fn has_to_rejoin(error: &ClientError) -> bool {
    is_forgotten(error)
        || matches!(
            error.code(),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration)
        )
}

fn is_forgotten(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UnknownMemberId)
}
