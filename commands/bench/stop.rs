//! Ctrl-C: the first ends a run early and cleanly, so that its processes and files go away; a
//! second ends the program at once. Knows nothing of what is being measured.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::interrupt::Interrupt;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether the user wants to stop.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Ends the run early, as Ctrl-C does.
pub(super) fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Fails when the user wants to stop.
pub(super) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!requested(), "interrupted");
    Ok(())
}

/// Starts to listen for SIGINT and SIGTERM, on a thread of its own since most of a run blocks.
pub(super) fn listen() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("can not listen for signals")?;
    let mut interrupt = {
        let _inside = runtime.enter();
        Interrupt::listen().context("can not listen for signals")?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            interrupt.wait().await;
            request();
            // The second signal is not ours to handle, but needs this runtime.
            std::future::pending::<()>().await;
        });
    });
    Ok(())
}
