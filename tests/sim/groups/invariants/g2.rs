//! G2: a commit is accepted from a member of the present generation alone, or from whoever likes
//! where the group has no members. What was refused is not committed all the same.

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let Fact::Logged { commit: number, .. } = fact else { return Ok(()) };
    let commit = &history.commits[*number];
    let accepted = commit.arrived - commit.refused;
    require(commit.logged < accepted, || {
        format!("commit {number} is in the log although it was refused: {commit:?}")
    })?;
    let life = history.groups.get(&commit.key.0);
    let recorded = life.and_then(|life| life.recorded.as_ref());
    let Some(member) = &commit.member else {
        return require(recorded.is_none_or(|recorded| recorded.members.is_empty()), || {
            format!("commit {number} of somebody outside is accepted, and {recorded:?} is there")
        });
    };
    let is_recorded = recorded.is_some_and(|recorded| {
        let mut members = recorded.members.iter();
        recorded.generation == commit.generation
            && members.any(|known| known.id == *member && known.instance == commit.instance)
    });
    // A generation that nobody has got an assignment of yet is not in the log.
    let is_newer = recorded.is_none_or(|recorded| recorded.generation < commit.generation);
    require(is_recorded || (is_newer && commit.was_current), || {
        let generation = recorded.map(|recorded| recorded.generation);
        format!("commit {number} is accepted in generation {generation:?}: {commit:?}")
    })
}
