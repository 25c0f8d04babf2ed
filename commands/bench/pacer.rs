//! Waits until a time to a few microseconds, which the runtime's own timers, that tick in
//! milliseconds, can not.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A timer of the kernel. It is read as a pipe is, and the type for those is the one safe way to
/// wait for a descriptor that the runtime does not know.
#[derive(Debug)]
pub(super) struct Pacer(Receiver);

impl Pacer {
    /// One for the present runtime.
    pub(super) fn new() -> io::Result<Pacer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Receiver::from_owned_fd_unchecked(timer).map(Pacer)
    }

    /// Returns at that time, or at once when it has passed.
    pub(super) async fn until(&self, time: Instant) -> io::Result<()> {
        loop {
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.set(left)?;
            self.0.readable().await?;
            // How often it went off does not matter, and a false alarm is no error: the clock does.
            drop(self.0.try_read(&mut [0; 8]));
        }
    }

    fn set(&self, left: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}
