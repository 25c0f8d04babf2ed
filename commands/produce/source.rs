//! The input of `produce`: a thread that reads and cuts, a bounded queue of blocks, and a progress
//! bar when there is somebody to look at it.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::input::{Cutter, InputFormat, InputRecord};
use crate::progress::{Progress, Unit};

/// Blocks that wait for the producer: enough to keep reading while it sends, little memory.
const BLOCKS_MAX: usize = 4;

/// Records as they come from a file or standard input.
pub(super) struct Source {
    blocks: mpsc::Receiver<io::Result<Vec<InputRecord>>>,
    bytes_read: Arc<AtomicU64>,
    progress: Option<Progress>,
}

impl Source {
    /// Starts reading; `has_progress` where nothing else is written to the terminal.
    pub(super) fn open(
        file: Option<&Path>,
        format: InputFormat,
        has_progress: bool,
    ) -> Result<Source, Failure> {
        let progress = |total| Progress::new(Unit::Bytes, total).filter(|_| has_progress);
        let Some(path) = file.filter(|path| *path != Path::new("-")) else {
            // Whoever types the input sees how far it is.
            let is_typed = io::stdin().is_terminal();
            let progress = if is_typed { None } else { progress(None) };
            return Ok(Source::start(io::stdin(), format, progress));
        };
        let failed = |error| Failure::file("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::failed(format!("{} is a directory", path.display())));
        }
        let total = metadata.is_file().then_some(metadata.len());
        Ok(Source::start(file, format, progress(total)))
    }

    fn start(
        reader: impl Read + Send + 'static,
        format: InputFormat,
        progress: Option<Progress>,
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
        Source { blocks, bytes_read, progress }
    }

    /// The records of the next block; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<InputRecord>, Failure>> {
        if let Some(progress) = &self.progress {
            progress.reach(self.bytes_read.load(Ordering::Relaxed));
        }
        match self.blocks.recv().await? {
            Ok(block) if block.is_empty() => None,
            Ok(block) => Some(Ok(block)),
            Err(error) => Some(Err(Failure::failed(format!("can not read the input: {error}")))),
        }
    }
}

type Block = io::Result<Vec<InputRecord>>;

fn blocking_send(sender: &mpsc::Sender<Block>, block: Block) -> Option<()> {
    sender.blocking_send(block).ok()
}
