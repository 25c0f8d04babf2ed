//! The macro by which every configuration key is declared once: section, name, type, default, range
//! and documentation. The struct, the table of keys, reading, printing and the commented default
//! file all derive from it.

use super::Config;

/// One configuration key, as data.
pub struct Key {
    /// Section and name: `server.http_port`.
    pub path: &'static str,
    /// Section of the file it stands in.
    pub section: &'static str,
    /// Name within the section.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// Default, as it is written in a file.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Smallest and largest value, where it is bounded.
    pub range: Option<(u64, u64)>,
    /// The range as people write it.
    pub range_text: fn() -> Option<(String, String)>,
    /// Short name of its environment variable, beside the long one.
    pub short_variable: Option<&'static str>,
    /// Whether a change takes effect when the broker reads its configuration again, on SIGHUP.
    pub is_dynamic: bool,
    /// Name under which the cluster keeps a value for it that was set at run time.
    pub setting: Option<&'static str>,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) show: fn(&Config) -> String,
    pub(super) plain: fn(&Config) -> String,
}

impl Key {
    /// The name of its environment variable: `RIVVEN_<SECTION>_<KEY>`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("RIVVEN_{}_{}", self.section.to_ascii_uppercase(), self.name.to_ascii_uppercase())
    }

    /// A value as the cluster keeps it, in plain numbers, from how people write it.
    ///
    /// # Errors
    /// What is wrong with the value, as the end of a sentence that starts with it.
    pub fn to_plain(&self, written: &str) -> Result<String, String> {
        let mut config = Config::default();
        (self.set)(&mut config, written)?;
        Ok((self.plain)(&config))
    }

    /// A value as people write it from how the cluster keeps it. One that no file could hold stays
    /// as it is.
    #[must_use]
    pub fn from_plain(&self, plain: &str) -> String {
        let mut config = Config::default();
        match (self.set)(&mut config, plain) {
            Ok(()) => (self.show)(&config),
            Err(_) => plain.to_owned(),
        }
    }

    /// Whether two configurations have different values for it.
    pub(super) fn differs(&self, one: &Config, other: &Config) -> bool {
        (self.show)(one) != (self.show)(other)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.path)
    }
}

macro_rules! declare_keys {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {$(
            $(#[doc = $doc:literal])+
            $name:ident: $Type:ty = $default:literal
                $(in $min:tt ..= $max:tt)? $(or $short:literal)? $([$dynamic:ident])?
                $(as $setting:literal)?;
        )+}
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {$(
                $(#[doc = $doc])+
                pub $name: $Type,
            )+}
        )+

        /// The effective configuration, each value with where it came from.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $(
                $(#[doc = $section_doc])+
                pub $section: $Section,
            )+
            pub(super) origins: std::collections::BTreeMap<&'static str, Origin>,
            pub(super) warnings: Vec<String>,
        }

        impl Default for Config {
            fn default() -> Config {
                Config {
                    $($section: $Section {
                        $($name: <$Type as Value>::read($default)
                            .expect("a test reads every declared default"),)+
                    },)+
                    origins: std::collections::BTreeMap::new(),
                    warnings: Vec::new(),
                }
            }
        }

        /// The documentation of each section, in file order.
        pub const SECTIONS: &[(&str, &str)] =
            &[$((stringify!($section), concat!($($section_doc, "\n"),+)),)+];

        /// Every key, in file order.
        pub const KEYS: &[Key] = &[$($(Key {
            path: concat!(stringify!($section), ".", stringify!($name)),
            section: stringify!($section),
            name: stringify!($name),
            kind: <$Type as Value>::KIND,
            default: $default,
            doc: concat!($($doc, "\n"),+),
            range: declare_keys!(@range $($min, $max)?),
            range_text: || {
                declare_keys!(@range $($min, $max)?).map(|(min, max)| {
                    (<$Type as Value>::write_amount(min), <$Type as Value>::write_amount(max))
                })
            },
            short_variable: declare_keys!(@short $($short)?),
            is_dynamic: declare_keys!(@dynamic $($dynamic)?),
            setting: declare_keys!(@short $($setting)?),
            set: |config, text| {
                let value = <$Type as Value>::read(text)?;
                if let (Some((min, max)), Some(amount)) =
                    (declare_keys!(@range $($min, $max)?), value.amount())
                    && !(min..=max).contains(&amount)
                {
                    return Err(format!(
                        "is out of range: {} to {}",
                        <$Type as Value>::write_amount(min),
                        <$Type as Value>::write_amount(max),
                    ));
                }
                config.$section.$name = value;
                Ok(())
            },
            show: |config| config.$section.$name.write(),
            plain: |config| config.$section.$name.plain(),
        },)+)+];
    };
    (@range) => { None::<(u64, u64)> };
    (@range $min:tt, $max:tt) => { Some::<(u64, u64)>(($min as u64, $max as u64)) };
    (@short) => { None };
    (@short $short:literal) => { Some($short) };
    (@dynamic) => { false };
    (@dynamic dynamic) => { true };
}

pub(super) use declare_keys;
