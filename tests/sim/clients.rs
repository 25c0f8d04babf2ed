//! The clients as state machines: each is asked to act from time to time and is told what became of
//! its requests. They know the protocol's promises and nothing of the broker.

use std::collections::VecDeque;
use std::sync::Arc;

use rivvend::log::ReadError;
use rivvend::partition::{AppendRefusal, Appended, Health, PartitionHandle, PartitionView, Reader};
use rivvend::random::Random;
use rivvend::record::{CheckedBatch, Compression};
use rivvend::types::{Offset, ProducerEpoch, ProducerId, Sequence};

use crate::history::{Broken, Fact, History, Identity, Made, Purpose, make, offset_of, parse};
use crate::setup::Setup;

/// Batches of one producer that may be under way for one partition.
const IN_FLIGHT_MAX: usize = 5;

/// What a client asks of the broker.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) partition: usize,
    pub(crate) what: Ask,
}

/// The two requests that there are.
#[derive(Debug)]
pub(crate) enum Ask {
    Append { batches: Vec<CheckedBatch>, expected: Option<i64>, tag: Tag },
    Delete { before: i64 },
}

/// What a request was about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tag {
    pub(crate) sends: Vec<usize>,
    /// Everything that the producer had sent before was acknowledged.
    pub(crate) settled: bool,
    /// The disk was failing when the answer was given.
    pub(crate) faulty: bool,
}

/// How an append ended for its client.
pub(crate) type Ending = Option<Result<Appended, AppendRefusal>>;

/// What a client has at hand while it acts.
pub(crate) struct Context<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) random: &'a mut Random,
    pub(crate) history: &'a mut History,
    pub(crate) wall_ms: i64,
    /// Absent while the node is down.
    pub(crate) handles: Option<&'a [Arc<PartitionHandle>]>,
    pub(crate) requests: Vec<Request>,
    /// Whether the disk is failing, so that errors have a reason.
    pub(crate) faulty: bool,
    /// Whether nothing new is to be sent.
    pub(crate) winding_down: bool,
}

impl Context<'_> {
    fn batch(&mut self, identity: Option<Identity>) -> Made {
        let count = 1 + self.random.below(self.setup.records_max);
        let sizes: Vec<u64> =
            (0..count).map(|_| self.random.below(self.setup.value_bytes_max)).collect();
        let compression = match self.random.below(16) {
            0 => Compression::Lz4,
            1 => Compression::Zstd,
            _ => Compression::None,
        };
        let first = self.history.next_value();
        make(first, &sizes, self.wall_ms, identity, compression)
    }

    fn ask(&mut self, partition: usize, batches: Vec<CheckedBatch>, tag: Tag) {
        for &sent in &tag.sends {
            self.history.sends[sent].tries += 1;
        }
        let what = Ask::Append { batches, expected: None, tag };
        self.requests.push(Request { partition, what });
    }

    fn partition(&mut self) -> usize {
        self.random.below(self.setup.partitions as u64) as usize
    }
}

/// One client.
pub(crate) enum Client {
    Idempotent(Idempotent),
    Plain,
    Conditional(Conditional),
    Consumer(Consumer),
    Deleter,
}

impl Client {
    /// All clients of a run.
    pub(crate) fn all(setup: &Setup, random: &mut Random) -> Vec<Client> {
        let mut clients = Vec::new();
        for number in 0..setup.idempotent {
            clients.push(Client::Idempotent(Idempotent::new(number as i64, setup, random)));
        }
        clients.extend((0..setup.plain).map(|_| Client::Plain));
        let expected = vec![0; setup.partitions];
        let conditional = || Client::Conditional(Conditional { expected: expected.clone() });
        clients.extend((0..setup.conditional).map(|_| conditional()));
        clients.extend((0..setup.consumers).map(|_| Client::Consumer(Consumer::new(setup))));
        clients.extend(setup.deletes.then_some(Client::Deleter));
        clients
    }

    /// Lets the client do something.
    pub(crate) fn act(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        match self {
            Client::Idempotent(producer) => producer.act(context),
            Client::Consumer(consumer) => return consumer.act(context),
            _ if context.winding_down => {}
            Client::Plain => send_plain(context),
            Client::Conditional(conditional) => conditional.act(context),
            Client::Deleter => delete(context),
        }
        Ok(())
    }

    /// Tells the client how an append ended; `None` when it will never know.
    pub(crate) fn ended(&mut self, partition: usize, tag: &Tag, ending: Ending) {
        match self {
            Client::Idempotent(producer) => producer.lanes[partition].ended(tag, ending.as_ref()),
            Client::Conditional(conditional) => conditional.ended(partition, ending),
            Client::Plain | Client::Consumer(_) | Client::Deleter => {}
        }
    }

    /// Whether nothing that the client wants stored is still open.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Client::Idempotent(producer) => producer.lanes.iter().all(|l| l.flights.is_empty()),
            _ => true,
        }
    }
}

fn send_plain(context: &mut Context<'_>) {
    let partition = context.partition();
    let (mut batches, mut tag) = (Vec::new(), Tag::default());
    for _ in 0..=context.random.below(3) {
        let made = context.batch(None);
        tag.sends.push(context.history.send(partition, Purpose::Plain, &made));
        batches.push(made.batch);
    }
    context.ask(partition, batches, tag);
}

fn delete(context: &mut Context<'_>) {
    if !context.random.chance(1, 8) {
        return;
    }
    let partition = context.partition();
    let seen = &mut context.history.partitions[partition];
    let room = (seen.watermark - seen.start).max(0) as u64 + 3;
    let before = seen.start + context.random.below(room) as i64;
    seen.deletable = seen.deletable.max(before);
    context.requests.push(Request { partition, what: Ask::Delete { before } });
}

/// A producer that numbers its batches and sends them again until they are acknowledged.
pub(crate) struct Idempotent {
    lanes: Vec<Lane>,
}

/// What an idempotent producer sends to one partition.
struct Lane {
    partition: usize,
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
    /// Whether a batch of this epoch was acknowledged, so that the broker knows the epoch.
    known: bool,
    /// From the oldest batch that is not acknowledged to the newest.
    flights: VecDeque<Flight>,
    /// The newest batches, all acknowledged, when there are no flights.
    acknowledged: VecDeque<Flight>,
    resend: bool,
}

struct Flight {
    sent: usize,
    batch: CheckedBatch,
    done: bool,
}

impl Idempotent {
    fn new(number: i64, setup: &Setup, random: &mut Random) -> Idempotent {
        let lanes = (0..setup.partitions).map(|partition| {
            // Sequences that wrap are as good as any others.
            let first = if random.chance(1, 4) { i32::MAX - random.below(60) as i32 } else { 0 };
            Lane {
                partition,
                id: ProducerId(1_000 + number),
                epoch: ProducerEpoch(0),
                next: Sequence(first),
                known: false,
                flights: VecDeque::new(),
                acknowledged: VecDeque::new(),
                resend: false,
            }
        });
        Idempotent { lanes: lanes.collect() }
    }

    fn act(&mut self, context: &mut Context<'_>) {
        let lane = context.partition();
        let winding_down = context.winding_down;
        let lanes = self.lanes.iter_mut().enumerate();
        for (_, lane) in lanes.filter(|(number, _)| winding_down || *number == lane) {
            lane.act(context);
        }
    }
}

impl Lane {
    fn act(&mut self, context: &mut Context<'_>) {
        if self.resend {
            self.resend = false;
            return self.send_again(context);
        }
        if context.winding_down {
            return;
        }
        let idle = self.flights.is_empty();
        match context.random.below(40) {
            0 if idle && self.known => self.send_gap(context),
            1 if self.epoch.0 < 100 => self.bump(),
            2 | 3 if idle && self.known && self.epoch.0 > 0 => self.send_zombie(context),
            4..=7 if idle => self.repeat(context),
            _ if self.flights.len() < if self.known { IN_FLIGHT_MAX } else { 1 } => {
                self.send_next(context);
            }
            _ => {}
        }
    }

    fn send_next(&mut self, context: &mut Context<'_>) {
        let made = context.batch(Some((self.id, self.epoch, self.next)));
        self.next = self.next.plus(made.count as i32);
        let sent = context.history.send(self.partition, Purpose::Idempotent, &made);
        self.flights.push_back(Flight { sent, batch: made.batch, done: false });
        self.put(self.flights.len() - 1, context);
    }

    fn send_again(&mut self, context: &mut Context<'_>) {
        for number in 0..self.flights.len() {
            if !self.flights[number].done {
                self.put(number, context);
            }
        }
    }

    fn put(&mut self, number: usize, context: &mut Context<'_>) {
        let flight = &self.flights[number];
        let tag = Tag { sends: vec![flight.sent], settled: number == 0, ..Tag::default() };
        context.ask(self.partition, vec![flight.batch.clone()], tag);
    }

    /// Sends one of the last five batches again although it is acknowledged.
    fn repeat(&mut self, context: &mut Context<'_>) {
        let count = self.acknowledged.len() as u64;
        if count > 0 {
            let flight = &self.acknowledged[context.random.below(count) as usize];
            let tag = Tag { sends: vec![flight.sent], settled: true, ..Tag::default() };
            context.ask(self.partition, vec![flight.batch.clone()], tag);
        }
    }

    fn send_gap(&mut self, context: &mut Context<'_>) {
        let identity = (self.id, self.epoch, self.next.plus(1_000_000));
        self.probe(Purpose::Gap, identity, context);
    }

    /// What an older incarnation sends that has just woken up: it begins anew or goes on.
    fn send_zombie(&mut self, context: &mut Context<'_>) {
        let first = if context.random.chance(1, 2) { Sequence(0) } else { self.next };
        let identity = (self.id, ProducerEpoch(self.epoch.0 - 1), first);
        self.probe(Purpose::Zombie, identity, context);
    }

    fn probe(&mut self, purpose: Purpose, identity: Identity, context: &mut Context<'_>) {
        let made = context.batch(Some(identity));
        let sent = context.history.send(self.partition, purpose, &made);
        let tag = Tag { sends: vec![sent], ..Tag::default() };
        context.ask(self.partition, vec![made.batch], tag);
    }

    /// A new incarnation: what is under way is given up.
    fn bump(&mut self) {
        self.epoch = ProducerEpoch(self.epoch.0 + 1);
        (self.next, self.known) = (Sequence(0), false);
        self.flights.clear();
        self.acknowledged.clear();
    }

    fn ended(&mut self, tag: &Tag, ending: Option<&Result<Appended, AppendRefusal>>) {
        let Some(flight) = self.flights.iter_mut().find(|f| tag.sends.contains(&f.sent)) else {
            return;
        };
        match ending {
            Some(Ok(_)) => {
                flight.done = true;
                self.known = true;
            }
            _ => self.resend |= !flight.done,
        }
        if self.flights.iter().all(|flight| flight.done) {
            self.acknowledged.extend(self.flights.drain(..));
        }
        while self.flights.front().is_some_and(|flight| flight.done) {
            self.acknowledged.extend(self.flights.pop_front());
        }
        while self.acknowledged.len() > IN_FLIGHT_MAX {
            self.acknowledged.pop_front();
        }
    }
}

/// A producer that says which offset its batch is to get.
pub(crate) struct Conditional {
    expected: Vec<i64>,
}

impl Conditional {
    fn act(&mut self, context: &mut Context<'_>) {
        let partition = context.partition();
        let expected = self.expected[partition];
        let made = context.batch(None);
        let sent = context.history.send(partition, Purpose::Conditional(expected), &made);
        context.history.sends[sent].tries += 1;
        let tag = Tag { sends: vec![sent], ..Tag::default() };
        let what = Ask::Append { batches: vec![made.batch], expected: Some(expected), tag };
        context.requests.push(Request { partition, what });
    }

    fn ended(&mut self, partition: usize, ending: Ending) {
        match ending {
            Some(Ok(appended)) => self.expected[partition] = appended.next_offset.0,
            Some(Err(AppendRefusal::UnexpectedOffset { actual, .. })) => {
                self.expected[partition] = actual.0;
            }
            _ => {}
        }
    }
}

/// Reads one partition after the other, mostly in order.
pub(crate) struct Consumer {
    positions: Vec<i64>,
    /// A view that is kept although newer ones are there.
    held: Option<(usize, Arc<PartitionView>)>,
}

impl Consumer {
    fn new(setup: &Setup) -> Consumer {
        Consumer { positions: vec![0; setup.partitions], held: None }
    }

    fn act(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        let Some(handles) = context.handles else {
            self.held = None;
            return Ok(());
        };
        let held = self.held.take();
        let (partition, view, is_old) = match held {
            Some((partition, view)) => (partition, view, true),
            None => {
                let partition = context.partition();
                (partition, handles[partition].view(), false)
            }
        };
        if matches!(view.health, Health::Offline(_)) {
            return Ok(());
        }
        if !is_old && context.random.chance(1, 10) {
            self.held = Some((partition, Arc::clone(&view)));
        }
        let (start, end) = (view.start().0, offset_of(view.high_watermark));
        if context.random.chance(1, 8) {
            self.positions[partition] =
                start + context.random.below((end - start).max(0) as u64 + 1) as i64;
        }
        if is_old && self.positions[partition] > end {
            return Ok(());
        }
        self.read(partition, &view, is_old, context)
    }

    fn read(
        &mut self,
        partition: usize,
        view: &PartitionView,
        is_old: bool,
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        let from = self.positions[partition];
        let bytes_max = [1, 700, 5_000, 1 << 16][context.random.below(4) as usize];
        let watermark = offset_of(view.high_watermark);
        let read = view.read(Offset(from), Reader::Uncommitted, bytes_max);
        let copied = read.and_then(|range| Ok((range.copy()?, range.next_offset)));
        match copied {
            Ok((bytes, next)) => {
                let broken = |why: &str, history: &mut History| {
                    history.observe(&Fact::Garbled { partition, from, why })
                };
                let batches = match parse(bytes) {
                    Ok(batches) => batches,
                    Err(why) => return broken(&why, context.history),
                };
                let mut at = from;
                for batch in &batches {
                    let fact = Fact::Read { partition, from: at, watermark, batch };
                    context.history.observe(&fact)?;
                    at = batch.next;
                }
                if at != next.0 {
                    let why = format!("the range ends at {next}, its batches at {at}");
                    return broken(&why, context.history);
                }
                self.positions[partition] = at;
                Ok(())
            }
            Err(ReadError::BelowStart { start, .. }) => {
                self.positions[partition] = start.0;
                Ok(())
            }
            Err(ReadError::Stale | ReadError::Storage(_)) if is_old => Ok(()),
            Err(error) => {
                let faulty = context.faulty;
                let (error, old) = (&error, is_old);
                let fact = Fact::ReadFailed { partition, from, error, old, faulty };
                context.history.observe(&fact)
            }
        }
    }
}
