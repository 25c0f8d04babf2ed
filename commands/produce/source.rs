//! The input of `produce`: a thread that reads and cuts, a bounded queue of blocks, and a progress
//! bar when there is somebody to look at it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::input::{Cutter, InputFormat, InputRecord};
use crate::progress::bytes_bar;

/// Blocks that wait for the producer: enough to keep reading while it sends, little memory.
const BLOCKS_MAX: usize = 4;

/// Records as they come from a file or standard input.
pub(super) struct Source {
    blocks: mpsc::Receiver<io::Result<Vec<InputRecord>>>,
    bytes_read: Arc<AtomicU64>,
    bar: Option<ProgressBar>,
}

impl Source {
    /// Starts reading.
    pub(super) fn open(file: Option<&Path>, format: InputFormat) -> Result<Source, Failure> {
        let Some(path) = file else {
            return Ok(Source::start(io::stdin(), format, None));
        };
        let failed = |error| Failure::file("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::failed(format!("{} is a directory", path.display())));
        }
        let bar = if metadata.is_file() { bytes_bar(metadata.len()) } else { None };
        Ok(Source::start(file, format, bar))
    }

    fn start(
        reader: impl Read + Send + 'static,
        format: InputFormat,
        bar: Option<ProgressBar>,
    ) -> Source {
        let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes_read);
        std::thread::spawn(move || {
            let mut cutter = Cutter::new(reader, format);
            loop {
                let block = cutter.next_block();
                counter.store(cutter.bytes_read(), Ordering::Relaxed);
                let is_last = block.as_ref().map_or(true, Vec::is_empty);
                // Nobody takes blocks any more once the command is over.
                if blocking_send(&sender, block).is_none() || is_last {
                    break;
                }
            }
        });
        Source { blocks, bytes_read, bar }
    }

    /// The records of the next block; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<InputRecord>, Failure>> {
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes_read.load(Ordering::Relaxed));
        }
        match self.blocks.recv().await? {
            Ok(block) if block.is_empty() => None,
            Ok(block) => Some(Ok(block)),
            Err(error) => Some(Err(Failure::failed(format!("can not read the input: {error}")))),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

type Block = io::Result<Vec<InputRecord>>;

fn blocking_send(sender: &mpsc::Sender<Block>, block: Block) -> Option<()> {
    sender.blocking_send(block).ok()
}
