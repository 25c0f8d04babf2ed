//! The invariants, one a file, numbered as in the design. Each is asked about every fact before the
//! fact becomes history.

use crate::history::{Broken, Fact, History};

mod d1;
mod d13;
mod d14;
mod d15;
mod d16;
mod d2;
mod d3;
mod d4;
mod d5;
mod d6;
mod d7;
mod d8;
mod d9;
mod l3;
mod p1;
mod p2;
mod p3;
mod p4;

type Check = fn(&Fact<'_>, &History) -> Result<(), Broken>;

const INVARIANTS: &[(&str, Check)] = &[
    ("D1", d1::check),
    ("D2", d2::check),
    ("D3", d3::check),
    ("D4", d4::check),
    ("D5", d5::check),
    ("D6", d6::check),
    ("D7", d7::check),
    ("D8", d8::check),
    ("D9", d9::check),
    ("D13", d13::check),
    ("D14", d14::check),
    ("D15", d15::check),
    ("D16", d16::check),
    ("P1", p1::check),
    ("P2", p2::check),
    ("P3", p3::check),
    ("P4", p4::check),
    ("L3", l3::check),
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
