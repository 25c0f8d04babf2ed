//! What can be wrong with a simulated disk, and when it strikes.

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A write fails with EIO and writes nothing.
    WriteFails,
    /// A write writes only this many bytes and fails with EIO.
    ShortWrite(usize),
    /// A write fails with ENOSPC, whatever the capacity.
    NoSpace,
    /// A write is seen as asked for until the page leaves the cache or the power fails; the medium
    /// gets the bytes this far away.
    MisdirectedWrite(i64),
    /// A sync fails with EIO and the pages it should have written are marked clean: they stay
    /// readable, and the next sync succeeds without writing them.
    SyncFails,
    /// A sync reports success and makes nothing durable.
    SyncLies,
    /// A directory sync fails with EIO and makes nothing durable.
    DirectorySyncFails,
    /// A directory sync reports success and makes nothing durable.
    DirectorySyncLies,
    /// A read fails with EIO.
    ReadFails,
    /// A read returns what was on the medium before the file's last sync.
    StaleRead,
    /// Creating a file fails with ENOSPC.
    CreateFails,
    /// Creating a file fails with EMFILE.
    NoDescriptor,
    /// A rename fails with EIO and changes nothing.
    RenameFails,
}

/// A fault that waits for its moment.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Only files and directories whose path contains this text; the empty text is in every path.
    pub path: String,
    /// How many operations that fit go well before it strikes.
    pub skip: u32,
    /// How often it strikes.
    pub times: u32,
}

impl Fault {
    /// Strikes once, at the next operation that fits.
    #[must_use]
    pub fn once(kind: FaultKind, path: &str) -> Fault {
        Fault { kind, path: path.to_owned(), skip: 0, times: 1 }
    }

    /// Strikes at every operation that fits.
    #[must_use]
    pub fn always(kind: FaultKind, path: &str) -> Fault {
        Fault { times: u32::MAX, ..Fault::once(kind, path) }
    }

    /// Lets `skip` operations that fit go well first.
    #[must_use]
    pub fn after(self, skip: u32) -> Fault {
        Fault { skip, ..self }
    }
}

/// The operations at which a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Write,
    Sync,
    DirectorySync,
    Read,
    Create,
    Rename,
}

impl FaultKind {
    fn moment(self) -> Moment {
        match self {
            FaultKind::WriteFails
            | FaultKind::ShortWrite(_)
            | FaultKind::NoSpace
            | FaultKind::MisdirectedWrite(_) => Moment::Write,
            FaultKind::SyncFails | FaultKind::SyncLies => Moment::Sync,
            FaultKind::DirectorySyncFails | FaultKind::DirectorySyncLies => Moment::DirectorySync,
            FaultKind::ReadFails | FaultKind::StaleRead => Moment::Read,
            FaultKind::CreateFails | FaultKind::NoDescriptor => Moment::Create,
            FaultKind::RenameFails => Moment::Rename,
        }
    }
}

/// The faults that wait, and how many have struck.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    waiting: Vec<Fault>,
    pub(super) struck: u64,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The fault that strikes this operation, if any does. The first one that fits and is due wins;
    /// all that fit count the operation.
    pub(super) fn strike(&mut self, moment: Moment, path: &str) -> Option<FaultKind> {
        let mut struck = None;
        for fault in &mut self.waiting {
            if fault.kind.moment() != moment || !path.contains(&fault.path) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if struck.is_none() {
                fault.times = fault.times.saturating_sub(1);
                struck = Some(fault.kind);
            }
        }
        self.waiting.retain(|fault| fault.times > 0);
        self.struck += u64::from(struck.is_some());
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_for_its_turn_and_its_path_and_then_is_used_up() {
        let mut faults = Faults::default();
        faults.add(Fault::once(FaultKind::WriteFails, ".log").after(1));
        assert_eq!(faults.strike(Moment::Write, "/a.index"), None);
        assert_eq!(faults.strike(Moment::Sync, "/a.log"), None);
        assert_eq!(faults.strike(Moment::Write, "/a.log"), None);
        assert_eq!(faults.strike(Moment::Write, "/a.log"), Some(FaultKind::WriteFails));
        assert_eq!(faults.strike(Moment::Write, "/a.log"), None);
        assert_eq!(faults.struck, 1);
    }
}
