//! What is counted of consumer groups as it happens. How many groups there are and how far behind
//! they are is looked up when somebody asks, by whoever keeps them.

use super::{Counter, Exposition, Histogram};

labels! {
    /// What begins a rebalance.
    RebalanceCause {
        /// A member came.
        MemberJoined = "member_joined",
        /// A member left, or was removed.
        MemberLeft = "member_left",
        /// A member was not heard of for too long.
        MemberTimedOut = "member_timed_out",
        /// A member joined and never asked for its assignment.
        AssignmentNotFetched = "assignment_not_fetched",
        /// A member wants other topics, or offers other assignors.
        SubscriptionChanged = "subscription_changed",
        /// The leader joined again, because what it assigns has changed.
        LeaderRejoined = "leader_rejoined",
        /// A static member came back while its group could not go on without a rebalance.
        InstanceReturned = "instance_returned",
        /// A topic that the server assigns has another number of partitions.
        TopicsChanged = "topics_changed",
    }
}

labels! {
    /// Why an offset is not committed.
    CommitRefusal {
        /// The member is of another generation than the group.
        IllegalGeneration = "illegal_generation",
        /// The group has no such member.
        UnknownMember = "unknown_member",
        /// Another member has come with the same instance id.
        FencedInstance = "fenced_instance",
        /// The group works out who gets what.
        RebalanceInProgress = "rebalance_in_progress",
        /// There is no such topic or partition.
        UnknownTopic = "unknown_topic",
        /// The offset is above the high watermark.
        AboveHighWatermark = "above_high_watermark",
        /// Something about the offset or the request can never be committed.
        Invalid = "invalid",
        /// Nothing is committed at the moment.
        Unavailable = "unavailable",
    }
}

/// Numbers of consumer groups.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    rebalances: [Counter; RebalanceCause::ALL.len()],
    commits_refused: [Counter; CommitRefusal::ALL.len()],
    /// Offsets that were committed.
    pub commits: Counter,
    /// Those of them that were above the high watermark.
    pub commits_above_watermark: Counter,
    /// How long coordinators read their logs.
    pub load_seconds: Histogram,
}

impl GroupMetrics {
    /// Counts a rebalance that begins.
    pub fn rebalanced(&self, cause: RebalanceCause) {
        self.rebalances[cause as usize].add(1);
    }

    /// Counts offsets that were not committed.
    pub fn commits_refused(&self, why: CommitRefusal, count: u64) {
        self.commits_refused[why as usize].add(count);
    }

    /// Adds the numbers to a page.
    pub fn render(&self, page: &mut Exposition) {
        page.family(
            "rivven_group_rebalances_total",
            "counter",
            "Rebalances of consumer groups, by what began them.",
        );
        for &cause in RebalanceCause::ALL {
            page.sample(&[("reason", cause.as_str())], self.rebalances[cause as usize].get());
        }
        page.family("rivven_group_offset_commits_total", "counter", "Offsets that were committed.")
            .sample(&[], self.commits.get());
        page.family(
            "rivven_group_offset_commits_above_watermark_total",
            "counter",
            "Offsets that were committed although they are above the high watermark.",
        )
        .sample(&[], self.commits_above_watermark.get());
        page.family(
            "rivven_group_offset_commits_refused_total",
            "counter",
            "Offsets that were not committed.",
        );
        for &why in CommitRefusal::ALL {
            page.sample(&[("reason", why.as_str())], self.commits_refused[why as usize].get());
        }
        page.family(
            "rivven_group_load_seconds",
            "histogram",
            "How long the coordinators of consumer groups read their logs.",
        )
        .histogram(&[], &self.load_seconds);
    }
}
