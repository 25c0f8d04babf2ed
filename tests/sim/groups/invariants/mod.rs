//! The invariants of consumer groups, one a file, numbered as in the design. Each is asked about
//! every fact before the fact becomes history.

use super::history::{Fact, History};
use crate::history::Broken;

mod g1;
mod g2;
mod g3;
mod g4;
mod g5;
mod g6;
mod g7;
mod g8;

pub(crate) use g8::names;

type Check = fn(&Fact<'_>, &History) -> Result<(), Broken>;

const INVARIANTS: &[(&str, Check)] = &[
    ("G1", g1::check),
    ("G2", g2::check),
    ("G3", g3::check),
    ("G4", g4::check),
    ("G5", g5::check),
    ("G6", g6::check),
    ("G7", g7::check),
    ("G8", g8::check),
];

/// Asks every invariant about a fact.
pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    for (number, check) in INVARIANTS {
        check(fact, history).map_err(|why| format!("{number}: {why}"))?;
    }
    Ok(())
}

/// An error unless it holds.
fn require(holds: bool, why: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(why()) }
}
