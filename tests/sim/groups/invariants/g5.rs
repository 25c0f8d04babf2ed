//! G5: while the log is being read the coordinator says so, and only then. Nobody is told that
//! nothing is committed where something is.

use rivvend::coordinator::GroupError;

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Fetched { key, found: None, from, to, .. } => {
            let states = super::g3::states(history, key, *from, *to);
            require(states.contains(&None), || {
                format!("nothing is shown as committed for {key:?}, which was {states:?}")
            })
        }
        Fact::Refused { asked, error: GroupError::Loading } => require(!asked.ready, || {
            "a coordinator that has its log says that it reads it".to_owned()
        }),
        _ => Ok(()),
    }
}
