//! G6: offsets of a group with members do not expire, nor do others before their time.

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, _: &History) -> Result<(), Broken> {
    let Fact::Expired { key, committed, empty_since, awaited, now, retention_ms } = fact else {
        return Ok(());
    };
    require(!awaited, || format!("{key:?} expires while a member waits to be let in"))?;
    let Some(since) = empty_since else {
        return Err(format!("{key:?} expires although its group has members"));
    };
    let due = match committed.expires {
        Some(expires) => expires.0,
        None => committed.at.0.max(*since).saturating_add(*retention_ms),
    };
    require(due <= *now, || format!("{key:?} expires {} ms too early", due - now))
}
