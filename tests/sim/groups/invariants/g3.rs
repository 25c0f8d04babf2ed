//! G3: what is shown as committed is what was accepted last: durable when it is acknowledged, and
//! the same after a restart, a compaction and a look for what has expired. Live state is what the
//! log adds up to.

use rivvend::coordinator::{Described, DescribedMember};
use rivvend::types::Millis;

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Logged { commit, committed } => {
            let sent = &history.commits[*commit];
            require(sent.offset == committed.offset.0, || {
                format!("commit {commit} was of {} and is of {}", sent.offset, committed.offset)
            })
        }
        Fact::Acknowledged { commit, .. } => {
            let commit = &history.commits[*commit];
            require(commit.acknowledged < commit.logged, || {
                format!("a commit is acknowledged before it is durable: {commit:?}")
            })
        }
        Fact::Fetched { key, found, from, to, .. } => {
            let found = found.map(|committed| {
                History::commit_of(committed).ok_or_else(|| format!("{committed:?} is nobody's"))
            });
            let found = found.transpose()?;
            let states = states(history, key, *from, *to);
            require(states.contains(&found), || {
                format!("{key:?} is shown as commit {found:?}, and was {states:?} meanwhile")
            })
        }
        Fact::Replayed { what, same } => {
            require(*same, || format!("live state is not what {what} adds up to"))
        }
        Fact::Rebuilt { live, rebuilt } => {
            let same = rebuilt.is_some_and(|rebuilt| recorded(live) == recorded(rebuilt));
            require(same, || format!("after a restart {live:?} would be {rebuilt:?}"))
        }
        _ => Ok(()),
    }
}

/// What a key stood for while the log grew from one length to another.
pub(super) fn states(
    history: &History,
    key: &crate::groups::history::Key,
    from: i64,
    to: i64,
) -> Vec<Option<usize>> {
    let changes = history.offsets.get(key).map_or([].as_slice(), Vec::as_slice);
    let before = changes.iter().rev().find(|(at, _)| *at < from).and_then(|(_, commit)| *commit);
    let meanwhile = changes.iter().filter(|(at, _)| (from..to).contains(at));
    std::iter::once(before).chain(meanwhile.map(|(_, commit)| *commit)).collect()
}

/// What of a group outlives a restart.
fn recorded(group: &Described) -> Described {
    let members = group.members.iter().cloned();
    Described {
        rebalances: Vec::new(),
        members: members.map(|m| DescribedMember { since: Millis(0), ..m }).collect(),
        ..group.clone()
    }
}
