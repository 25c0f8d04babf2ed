//! G4: what is committed has been read, so it is never above the high watermark, after a power cut
//! of the node neither.

use super::require;
use crate::groups::history::{Fact, History};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    let (offset, watermark) = match fact {
        Fact::Acknowledged { commit, watermark: Some(watermark) } => {
            (history.commits[*commit].offset, *watermark)
        }
        Fact::Fetched { found: Some(committed), watermark: Some(watermark), .. } => {
            (committed.offset.0, *watermark)
        }
        _ => return Ok(()),
    };
    require(offset <= watermark, || {
        format!("offset {offset} is committed, the high watermark is {watermark}")
    })
}
