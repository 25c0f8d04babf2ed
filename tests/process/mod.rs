//! The real binary as a process: how it starts and stops, what it keeps when it is killed, when the
//! power goes, when the disk is full or lies, and what it answers to bytes that are no protocol.
//! Speaks to it through the library's client, raw sockets and signals; knows nothing of its inside.
//!
//! What needs root or a tool of the system is skipped with a printed reason, unless
//! `RIVVEN_TESTS_ALL` is set, as `tests/run` does after it has installed what is missing.
//! Tests the binary built with them, or another that `RIVVEN_TESTED_BINARY` names.

mod batches;
mod bench;
mod bench_compare;
mod bench_loops;
mod bench_report;
mod broker;
mod command;
mod compaction;
mod compaction_watched;
mod configuration;
mod contexts;
mod corruption;
mod descriptors;
mod disk_full;
mod doctor;
mod faults;
mod forms;
mod frames;
mod fuzz;
mod generated;
mod groups;
mod history;
mod image;
mod inspect;
mod json_fields;
mod kafka_frames;
mod kafka_fuzz;
mod kafka_groups;
mod kafka_refusals;
mod kafka_wire;
mod kill;
mod lifecycle;
mod load;
mod mistakes;
mod offsets_load;
mod power;
mod readme;
mod records;
mod service;
mod shells;
mod terminal;
mod verbs;
mod wire;

use std::process::Command;

/// How many rounds of something slow to run.
fn rounds(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("the number of rounds is a number"),
        Err(_) => default,
    }
}

/// Whether this process is root and has these tools. Where everything must run, a missing one is a
/// failure.
fn has_root_and(tools: &[&str]) -> bool {
    match rustix::process::geteuid().is_root() {
        true => has_tools(tools),
        false => can_not_run("it needs root"),
    }
}

/// Whether these tools of the system are there, in the same way.
fn has_tools(tools: &[&str]) -> bool {
    match tools.iter().find(|tool| !is_installed(tool)) {
        Some(tool) => can_not_run(&format!("{tool} is missing")),
        None => true,
    }
}

/// Says so; a failure where everything must run.
fn can_not_run(missing: &str) -> bool {
    assert!(std::env::var_os("RIVVEN_TESTS_ALL").is_none(), "can not run: {missing}");
    eprintln!("skipped: {missing}");
    false
}

fn is_installed(tool: &str) -> bool {
    Command::new("which").arg(tool).output().is_ok_and(|output| output.status.success())
}
