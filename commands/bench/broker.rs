//! A broker of the run's own: this program again, in a process of its own, over a new directory.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

/// How long a broker may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of its log that an error repeats.
const LINES_SHOWN: usize = 20;

/// A running broker, stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    child: Mutex<Child>,
    pid: u32,
    address: String,
    /// The last lines of its log, once that has ended, as it does with the process.
    ended: watch::Receiver<Option<Vec<String>>>,
}

impl Broker {
    /// Starts one that keeps its data and its log below `directory`, and waits until it serves.
    pub(super) fn start(directory: &Path, extra: &[String]) -> anyhow::Result<Broker> {
        let program = std::env::current_exe().context("can not find this program's file")?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--data-dir")
            .arg(directory.join("data"))
            .args(["--bind", "127.0.0.1:0", "--http-port", "0"])
            .args(extra)
            // The line that names the port has to be there, and legible.
            .envs([("RIVVEN_LOG_FORMAT", "text"), ("RIVVEN_LOG_LEVEL", "info")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for this program, which then stops the broker.
            .process_group(0)
            .spawn()
            .context("can not start the private broker")?;
        let output = child.stderr.take().context("the broker has a standard error")?;
        let log = std::fs::File::create_new(directory.join("broker.log"))?;
        let (ready, address) = channel();
        let (end, ended) = watch::channel(None);
        std::thread::spawn(move || {
            let last = follow(output, log, &ready);
            end.send_replace(Some(last));
            // Not before: whoever waits for the address looks at the lines then.
            drop(ready);
        });
        let pid = child.id();
        let mut broker = Broker { child: Mutex::new(child), pid, address: String::new(), ended };
        broker.address = match address.recv_timeout(PATIENCE) {
            Ok(address) => address,
            Err(RecvTimeoutError::Timeout) => bail!("the private broker was not ready in 30 s"),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the private broker did not start; it said:\n{}", broker.last_lines())
            }
        };
        Ok(broker)
    }

    /// Where its clients connect.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The id of its process.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process ends by itself; how it did, and what it said last.
    pub(super) async fn ended(&self) -> anyhow::Error {
        let mut ended = self.ended.clone();
        // Either there are lines, or their reader is gone.
        drop(ended.wait_for(Option::is_some).await);
        let how = match self.child().wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        anyhow!("the private broker ended during the run ({how}); it said:\n{}", self.last_lines())
    }

    fn last_lines(&self) -> String {
        self.ended.borrow().as_deref().unwrap_or_default().join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().expect("nothing panics while it holds the process")
    }

    fn stop(&self) -> std::io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let asked = Instant::now();
        while child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                eprintln!("warning: the private broker does not stop; it is killed");
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("warning: can not stop the private broker: {error}");
        }
    }
}

/// Copies the log to its file and looks for the line that says where clients connect. Returns the
/// last lines when the broker ends.
fn follow(output: impl Read, mut log: impl std::io::Write, ready: &Sender<String>) -> Vec<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // A log that can not be kept is no reason to leave the broker's pipe full.
        drop(writeln!(log, "{line}"));
        if let Some(address) = ready_address(&line) {
            drop(ready.send(address.to_owned()));
        }
        if last.len() == LINES_SHOWN {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}

fn ready_address(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "ready");
    words.find_map(|word| word.strip_prefix("native="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_ready_line_alone() {
        let (ready, address) = channel();
        let text = "2026-11-02T10:00:00Z  INFO rivvend data_dir=/x native=wrong\n\
                    2026-11-02T10:00:00Z  INFO serve: ready native=127.0.0.1:4711 http=off\n";
        let mut log = Vec::new();
        let lines = follow(text.as_bytes(), &mut log, &ready);
        drop(ready);
        assert_eq!(address.iter().collect::<Vec<_>>(), ["127.0.0.1:4711"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(log, text.as_bytes());
    }
}
