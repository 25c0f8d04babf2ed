//! The broker that a run measures: the one that was named, or a private one. And the topic that it
//! uses there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use rivvend::client::ClientOptions;
use rivvend::limits::BATCH_BYTES_DEFAULT;
use rivvend::types::Durability;

use super::broker::Broker;
use super::directory::Directory;
use super::machine::Machine;
use super::wire::{Connection, Found, Protocol, Wanted};

/// How long a broker takes to end after its connections have.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How often, and how long apart, a new topic is looked for: some brokers answer before it is
/// there.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Where a run goes.
#[derive(Args, Clone, Debug)]
pub(super) struct SessionArgs {
    /// Broker to measure [default: a private one, in a new directory]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Process of that broker on this machine, for its CPU time and memory
    #[arg(long, value_name = "PID", requires = "server")]
    server_pid: Option<u32>,
    /// Flags for the private broker, separated by blanks
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true, conflicts_with = "server")]
    spawn_args: Vec<String>,
    /// Directory in which the private broker's is made; its disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Leave the topic, and the private broker's directory, where they are
    #[arg(long)]
    keep: bool,
    /// Protocol that is spoken
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Protocol::Native)]
    protocol: Protocol,
    /// Topic to use; created when it is not there [default: a new one]
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Partitions of a topic that is created [default: 1; for e2e and mixed one per producer]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// What an acknowledgement of a topic that is created means: fsync or os
    #[arg(long, value_name = "MODE", default_value = "fsync", value_parser = durability)]
    durability: Durability,
}

fn durability(text: &str) -> Result<Durability, String> {
    text.parse().map_err(|()| "is neither fsync nor os".to_owned())
}

impl SessionArgs {
    /// What is spoken.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// A broker to talk to. Fields go in this order: the broker before its directory.
#[derive(Debug)]
pub(super) struct Session {
    broker: Option<Broker>,
    directory: Option<Directory>,
    args: SessionArgs,
}

/// The topic of a run.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) durability: String,
    is_ours: bool,
}

impl Topic {
    /// The partitions of one of so many clients, which share them out; those that are too many
    /// share theirs with others. At least one.
    pub(super) fn share(&self, number: usize, clients: usize) -> Vec<i32> {
        let partitions = self.partitions as usize;
        let own = (number % partitions..partitions).step_by(clients.max(1));
        own.map(|partition| partition as i32).collect()
    }

    /// Appends one batch, once.
    pub(super) async fn append(
        &self,
        connection: &Connection,
        partition: i32,
        batch: Bytes,
        acks: i32,
    ) -> anyhow::Result<()> {
        connection.append(&self.name, partition, batch, acks).await
    }
}

impl Session {
    /// Starts the private broker, if there is to be one.
    pub(super) fn open(args: &SessionArgs) -> anyhow::Result<Session> {
        let mut session = Session { broker: None, directory: None, args: args.clone() };
        if args.server.is_none() {
            let directory = session.directory.insert(Directory::create(&args.dir, args.keep)?);
            let extra = args.spawn_args.iter().flat_map(|flags| flags.split_ascii_whitespace());
            let extra: Vec<String> = extra.map(str::to_owned).collect();
            session.broker = Some(Broker::start(directory.path(), &extra)?);
        }
        Ok(session)
    }

    /// The broker's process, if it is known.
    pub(super) fn pid(&self) -> Option<u32> {
        self.broker.as_ref().map(Broker::pid).or(self.args.server_pid)
    }

    /// Does something that needs the broker. When that is a private one and ends meanwhile, nothing
    /// is waited for any more: the error is how it ended, whatever else went wrong because of it.
    pub(super) async fn attended<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let Some(broker) = &self.broker else { return work.await };
        let done = tokio::select! {
            biased;
            ended = broker.ended() => return Err(ended),
            done = work => done,
        };
        let Err(error) = done else { return done };
        // A connection may break a little before the process is gone.
        let ended = tokio::time::timeout(LAST_WORDS, broker.ended()).await;
        Err(ended.unwrap_or(error))
    }

    /// This machine, and the disk that is written to if that is here.
    pub(super) fn machine(&self) -> Machine {
        Machine::describe(self.directory.as_ref().map(|directory| -> &Path { directory.path() }))
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let address = match &self.broker {
            Some(broker) => broker.address(),
            None => self.args.server.as_deref().context("without a broker there is an address")?,
        };
        let options = ClientOptions {
            client_id: "rivvend-bench".to_owned(),
            request_timeout: Duration::from_secs(60),
            ..ClientOptions::default()
        };
        Ok(Connection::open(self.args.protocol, address, options).await?)
    }

    /// The topic of the run: the named one if it is there, else a new one that takes batches of
    /// this size, with so many partitions unless another number was asked for.
    pub(super) async fn topic(
        &self,
        connection: &Connection,
        batch_bytes: usize,
        partitions: i32,
    ) -> anyhow::Result<Topic> {
        let name = match &self.args.topic {
            Some(name) => name.clone(),
            None => format!("bench-{}", std::process::id()),
        };
        let (found, is_ours) = match connection.find(&name).await? {
            Some(found) => (found, false),
            None => {
                let wanted = Wanted {
                    name: &name,
                    partitions: self.args.partitions.unwrap_or(partitions),
                    durability: self.args.durability,
                    batch_bytes_max: Some(batch_bytes).filter(|bytes| *bytes > BATCH_BYTES_DEFAULT),
                };
                connection.create(wanted).await?;
                (await_topic(connection, &name).await?, true)
            }
        };
        let Found { partitions, durability } = found;
        anyhow::ensure!(partitions > 0, "the topic has no partitions");
        Ok(Topic { name, partitions, durability, is_ours })
    }

    /// Deletes the topic again, if this run created it on somebody else's broker.
    pub(super) async fn clean_up(
        &self,
        connection: &Connection,
        topic: &Topic,
    ) -> anyhow::Result<()> {
        if topic.is_ours && self.broker.is_none() && !self.args.keep {
            connection.delete(&topic.name).await?;
        }
        Ok(())
    }
}

/// What the broker knows of a topic that was made just now.
async fn await_topic(connection: &Connection, name: &str) -> anyhow::Result<Found> {
    let mut last = Ok(None);
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        last = connection.find(name).await;
        if let Ok(Some(found)) = last {
            return Ok(found);
        }
    }
    last?.context("the topic is gone already")
}
