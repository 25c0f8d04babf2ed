//! Where an answer goes. The engine answers without knowing who waits or how.

/// The place for one answer.
#[derive(Debug)]
pub struct Reply<T>(Option<oneshot::Sender<T>>);

/// Where the answer arrives; an error when it never will.
pub type Answer<T> = oneshot::Receiver<T>;

impl<T> Reply<T> {
    /// A reply and the place to wait for it.
    #[must_use]
    pub fn channel() -> (Reply<T>, Answer<T>) {
        let (sender, receiver) = oneshot::channel();
        (Reply(Some(sender)), receiver)
    }

    /// For those who do not want to know.
    #[must_use]
    pub fn ignored() -> Reply<T> {
        Reply(None)
    }

    /// Delivers the answer. Nobody waiting any more is fine: what was asked for has happened all
    /// the same, as for any client that disconnects before its answer.
    pub fn send(self, answer: T) {
        if let Some(sender) = self.0 {
            drop(sender.send(answer));
        }
    }
}
