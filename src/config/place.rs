//! On which line of the configuration file a key stands. The YAML parser tells positions only in
//! its errors, so it reads the file once more and is made to fail at the key. A search through the
//! text would be fooled by flow style, quoted keys and scalars of several lines.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The line of a key in a file that was parsed without an error; `path` names section and key.
pub(super) fn line_of(text: &str, path: &str) -> Option<usize> {
    let names: Vec<&str> = path.split('.').collect();
    let search = Within(&names).deserialize(serde_yaml::Deserializer::from_str(text));
    search.err()?.location().map(|location| location.line())
}

/// Looks for the first of the names in a group of keys, and for the others below it.
struct Within<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group of keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [wanted, below @ ..] = self.0 else { return Ok(()) };
        let name = || Name { wanted, is_last: below.is_empty() };
        while let Some(is_wanted) = map.next_key_seed(name())? {
            if is_wanted {
                map.next_value_seed(Within(below))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Tells whether a key is the wanted one, and fails there when nothing is wanted below it.
struct Name<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        match name == self.wanted {
            true if self.is_last => Err(E::custom("found")),
            is_wanted => Ok(is_wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let block = "# head\nlog:\n  level: |-\n    http_port: 1\nserver:\n\n  \"http_port\": 1\n";
        assert_eq!(line_of(block, "server.http_port"), Some(7));
        assert_eq!(line_of(block, "log.level"), Some(3));
        let flow = "server: {bind_address: 'a:1',\n  http_port: 1}\n";
        assert_eq!(line_of(flow, "server.http_port"), Some(2));
        assert_eq!(line_of(flow, "server.idle_timeout"), None);
        // A section that stands twice is an error of its own; its keys are found all the same.
        let twice = "server: {http_port: 1}\nserver:\n  idle_timeout: 1m\n";
        assert_eq!(line_of(twice, "server.idle_timeout"), Some(3));
    }
}
