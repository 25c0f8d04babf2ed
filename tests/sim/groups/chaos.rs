//! What goes wrong, when, and how all of it is put right again before the last look.

use std::path::Path;

use rivvend::metadata::{Command, CreateTopic, Image, TopicRef, decide};
use rivvend::partition::Health;
use rivvend::storage::Disk;
use rivvend::storage::memory::{Fault, FaultKind};
use rivvend::time::Now;
use rivvend::types::{NodeId, TopicId};
use uuid::Uuid;

use super::setup::FLEETING;
use super::world::{Event, World};
use crate::history::{Broken, Stop};
use crate::node::DATA_DIR;

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
    /// The wall clock jumps.
    Clock,
    /// A member crashes.
    Crash,
    /// A member falls silent and wakes up again.
    Freeze,
    /// A topic is deleted, or made anew under its name.
    Topic,
}

/// What is wrong at present.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Errors have a reason: a fault was armed in this life of the node, or the disk is full.
    pub(crate) is_faulty: bool,
    /// A failure in the midst of an operation has been arranged, and as what it will count.
    doom: Option<Stop>,
    pub(crate) failed_starts: u32,
}

impl World {
    /// Puts the first calamity of each kind into the queue.
    pub(crate) fn schedule_calamities(&mut self) {
        let kinds = [
            Calamity::Restart,
            Calamity::Kill,
            Calamity::Power,
            Calamity::Fault,
            Calamity::Full,
            Calamity::Clock,
            Calamity::Crash,
            Calamity::Freeze,
            Calamity::Topic,
        ];
        kinds.into_iter().for_each(|kind| self.schedule_calamity(kind));
    }

    fn schedule_calamity(&mut self, kind: Calamity) {
        let chaos = &self.setup.chaos;
        let pause_us = match kind {
            Calamity::Restart => chaos.restart_us,
            Calamity::Kill => chaos.kill_us,
            Calamity::Power => chaos.power_us,
            Calamity::Fault => chaos.fault_us,
            Calamity::Full => chaos.full_us,
            Calamity::Clock => chaos.clock_us,
            Calamity::Crash => chaos.crash_us,
            Calamity::Freeze => chaos.freeze_us,
            Calamity::Topic => chaos.topic_us,
            Calamity::Room => None,
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
            Calamity::Power => self.doom(Stop::Power),
            // One trouble at a time.
            Calamity::Fault | Calamity::Full if self.trouble.is_faulty => {}
            Calamity::Fault => self.arm_fault(),
            Calamity::Full => {
                let Ok(space) = self.disk.space(Path::new(DATA_DIR)) else { return };
                let used = space.total_bytes - space.free_bytes;
                self.disk.set_capacity(Some(used + self.random.below(8_000)));
                self.trouble.is_faulty = true;
                let delay_us = 100_000 + self.random.below(2_000_000);
                self.after(delay_us, Event::Calamity(Calamity::Room));
            }
            Calamity::Room => self.disk.set_capacity(None),
            Calamity::Clock => self.jump(),
            Calamity::Crash => {
                let member = self.random.below(self.members.len() as u64) as usize;
                self.remember(member);
                self.disturb_of(member);
                let longest_ms = [4_000, 12_000][self.random.below(2) as usize];
                let back_ms = self.now().monotonic_ms + 100 + self.random.below(longest_ms);
                self.members[member].crash(back_ms);
            }
            Calamity::Freeze => {
                let member = self.random.below(self.members.len() as u64) as usize;
                self.remember(member);
                self.disturb_of(member);
                let silence_ms = 100 + self.random.below(3 * u64::from(self.setup.session_ms));
                self.members[member].idle_until_ms = self.now().monotonic_ms + silence_ms;
            }
            Calamity::Topic => self.change_topic(),
        }
        self.schedule_calamity(calamity);
    }

    fn jump(&mut self) {
        let back = self.random.chance(1, 2);
        let jump_ms = [1_000, 60_000, 3_600_000][self.random.below(3) as usize];
        self.skew_ms += if back { -jump_ms } else { jump_ms };
    }

    /// Stops the node in order; a stop that fails half way counts as a kill.
    fn restart(&mut self) {
        self.end_pass();
        let now = self.now();
        let Some(mut node) = self.node.take() else { return };
        let stopped = node.stop(now);
        drop(node);
        if self.disk.is_off() {
            self.lose_power();
        } else if stopped.is_err() {
            self.disk = self.disk.snapshot();
        }
        self.gone();
        self.while_stopped();
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
        let was_up = self.node.take().is_some();
        self.lose_power();
        if was_up {
            self.gone();
        }
        self.while_stopped();
    }

    fn lose_power(&mut self) {
        self.disk = match self.trouble.doom.take().unwrap_or(Stop::Power) {
            Stop::Power => self.disk.crash_randomly(&mut self.random),
            Stop::Kill | Stop::Clean => self.disk.snapshot(),
        };
    }

    fn while_stopped(&mut self) {
        if !self.healed && self.random.chance(1, 2) {
            self.disk.clear_faults();
            self.disk.set_capacity(None);
            self.trouble.is_faulty = false;
        }
    }

    fn arm_fault(&mut self) {
        let kind = match self.random.below(8) {
            0 => FaultKind::WriteFails,
            1 => FaultKind::ShortWrite(self.random.below(600) as usize),
            2 | 3 => FaultKind::NoSpace,
            4 => FaultKind::DirectorySyncFails,
            5 => FaultKind::CreateFails,
            _ => FaultKind::SyncFails,
        };
        let path = match kind {
            FaultKind::DirectorySyncFails | FaultKind::CreateFails => "",
            _ => ".log",
        };
        let skip = self.random.below(12) as u32;
        self.disk.inject(Fault::once(kind, path).after(skip));
        self.trouble.is_faulty = true;
    }

    /// Restarts a node that does not serve all it has, as its operator would.
    pub(crate) fn attend(&mut self) {
        let offline = |node: &crate::node::Node| {
            node.handles.iter().any(|handle| matches!(handle.view().health, Health::Offline(_)))
        };
        if self.node.as_ref().is_some_and(offline) && self.random.chance(1, 3) {
            self.doom(Stop::Kill);
        }
    }

    /// Ends all trouble: the node is restarted on a disk that works and holds what was written.
    pub(crate) fn heal(&mut self) -> Result<(), Broken> {
        self.healed = true;
        self.node = None;
        self.gone();
        self.disk = self.disk.snapshot();
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        self.trouble.is_faulty = false;
        self.start()
    }

    /// Stops the node in order and starts it again, when nothing is wrong.
    pub(crate) fn restart_in_order(&mut self) -> Result<(), Broken> {
        self.end_pass();
        let now = self.now();
        let Some(mut node) = self.node.take() else {
            return Err("L8: the node is down although all faults are over".into());
        };
        node.stop(now).map_err(|why| format!("L6: the stop failed on a sound disk: {why}"))?;
        drop(node);
        self.gone();
        self.start()
    }

    fn change_topic(&mut self) {
        let command = match self.image.topic(FLEETING) {
            Some(_) => Command::DeleteTopic { topic: TopicRef::Name(FLEETING.to_owned()) },
            None => create(FLEETING, self.setup.partitions(), self.random.next_u64()),
        };
        let now = self.now();
        apply(&mut self.image, now, command);
        self.tell_topics();
    }
}

/// The topics that there are at first.
pub(crate) fn first_image(topics: &[&str], partitions: i32, now: Now) -> Image {
    let mut image = Image::default();
    apply(&mut image, now, Command::FormCluster { cluster_id: "simulated".to_owned() });
    let register = Command::RegisterBroker {
        node: NodeId(1),
        incarnation: Uuid::from_u128(1),
        address: String::new(),
        rack: None,
    };
    apply(&mut image, now, register);
    for (number, topic) in (1..).zip(topics) {
        apply(&mut image, now, create(topic, partitions, number));
    }
    image
}

fn create(name: &str, partitions: i32, id: u64) -> Command {
    Command::CreateTopic(CreateTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: None,
        config: Vec::new(),
        topic_id: TopicId(Uuid::from_u128(u128::from(id))),
        internal: false,
    })
}

fn apply(image: &mut Image, now: Now, command: Command) {
    let decision = decide(image, now, command).expect("a sound command");
    decision.records.iter().for_each(|record| image.replay(record));
}
