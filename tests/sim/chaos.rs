//! What goes wrong, when, and how all of it is put right again before the last look.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use rivvend::log::clean::{CleanShutdown, Taken};
use rivvend::log::frontier::{Frontier, FrontierState};
use rivvend::partition::Health;
use rivvend::storage::memory::{Fault, FaultKind, MemoryDisk};
use rivvend::storage::{Access, Disk, StorageError};

use crate::history::{Broken, Stop};
use crate::node::{DATA_DIR, directory_of, id_of};
use crate::world::{Event, World};

/// Housekeeping has certainly been told of what was recovered after this.
const CLAIMED_US: u64 = 1_500_000;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Calamity {
    /// An orderly stop.
    Restart,
    /// The process is killed.
    Kill,
    /// The power fails.
    Power,
    /// The disk fails in one of its ways.
    Fault,
    /// The disk becomes full.
    Full,
    /// The disk has room again.
    Room,
    /// The power fails soon after a partition came back from a failed sync.
    Aftershock,
}

/// What is wrong at present.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Errors have a reason: a fault was armed in this life of the node, or the disk is full.
    pub(crate) is_faulty: bool,
    /// A failure in the midst of an operation has been arranged, and as what it will count.
    doom: Option<Stop>,
    /// The bit that has rotted.
    rot: Option<(PathBuf, u64, u8)>,
    /// The segments there were when the node started, with their lengths, and when that was.
    inherited: Vec<(usize, PathBuf, u64)>,
    started_us: u64,
    failed_starts: u32,
}

impl Trouble {
    /// The node has started.
    pub(crate) fn started(&mut self, disk: &MemoryDisk, now_us: u64) {
        self.started_us = now_us;
        self.failed_starts = 0;
        self.inherited = segments(disk);
    }

    /// The node could not start; after some tries the disk is put right.
    pub(crate) fn fail_to_start(&mut self, disk: &MemoryDisk) {
        self.failed_starts += 1;
        if self.failed_starts > 2 {
            disk.clear_faults();
            disk.set_capacity(None);
        }
    }
}

/// The segments of all partitions with their lengths.
fn segments(disk: &MemoryDisk) -> Vec<(usize, PathBuf, u64)> {
    let mut segments = Vec::new();
    for partition in 0.. {
        let directory = directory_of(partition);
        let Ok(entries) = disk.list(&directory) else {
            if partition > 8 {
                break;
            }
            continue;
        };
        let logs = entries.into_iter().filter(|entry| entry.name.ends_with(".log"));
        segments.extend(logs.map(|e| (partition, directory.join(e.name), e.len)));
    }
    segments
}

impl World {
    /// Puts the first calamity of each kind into the queue.
    pub(crate) fn schedule_calamities(&mut self) {
        let kinds =
            [Calamity::Restart, Calamity::Kill, Calamity::Power, Calamity::Fault, Calamity::Full];
        for kind in kinds {
            self.schedule_calamity(kind);
        }
    }

    fn schedule_calamity(&mut self, kind: Calamity) {
        let chaos = &self.setup.chaos;
        let pause_us = match kind {
            Calamity::Restart => chaos.restart_us,
            Calamity::Kill => chaos.kill_us,
            Calamity::Power => chaos.power_us,
            Calamity::Fault => chaos.fault_us,
            Calamity::Full => chaos.full_us,
            Calamity::Room | Calamity::Aftershock => None,
        };
        if let Some(pause_us) = pause_us {
            let delay_us = 100_000 + self.random.below(2 * pause_us);
            self.after(delay_us, Event::Calamity(kind));
        }
    }

    /// Lets a calamity happen.
    pub(crate) fn strike(&mut self, calamity: Calamity) {
        if self.healed {
            return;
        }
        match calamity {
            Calamity::Restart => self.restart(),
            Calamity::Kill => self.doom(Stop::Kill),
            Calamity::Power | Calamity::Aftershock => self.doom(Stop::Power),
            // One trouble at a time: a failed sync whose marker can not be written either is beyond
            // what recovery can promise.
            Calamity::Fault | Calamity::Full if self.trouble.is_faulty => {}
            Calamity::Fault => self.arm_fault(),
            Calamity::Full => {
                let Ok(space) = self.disk.space(Path::new(DATA_DIR)) else { return };
                let used = space.total_bytes - space.free_bytes;
                self.disk.set_capacity(Some(used + self.random.below(40_000)));
                self.trouble.is_faulty = true;
                let delay_us = 100_000 + self.random.below(2_000_000);
                self.after(delay_us, Event::Calamity(Calamity::Room));
            }
            Calamity::Room => self.disk.set_capacity(None),
        }
        self.schedule_calamity(calamity);
    }

    /// Stops the node in order; a stop that fails half way counts as a kill.
    fn restart(&mut self) {
        let now = self.now();
        let Some(mut node) = self.node.take() else { return };
        let before = node.ends();
        let stopped = node.stop(now);
        drop(node);
        let stop = match stopped {
            Ok(()) if !before.iter().any(|end| end.failed) => Stop::Clean,
            _ => Stop::Kill,
        };
        let stop = if self.disk.is_off() { self.lose_power() } else { stop };
        self.gone(stop, before);
        self.while_stopped(stop);
    }

    /// Ends the process now, or in the midst of some disk operation that comes soon.
    fn doom(&mut self, stop: Stop) {
        self.trouble.doom = Some(stop);
        if self.random.chance(1, 2) {
            self.disk.cut_power();
            return self.die();
        }
        let operation = self.disk.operations() + 1 + self.random.below(25);
        self.disk.cut_power_at(operation);
    }

    /// The disk is off: leaves behind what a killed process or a power cut does.
    pub(crate) fn die(&mut self) {
        let node = self.node.take();
        let before = node.as_ref().map(crate::node::Node::ends);
        drop(node);
        let stop = self.lose_power();
        match before {
            Some(before) => self.gone(stop, before),
            None => self.harden(stop),
        }
        self.while_stopped(stop);
    }

    fn lose_power(&mut self) -> Stop {
        let stop = self.trouble.doom.take().unwrap_or(Stop::Power);
        self.disk = match stop {
            Stop::Power => self.disk.crash_randomly(&mut self.random),
            Stop::Kill | Stop::Clean => self.disk.snapshot(),
        };
        stop
    }

    fn arm_fault(&mut self) {
        let syncs = self.node.as_ref().is_some_and(|node| !node.jobs.is_empty());
        let kind = match self.random.below(12) {
            0 => FaultKind::WriteFails,
            1 => FaultKind::ShortWrite(self.random.below(600) as usize),
            2 => FaultKind::NoSpace,
            3 => FaultKind::DirectorySyncFails,
            4 => FaultKind::RenameFails,
            5 => FaultKind::CreateFails,
            6 => FaultKind::ReadFails,
            _ => FaultKind::SyncFails,
        };
        let path = match kind {
            FaultKind::SyncFails if syncs || self.random.chance(1, 2) => ".log",
            FaultKind::WriteFails | FaultKind::ShortWrite(_) | FaultKind::NoSpace => ".log",
            _ => "",
        };
        let skip = self.random.below(6) as u32;
        self.disk.inject(Fault::once(kind, path).after(skip));
        self.trouble.is_faulty = true;
    }

    /// What happens to files while nobody holds them.
    fn while_stopped(&mut self, stop: Stop) {
        if self.healed {
            return;
        }
        if self.setup.chaos.rot && self.trouble.rot.is_none() && self.random.chance(1, 2) {
            self.rot(stop);
        }
        if self.random.chance(1, 2) {
            self.disk.clear_faults();
            self.disk.set_capacity(None);
            self.trouble.is_faulty = false;
        }
        if self.setup.chaos.side_files {
            self.spoil_side_files();
        }
    }

    /// Flips a bit in what was durable beyond doubt.
    fn rot(&mut self, stop: Stop) {
        let (state, entries) = Frontier::load(&self.disk, Path::new(DATA_DIR));
        let marker = CleanShutdown::peek(&self.disk, Path::new(DATA_DIR));
        let journal = matches!(state, FrontierState::Whole | FrontierState::TornTail { .. });
        // Claims may be missing where the journal could not be written.
        let settled = self.now_us > self.trouble.started_us + CLAIMED_US && !self.trouble.is_faulty;
        let mut candidates = Vec::new();
        for (partition, path, len) in segments(&self.disk) {
            let base: i64 = base_of(&path);
            let claimed = match (&marker, entries.get(&id_of(partition))) {
                (Taken::Clean(marker), _) if marker.logs.contains_key(&id_of(partition)) => len,
                (_, Some(entry)) if base < entry.segment_base.0 => len,
                (_, Some(entry)) if base == entry.segment_base.0 => entry.position.min(len),
                _ => 0,
            };
            let inherited = self.trouble.inherited.iter().find(|(_, at, _)| *at == path);
            // A killed process leaves the whole journal, so what was recovered is claimed in it.
            let recovered = match inherited {
                Some((_, _, len)) if stop == Stop::Kill && settled && journal => *len,
                _ => 0,
            };
            let sound = claimed.max(recovered).min(len);
            if sound > 0 {
                candidates.push((partition, path, sound));
            }
        }
        if candidates.is_empty() {
            return;
        }
        let chosen = self.random.below(candidates.len() as u64) as usize;
        let (partition, path, sound) = candidates.swap_remove(chosen);
        let (at, bit) = (self.random.below(sound), self.random.below(8) as u8);
        let before = byte_of(&self.disk, &path, at);
        if self.disk.flip_bit(&path, at, bit).is_err() {
            return;
        }
        if byte_of(&self.disk, &path, at) == before {
            // The page cache has a newer page, which is what will be written in the end.
            drop(self.disk.flip_bit(&path, at, bit));
            return;
        }
        let seen = &mut self.history.partitions[partition];
        (seen.rotten, seen.has_rotted) = (true, true);
        self.trouble.rot = Some((path, at, bit));
    }

    /// Loses or damages files that can be done without.
    fn spoil_side_files(&mut self) {
        for partition in 0..self.setup.partitions {
            let directory = directory_of(partition);
            for entry in self.disk.list(&directory).unwrap_or_default() {
                let disposable = ["index", "timeindex", "sum"].iter().any(|end| {
                    Path::new(&entry.name).extension().is_some_and(|found| found == *end)
                }) || entry.name.starts_with("producers-")
                    || entry.name == "leader-epochs";
                if !disposable || !self.random.chance(1, 4) {
                    continue;
                }
                let path = directory.join(&entry.name);
                match self.random.below(3) {
                    0 => drop(self.disk.remove(&path)),
                    1 => {
                        let at = self.random.below(entry.len.max(1));
                        drop(spoil(&self.disk, &path, at, self.random.below(8) as u8));
                    }
                    _ => {
                        let len = self.random.below(entry.len + 1);
                        let file = self.disk.open(&path, Access::Write);
                        drop(file.and_then(|file| file.truncate(len)));
                    }
                }
            }
            drop(self.disk.sync_dir(&directory));
        }
    }

    /// Restarts a node with a partition that is offline, as its operator would.
    pub(crate) fn attend(&mut self) {
        let offline = |node: &crate::node::Node| {
            node.handles.iter().any(|handle| matches!(handle.view().health, Health::Offline(_)))
        };
        if self.node.as_ref().is_some_and(offline) && self.random.chance(1, 3) {
            if self.random.chance(1, 4) {
                self.restart();
            } else {
                self.doom(Stop::Kill);
            }
            if self.setup.chaos.fault_us.is_some() && self.random.chance(1, 2) {
                let delay_us = 400_000 + self.random.below(400_000);
                self.after(delay_us, Event::Calamity(Calamity::Aftershock));
            }
        }
    }

    /// Ends all trouble: the node is restarted on a disk that works and holds what was written.
    pub(crate) fn heal(&mut self) -> Result<(), Broken> {
        self.healed = true;
        if let Some(node) = self.node.take() {
            let before = node.ends();
            drop(node);
            self.gone(Stop::Kill, before);
        }
        self.disk = self.disk.snapshot();
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        self.trouble.is_faulty = false;
        if let Some((path, at, bit)) = self.trouble.rot.take() {
            // As somebody does who has a good copy: written and synced.
            drop(spoil(&self.disk, &path, at, bit));
            drop(self.disk.open(&path, Access::Write).and_then(|file| file.sync()));
            self.history.partitions.iter_mut().for_each(|seen| seen.rotten = false);
        }
        self.start()
    }
}

fn byte_of(disk: &MemoryDisk, path: &Path, at: u64) -> Option<u8> {
    let mut byte = [0];
    let read = disk.open(path, Access::Read).and_then(|file| file.read_at(at, &mut byte)).ok()?;
    (read == 1).then_some(byte[0])
}

/// Flips a bit of a file that may not have been synced.
fn spoil(disk: &MemoryDisk, path: &Path, at: u64, bit: u8) -> Result<(), StorageError> {
    let file = disk.open(path, Access::Write)?;
    let mut byte = [0];
    if file.read_at(at, &mut byte)? == 0 {
        return Ok(());
    }
    file.write_at(at, &mut [IoSlice::new(&[byte[0] ^ 1 << bit])])
}

fn base_of(path: &Path) -> i64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.parse().unwrap_or(i64::MAX)
}
