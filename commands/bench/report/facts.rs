//! What a reader has to know to judge the figures, in words: what an acknowledgement meant, what
//! was measured from when, and which share of the machine was reached.

use serde_json::Value;

use crate::bench::document::Document;
use crate::bench::limits::Found;

/// What was promised when a record was acknowledged.
pub(super) fn acknowledgement(document: &Document) -> String {
    let settings = &document.settings;
    if settings["acks"] == 0 {
        return "Records were sent without asking for an acknowledgement (acks 0): what the broker \
                did with them is not in these figures."
            .to_owned();
    }
    let meant = match settings["durability"].as_str() {
        Some("fsync") => {
            "on stable storage, synced before the acknowledgement (durability fsync)".to_owned()
        }
        Some("os") => "in the page cache of the operating system, where a power cut can take it \
                       (durability os)"
            .to_owned(),
        Some("replicated") => {
            "in the memory of every in-sync replica (durability replicated)".to_owned()
        }
        Some(other) => format!("what durability {other} says"),
        None => return "The result does not say what an acknowledgement meant.".to_owned(),
    };
    match &*document.command {
        "consume" => {
            format!("The records that were read had been written with this promise: {meant}.")
        }
        _ => format!("An acknowledgement meant: {meant}."),
    }
}

/// From when to when latency was measured.
pub(super) fn pace(document: &Document) -> String {
    let settings = &document.settings;
    let is_received = matches!(&*document.command, "e2e" | "mixed");
    let until = if is_received { " until a consumer had the record" } else { "" };
    match (&*document.mode, &*document.command) {
        ("open", _) => format!(
            "Open loop: {} records were due each second, and latency counts from the time a record \
             was due{until}, so that a stall counts in full.",
            shown(&settings["rate"])
        ),
        (_, "consume") => {
            "Closed loop: each consumer asks again when it has its answer; latency is \
                           that of one fetch."
                .to_owned()
        }
        _ => format!(
            "Closed loop: {} of each producer under way, the next one sent when one is \
             acknowledged. Latencies{until} leave out what a stall kept from being sent.",
            batches(&settings["in_flight"])
        ),
    }
}

fn batches(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "one batch".to_owned(),
        _ => format!("{} batches", shown(count)),
    }
}

/// A share of what the machine can do without a broker.
pub(super) struct Share {
    /// Measured share, where 1 is the limit.
    pub(super) share: f64,
    /// What is the limit.
    pub(super) of: String,
}

/// The share of the nearest limit that was measured.
pub(super) fn share(document: &Document, limits: &Found) -> Option<Share> {
    let settings = &document.settings;
    let clients = if document.command == "consume" { "consumers" } else { "producers" };
    let parallel = settings[clients].as_u64().unwrap_or(1);
    let (name, durability) = match &*document.command {
        "produce" if document.mode == "closed" => ("raw.best", settings["durability"].as_str()),
        "consume" => ("sendfile", None),
        // The others do several things at once, or as much as they are told to.
        _ => return None,
    };
    let fits = limits
        .results
        .iter()
        .filter(|limit| limit.name == name && limit.durability.as_deref() == durability);
    // A disk is slower over more bytes.
    let nearest = fits.min_by_key(|limit| {
        let bytes = limit.bytes.abs_diff(document.figures.bytes);
        ((limit.parallel as u64).abs_diff(parallel), bytes)
    })?;
    let share = document.figures.mb_per_s / nearest.mb_per_s;
    let of = format!("{}, {:.0} MB/s", nearest.title(), nearest.mb_per_s);
    share.is_finite().then_some(Share { share, of })
}

/// What the run was, for a table: names and values in order.
pub(super) fn conditions(document: &Document) -> Vec<(String, String)> {
    let machine = &document.machine;
    let unknown = || "not recorded".to_owned();
    let mut facts = vec![
        ("date".to_owned(), date(document).unwrap_or_else(unknown)),
        ("rivvend".to_owned(), document.version.clone()),
        ("command line".to_owned(), document.command_line.clone().unwrap_or_else(unknown)),
        ("processor".to_owned(), format!("{}, {} cores", machine.cpu, machine.cores)),
        ("memory".to_owned(), format!("{:.1} GB", machine.memory_bytes as f64 / 1e9)),
        ("kernel".to_owned(), machine.kernel.clone()),
        ("file system".to_owned(), machine.filesystem.clone().unwrap_or_else(unknown)),
        ("disk".to_owned(), machine.disk.clone().unwrap_or_else(unknown)),
        ("load before".to_owned(), format!("{:.2}", machine.load_average)),
        ("loop".to_owned(), document.mode.clone()),
    ];
    let settings = document.settings.as_object().into_iter().flatten();
    let settings = settings.filter(|(_, value)| !value.is_null());
    facts.extend(settings.map(|(name, value)| {
        let is_all = name == "acks" && *value == -1;
        (name.replace('_', " "), if is_all { "all".to_owned() } else { shown(value) })
    }));
    facts.push(("errors".to_owned(), document.errors.to_string()));
    facts
}

/// When it was measured, as people read it.
pub(super) fn date(document: &Document) -> Option<String> {
    let written = document.started_at.as_deref()?;
    let parsed = written.parse::<jiff::Timestamp>();
    Some(parsed.map_or_else(|_| written.to_owned(), |t| t.strftime("%F %T UTC").to_string()))
}

/// A value without the quotes of JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
