//! What commands print: one list of items in the form that was asked for. Standard output gets data
//! and nothing else. Knows no command and no broker.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement};
use comfy_table::{Table, Width, presets};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer as _};

use crate::failure::Failure;
use crate::terminal;

/// A column of text that does not fit is wrapped, but never narrower than this.
const WRAPPED_WIDTH_MIN: u16 = 12;
/// Rows of a table that are laid out together.
const PAGE_ROWS: usize = 1_000;

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
    ///
    /// The manual page of a command lists the fields of json, jsonl and yaml: `rivvend man`.
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
        self.write(format, Screen::of_stdout(), &mut out)?;
        Ok(out.flush()?)
    }

    fn write(&self, format: Format, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Table => self.write_table(false, screen, out),
            Format::Wide => self.write_table(true, screen, out),
            Format::Name => {
                self.items.iter().try_for_each(|item| writeln!(out, "{}", (self.name)(item)))
            }
            _ => write_items(format, self.items, out),
        }
    }

    fn write_table(&self, is_wide: bool, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let is_shown = |column: &&Column<T>| match column.shown {
            Shown::Always => true,
            Shown::Wide => is_wide,
            Shown::Filled => self.items.iter().any(|item| !(column.cell)(item).is_empty()),
        };
        let columns: Vec<&Column<T>> = self.columns.iter().filter(is_shown).collect();
        let shown = || columns.iter();
        let mut table = screen.table();
        table.set_header(shown().map(|column| screen.title(column.title)));
        for item in self.items {
            table.add_row(shown().map(|column| printable((column.cell)(item))));
        }
        let widths = table.column_max_content_widths();
        for ((column, declared), width) in table.column_iter_mut().zip(shown()).zip(widths) {
            column.set_padding((0, 2));
            if declared.is_number {
                column.set_cell_alignment(CellAlignment::Right);
            }
            // A number that is cut in two reads as two numbers.
            let at_least = if declared.is_number { width } else { width.min(WRAPPED_WIDTH_MIN) };
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(at_least + 2)));
        }
        table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
    }
}

/// Items of one kind that come one by one, and may be more than fit into memory.
pub(crate) struct Stream<T: 'static> {
    /// How a table shows them.
    pub(crate) columns: &'static [Column<T>],
    /// What names an item.
    pub(crate) name: fn(&T) -> String,
}

/// Takes an item of a [`Stream`].
pub(crate) type Sink<'a, T> = dyn FnMut(T) -> Result<(), Failure> + 'a;

impl<T: Serialize> Stream<T> {
    /// Prints to standard output what `feed` gives the sink. Where that fails, what was printed
    /// before is whole in every form.
    pub(crate) fn print<R>(
        &self,
        format: Format,
        feed: impl FnOnce(&mut Sink<'_, T>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let fed = self.write(format, Screen::of_stdout(), &mut out, feed)?;
        out.flush()?;
        fed
    }

    /// Writes it; the outer error is that of the output.
    fn write<R>(
        &self,
        format: Format,
        screen: Screen,
        out: &mut impl Write,
        feed: impl FnOnce(&mut Sink<'_, T>) -> Result<R, Failure>,
    ) -> io::Result<Result<R, Failure>> {
        match format {
            Format::Table | Format::Wide => self.write_pages(format, screen, out, feed),
            Format::Name => Ok(feed(&mut |item| Ok(writeln!(out, "{}", (self.name)(&item))?))),
            Format::Jsonl => Ok(feed(&mut |item| Ok(write_one(format, &item, out)?))),
            Format::Json => {
                let mut list = serde_json::Serializer::pretty(&mut *out);
                let mut list = list.serialize_seq(None)?;
                let fed =
                    feed(&mut |item| Ok(list.serialize_element(&item).map_err(io::Error::from)?));
                SerializeSeq::end(list)?;
                writeln!(out)?;
                Ok(fed)
            }
            Format::Yaml => {
                let mut is_empty = true;
                let fed = feed(&mut |item| {
                    is_empty = false;
                    // Lists of one item behind each other are a list.
                    Ok(write_one(format, &[item], out)?)
                });
                if is_empty {
                    write_one::<[T; 0]>(format, &[], out)?;
                }
                Ok(fed)
            }
        }
    }

    /// A table has to know its items to be laid out, so a long one gets its titles again.
    fn write_pages<R>(
        &self,
        format: Format,
        screen: Screen,
        out: &mut impl Write,
        feed: impl FnOnce(&mut Sink<'_, T>) -> Result<R, Failure>,
    ) -> io::Result<Result<R, Failure>> {
        let (columns, name) = (self.columns, self.name);
        let (mut page, mut is_first) = (Vec::new(), true);
        let mut write = |page: &[T]| {
            if !std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            Listing { items: page, columns, name }.write(format, screen, out)
        };
        let fed = feed(&mut |item| {
            if page.len() == PAGE_ROWS {
                write(&page)?;
                page.clear();
            }
            page.push(item);
            Ok(())
        });
        write(&page)?;
        Ok(fed)
    }
}

/// What tables are shown on.
#[derive(Clone, Copy, Debug)]
struct Screen {
    /// How many columns fit; none where nobody cuts lines.
    width: Option<u16>,
    is_styled: bool,
}

impl Screen {
    fn of_stdout() -> Screen {
        let width = Table::new().width().filter(|width| *width > 0);
        Screen { width, is_styled: terminal::is_styled(&io::stdout()) }
    }

    /// An empty table that fits.
    fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        match self.width {
            Some(width) => {
                table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if self.is_styled {
            table.enforce_styling();
        }
        table
    }

    fn title(self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.is_styled { cell.add_attribute(Attribute::Bold) } else { cell }
    }
}

/// Prints what there is to say of one thing, a line each, for people.
pub(crate) fn print_fields(fields: &[(&'static str, String)]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_fields(fields, Screen::of_stdout(), &mut out)?;
    Ok(out.flush()?)
}

fn write_fields(
    fields: &[(&'static str, String)],
    screen: Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = screen.table();
    for (name, value) in fields {
        table.add_row([screen.title(name), Cell::new(printable(value.clone()))]);
    }
    let widths = table.column_max_content_widths();
    for (column, width) in table.column_iter_mut().zip(widths) {
        column.set_padding((0, 2));
        let at_least = Width::Fixed(width.min(WRAPPED_WIDTH_MIN) + 2);
        column.set_constraint(ColumnConstraint::LowerBoundary(at_least));
    }
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// Text for a terminal: nothing in it can move the cursor or change colours.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Prints one thing in one of the forms for programs: an object and not a list of one.
pub(crate) fn print_one<T: Serialize>(format: Format, item: &T) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_one(format, item, &mut out)?;
    Ok(out.flush()?)
}

fn write_one<T: Serialize>(format: Format, item: &T, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Jsonl => serde_json::to_writer(&mut *out, item)?,
        Format::Yaml => return serde_yaml::to_writer(out, item).map_err(io::Error::other),
        _ => serde_json::to_writer_pretty(&mut *out, item)?,
    }
    writeln!(out)
}

/// Prints items in one of the forms for programs.
pub(crate) fn print_items<T: Serialize>(format: Format, items: &[T]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_items(format, items, &mut out)?;
    Ok(out.flush()?)
}

fn write_items<T: Serialize>(format: Format, items: &[T], out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Jsonl => items.iter().try_for_each(|item| write_one(format, item, out)),
        _ => write_one(format, &items, out),
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

    const COLUMNS: &[Column<Item>] = &[
        Column::text("NAME", |item| item.name.to_owned()),
        Column::number("SIZE", |item| item.size.to_string()),
        Column::wide("MORE", |_| "x".to_owned()),
        Column::filled("NOTHING", |_| String::new()),
    ];
    /// A file or a pipe.
    const ENDLESS: Screen = Screen { width: None, is_styled: false };

    fn printed_on(screen: Screen, format: Format, items: &[Item]) -> String {
        let listing = Listing { items, columns: COLUMNS, name: |item| item.name.to_owned() };
        let mut out = Vec::new();
        listing.write(format, screen, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    fn printed(format: Format) -> String {
        let items = [Item { name: "a", size: 5 }, Item { name: "longer", size: 12_345 }];
        printed_on(ENDLESS, format, &items)
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
    fn nothing_is_an_empty_list() {
        let nothing = |format| printed_on(ENDLESS, format, &[]);
        assert_eq!(nothing(Format::Json), "[]\n");
        assert_eq!(nothing(Format::Yaml), "[]\n");
        assert_eq!(nothing(Format::Jsonl) + &nothing(Format::Name), "");
        assert_eq!(nothing(Format::Table), "NAME  SIZE\n");
    }

    fn streamed(format: Format, count: usize) -> String {
        let stream = Stream { columns: COLUMNS, name: |item: &Item| item.name.to_owned() };
        let mut out = Vec::new();
        let fed = stream.write(format, ENDLESS, &mut out, |sink| {
            (0..count).try_for_each(|size| sink(Item { name: "a", size: size as u64 }))
        });
        fed.expect("memory").expect("nothing fails");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_stream_prints_what_a_list_of_the_same_items_does() {
        for format in Format::value_variants() {
            for count in [0, 1, 3, PAGE_ROWS] {
                let item = |size| Item { name: "a", size: size as u64 };
                let items: Vec<Item> = (0..count).map(item).collect();
                let listed = printed_on(ENDLESS, *format, &items);
                assert_eq!(streamed(*format, count), listed, "{format:?} {count}");
            }
        }
    }

    #[test]
    fn a_long_table_repeats_its_titles_and_loses_no_row() {
        let text = streamed(Format::Table, PAGE_ROWS + 1);
        let (first, second) = text.split_once("\n\n").expect("two pages");
        assert_eq!(first.lines().count(), PAGE_ROWS + 1);
        assert_eq!(second, format!("NAME  SIZE\na     {PAGE_ROWS}\n"));
    }

    #[test]
    fn what_fails_in_the_middle_leaves_a_whole_document() {
        let stream = Stream { columns: COLUMNS, name: |item: &Item| item.name.to_owned() };
        let mut out = Vec::new();
        let fed = stream.write::<()>(Format::Json, ENDLESS, &mut out, |sink| {
            sink(Item { name: "a", size: 1 })?;
            Err(Failure::failed("the disk is gone"))
        });
        assert!(fed.expect("memory").is_err());
        let items: Vec<serde_json::Value> = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn fields_stand_below_each_other() {
        let fields = [("NAME", "a".to_owned()), ("PARTITIONS", "3\u{7}".to_owned())];
        let mut out = Vec::new();
        write_fields(&fields, ENDLESS, &mut out).expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "NAME        a\nPARTITIONS  3\\u{7}\n");
    }

    #[test]
    fn one_thing_is_an_object() {
        let one = |format| {
            let mut out = Vec::new();
            write_one(format, &Item { name: "a", size: 5 }, &mut out).expect("memory");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(one(Format::Json), "{\n  \"name\": \"a\",\n  \"size\": 5\n}\n");
        assert_eq!(one(Format::Jsonl), "{\"name\":\"a\",\"size\":5}\n");
        assert_eq!(one(Format::Yaml), "name: a\nsize: 5\n");
    }

    #[test]
    fn a_table_fits_its_terminal_and_cuts_no_number() {
        let name = "several words that wrap, since together they are too long for a line";
        let items = [Item { name, size: 1_234_567_890_123 }];
        for width in [32, 80, 200] {
            let narrow = Screen { width: Some(width), is_styled: false };
            let text = printed_on(narrow, Format::Table, &items);
            assert!(text.lines().all(|line| line.len() <= usize::from(width)), "{text}");
            assert!(text.contains("1234567890123"), "{text}");
        }
        let roomy = Screen { width: Some(200), is_styled: false };
        assert_eq!(
            printed_on(roomy, Format::Table, &items),
            printed_on(ENDLESS, Format::Table, &items)
        );
    }

    #[test]
    fn only_a_screen_that_shows_styles_gets_any_and_only_ours() {
        let items = [Item { name: "\u{1b}[31mred\n", size: 1 }];
        let text = printed_on(ENDLESS, Format::Table, &items);
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[31mred\\n"), "{text}");
        let styled = Screen { width: Some(80), is_styled: true };
        let text = printed_on(styled, Format::Table, &items);
        let (titles, row) = text.split_once('\n').expect("two lines");
        assert!(titles.contains("\u{1b}[1mNAME") && !row.contains('\u{1b}'), "{text}");
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
