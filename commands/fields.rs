//! What commands print for programs, field by field: declared beside the code that prints it and
//! listed in its manual page. Knows no command.

use clap_mangen::roff::{Roff, bold, roman};

/// What a command prints as JSON, and in the other forms for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json {
    shape: Shape,
    fields: &'static [Field],
    /// What `jsonl` prints, where that is something else.
    lines: Option<&'static [Field]>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    List,
    Object,
    Stream,
}

/// One field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
    is_nullable: bool,
    is_optional: bool,
}

#[derive(Debug)]
enum Kind {
    Text,
    Texts,
    Integer,
    Integers,
    Number,
    Flag,
    /// Whatever it is.
    Any,
    Object(&'static [Field]),
    List(&'static [Field]),
    /// An object of which the names are data; what they are.
    Map(&'static str, &'static [Field]),
    /// Not a field: fields that several objects share.
    Shared(&'static [Field]),
}

impl Json {
    /// A list of objects with these fields.
    pub(crate) const fn list(fields: &'static [Field]) -> Json {
        Json { shape: Shape::List, fields, lines: None }
    }

    /// One object with these fields.
    pub(crate) const fn object(fields: &'static [Field]) -> Json {
        Json { shape: Shape::Object, fields, lines: None }
    }

    /// Objects with these fields, one a line, for as long as there are any.
    pub(crate) const fn stream(fields: &'static [Field]) -> Json {
        Json { shape: Shape::Stream, fields, lines: None }
    }

    /// The same, but for `jsonl`, which prints objects with these fields.
    pub(crate) const fn or_lines(self, fields: &'static [Field]) -> Json {
        Json { lines: Some(fields), ..self }
    }

    /// The sections of a manual page about it.
    pub(crate) fn sections(self) -> String {
        let lead = match self.shape {
            Shape::List => {
                "--output json prints a list, jsonl its items, one a line. An item is an object \
                 with these fields:"
            }
            Shape::Object => "--output json prints one object with these fields:",
            Shape::Stream => {
                "--output json and jsonl print an object for each record, one a line, with these \
                 fields:"
            }
        };
        let mut page = Roff::new();
        section(&mut page, "JSON FIELDS", lead, self.fields);
        if let Some(fields) = self.lines {
            let lead = "--output jsonl prints an object for each record, in the order of the \
                        input, with these fields:";
            section(&mut page, "JSONL FIELDS", lead, fields);
        }
        page.to_roff()
    }
}

fn section(page: &mut Roff, title: &str, lead: &str, fields: &[Field]) {
    page.control("SH", [title]).text([roman(lead)]);
    add_fields(page, "", fields);
}

fn add_fields(page: &mut Roff, path: &str, fields: &[Field]) {
    for field in fields {
        if let Kind::Shared(shared) = field.kind {
            add_fields(page, path, shared);
            continue;
        }
        let name = format!("{path}{}", field.name);
        page.control("TP", []).text([bold(&*name), roman(format!(" ({})", field.type_and_unit()))]);
        page.text([roman(field.meaning)]);
        match field.kind {
            Kind::Object(inner) => add_fields(page, &format!("{name}."), inner),
            Kind::List(inner) => add_fields(page, &format!("{name}[]."), inner),
            Kind::Map(key, inner) => {
                add_fields(page, &format!("{name}.<{key}>."), inner);
            }
            _ => {}
        }
    }
}

impl Field {
    const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
        Field { name, kind, unit: "", meaning, is_nullable: false, is_optional: false }
    }

    /// A string.
    pub(crate) const fn text(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Text, meaning)
    }

    /// A list of strings.
    pub(crate) const fn texts(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Texts, meaning)
    }

    /// A number without a fraction.
    pub(crate) const fn integer(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Integer, meaning)
    }

    /// A list of numbers without a fraction.
    pub(crate) const fn integers(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Integers, meaning)
    }

    /// A number that may have a fraction.
    pub(crate) const fn number(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Number, meaning)
    }

    /// True or false.
    pub(crate) const fn flag(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Flag, meaning)
    }

    /// Anything.
    pub(crate) const fn any(name: &'static str, meaning: &'static str) -> Field {
        Field::new(name, Kind::Any, meaning)
    }

    /// An object with these fields.
    pub(crate) const fn object(
        name: &'static str,
        meaning: &'static str,
        fields: &'static [Field],
    ) -> Field {
        Field::new(name, Kind::Object(fields), meaning)
    }

    /// A list of objects with these fields.
    pub(crate) const fn list(
        name: &'static str,
        meaning: &'static str,
        fields: &'static [Field],
    ) -> Field {
        Field::new(name, Kind::List(fields), meaning)
    }

    /// An object that has an object with these fields for each `key`.
    pub(crate) const fn map(
        name: &'static str,
        key: &'static str,
        meaning: &'static str,
        fields: &'static [Field],
    ) -> Field {
        Field::new(name, Kind::Map(key, fields), meaning)
    }

    /// In the place of fields that several objects share.
    pub(crate) const fn shared(fields: &'static [Field]) -> Field {
        Field::new("", Kind::Shared(fields), "")
    }

    /// What it is measured in.
    pub(crate) const fn unit(self, unit: &'static str) -> Field {
        Field { unit, ..self }
    }

    /// It may be null.
    pub(crate) const fn nullable(self) -> Field {
        Field { is_nullable: true, ..self }
    }

    /// It may be missing.
    pub(crate) const fn optional(self) -> Field {
        Field { is_optional: true, ..self }
    }

    fn type_and_unit(&self) -> String {
        let kind = match self.kind {
            Kind::Text => "text",
            Kind::Texts => "list of text",
            Kind::Integer => "integer",
            Kind::Integers => "list of integers",
            Kind::Number => "number",
            Kind::Flag => "true or false",
            Kind::Any => "anything",
            Kind::Object(_) | Kind::Map(..) | Kind::Shared(_) => "object",
            Kind::List(_) => "list of objects",
        };
        let mut words = vec![kind.to_owned()];
        words.extend(self.is_nullable.then(|| "or null".to_owned()));
        words.extend((!self.unit.is_empty()).then(|| self.unit.to_owned()));
        words.extend(self.is_optional.then(|| "optional".to_owned()));
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &[Field] = &[Field::integer("size", "What it takes.").unit("bytes").optional()];
    const FIELDS: &[Field] = &[
        Field::text("name", "Its name."),
        Field::list("parts", "What it has.", INNER),
        Field::map("config", "key", "Its settings.", &[Field::shared(INNER)]),
        Field::text("at-all", "What is known.").nullable(),
    ];

    /// The form that the test of all commands reads.
    #[test]
    fn a_section_lists_every_field_by_its_path() {
        let page = Json::list(FIELDS).or_lines(INNER).sections();
        let (json, jsonl) = page.split_once(".SH \"JSONL FIELDS\"\n").expect("two sections");
        assert!(json.starts_with(".SH \"JSON FIELDS\"\n"), "{page}");
        for field in [
            ".TP\n\\fBname\\fR (text)\nIts name.\n",
            ".TP\n\\fBparts\\fR (list of objects)\nWhat it has.\n",
            ".TP\n\\fBparts[].size\\fR (integer, bytes, optional)\nWhat it takes.\n",
            ".TP\n\\fBconfig\\fR (object)\nIts settings.\n",
            ".TP\n\\fBconfig.<key>.size\\fR (integer, bytes, optional)\nWhat it takes.\n",
            ".TP\n\\fBat\\-all\\fR (text, or null)\nWhat is known.\n",
        ] {
            assert!(json.contains(field), "{field} is missing in {page}");
        }
        assert!(jsonl.contains(".TP\n\\fBsize\\fR") && !jsonl.contains("name"), "{page}");
    }
}
