//! What there is to measure of consumer groups. What happens is counted when it does; how many
//! groups there are and how far behind they are is asked of the coordinators when somebody wants to
//! know, so that commits cost nothing for it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Groups;
use crate::coordinator::{CommittedTopic, GroupError, Reply, Request, State, Survey};
use crate::limits::GROUP_SERIES_MAX;
use crate::telemetry::{CommitRefusal, Exposition};
use crate::types::{Offset, PartitionId};

/// How long all coordinators together may take to answer. Whoever measures a broker that is not
/// well needs the other numbers all the more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Group and topic of the series that those beyond the bound share. No topic can be called so, so
/// no group can have a series of that name.
const OTHERS: &str = "(other)";

impl Groups<'_> {
    /// Adds everything about groups to a page.
    pub(in crate::broker) async fn render(self, page: &mut Exposition) {
        self.0.shards().group_metrics().render(page);
        let coordinators = self.coordinators().len();
        let surveys = self.surveys().await;
        page.family(
            "rivven_group_coordinators",
            "gauge",
            "Coordinators of consumer groups, by whether they tell of their groups.",
        );
        let silent = coordinators.saturating_sub(surveys.len());
        for (state, count) in [("ready", surveys.len()), ("silent", silent)] {
            page.sample(&[("state", state)], count);
        }
        page.family("rivven_groups", "gauge", "Consumer groups.");
        for state in State::LIVE {
            let counts = surveys.iter().filter_map(|survey| survey.states.get(&state));
            page.sample(&[("state", state.as_str())], counts.sum::<usize>());
        }
        page.family("rivven_group_members", "gauge", "Members of consumer groups.")
            .sample(&[], surveys.iter().map(|survey| survey.members).sum::<usize>());
        self.render_lag(&surveys, page);
    }

    /// How far behind groups are: each group and topic up to a bound, in the order of their names,
    /// and the others as one.
    fn render_lag(self, surveys: &[Survey], page: &mut Exposition) {
        let topics = surveys.iter().flat_map(|survey| &survey.committed);
        let lags: BTreeMap<(&str, &str), i64> =
            topics.map(|topic| ((&*topic.group, &*topic.topic), self.lag(topic))).collect();
        page.family(
            "rivven_group_lag_records",
            "gauge",
            "Offsets between what is committed and the high watermark, over the partitions of \
             which something is committed.",
        );
        for (&(group, topic), lag) in lags.iter().take(GROUP_SERIES_MAX) {
            page.sample(&[("group", group), ("topic", topic)], lag);
        }
        let others = lags.values().skip(GROUP_SERIES_MAX).sum::<i64>();
        page.sample(&[("group", OTHERS), ("topic", OTHERS)], others);
        page.family(
            "rivven_group_lag_left_out",
            "gauge",
            "Topics of consumer groups whose lag is in no series, because there are too many.",
        )
        .sample(&[], surveys.iter().map(|survey| survey.left_out).sum::<usize>());
    }

    fn lag(self, committed: &CommittedTopic) -> i64 {
        let view = self.0.view();
        let topic = view.image().topic(&committed.topic);
        let Some(partitions) = topic.and_then(|topic| self.0.directory().topic(topic.id)) else {
            return 0;
        };
        let of = |(partition, offset): &(PartitionId, Offset)| {
            let index = usize::try_from(partition.0).ok()?;
            let view = partitions.handles().get(index)?.view();
            // What retention has removed can not be read any more.
            let from = view.start().0.max(offset.0);
            Some(view.high_watermark.offset.0.saturating_sub(from).max(0))
        };
        committed.offsets.iter().filter_map(of).sum()
    }

    /// What the coordinators say that answer in time.
    async fn surveys(self) -> Vec<Survey> {
        let asked: Vec<_> = self
            .coordinators()
            .iter()
            .filter_map(|handle| self.send(handle, Request::Survey).ok())
            .collect();
        let mut surveys = Vec::with_capacity(asked.len());
        let gather = async {
            for answer in asked {
                if let Ok(Reply::Surveyed(Ok(survey))) = answer.await {
                    surveys.push(*survey);
                }
            }
        };
        // What has come until then is told.
        drop(tokio::time::timeout(PATIENCE, gather).await);
        surveys
    }

    /// Counts what came of a commit of so many offsets.
    pub(super) fn count_commit(
        self,
        outcome: &Result<super::CommitOutcome, GroupError>,
        offsets: usize,
    ) {
        let metrics = self.0.shards().group_metrics();
        match outcome {
            Ok(outcome) => {
                for offset in &outcome.offsets {
                    match offset {
                        Ok(()) => metrics.commits.add(1),
                        Err(error) => metrics.commits_refused(refusal(error), 1),
                    }
                }
                metrics.commits_above_watermark.add(outcome.above_watermark as u64);
            }
            Err(error) => metrics.commits_refused(refusal(error), offsets as u64),
        }
    }
}

fn refusal(error: &GroupError) -> CommitRefusal {
    match error {
        GroupError::IllegalGeneration { .. } => CommitRefusal::IllegalGeneration,
        GroupError::UnknownMember | GroupError::MemberIdRequired | GroupError::NotFound => {
            CommitRefusal::UnknownMember
        }
        GroupError::FencedInstance => CommitRefusal::FencedInstance,
        GroupError::RebalanceInProgress => CommitRefusal::RebalanceInProgress,
        GroupError::UnknownTopicOrPartition => CommitRefusal::UnknownTopic,
        GroupError::AboveHighWatermark { .. } => CommitRefusal::AboveHighWatermark,
        GroupError::MetadataTooLarge { .. }
        | GroupError::InvalidOffset(_)
        | GroupError::TooLarge { .. }
        | GroupError::Malformed(_)
        | GroupError::InvalidGroupId
        | GroupError::InvalidSessionTimeout { .. }
        | GroupError::InconsistentProtocol
        | GroupError::NotEmpty
        | GroupError::Subscribed => CommitRefusal::Invalid,
        GroupError::Loading
        | GroupError::NotAvailable(_)
        | GroupError::Full
        | GroupError::TooManyGroups
        | GroupError::Overloaded
        | GroupError::ReadOnly
        | GroupError::NotWritable(_) => CommitRefusal::Unavailable,
    }
}
