//! What a run against a broker stands on: the broker, a connection for what is done before and
//! after, and the topic. And how it goes from there to its result.

use std::future::ready;

use clap::Args;
use tokio::runtime::Runtime;

use super::drive::{Load, drive};
use super::machine::Machine;
use super::outcome::{OutcomeArgs, Run, conclude};
use super::plan::PlanArgs;
use super::session::{Session, SessionArgs, Topic};
use super::wire::{Connection, Protocol};
use crate::failure::Exit;

/// What every run against a broker asks for.
#[derive(Args, Clone, Debug)]
pub(super) struct StageArgs {
    /// Threads that run the clients [default: one per core]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

impl StageArgs {
    /// What is spoken.
    pub(super) fn protocol(&self) -> Protocol {
        self.session.protocol()
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, Into::into);
        self.threads.map_or_else(cores, Into::into)
    }
}

/// Ready for a run. Fields go in this order: the connection before its runtime and its broker.
pub(super) struct Stage {
    /// For what is done before and after.
    pub(super) connection: Connection,
    pub(super) runtime: Runtime,
    pub(super) session: Session,
    pub(super) topic: Topic,
    /// As it was before the run.
    machine: Machine,
}

impl Stage {
    /// Sets it up: the topic takes batches of this size, and has so many partitions when it is new
    /// and nothing else was asked for.
    pub(super) fn open(
        args: &StageArgs,
        batch_bytes: usize,
        partitions: i32,
    ) -> anyhow::Result<Stage> {
        let session = Session::open(&args.session)?;
        let machine = session.machine();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (connection, topic) = runtime.block_on(session.attended(async {
            let connection = session.connect().await?;
            let topic = session.topic(&connection, batch_bytes, partitions).await?;
            Ok((connection, topic))
        }))?;
        Ok(Stage { connection, runtime, session, topic, machine })
    }

    /// Lets so many clients run, takes away what they left on somebody else's broker, and tells
    /// what they found.
    pub(super) fn measure(
        &self,
        args: &StageArgs,
        load: &impl Load,
        clients: usize,
        run: Run,
    ) -> anyhow::Result<Exit> {
        let driven = drive(load, &args.plan, clients, args.threads(), &self.session);
        // However it went, a broker that has ended meanwhile is the reason.
        let driven = self.runtime.block_on(self.session.attended(ready(driven)))?;
        let clean_up = self.session.clean_up(&self.connection, &self.topic);
        self.runtime.block_on(self.session.attended(clean_up))?;
        conclude(run, self.machine.clone(), driven, &args.outcome)
    }
}
