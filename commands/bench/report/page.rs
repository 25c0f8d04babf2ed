//! The page itself. Every text of a result goes through [`Text`].

use std::fmt::Write as _;

use super::Material;
use super::facts;
use super::lines::{Named, charts};
use super::text::{Text, number};
use crate::bench::compare;
use crate::bench::document::Document;

/// Says to browsers what is true anyway: that nothing is loaded and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Adds formatted text to the page.
macro_rules! add {
    ($page:expr, $($text:tt)*) => {
        write!($page, $($text)*).expect("a string takes any text")
    };
}

/// Writes all of it.
pub(super) fn write(material: &Material) -> String {
    let (_, first) = &material.runs[0];
    let mut page = String::with_capacity(64 << 10);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    add!(page, "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n");
    let title = headline(first);
    let command = Text(&first.command);
    add!(page, "<title>rivvend bench {command}: {}</title>\n", Text(&title));
    add!(page, "<style>\n{}</style>\n</head>\n<body>\n", include_str!("style.css"));
    write_head(&mut page, first, &title);
    write_legend(&mut page, material);
    write_tiles(&mut page, material);
    let named: Vec<Named<'_>> =
        material.runs.iter().map(|(name, document)| Named { name, document }).collect();
    page.push_str("<section class=\"charts\">\n");
    charts(&named).iter().for_each(|chart| add!(page, "{chart}"));
    page.push_str("</section>\n");
    write_comparison(&mut page, material);
    write_figures(&mut page, material);
    write_conditions(&mut page, material);
    page.push_str(
        "<footer>MB are 10<sup>6</sup> bytes of keys and values, without framing. Charts leave out \
         what is left of a second at the end. A share of a limit is that of the same work \
         without a \
         broker, as <code>rivvend bench limits</code> measures it.",
    );
    let version = env!("CARGO_PKG_VERSION");
    add!(page, " Written by rivvend {version}.</footer>\n</body>\n</html>\n");
    page
}

fn headline(document: &Document) -> String {
    let figures = &document.figures;
    let p99 = number(figures.latency_ms.p99);
    if document.mode == "open" || figures.bytes == 0 {
        return format!("p99 {p99} ms at {} records/s", number(figures.records_per_s));
    }
    format!("{} MB/s, p99 {p99} ms", number(figures.mb_per_s))
}

fn write_head(page: &mut String, document: &Document, title: &str) {
    let date = facts::date(document).unwrap_or_else(|| "date not recorded".to_owned());
    let (command, date) = (Text(&document.command), Text(date));
    add!(page, "<header>\n<p class=\"kicker\">rivvend bench {command} &middot; {date}</p>\n");
    add!(page, "<h1>{}</h1>\n", Text(title));
    for sentence in [facts::acknowledgement(document), facts::pace(document)] {
        add!(page, "<p>{}</p>\n", Text(sentence));
    }
    if !document.warnings.is_empty() || document.errors > 0 {
        page.push_str("<div class=\"warnings\" role=\"note\">\n");
        for warning in &document.warnings {
            add!(page, "<p>{}</p>\n", Text(&warning.text));
        }
        if document.errors > 0 {
            add!(page, "<p>{} errors</p>\n", document.errors);
        }
        page.push_str("</div>\n");
    }
    page.push_str("</header>\n");
}

fn write_legend(page: &mut String, material: &Material) {
    if material.runs.len() == 1 {
        return;
    }
    page.push_str("<ul class=\"legend\">\n");
    for (run, (name, document)) in material.runs.iter().enumerate() {
        let date = facts::date(document).unwrap_or_default();
        let swatch = "<svg viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
                      <path class=\"line\" d=\"M1 5L27 5\"/></svg>";
        let (name, date) = (Text(name), Text(date));
        add!(page, "<li class=\"run{run}\">{swatch}{name} <small>{date}</small></li>\n");
    }
    page.push_str("</ul>\n");
}

/// A figure: its name, its unit, and its value where there is one.
type Tile = (&'static str, &'static str, fn(&Document) -> Option<f64>);

/// The figures that are looked at first, with those of the second run below.
fn write_tiles(page: &mut String, material: &Material) {
    let tiles: [Tile; 9] = [
        ("throughput", "MB/s", |d| (d.figures.bytes > 0).then_some(d.figures.mb_per_s)),
        ("records", "/s", |d| Some(d.figures.records_per_s)),
        ("latency p50", "ms", |d| Some(d.figures.latency_ms.p50)),
        ("latency p99", "ms", |d| Some(d.figures.latency_ms.p99)),
        ("latency p99.9", "ms", |d| Some(d.figures.latency_ms.p999)),
        ("latency max", "ms", |d| Some(d.figures.latency_ms.max)),
        ("broker CPU", "s/GB", |d| d.server.and_then(|server| server.cpu_s_per_gb)),
        ("broker memory, peak", "MB", |d| d.server.map(|s| s.rss_peak_bytes as f64 / 1e6)),
        ("client CPU", "s", |d| Some(d.client_cpu_s)),
    ];
    let (_, first) = &material.runs[0];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, unit, value) in tiles {
        let Some(of_first) = value(first) else { continue };
        let of_first = number(of_first);
        add!(page, "<div><dt>{name}</dt><dd>{of_first} <small>{unit}</small></dd>");
        if let Some(earlier) = material.runs.get(1).and_then(|(_, document)| value(document)) {
            add!(page, "<dd>earlier {}</dd>", number(earlier));
        }
        page.push_str("</div>\n");
    }
    let share = material.limits.as_ref().and_then(|limits| facts::share(first, limits));
    if let Some(facts::Share { share, of }) = share {
        let of = Text(of);
        add!(
            page,
            "<div id=\"share\"><dt>share of the limit</dt><dd>{share:.2}</dd>\
                 <dd>of {of}</dd></div>\n"
        );
    }
    page.push_str("</dl>\n");
}

/// What `bench compare` says of the second run and the first.
fn write_comparison(page: &mut String, material: &Material) {
    let [(_, first), (name, earlier), ..] = &*material.runs else { return };
    let rows = compare::verdicts(earlier, first);
    if rows.is_empty() {
        return;
    }
    add!(page, "<h2>Compared with {}</h2>\n", Text(name));
    let differing = differing_settings(first, earlier);
    if !differing.is_empty() {
        let names = Text(differing.join(", "));
        add!(page, "<p class=\"warnings\">Other settings: {names}</p>\n");
    }
    page.push_str("<div class=\"scroll\"><table id=\"comparison\"><thead><tr><th>figure</th>");
    page.push_str("<th class=\"number\">earlier (A)</th><th class=\"number\">now (B)</th>");
    page.push_str("<th class=\"number\">B/A</th><th>verdict</th></tr></thead><tbody>\n");
    for row in rows {
        let (figure, text) = (Text(&row.figure), Text(&row.text));
        let (a, b, ratio, class) = (number(row.a), number(row.b), row.ratio, row.class());
        add!(
            page,
            "<tr><th>{figure}</th><td class=\"number\">{a}</td><td class=\"number\">{b}</td>"
        );
        add!(page, "<td class=\"number\">{ratio:.3}</td><td class=\"{class}\">{text}</td></tr>\n");
    }
    page.push_str("</tbody></table></div>\n<p class=\"kicker\">One run of each: noise is that of ");
    page.push_str("the seconds within them. ");
    page.push_str("<code>rivvend bench compare</code> takes several runs.</p>\n");
}

/// Settings that both know and have otherwise.
fn differing_settings(first: &Document, earlier: &Document) -> Vec<String> {
    let settings = first.settings.as_object().into_iter().flatten();
    let others = settings.filter(|(name, value)| {
        let earlier = earlier.settings.get(name);
        earlier.is_some_and(|earlier| earlier != *value)
    });
    others.map(|(name, _)| name.replace('_', " ")).collect()
}

/// A table with a column for each run. Rows come from the first one that has them.
fn write_table(
    page: &mut String,
    id: &str,
    material: &Material,
    class: &str,
    rows: impl Fn(&Document) -> Vec<(String, String)>,
) {
    let columns: Vec<Vec<(String, String)>> =
        material.runs.iter().map(|(_, document)| rows(document)).collect();
    add!(page, "<div class=\"scroll\"><table id=\"{id}\">");
    if material.runs.len() > 1 {
        page.push_str("<thead><tr><th></th>");
        for (name, _) in &material.runs {
            add!(page, "<th class=\"{class}\">{}</th>", Text(name));
        }
        page.push_str("</tr></thead>");
    }
    page.push_str("<tbody>\n");
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    for name in names {
        add!(page, "<tr><th>{}</th>", Text(name));
        for column in &columns {
            let value = column.iter().find(|(other, _)| other == name);
            let value = value.map_or("", |(_, value)| value);
            add!(page, "<td class=\"{class}\">{}</td>", Text(value));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn write_figures(page: &mut String, material: &Material) {
    page.push_str("<h2>All figures</h2>\n");
    write_table(page, "figures", material, "number", |document| {
        let rows = document.rows().into_iter();
        rows.filter(|row| row.figure != "durability").map(|row| (row.figure, row.value)).collect()
    });
}

fn write_conditions(page: &mut String, material: &Material) {
    page.push_str("<h2>How it was measured</h2>\n");
    write_table(page, "conditions", material, "", facts::conditions);
}
