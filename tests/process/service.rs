//! config/rivvend.service: that systemd understands every line of it, and that its commands do what
//! the unit promises. The unit is read as the package would install it; only paths differ.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::broker::{PATIENCE, binary, rivvend};
use super::has_tools;

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rivvend.service");
    fs::read_to_string(path).expect("the unit is part of the project")
}

/// The value of a directive that stands once.
fn directive(name: &str) -> String {
    let unit = unit();
    let found: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    let [value] = found[..] else { panic!("{name} stands {} times", found.len()) };
    value.to_owned()
}

/// The arguments of a command of the unit, with the paths of this test.
fn arguments(name: &str, config: &Path, data: &Path) -> Vec<String> {
    let line = directive(name);
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("/usr/bin/rivvend"));
    let replaced = |word: &str| match word {
        "/etc/rivvend.yaml" => config.display().to_string(),
        "/var/lib/rivvend" => data.display().to_string(),
        word => word.to_owned(),
    };
    words.map(replaced).collect()
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    if !has_tools(&["systemd-analyze"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // What is verified names a program that is there.
    let installed = unit().replace("/usr/bin/rivvend", &binary().display().to_string());
    let verify = |text: &str| {
        let path: PathBuf = directory.path().join("rivvend.service");
        fs::write(&path, text).expect("written");
        let verify =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output();
        let verify = verify.expect("it runs");
        let said = String::from_utf8_lossy(&verify.stderr).into_owned();
        // It also tells of other units of the system, which are not ours.
        said.lines().filter(|line| line.contains("rivvend")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(verify(&installed), Vec::<String>::new());
    let misspelt = verify(&installed.replace("ProtectClock=", "ProtectClocks="));
    assert!(misspelt.iter().any(|line| line.contains("ProtectClocks")), "{misspelt:?}");
}

/// A process that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Type=notify: it says when it is ready; ExecReload succeeds with a valid file and fails with a
/// broken one; SIGTERM is an orderly stop.
#[test]
fn the_commands_of_the_unit_start_reload_and_stop_the_broker() {
    assert_eq!(directive("Type"), "notify");
    let directory = tempfile::tempdir().expect("a directory");
    let (config, data) = (directory.path().join("f.yaml"), directory.path().join("data"));
    let listen = "server:\n  bind_address: 127.0.0.1:0\n  http_port: 0\n";
    fs::write(&config, listen).expect("written");
    let socket = directory.path().join("notify");
    let notices = UnixDatagram::bind(&socket).expect("bound");
    notices.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let told = || {
        let mut buffer = [0; 64];
        let len = notices.recv(&mut buffer).expect("a notice in time");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut start = rivvend();
    start.args(arguments("ExecStart", &config, &data)).env("NOTIFY_SOCKET", &socket);
    let mut broker = Running(start.stderr(Stdio::null()).spawn().expect("it starts"));
    assert_eq!(told(), "READY=1");
    let reload = || {
        let output = rivvend().args(arguments("ExecReload", &config, &data)).output();
        output.expect("it runs").status.code()
    };
    fs::write(&config, format!("{listen}log:\n  level: warn\n")).expect("written");
    assert_eq!(reload(), Some(0));
    fs::write(&config, "log: [").expect("written");
    assert_eq!(reload(), Some(78));
    let pid = Pid::from_raw(broker.0.id() as i32).expect("a process id");
    kill_process(pid, Signal::TERM).expect("our own child takes signals");
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(broker.0.wait().expect("our own child").code(), Some(0));
}
