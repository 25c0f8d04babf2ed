//! `rivvend bench e2e`: how old records are when a consumer has them. An open loop, so that a stall
//! of the broker counts for every record that it kept waiting.

use clap::Args;
use rivvend::limits::BATCH_RECORDS_MAX;

use super::exchange::{self, ExchangeArgs};
use super::loops::{Pace, rate};
use super::outcome::Shown;
use crate::failure::Exit;

/// Measure how long records take from a producer to a consumer
#[derive(Args, Clone, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "Producers send on a schedule, and consumers are subscribed to what they send. \
Latency is from the time a record should have been sent until a consumer has it; that of \
acknowledgements is given besides. With several producers each has a partition, and a consumer, of \
its own. Exit code 1 when acknowledged records were lost or came out of order, 6 when sends \
failed.\n\nExamples:\n  rivvend bench e2e\n  \
rivvend bench e2e --rate 20000 --batch-records 20 --durability os --duration 60s\n  \
rivvend bench e2e --producers 4 --rate 4000 -o json --save run.json\n  \
rivvend bench e2e --server localhost:9092 --consumers 3 --partitions 1"
)]
pub(crate) struct EndToEndArgs {
    /// Records a second, over all producers, whatever the broker answers
    #[arg(long, value_name = "RECORDS", default_value_t = 1_000, value_parser = rate)]
    rate: u64,
    /// Records that share one send
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=(BATCH_RECORDS_MAX as i64)))]
    batch_records: u32,
    #[command(flatten)]
    exchange: ExchangeArgs,
}

/// Measures and prints.
pub(super) fn run(args: &EndToEndArgs) -> anyhow::Result<Exit> {
    let pace = Pace::Open(args.rate);
    exchange::run("e2e", &args.exchange, args.batch_records, pace, Shown::Delivery)
}
