//! Completions in real shells: a terminal of tmux, a shell in it, the script of `rivvend
//! completions`, a line and the Tab key.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::broker::{Broker, Setup, rivvend, wait_until};
use super::is_installed;

/// A terminal with one shell, which has the completions of rivvend.
struct Terminal<'a> {
    socket: &'a str,
}

impl Terminal<'_> {
    /// Starts `command` in a terminal of its own server of tmux, so that no other is touched.
    fn open<'a>(socket: &'a str, dir: &Path, command: &str) -> Terminal<'a> {
        let terminal = Terminal { socket };
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").expect("a PATH"));
        let mut tmux = terminal.tmux();
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "50"]);
        tmux.env("PATH", path).env("HOME", dir).env("ENV", "").env_remove("XDG_CONFIG_HOME");
        tmux.current_dir(dir).arg(command);
        assert!(tmux.status().expect("tmux runs").success(), "tmux starts {command}");
        wait_until("the shell asks for a line", || terminal.screen().contains("ready>"));
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", self.socket]);
        tmux
    }

    fn screen(&self) -> String {
        let output = self.tmux().args(["capture-pane", "-p", "-J"]).output().expect("tmux runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        let sent = self.tmux().arg("send-keys").args(keys).status().expect("tmux runs");
        assert!(sent.success(), "the terminal is gone");
    }

    /// Types a line, presses Tab and waits until the screen shows all of this.
    fn complete(&self, line: &str, shown: &[&str]) {
        self.press(&["-l", "--", line]);
        wait_until(&format!("{line:?} is typed"), || self.screen().contains(line));
        self.press(&["Tab"]);
        let deadline = std::time::Instant::now() + super::broker::PATIENCE;
        while !shown.iter().all(|text| self.screen().contains(text)) {
            assert!(
                std::time::Instant::now() < deadline,
                "after {line:?} and Tab, {shown:?} is not on:\n{}",
                self.screen()
            );
            // One Tab completes what is common, the next lists what there is.
            std::thread::sleep(std::time::Duration::from_millis(200));
            self.press(&["Tab"]);
        }
        // An interrupt would throw away what is typed next.
        self.press(&["C-u"]);
        self.press(&["-l", "--", "clear"]);
        self.press(&["Enter"]);
        wait_until("the screen is cleared", || !self.screen().contains(shown[0]));
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.tmux().arg("kill-server").output();
    }
}

/// A broker with topics, and a folder with the binary and the scripts.
fn prepared(shell: &str) -> Option<(tempfile::TempDir, Broker)> {
    let missing = [shell, "tmux"].into_iter().find(|tool| !is_installed(tool));
    if let Some(missing) = missing {
        assert!(std::env::var_os("RIVVEN_TESTS_ALL").is_none(), "can not run: no {missing}");
        eprintln!("skipped: {missing} is missing");
        return None;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let binary = rivvend().get_program().to_owned();
    symlink(binary, dir.path().join("rivvend")).expect("linked");
    let script = rivvend().args(["completions", shell]).output().expect("it runs");
    assert!(script.status.success() && script.stderr.is_empty());
    std::fs::write(dir.path().join("script"), script.stdout).expect("written");
    let broker = Setup::new(dir.path().join("data")).start();
    for topic in ["orders", "payments", "payouts"] {
        let mut create = rivvend();
        create.args(["topic", "create", topic, "--server", &broker.native.to_string()]);
        assert!(create.output().expect("it runs").status.success());
    }
    let mut context = rivvend();
    context.args(["context", "add", "stage", "--server", &broker.native.to_string()]);
    context.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME");
    assert!(context.output().expect("it runs").status.success());
    Some((dir, broker))
}

/// Commands, flags, the words of a flag, topics of a broker, a directory and a context, contexts
/// and settings.
fn completes(terminal: &Terminal<'_>, broker: &Broker) {
    let server = broker.native.to_string();
    terminal.complete("rivvend top", &["rivvend topic"]);
    terminal.complete("rivvend topic add", &["rivvend topic add-partitions"]);
    terminal.complete("rivvend consume --fol", &["rivvend consume --follow"]);
    terminal.complete("rivvend produce x -z zs", &["-z zstd"]);
    let line = format!("rivvend topic describe --server {server} ord");
    terminal.complete(&line, &[&format!("{line}ers")]);
    let line = format!("rivvend consume --server {server} pay");
    terminal.complete(&line, &["payments", "payouts"]);
    let line = "rivvend topic delete -d data ord";
    terminal.complete(line, &[&format!("{line}ers")]);
    terminal.complete("rivvend context use st", &["rivvend context use stage"]);
    terminal.complete("rivvend topic list --context st", &["--context stage"]);
    // Without a flag it is the current context's broker that is asked.
    terminal.complete("rivvend topic describe ord", &["rivvend topic describe orders"]);
    terminal.complete("rivvend topic create new -c retention.b", &["-c retention.bytes="]);
    terminal.complete("rivvend topic create new -c durability=f", &["durability=fsync"]);
    // A broker that is not there offers nothing, and says nothing into the line.
    terminal.press(&["-l", "--", "rivvend topic describe --server 127.0.0.1:1 ord"]);
    terminal.press(&["Tab"]);
    terminal.press(&["-l", "--", "X"]);
    wait_until("the line is as typed", || terminal.screen().contains("127.0.0.1:1 ordX"));
    assert!(!terminal.screen().contains("error"), "{}", terminal.screen());
}

#[test]
fn completions_work_in_bash() {
    let Some((dir, broker)) = prepared("bash") else { return };
    std::fs::write(dir.path().join("rc"), "PS1='ready> '\n. ./script\n").expect("written");
    let name = format!("rivvend-bash-{}", broker.pid());
    let terminal = Terminal::open(&name, dir.path(), "bash --noprofile --rcfile rc -i");
    completes(&terminal, &broker);
}

#[test]
fn completions_work_in_zsh() {
    let Some((dir, broker)) = prepared("zsh") else { return };
    let rc = "PS1='ready> '\nautoload -Uz compinit && compinit -u -D\n. ./script\n";
    std::fs::write(dir.path().join(".zshrc"), rc).expect("written");
    let name = format!("rivvend-zsh-{}", broker.pid());
    let command = format!("ZDOTDIR={} zsh -d -i", dir.path().display());
    let terminal = Terminal::open(&name, dir.path(), &command);
    completes(&terminal, &broker);
}

#[test]
fn completions_work_in_fish() {
    let Some((dir, broker)) = prepared("fish") else { return };
    let rc = "function fish_prompt; echo 'ready> '; end; set -g fish_autosuggestion_enabled 0; \
              set -g fish_greeting; source ./script";
    let name = format!("rivvend-fish-{}", broker.pid());
    let command = format!("fish --no-config --init-command {}", shell_words(rc));
    let terminal = Terminal::open(&name, dir.path(), &command);
    completes(&terminal, &broker);
}

fn shell_words(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
