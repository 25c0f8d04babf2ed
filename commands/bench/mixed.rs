//! `rivvend bench mixed`: how fast a broker takes records while it hands the same records out.

use clap::Args;
use rivvend::limits::BATCH_RECORDS_MAX;

use super::exchange::{self, ExchangeArgs};
use super::loops::PaceArgs;
use super::outcome::Shown;
use crate::failure::Exit;

/// Measure producers and live consumers together
#[derive(Args, Clone, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "Consumers are subscribed to what the producers send; where there are more \
consumers than partitions, several read the same records. Both sides are reported: for producers \
the latency of acknowledgements, for consumers the time from the send to the receipt. With --rate \
both count from the time a batch should have been sent. Exit code 1 when acknowledged records were \
lost or came out of order, 6 when sends failed.\n\nExamples:\n  rivvend bench mixed\n  \
rivvend bench mixed --producers 4 --consumers 4 --durability os --records 4000000\n  \
rivvend bench mixed --producers 1 --consumers 8 --rate 50000 --batch-records 100"
)]
pub(crate) struct MixedArgs {
    /// Records in a batch; a request holds one batch
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=(BATCH_RECORDS_MAX as i64)))]
    batch_records: u32,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    exchange: ExchangeArgs,
}

/// Measures and prints.
pub(super) fn run(args: &MixedArgs) -> anyhow::Result<Exit> {
    let pace = args.pace.pace();
    exchange::run("mixed", &args.exchange, args.batch_records, pace, Shown::BothSides)
}
