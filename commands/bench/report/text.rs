//! Text on its way into HTML. Results are files that anybody may have written: whatever comes from
//! one of them goes through here.

use std::fmt::{self, Write as _};

/// Text, escaped for elements and for quoted attributes.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            // Not allowed in HTML, and nothing to be seen.
            c if c.is_control() && c != '\n' && c != '\t' => self.0.write_char('\u{FFFD}'),
            c => self.0.write_char(c),
        })
    }
}

/// A number with three digits or all those before its point, in groups of three.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            // A thin space that does not break.
            grouped.push('\u{202F}');
        }
        grouped.push(digit);
    }
    if part.is_empty() { grouped } else { format!("{grouped}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let nasty = "<script>alert(\"1\" + '2')</script> & \u{0}";
        let shown =
            "&lt;script&gt;alert(&quot;1&quot; + &#39;2&#39;)&lt;/script&gt; &amp; \u{FFFD}";
        assert_eq!(Text(nasty).to_string(), shown);
    }

    #[test]
    fn numbers_have_three_digits_at_least() {
        let all = [0.0, 0.1234, 1.234, 12.34, 123.4, 1234.0, -1234.5, 1_234_567.0].map(number);
        let thin = |text: &str| text.replace('_', "\u{202F}");
        assert_eq!(all[..5], ["0", "0.123", "1.23", "12.3", "123"]);
        assert_eq!(all[5..], [thin("1_234"), thin("-1_234"), thin("1_234_567")]);
    }
}
