//! `rivvend bench report` as a process, and its page in a real browser: everything is drawn,
//! nothing is loaded from anywhere, and no text of a result becomes part of the page.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::broker::rivvend;
use super::has_tools;

const NASTY: &str = "<script>document.title='taken'</script>\"'&<img src=x onerror=alert(1)>";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A real run of a few seconds, kept in a file.
fn run(directory: &Path) -> PathBuf {
    let path = directory.join("now.json");
    let mut command = rivvend();
    command.args("bench produce --rate 20000 --batch-records 20 --durability os".split(' '));
    command.args("--warmup 0s --duration 4s --dir".split(' ')).arg(directory);
    let output = command.arg("--save").arg(&path).output().expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    path
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

fn write(path: &Path, value: &Value) -> PathBuf {
    std::fs::write(path, value.to_string()).expect("written");
    path.to_owned()
}

fn limits(machine: &Value) -> Value {
    json!({"command": "limits", "version": "0.1.0", "machine": machine, "rounds": 1, "results": [
        {"name": "raw.best", "parallel": 1, "durability": "os", "block_bytes": 1_000_000,
         "bytes": 1_000_000_000, "elapsed_s": 2.0, "mb_per_s": 500.0, "per_s": 500.0},
        {"name": "raw.best", "parallel": 1, "durability": "os", "block_bytes": 1_000_000,
         "bytes": 8_000_000_000_u64, "elapsed_s": 20.0, "mb_per_s": 400.0, "per_s": 400.0},
        {"name": "raw.best", "parallel": 4, "durability": "os", "block_bytes": 1_000_000,
         "bytes": 1_000_000_000, "elapsed_s": 1.0, "mb_per_s": 1_000.0, "per_s": 1_000.0}]})
}

fn report(files: &[PathBuf], out: &Path) -> Output {
    let mut command = rivvend();
    command.args(["bench", "report"]).args(files).arg("--html").arg(out);
    command.output().expect("it runs")
}

/// The page as a browser has it after it has read it.
fn rendered(page: &Path) -> String {
    let profile = tempfile::tempdir().expect("a directory");
    let mut chromium = Command::new("timeout");
    chromium.args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu"]);
    chromium.args(["--disable-quic", "--no-first-run", "--disable-background-networking"]);
    chromium.args(["--disable-component-update", "--disable-sync", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = chromium.arg(format!("file://{}", page.display())).output().expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_page_draws_all_figures_and_loads_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let now = run(directory.path());
    let mut earlier = read(&now);
    let machine = earlier["machine"].clone();
    earlier["machine"]["cpu"] = NASTY.into();
    earlier["command_line"] = NASTY.into();
    earlier["settings"]["durability"] = NASTY.into();
    earlier["warnings"] = json!([{"code": "x", "text": NASTY}]);
    let mut closed = read(&now);
    closed["mode"] = "closed".into();
    closed["settings"]["in_flight"] = 3.into();
    closed["warnings"] = json!([{"code": "x", "text": NASTY}]);
    let closed = write(&at("<b>&.json"), &closed);
    let earlier = write(&at("earlier.json"), &earlier);
    let limits = write(&at("limits.json"), &limits(&machine));
    let (open_page, closed_page) = (at("open.html"), at("closed.html"));
    for (files, page) in [
        ([now, earlier.clone(), limits.clone()], &open_page),
        ([closed, earlier, limits], &closed_page),
    ] {
        let output = report(&files, page);
        assert!(output.status.success(), "{}", said(&output));
        let text = std::fs::read_to_string(page).expect("written");
        let refers = ["http:", "https:", "url(", "@import", " src=", " href=", "<script", "<link"];
        let markup = text.replace("&lt;", "<lt>").replace("<lt>img src=x", "");
        for reference in refers {
            assert!(!markup.contains(reference), "{reference} in\n{text}");
        }
    }
    let text = std::fs::read_to_string(&open_page).expect("written");
    assert!(text.contains("Open loop: 20000 records were due each second"), "{text}");
    assert!(text.contains("page cache of the operating system"), "{text}");
    let text = std::fs::read_to_string(&closed_page).expect("written");
    assert!(text.contains("Closed loop: 3 batches of each producer under way"), "{text}");
    assert!(text.contains("of raw.best os x1 1000 MB, 500 MB/s"), "{text}");
    if has_tools(&["chromium", "timeout"]) {
        [&open_page, &closed_page].into_iter().for_each(|page| assert_rendered(page));
    }
}

/// Looks at the page in the browser.
fn assert_rendered(page: &Path) {
    let dom = rendered(page);
    for id in ["throughput", "percentiles", "latency", "stalls", "cpu", "memory"] {
        let figure = dom.split("<figure").find(|part| part.contains(&format!("id=\"{id}\"")));
        let figure = figure.unwrap_or_else(|| panic!("{id} is missing:\n{dom}"));
        let lines = figure.split("class=\"line\" d=\"M").skip(1);
        let drawn = lines.filter(|line| line.split('"').next().is_some_and(|d| d.contains('L')));
        assert_eq!(drawn.count(), 2, "{id} has a line for each run:\n{figure}");
        assert!(!figure.contains("NaN") && !figure.contains("inf"), "{figure}");
    }
    for id in ["comparison", "figures", "conditions"] {
        assert!(dom.contains(&format!("<table id=\"{id}\"><")), "{id}:\n{dom}");
    }
    assert!(!dom.contains("<title>taken") && !dom.contains("<img") && !dom.contains("<script"));
    assert!(dom.contains("&lt;script&gt;document.title='taken'&lt;/script&gt;"), "{dom}");
}

#[test]
fn what_can_not_be_a_page_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out.html");
    let machine = json!({"cpu": "a", "cores": 2, "memory_bytes": 1, "kernel": "6",
                         "filesystem": null, "load_average": 0.1});
    let limits = write(&directory.path().join("limits.json"), &limits(&machine));
    let missing = directory.path().join("missing.json");
    for (files, code, named) in [
        (vec![limits.clone()], 2, "none of the files is the result of a run"),
        (vec![limits.clone(), limits], 2, "one result of `bench limits`"),
        (vec![missing], 3, "missing.json"),
    ] {
        let output = report(&files, &out);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(named), "{}", said(&output));
    }
    assert!(!out.exists());
}
