//! What commands print: one list of items in the form that was asked for. Standard output gets data
//! and nothing else. Knows no command and no broker.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Forms of output that every command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// YAML.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// The output flags of commands that list or change things.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArgs {
    /// Form of the output
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORM")]
    #[arg(default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) errors: ErrorArgs,
}

/// How errors are written. Looked for before the command line is parsed, since parsing may fail.
#[derive(Args, Clone, Debug)]
pub(crate) struct ErrorArgs {
    /// Write errors to standard error as JSON
    ///
    /// The form is {"error":{"message","hint","code","exit_code"}}.
    #[arg(long)]
    pub(crate) json_errors: bool,
}

/// One column of a table.
pub(crate) struct Column<T> {
    title: &'static str,
    shown: Shown,
    is_number: bool,
    cell: fn(&T) -> String,
}

/// When a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    /// When more columns are asked for.
    Wide,
    /// When any item has something in it.
    Filled,
}

impl<T> Column<T> {
    /// A column of text.
    pub(crate) const fn text(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
        Column { title, shown: Shown::Always, is_number: false, cell }
    }

    /// A column of numbers.
    pub(crate) const fn number(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
        Column { title, shown: Shown::Always, is_number: true, cell }
    }

    /// A column of text that is shown only when more columns are asked for.
    pub(crate) const fn wide(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
        Column { title, shown: Shown::Wide, is_number: false, cell }
    }

    /// A column of text that is left out when no item has anything in it.
    pub(crate) const fn filled(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
        Column { title, shown: Shown::Filled, is_number: false, cell }
    }
}

/// A list of items of one kind, ready to be printed in any form.
pub(crate) struct Listing<'a, T> {
    /// The items.
    pub(crate) items: &'a [T],
    /// How a table shows them.
    pub(crate) columns: &'a [Column<T>],
    /// What names an item.
    pub(crate) name: fn(&T) -> String,
}

impl<T: Serialize> Listing<'_, T> {
    /// Prints to standard output.
    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        self.write(format, &mut out)?;
        Ok(out.flush()?)
    }

    fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Table => self.write_table(false, out),
            Format::Wide => self.write_table(true, out),
            Format::Name => {
                self.items.iter().try_for_each(|item| writeln!(out, "{}", (self.name)(item)))
            }
            _ => write_items(format, self.items, out),
        }
    }

    fn write_table(&self, is_wide: bool, out: &mut impl Write) -> io::Result<()> {
        let is_shown = |column: &&Column<T>| match column.shown {
            Shown::Always => true,
            Shown::Wide => is_wide,
            Shown::Filled => self.items.iter().any(|item| !(column.cell)(item).is_empty()),
        };
        let columns: Vec<&Column<T>> = self.columns.iter().filter(is_shown).collect();
        let shown = || columns.iter();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(shown().map(|column| column.title));
        for item in self.items {
            table.add_row(shown().map(|column| (column.cell)(item)));
        }
        for (column, declared) in table.column_iter_mut().zip(shown()) {
            column.set_padding((0, 2));
            if declared.is_number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
    }
}

/// Prints items in one of the forms for programs.
pub(crate) fn print_items<T: Serialize>(format: Format, items: &[T]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_items(format, items, &mut out)?;
    Ok(out.flush()?)
}

fn write_items<T: Serialize>(format: Format, items: &[T], out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Jsonl => items.iter().try_for_each(|item| {
            serde_json::to_writer(&mut *out, item)?;
            writeln!(out)
        }),
        Format::Yaml => serde_yaml::to_writer(out, items).map_err(io::Error::other),
        _ => {
            serde_json::to_writer_pretty(&mut *out, items)?;
            writeln!(out)
        }
    }
}

/// Bytes as people read them, with three digits.
pub(crate) fn human_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    match amount {
        _ if unit == 0 => format!("{bytes} B"),
        a if a < 10.0 => format!("{a:.2} {}", units[unit]),
        a if a < 100.0 => format!("{a:.1} {}", units[unit]),
        a => format!("{a:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Item {
        name: &'static str,
        size: u64,
    }

    fn printed(format: Format) -> String {
        let items = [Item { name: "a", size: 5 }, Item { name: "longer", size: 12_345 }];
        let columns = [
            Column::text("NAME", |item: &Item| item.name.to_owned()),
            Column::number("SIZE", |item: &Item| item.size.to_string()),
            Column::wide("MORE", |_| "x".to_owned()),
            Column::filled("NOTHING", |_| String::new()),
        ];
        let listing = Listing { items: &items, columns: &columns, name: |i| i.name.to_owned() };
        let mut out = Vec::new();
        listing.write(format, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_form_holds_the_items() {
        assert_eq!(printed(Format::Table), "NAME     SIZE\na           5\nlonger  12345\n");
        assert!(printed(Format::Wide).lines().all(|l| l.ends_with("MORE") || l.ends_with('x')));
        assert_eq!(printed(Format::Name), "a\nlonger\n");
        let json: serde_json::Value = serde_json::from_str(&printed(Format::Json)).expect("JSON");
        assert_eq!(json[1]["size"], 12_345);
        assert_eq!(printed(Format::Jsonl).lines().count(), 2);
        assert_eq!(printed(Format::Yaml), "- name: a\n  size: 5\n- name: longer\n  size: 12345\n");
    }

    #[test]
    fn sizes_have_three_digits_and_a_binary_unit() {
        assert_eq!(human_size(0), "0 B");
        assert_eq!(human_size(1023), "1023 B");
        assert_eq!(human_size(1536), "1.50 KiB");
        assert_eq!(human_size(10 << 30), "10.0 GiB");
        assert_eq!(human_size(u64::MAX), "16.0 EiB");
    }
}
