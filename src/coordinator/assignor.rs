//! Who gets which partition, where the coordinator decides: range, round-robin, sticky and
//! cooperative-sticky, with Kafka's names behind a prefix that no client of the classic protocol
//! may use. All of them are functions: the same members and topics give the same assignment.
//!
//! * `range`: topic by topic, each member gets a run of partitions; members with a common
//!   subscription get the same numbers of each topic, so that joins of topics stay on one member.
//! * `roundrobin`: all partitions in turn.
//! * `sticky`: as even as can be, and otherwise as it was.
//! * `cooperative-sticky`: the same, but a partition that another member still holds is left out
//!   until that member has let go of it and joined again (KIP-429), so nobody has to stop reading
//!   what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Text;
use super::consumer::{self, Partitions, Subscription};
use crate::planted::{self, Bug};
use crate::types::PartitionId;

/// What the protocols begin with by which members leave the assignment to the server.
pub const SERVER_PREFIX: &str = "server-";

/// A way to assign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Runs of partitions, topic by topic.
    #[default]
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Even, and otherwise as it was.
    Sticky,
    /// The same without taking away what is in use.
    CooperativeSticky,
}

impl Assignor {
    /// Every one.
    pub const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    /// Its name, as in Kafka.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.as_str() == name)
    }

    /// The protocol that a member names to be assigned to in this way.
    #[must_use]
    pub fn protocol(self) -> Text {
        format!("{SERVER_PREFIX}{}", self.as_str()).into()
    }

    /// The one that a protocol names.
    #[must_use]
    pub fn from_protocol(protocol: &str) -> Option<Assignor> {
        Assignor::from_name(protocol.strip_prefix(SERVER_PREFIX)?)
    }

    /// Whether members keep what they have until they are told to let go of it.
    #[must_use]
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// Who gets what, in the order of the subscribers. Topics that are not in `counts` have no
    /// partitions.
    #[must_use]
    pub fn assign(self, members: &[Subscriber], counts: &BTreeMap<Text, i32>) -> Vec<Partitions> {
        match self {
            Assignor::Range => range(members, counts),
            Assignor::RoundRobin => round_robin(members, counts),
            Assignor::Sticky => sticky(members, counts),
            Assignor::CooperativeSticky => withhold(members, sticky(members, counts)),
        }
    }
}

/// A member as assignors see it.
#[derive(Clone, Debug, Default)]
pub struct Subscriber {
    /// What it wants, and what it still holds.
    pub subscription: Subscription,
    /// What it was given last.
    pub previous: Partitions,
    /// What members are put in order by: those with an instance first, by its name, so that the
    /// order outlives a restart.
    order: (bool, Text),
}

impl Subscriber {
    /// A member from what it sent and what it was given last. What can not be read counts as
    /// nothing.
    #[must_use]
    pub fn of(id: &Text, instance: Option<&Text>, metadata: Bytes, assigned: Bytes) -> Subscriber {
        Subscriber {
            subscription: Subscription::decode(metadata).unwrap_or_default(),
            previous: consumer::decode_assignment(assigned).unwrap_or_default(),
            order: (instance.is_none(), Arc::clone(instance.unwrap_or(id))),
        }
    }

    /// Whether it says that it holds on to a partition.
    fn claims(&self, topic: &Text, partition: PartitionId) -> bool {
        has(&self.subscription.owned, topic, partition)
    }

    /// Whether it was given a partition last.
    fn was_given(&self, topic: &Text, partition: PartitionId) -> bool {
        has(&self.previous, topic, partition)
    }
}

fn has(partitions: &Partitions, topic: &Text, partition: PartitionId) -> bool {
    partitions.get(topic).is_some_and(|list| list.contains(&partition))
}

/// Members in their order, as indices.
fn in_order(members: &[Subscriber]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..members.len()).collect();
    indices.sort_by(|one, other| members[*one].order.cmp(&members[*other].order));
    indices
}

/// The members that read each topic, in their order.
fn readers<'a>(members: &'a [Subscriber], order: &[usize]) -> BTreeMap<&'a Text, Vec<usize>> {
    let mut readers: BTreeMap<&Text, Vec<usize>> = BTreeMap::new();
    for index in order {
        let topics: BTreeSet<&Text> = members[*index].subscription.topics.iter().collect();
        topics.into_iter().for_each(|topic| readers.entry(topic).or_default().push(*index));
    }
    readers
}

fn count_of(counts: &BTreeMap<Text, i32>, topic: &Text) -> i32 {
    counts.get(topic).copied().unwrap_or(0).max(0)
}

fn range(members: &[Subscriber], counts: &BTreeMap<Text, i32>) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); members.len()];
    for (topic, readers) in readers(members, &in_order(members)) {
        let total = count_of(counts, topic) as usize;
        let (each, extra) = (total / readers.len(), total % readers.len());
        let mut next = 0;
        for (place, reader) in readers.iter().enumerate() {
            let end = next + each + usize::from(place < extra);
            if end > next {
                let run = (next..end).map(|partition| PartitionId(partition as i32)).collect();
                assigned[*reader].insert(Arc::clone(topic), run);
            }
            next = end;
        }
    }
    assigned
}

fn round_robin(members: &[Subscriber], counts: &BTreeMap<Text, i32>) -> Vec<Partitions> {
    let order = in_order(members);
    let mut assigned = vec![Partitions::new(); members.len()];
    let mut turn = 0;
    for (topic, readers) in readers(members, &order) {
        let readers: BTreeSet<usize> = readers.into_iter().collect();
        for partition in 0..count_of(counts, topic) {
            while !readers.contains(&order[turn % order.len()]) {
                turn += 1;
            }
            let list = assigned[order[turn % order.len()]].entry(Arc::clone(topic)).or_default();
            list.push(PartitionId(partition));
            turn += 1;
        }
    }
    assigned
}

/// Keeps what can be kept, gives the rest to those with least, and then moves partitions from
/// members to readers of the same topic that have at least two less.
fn sticky(members: &[Subscriber], counts: &BTreeMap<Text, i32>) -> Vec<Partitions> {
    let order = in_order(members);
    let readers = readers(members, &order);
    let mut loads = vec![0_usize; members.len()];
    let mut owners = kept(members, counts, &readers, &order, &mut loads);
    for ((topic, _), owner) in &mut owners {
        if owner.is_none() {
            let least = least_loaded(&readers[*topic], &loads);
            loads[least] += 1;
            *owner = Some(least);
        }
    }
    // Every move makes the sum of the squares of the loads smaller, so this ends.
    let mut moved = true;
    while moved {
        moved = false;
        for ((topic, _), owner) in &mut owners {
            let from = owner.expect("everything has an owner by now");
            let least = least_loaded(&readers[*topic], &loads);
            if loads[from] > loads[least] + 1 {
                loads[from] -= 1;
                loads[least] += 1;
                *owner = Some(least);
                moved = true;
            }
        }
    }
    let mut assigned = vec![Partitions::new(); members.len()];
    for ((topic, partition), owner) in owners {
        let owner = owner.expect("everything has an owner by now");
        assigned[owner].entry(Arc::clone(topic)).or_default().push(partition);
    }
    assigned
}

type Owners<'a> = BTreeMap<(&'a Text, PartitionId), Option<usize>>;

/// All partitions that somebody reads, with the member that had each and still reads it.
fn kept<'a>(
    members: &[Subscriber],
    counts: &BTreeMap<Text, i32>,
    readers: &BTreeMap<&'a Text, Vec<usize>>,
    order: &[usize],
    loads: &mut [usize],
) -> Owners<'a> {
    let mut owners = Owners::new();
    for topic in readers.keys() {
        let partitions = (0..count_of(counts, topic)).map(PartitionId);
        owners.extend(partitions.map(|partition| ((*topic, partition), None)));
    }
    for index in order {
        let member = &members[*index];
        for (topic, partitions) in &member.previous {
            let reads = readers.get(topic).is_some_and(|readers| readers.contains(index));
            let Some((topic, _)) = readers.get_key_value(topic).filter(|_| reads) else { continue };
            for partition in partitions {
                if let Some(owner @ None) = owners.get_mut(&(*topic, *partition)) {
                    *owner = Some(*index);
                    loads[*index] += 1;
                }
            }
        }
    }
    owners
}

fn least_loaded(readers: &[usize], loads: &[usize]) -> usize {
    let least = readers.iter().min_by_key(|reader| loads[**reader]);
    *least.expect("a topic that is assigned has a reader")
}

/// Leaves out what somebody else still holds: what it says, unless another member was given that.
/// Whoever was to let go of a partition and has not heard of it still reads what nobody was given.
fn withhold(members: &[Subscriber], assigned: Vec<Partitions>) -> Vec<Partitions> {
    if planted::is(Bug::AssignHeld) {
        return assigned;
    }
    let is_held = |by: usize, topic: &Text, partition| {
        let is_given = members.iter().any(|member| member.was_given(topic, partition));
        let mut others = members.iter().enumerate().filter(|(index, _)| *index != by);
        others.any(|(_, other)| {
            other.claims(topic, partition) && (other.was_given(topic, partition) || !is_given)
        })
    };
    let keep = |(by, mut partitions): (usize, Partitions)| {
        for (topic, list) in &mut partitions {
            list.retain(|partition| !is_held(by, topic, *partition));
        }
        partitions.retain(|_, list| !list.is_empty());
        partitions
    };
    assigned.into_iter().enumerate().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str], previous: &[(&str, &[i32])]) -> Subscriber {
        let partitions: Partitions = previous
            .iter()
            .map(|(topic, list)| {
                (Text::from(*topic), list.iter().map(|p| PartitionId(*p)).collect())
            })
            .collect();
        Subscriber {
            subscription: Subscription {
                topics: topics.iter().map(|topic| Text::from(*topic)).collect(),
                owned: partitions.clone(),
                ..Subscription::default()
            },
            previous: partitions,
            order: (true, id.into()),
        }
    }

    fn counts(counts: &[(&str, i32)]) -> BTreeMap<Text, i32> {
        counts.iter().map(|(topic, count)| (Text::from(*topic), *count)).collect()
    }

    fn shown(assigned: &[Partitions]) -> Vec<String> {
        let list = |(topic, list): (&Text, &Vec<PartitionId>)| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", list.join(","))
        };
        assigned.iter().map(|p| p.iter().map(list).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn range_gives_runs_of_each_topic_and_the_first_members_the_odd_ones() {
        let members = [member("a", &["t", "u"], &[]), member("b", &["t", "u"], &[])];
        let assigned = Assignor::Range.assign(&members, &counts(&[("t", 3), ("u", 3)]));
        assert_eq!(shown(&assigned), ["t:0,1 u:0,1", "t:2 u:2"]);
        let more = [member("a", &["t"], &[]), member("b", &["t"], &[]), member("c", &["t"], &[])];
        let assigned = Assignor::Range.assign(&more, &counts(&[("t", 2)]));
        assert_eq!(shown(&assigned), ["t:0", "t:1", ""]);
    }

    #[test]
    fn round_robin_goes_on_over_topics_and_skips_those_who_do_not_read_them() {
        let members = [member("a", &["t", "u"], &[]), member("b", &["u"], &[])];
        let assigned = Assignor::RoundRobin.assign(&members, &counts(&[("t", 2), ("u", 3)]));
        assert_eq!(shown(&assigned), ["t:0,1 u:1", "u:0,2"]);
    }

    #[test]
    fn sticky_moves_no_more_than_balance_needs() {
        let members = [member("a", &["t"], &[("t", &[0, 1, 2, 3])]), member("b", &["t"], &[])];
        let assigned = Assignor::Sticky.assign(&members, &counts(&[("t", 4)]));
        assert_eq!(shown(&assigned), ["t:2,3", "t:0,1"]);
        let settled = [member("a", &["t"], &[("t", &[1])]), member("b", &["t"], &[("t", &[0, 2])])];
        let assigned = Assignor::Sticky.assign(&settled, &counts(&[("t", 3)]));
        assert_eq!(shown(&assigned), ["t:1", "t:0,2"]);
    }

    /// G1: what a member still holds is given to nobody else.
    #[test]
    fn cooperative_sticky_leaves_out_what_another_member_still_holds() {
        let members = [member("a", &["t"], &[("t", &[0, 1, 2, 3])]), member("b", &["t"], &[])];
        let first = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 4)]));
        assert_eq!(shown(&first), ["t:2,3", ""]);
        let again = [member("a", &["t"], &[("t", &[2, 3])]), member("b", &["t"], &[])];
        let second = Assignor::CooperativeSticky.assign(&again, &counts(&[("t", 4)]));
        assert_eq!(shown(&second), ["t:2,3", "t:0,1"]);
    }

    /// G1: the answer that took a partition from a member may not have reached it when the next
    /// rebalance comes, so it is still withheld. What another member was given can not be claimed.
    #[test]
    fn cooperative_sticky_believes_who_has_not_heard_what_it_lost() {
        let mut members = [
            member("a", &["t"], &[("t", &[2, 3])]),
            member("b", &["t"], &[]),
            member("c", &["t"], &[("t", &[0])]),
        ];
        let owned = [0, 1, 2, 3].map(PartitionId).to_vec();
        members[0].subscription.owned.insert("t".into(), owned);
        let assigned = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 4)]));
        assert_eq!(shown(&assigned), ["t:2,3", "", "t:0"]);
        members[0].subscription.owned = members[0].previous.clone();
        let assigned = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 4)]));
        assert_eq!(shown(&assigned), ["t:2,3", "t:1", "t:0"]);
    }

    #[test]
    fn an_assignor_has_a_name_and_a_protocol_that_find_it_again() {
        for assignor in Assignor::ALL {
            assert_eq!(Assignor::from_name(assignor.as_str()), Some(assignor));
            assert_eq!(Assignor::from_protocol(&assignor.protocol()), Some(assignor));
            assert_eq!(Assignor::from_protocol(assignor.as_str()), None);
        }
    }
}
