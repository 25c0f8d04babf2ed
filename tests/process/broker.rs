//! One broker process: started in a directory on free ports, watched through its log, stopped in
//! every way there is. Whatever is still running when the value is dropped is killed.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rivvend::client::{Client, ClientOptions, Target};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

/// How long anything may take before a test gives up on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a log that are kept.
const LOG_LINES_MAX: usize = 20_000;

/// A `rivvend` command without the environment's own settings.
pub(super) fn rivvend() -> Command {
    without_settings(Command::new(binary()))
}

/// The binary of this build, or the one that `RIVVEN_TESTED_BINARY` names: what is released can be
/// tested as it is.
pub(super) fn binary() -> PathBuf {
    let named = std::env::var_os("RIVVEN_TESTED_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_rivvend").into())
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RIVVEN_") {
            command.env_remove(name);
        }
    }
    // Nor what whoever runs the tests keeps at home.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

/// Whether `inspect verify` finds everything sound in a directory that nobody serves.
pub(super) fn assert_verified(data: &Path) {
    let verified = rivvend().args(["inspect", "verify"]).arg(data).output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// What a broker is started with.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) data: PathBuf,
    pub(super) bind: String,
    pub(super) http_port: u16,
    pub(super) env: Vec<(String, String)>,
    pub(super) config: Option<PathBuf>,
    /// The user to run as, where that is not the one of the tests.
    pub(super) uid: Option<u32>,
    /// How many files it may have open, where that is not what the tests may.
    pub(super) open_files: Option<u64>,
}

impl Setup {
    pub(super) fn new(data: impl Into<PathBuf>) -> Setup {
        Setup {
            data: data.into(),
            bind: "127.0.0.1:0".to_owned(),
            http_port: 0,
            env: Vec::new(),
            config: None,
            uid: None,
            open_files: None,
        }
    }

    pub(super) fn env(mut self, name: &str, value: impl ToString) -> Setup {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    fn command(&self) -> Command {
        let mut command = match self.open_files {
            None => rivvend(),
            Some(limit) => {
                // It becomes the broker, so the process id is the broker's.
                let mut prlimit = without_settings(Command::new("prlimit"));
                prlimit.arg(format!("--nofile={limit}:{limit}"));
                prlimit.arg(binary());
                prlimit
            }
        };
        command.arg("serve").arg("--data-dir").arg(&self.data);
        command.args(["--bind", &self.bind, "--http-port", &self.http_port.to_string()]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts a broker that is expected to serve.
    pub(super) fn start(&self) -> Broker {
        let mut broker = self.spawn();
        broker.wait_ready();
        broker
    }

    /// Starts a process without waiting for anything.
    pub(super) fn spawn(&self) -> Broker {
        let mut child = self.command().spawn().expect("the binary starts");
        let log = Log::follow(child.stderr.take().expect("the log is piped"));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Broker { child, log, native: nowhere, http: nowhere, data: self.data.clone() }
    }

    /// Starts a process that is expected not to; its exit code and what it said.
    pub(super) fn refused(&self) -> (i32, String) {
        let mut broker = self.spawn();
        let status = broker.wait_exit(PATIENCE);
        broker.log.wait_closed();
        (status.code().expect("an exit, not a signal"), broker.log.text())
    }
}

/// A running broker.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    log: Arc<Log>,
    pub(super) native: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) data: PathBuf,
}

impl Broker {
    fn wait_ready(&mut self) {
        let line = self.wait_log("ready native=");
        let address = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("named");
            value.parse().expect("an address")
        };
        (self.native, self.http) = (address("native="), address("http="));
    }

    /// The first line of the log that contains `needle`, once there is one.
    pub(super) fn wait_log(&self, needle: &str) -> String {
        self.log.wait(needle)
    }

    /// Everything it wrote so far.
    pub(super) fn log_text(&self) -> String {
        self.log.text()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("our own child takes signals");
    }

    /// Waits for the process to end by itself.
    pub(super) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child");
    }

    /// Stops it in order.
    pub(super) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "an orderly stop");
    }

    /// Freezes every thread of it.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        wait_until("every thread has stopped", || {
            std::fs::read_dir(&tasks).expect("its threads").all(|task| {
                let status = task.expect("a thread").path().join("status");
                let status = std::fs::read_to_string(status).unwrap_or_default();
                status.lines().any(|l| l.starts_with("State:") && l.contains("T (stopped)"))
            })
        });
    }

    /// How many descriptors it has open.
    pub(super) fn descriptors(&self) -> usize {
        self.descriptor_numbers().len()
    }

    /// Which descriptors it has open, in order.
    pub(super) fn descriptor_numbers(&self) -> Vec<u64> {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_str().and_then(|name| name.parse().ok()).expect("a number")
        };
        let mut numbers: Vec<u64> = all.map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Lets it open nothing that would get this number or a higher one, or as much as it may.
    pub(super) fn limit_descriptors(&self, limit: Option<u64>) {
        let pid = Pid::from_raw(self.child.id() as i32);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limits = Rlimit { current: limit.or(maximum), maximum };
        prlimit(pid, Resource::Nofile, limits).expect("our own child takes limits");
    }

    /// Resident memory in bytes: now, and at most so far.
    pub(super) fn memory(&self) -> (u64, u64) {
        memory_of(self.pid())
    }

    /// What Prometheus gets.
    pub(super) fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(self.http).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in UTF-8");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer
    }

    /// The value of one series there; nothing when there is no such series.
    pub(super) fn scraped(&self, series: &str) -> Option<f64> {
        let page = self.scrape();
        let mut values = page.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == series).then(|| value.trim().parse().expect("a number"))
        });
        let value = values.next();
        assert!(values.next().is_none(), "{series} is there twice");
        value
    }

    /// A client of it.
    pub(super) async fn client(&self) -> Client {
        self.client_with(ClientOptions::default()).await
    }

    pub(super) async fn client_with(&self, options: ClientOptions) -> Client {
        let target = Target::Tcp(self.native.to_string());
        Client::connect(target, options).await.expect("a broker that is ready answers")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the broker in {}\n{}---", self.data.display(), self.log.text());
        }
    }
}

/// What a process writes to standard error, as it comes.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    fn follow(stream: impl Read + Send + 'static) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut state = writer.state.lock().expect("nobody panics with the log");
                if state.0.len() < LOG_LINES_MAX {
                    state.0.push(line);
                }
                writer.changed.notify_all();
            }
            writer.state.lock().expect("nobody panics with the log").1 = true;
            writer.changed.notify_all();
        });
        log
    }

    fn text(&self) -> String {
        let state = self.state.lock().expect("nobody panics with the log");
        state.0.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn wait(&self, needle: &str) -> String {
        let found = self.wait_for(|(lines, closed)| {
            let line = lines.iter().find(|line| line.contains(needle));
            line.map(|line| Some(line.clone())).or(closed.then_some(None))
        });
        let found = found.unwrap_or_else(|| panic!("the log never said {needle:?}"));
        found.unwrap_or_else(|| panic!("it ended without saying {needle:?}:\n{}", self.text()))
    }

    fn wait_closed(&self) {
        self.wait_for(|(_, closed)| closed.then_some(())).expect("the log ends with the process");
    }

    fn wait_for<T>(&self, look: impl Fn(&(Vec<String>, bool)) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock().expect("nobody panics with the log");
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).expect("nobody panics with the log").0;
        }
    }
}

/// Looks again and again until something is so.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every file below a directory with its content, but for the ballast, which has none.
pub(super) fn snapshot(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else if path.is_file() && !path.ends_with("ballast") {
            files.insert(path.clone(), std::fs::read(&path).expect("a readable file"));
        }
    }
    files
}

/// Resident memory of a process in bytes: now, and at most so far.
pub(super) fn memory_of(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let number = line.trim().trim_end_matches(" kB").parse::<u64>();
        number.expect("a number") * 1024
    };
    (kib("VmRSS:"), kib("VmHWM:"))
}

/// The files of a kind below a data directory's topics, in order.
pub(super) fn files(data: &Path, extension: &str) -> Vec<PathBuf> {
    let all = snapshot(&data.join("topics")).into_keys();
    all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}
