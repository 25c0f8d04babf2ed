//! Consumer groups of a node, for every protocol: finds the coordinator of a group, asks it, and
//! waits for the answer. Knows nothing of what a group is or of protocols' bytes.
//!
//! Each operation takes the coordinator's own types and gives its answer once what it rests on is
//! durable. A join or a sync may wait as long as a rebalance takes; dropping the future gives up
//! the answer and not the request.

mod metrics;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::node::Node;
use crate::coordinator::{
    Commit, DeleteOffsets, Described, Fetch, Fetched, Filter, GroupError, Heartbeat, Join,
    JoinRefused, Joined, Leave, Left, Listed, OFFSETS_PARTITIONS, OFFSETS_TOPIC, Reply, Request,
    Sync, Synced, partition_of,
};
use crate::metadata::{Command, CreateTopic, Image, Refusal};
use crate::partition::{self, PartitionHandle, Reply as Answer};
use crate::quorum::ProposeError;
use crate::shard::{Command as ShardCommand, GroupCommand};
use crate::types::{PartitionId, TopicId, TopicPartition};

/// How soon a shard whose mailbox is full is asked again to do what is due.
const RETRY: Duration = Duration::from_millis(10);

/// What the topic of the coordinators is made with. Nothing in it expires: only a newer record of
/// the same key makes an older one superfluous. Segments are small, because the last one is never
/// compacted and a start has to read all of it.
const OFFSETS_CONFIG: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("durability", "fsync"),
    ("retention.bytes", "-1"),
    ("retention.ms", "-1"),
    ("segment.bytes", "4194304"),
];

/// Whether an offset above the high watermark may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboveWatermark {
    /// No.
    Refuse,
    /// Yes, as in Kafka; the answer says which ones, so that they can be counted.
    Accept,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOutcome {
    /// Of each offset, in the order of the request.
    pub offsets: Vec<Result<(), GroupError>>,
    /// How many were accepted although they are above the high watermark.
    pub above_watermark: usize,
}

/// The consumer groups of a node.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a>(&'a Node);

impl Node {
    /// The consumer groups.
    #[must_use]
    pub fn groups(&self) -> Groups<'_> {
        Groups(self)
    }
}

macro_rules! expect_reply {
    ($reply:expr, $kind:path) => {
        match $reply {
            $kind(outcome) => outcome,
            other => unreachable!("a coordinator answers what it was asked, not {other:?}"),
        }
    };
}

impl Groups<'_> {
    /// Makes sure that a group has a coordinator, which on a single node is this one.
    ///
    /// # Errors
    /// When the topic that coordinators live on can not be made.
    pub async fn find(self, group: &str) -> Result<(), GroupError> {
        if self.coordinator(group).is_none() {
            self.refuse_read_only()?;
            self.create_coordinators(group).await?;
        }
        Ok(())
    }

    /// Joins a group, or joins it again; the answer comes when the rebalance is over.
    ///
    /// # Errors
    /// Why the member may not join, and under which id to try again.
    pub async fn join(self, join: Join) -> Result<Joined, JoinRefused> {
        let (group, member) = (Arc::clone(&join.group), join.member.clone());
        let refused = |error| JoinRefused { error, member };
        match self.change(&group, Request::Join(join)).await {
            Ok(reply) => expect_reply!(reply, Reply::Joined),
            Err(error) => Err(refused(error)),
        }
    }

    /// Asks for a member's assignment; a follower's answer comes when the leader's request has.
    ///
    /// # Errors
    /// Why there is no assignment.
    pub async fn sync(self, sync: Sync) -> Result<Synced, GroupError> {
        let group = Arc::clone(&sync.group);
        expect_reply!(self.change(&group, Request::Sync(sync)).await?, Reply::Synced)
    }

    /// Says that a member is alive.
    ///
    /// # Errors
    /// Why it is none, or that it has to join again.
    pub async fn heartbeat(self, heartbeat: Heartbeat) -> Result<(), GroupError> {
        let group = Arc::clone(&heartbeat.group);
        expect_reply!(self.change(&group, Request::Heartbeat(heartbeat)).await?, Reply::Done)
    }

    /// Takes members out of a group.
    ///
    /// # Errors
    /// When there is no such group; each member has an outcome of its own.
    pub async fn leave(self, leave: Leave) -> Result<Vec<Left>, GroupError> {
        let group = Arc::clone(&leave.group);
        expect_reply!(self.change(&group, Request::Leave(leave)).await?, Reply::Left)
    }

    /// Commits offsets. Topics are looked up by name; an id that differs is refused.
    ///
    /// # Errors
    /// Why nothing of it was committed; each offset has an outcome of its own.
    pub async fn commit(
        self,
        commit: Commit,
        above: AboveWatermark,
    ) -> Result<CommitOutcome, GroupError> {
        let offsets = commit.offsets.len();
        let outcome = self.commit_uncounted(commit, above).await;
        self.count_commit(&outcome, offsets);
        outcome
    }

    async fn commit_uncounted(
        self,
        mut commit: Commit,
        above: AboveWatermark,
    ) -> Result<CommitOutcome, GroupError> {
        self.accept_writes()?;
        let mut checked = self.check_offsets(&mut commit, above);
        let group = Arc::clone(&commit.group);
        let reply = self.change(&group, Request::Commit(commit)).await?;
        let mut answers = expect_reply!(reply, Reply::Committed)?.into_iter();
        for outcome in &mut checked.offsets {
            if outcome.is_ok() {
                *outcome = answers.next().expect("an answer for each offset that was asked for");
            }
        }
        Ok(checked)
    }

    /// Tells which offsets are committed.
    ///
    /// # Errors
    /// When the coordinator can not tell yet.
    pub async fn fetch(self, fetch: Fetch) -> Result<Vec<Fetched>, GroupError> {
        let nothing = |topic, partition| Fetched { topic, partition, committed: None };
        let named = fetch.partitions.clone();
        let group = Arc::clone(&fetch.group);
        match self.ask(&group, Request::Fetch(fetch)).await? {
            Some(reply) => expect_reply!(reply, Reply::Fetched),
            None => Ok(named.into_iter().flatten().map(|(t, p)| nothing(t, p)).collect()),
        }
    }

    /// Removes committed offsets of partitions that the group does not read.
    ///
    /// # Errors
    /// When there is no such group, or it can not be told what it reads.
    pub async fn delete_offsets(
        self,
        delete: DeleteOffsets,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.refuse_read_only()?;
        let group = Arc::clone(&delete.group);
        match self.ask(&group, Request::DeleteOffsets(delete)).await? {
            Some(reply) => expect_reply!(reply, Reply::OffsetsDeleted),
            None => Err(GroupError::NotFound),
        }
    }

    /// Deletes a group that has no members, with its offsets.
    ///
    /// # Errors
    /// When there is no such group, or it has members.
    pub async fn delete(self, group: Arc<str>) -> Result<(), GroupError> {
        self.refuse_read_only()?;
        match self.ask(&group, Request::DeleteGroup(Arc::clone(&group))).await? {
            Some(reply) => expect_reply!(reply, Reply::Done),
            None => Err(GroupError::NotFound),
        }
    }

    /// Lists groups, in the order of their names.
    ///
    /// # Errors
    /// When a coordinator can not tell yet.
    pub async fn list(self, filter: &Filter) -> Result<Vec<Listed>, GroupError> {
        let mut listed = Vec::new();
        for handle in self.coordinators() {
            let request = Request::List(filter.clone());
            listed.extend(expect_reply!(self.submit(&handle, request).await?, Reply::Listed)?);
        }
        listed.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(listed)
    }

    /// Describes a group.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn describe(self, group: Arc<str>) -> Result<Described, GroupError> {
        match self.ask(&group, Request::Describe(Arc::clone(&group))).await? {
            Some(reply) => expect_reply!(reply, Reply::Described).map(|described| *described),
            None => Err(GroupError::NotFound),
        }
    }

    /// Asks the coordinator of a group, which is there afterwards if it was not before.
    async fn change(self, group: &str, request: Request) -> Result<Reply, GroupError> {
        self.refuse_read_only()?;
        let handle = match self.coordinator(group) {
            Some(handle) => handle,
            None => self.create_coordinators(group).await?,
        };
        self.submit(&handle, request).await
    }

    /// Asks the coordinator of a group; `None` when nobody ever had one.
    async fn ask(self, group: &str, request: Request) -> Result<Option<Reply>, GroupError> {
        match self.coordinator(group) {
            Some(handle) => self.submit(&handle, request).await.map(Some),
            None => Ok(None),
        }
    }

    async fn submit(self, handle: &PartitionHandle, request: Request) -> Result<Reply, GroupError> {
        let answer = self.send(handle, request)?;
        let stopping = || GroupError::NotAvailable("the broker is stopping".into());
        answer.await.map_err(|_| stopping())
    }

    fn send(
        self,
        handle: &PartitionHandle,
        request: Request,
    ) -> Result<partition::Answer<Reply>, GroupError> {
        let (to, answer) = Answer::channel();
        let command = GroupCommand::Ask(handle.id(), request, to);
        let command = ShardCommand::Groups(Box::new(command));
        self.0.shards().submit(handle.shard(), command).map_err(|_| GroupError::Overloaded)?;
        Ok(answer)
    }

    fn coordinator(self, group: &str) -> Option<Arc<PartitionHandle>> {
        let view = self.0.view();
        let topic = view.image().topic(OFFSETS_TOPIC)?;
        let partition = PartitionId(partition_of(group, topic.partition_count()));
        self.0.directory().partition(TopicPartition { topic: topic.id, partition })
    }

    fn coordinators(self) -> Vec<Arc<PartitionHandle>> {
        let view = self.0.view();
        let topic = view.image().topic(OFFSETS_TOPIC);
        let partitions = topic.and_then(|topic| self.0.directory().topic(topic.id));
        partitions.map_or_else(Vec::new, |partitions| partitions.handles().to_vec())
    }

    /// Makes the topic that coordinators live on. Somebody else may have been faster.
    async fn create_coordinators(self, group: &str) -> Result<Arc<PartitionHandle>, GroupError> {
        let topic = CreateTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: OFFSETS_PARTITIONS,
            replication_factor: None,
            config: OFFSETS_CONFIG
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            topic_id: TopicId(uuid::Uuid::new_v4()),
            internal: true,
        };
        match self.0.propose(Command::CreateTopic(topic)).await {
            Ok(_) | Err(ProposeError::Refused(Refusal::TopicExists { .. })) => {}
            Err(error) => return Err(GroupError::NotAvailable(error.to_string().into())),
        }
        let missing = || GroupError::NotAvailable("its partition is not open yet".into());
        self.coordinator(group).ok_or_else(missing)
    }

    fn refuse_read_only(self) -> Result<(), GroupError> {
        if self.0.is_read_only() { Err(GroupError::ReadOnly) } else { Ok(()) }
    }

    fn accept_writes(self) -> Result<(), GroupError> {
        self.refuse_read_only()?;
        let refused = self.0.view().context().accept_writes();
        refused.map_err(|error| GroupError::NotWritable(error.message.into()))
    }

    /// Takes out of a commit what is seen to be wrong from here, and fills in the ids of topics.
    fn check_offsets(self, commit: &mut Commit, above: AboveWatermark) -> CommitOutcome {
        let view = self.0.view();
        let mut outcome =
            CommitOutcome { offsets: Vec::with_capacity(commit.offsets.len()), above_watermark: 0 };
        commit.offsets.retain_mut(|offset| {
            let topic = view.image().topic(&offset.topic);
            let id = topic.map(|topic| topic.id);
            let handle = id.filter(|id| offset.topic_id.is_none_or(|given| given == *id)).and_then(
                |topic| {
                    let partition = offset.partition;
                    self.0.directory().partition(TopicPartition { topic, partition })
                },
            );
            let Some(handle) = handle else {
                outcome.offsets.push(Err(GroupError::UnknownTopicOrPartition));
                return false;
            };
            offset.topic_id = id;
            let high_watermark = handle.view().high_watermark.offset;
            if offset.offset > high_watermark {
                if above == AboveWatermark::Refuse {
                    let offset = offset.offset;
                    let error = GroupError::AboveHighWatermark { offset, high_watermark };
                    outcome.offsets.push(Err(error));
                    return false;
                }
                outcome.above_watermark += 1;
            }
            outcome.offsets.push(Ok(()));
            true
        });
        outcome
    }
}

impl Node {
    /// Tells whoever waits for a group that nothing comes any more: a rebalance may take longer
    /// than a stop.
    pub fn release_groups(&self) {
        self.tell_coordinators(|| GroupCommand::Close);
    }

    /// Keeps groups on the partitions of their topic, once there is one and they are open. Before
    /// the image is published that names it, so that no request comes first.
    pub(super) fn keep_groups(&self, image: &Arc<Image>) {
        let Some(topic) = image.topic(OFFSETS_TOPIC) else { return };
        let Some(partitions) = self.directory().topic(topic.id) else { return };
        if self.keeps_groups().swap(true, Ordering::SeqCst) {
            return;
        }
        for handle in partitions.handles() {
            let host = GroupCommand::Host {
                id: handle.id(),
                config: Arc::clone(&self.options().groups),
                image: Arc::clone(image),
                may_write: !self.is_read_only(),
            };
            let command = ShardCommand::Groups(Box::new(host));
            self.shards().submit_waiting(handle.shard(), command);
        }
    }

    /// Tells the coordinators which topics there are now. Not for a network thread.
    pub(super) fn tell_topics(&self, image: &Arc<Image>) {
        if image.topic(OFFSETS_TOPIC).is_some() && !self.is_read_only() {
            self.tell_coordinators(|| GroupCommand::Topics(Arc::clone(image)));
        }
    }

    fn tell_coordinators(&self, what: impl Fn() -> GroupCommand) {
        for shard in 0..self.shards().count() {
            self.shards().submit_waiting(shard, ShardCommand::Groups(Box::new(what())));
        }
    }
}

/// Has coordinators do what is due, when it is; sleeps otherwise.
pub(super) async fn keep_time(node: Weak<Node>) {
    let Some(alarm) = node.upgrade().map(|node| Arc::clone(node.shards().alarm())) else {
        return;
    };
    loop {
        let earlier = alarm.listen();
        let due_ms = alarm.due_ms();
        let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
        let now_ms = (node.options().clock)().monotonic_ms;
        if due_ms > now_ms {
            // Nobody else keeps a node that is no longer wanted; it looks again after a while.
            drop(node);
            let wait = Duration::from_millis((due_ms - now_ms).min(LOOK_AGAIN_MS));
            drop(tokio::time::timeout(wait, earlier).await);
            continue;
        }
        alarm.clear();
        for shard in 0..node.shards().count() {
            let tick = ShardCommand::Groups(Box::new(GroupCommand::Tick));
            if node.shards().submit(shard, tick).is_err() {
                alarm.set(now_ms + RETRY.as_millis() as u64);
            }
        }
    }
}

/// Longest sleep of the keeper of time, so that it ends with its node.
const LOOK_AGAIN_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
