//! G1: a partition has at most one owner in a generation, whoever is told so and whenever, over
//! restarts of the coordinator as well. In groups that let go of a partition before its next owner
//! takes it, no two members read it at the same time.

use std::collections::BTreeMap;

use rivvend::coordinator::consumer::{Partitions, decode_assignment};
use rivvend::coordinator::{GroupMetadata, Text};

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Given { group, generation, member, instance, partitions } => {
            let Some(life) = history.groups.get(*group) else { return Ok(()) };
            let owner = instance.unwrap_or(member);
            let mut all = partitions.iter().flat_map(|(t, list)| list.iter().map(move |p| (t, p)));
            all.try_for_each(|(topic, partition)| {
                let key = (*generation, Text::clone(topic), *partition);
                let before = life.owners.get(&key);
                require(before.is_none_or(|before| before == owner), || {
                    format!(
                        "{topic}/{partition} of {group} is given to {owner} in generation \
                         {generation} and was {before:?}'s"
                    )
                })
            })
        }
        Fact::Recorded { group, generation } => {
            let before = history.groups.get(*group).and_then(|life| life.recorded.as_ref());
            let (now, before) = (generation.generation, before.map_or(0, |b| b.generation));
            require(now >= before, || format!("{group} goes from generation {before} to {now}"))?;
            let assignments = assignments(generation)?;
            one_owner(group, assignments.iter().map(|(member, all)| (*member, all)))
        }
        Fact::Reading { group, members } => one_owner(group, members.iter().copied()),
        _ => Ok(()),
    }
}

fn assignments(generation: &GroupMetadata) -> Result<Vec<(&Text, Partitions)>, Broken> {
    let members = generation.members.iter();
    let decode = members.map(|member| {
        let partitions = decode_assignment(member.assignment.clone());
        Ok((&member.id, partitions.map_err(|error| error.to_string())?))
    });
    decode.collect()
}

fn one_owner<'a>(
    group: &Text,
    members: impl Iterator<Item = (&'a Text, &'a Partitions)>,
) -> Result<(), Broken> {
    let mut owners = BTreeMap::new();
    for (member, partitions) in members {
        for (topic, list) in partitions {
            for partition in list {
                let other = owners.insert((topic, partition), member);
                require(other.is_none(), || {
                    format!("{topic}/{partition} of {group} is {other:?}'s and {member}'s")
                })?;
            }
        }
    }
    Ok(())
}
