//! A broker of the run's own: this program again, in a process of its own, over a new directory.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a broker may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of its log that an error repeats.
const LINES_SHOWN: usize = 20;

/// A running broker, stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    address: String,
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
        let follower = std::thread::spawn(move || follow(output, log, &ready));
        let mut broker = Broker { child, address: String::new() };
        broker.address = match address.recv_timeout(PATIENCE) {
            Ok(address) => address,
            Err(RecvTimeoutError::Timeout) => bail!("the private broker was not ready in 30 s"),
            Err(RecvTimeoutError::Disconnected) => bail!(ended(follower)),
        };
        Ok(broker)
    }

    /// Where its clients connect.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The id of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn stop(&mut self) -> std::io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                eprintln!("warning: the private broker does not stop; it is killed");
                self.child.kill()?;
                self.child.wait()?;
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

fn ended(follower: JoinHandle<Vec<String>>) -> String {
    let lines = follower.join().unwrap_or_default();
    format!("the private broker did not start; it said:\n{}", lines.join("\n"))
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
