//! The output of `consume`: records in the form that was asked for, through one large buffer that
//! is written when it is full and whenever the command would wait.

use std::io::{self, Write as _};

use crate::failure::Failure;
use crate::format::{Format, View, write_json};
use crate::output;

/// Large enough that writing costs little per record, small enough to stay in a cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How a record is written.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// By a format.
    Format(Format),
    /// As a JSON object on a line.
    Json,
    /// As an item of a YAML list; JSON is YAML, too.
    Yaml,
}

impl Form {
    /// The form for an output flag; for people the fields that fit a line.
    pub(super) fn of(output: output::Format) -> Form {
        let format = |text| Form::Format(Format::parse(text).expect("our own formats are valid"));
        match output {
            output::Format::Table => format("%t/%p@%o  %T{rfc3339}  %k{text}  %v{text}\\n"),
            output::Format::Wide => {
                format("%t/%p@%o  %T{rfc3339}  %h{%k{text}=%v{text} } %k{text}  %v{text}\\n")
            }
            output::Format::Name => format("%t/%p@%o\\n"),
            output::Format::Json | output::Format::Jsonl => Form::Json,
            output::Format::Yaml => Form::Yaml,
        }
    }

    /// The values, one a line: what a program reads when nothing else was said.
    pub(super) fn values() -> Form {
        Form::Format(Format::parse("%v\\n").expect("our own formats are valid"))
    }
}

/// Writes records to standard output.
pub(super) struct Printer {
    form: Form,
    buffer: Vec<u8>,
    /// How many records were printed.
    pub(super) count: u64,
}

impl Printer {
    pub(super) fn new(form: Form) -> Printer {
        Printer { form, buffer: Vec::with_capacity(BUFFER_BYTES * 2), count: 0 }
    }

    /// Prints a record.
    #[inline]
    pub(super) fn print(&mut self, view: &View<'_>) -> Result<(), Failure> {
        let view = &View { count: self.count, ..*view };
        match &self.form {
            Form::Format(format) => format.write(view, &mut self.buffer),
            Form::Json => write_json(view, &mut self.buffer),
            Form::Yaml => {
                self.buffer.extend_from_slice(b"- ");
                write_json(view, &mut self.buffer);
            }
        }
        self.count += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if !self.buffer.is_empty() {
            let mut out = io::stdout().lock();
            out.write_all(&self.buffer)?;
            out.flush()?;
            self.buffer.clear();
        }
        Ok(())
    }
}
