//! Ctrl-C and SIGTERM: the first asks a command to stop cleanly, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What a shell expects of a program that an interrupt ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Tells whether somebody wants the command to stop. Clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Interrupt> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (asked, watched) = watch::channel(false);
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            // The command may be over already; the second signal counts all the same.
            let _ = asked.send(true);
            either(&mut interrupt, &mut terminate).await;
            std::process::exit(EXIT_INTERRUPTED);
        });
        Ok(Interrupt(watched))
    }

    /// Waits for the first signal; for ever when none comes.
    pub(crate) async fn wait(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the first signal has come.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
