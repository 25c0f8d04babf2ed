//! The types a configuration value can have and how each is spelled. Parsing is pure: no file is
//! looked at and no name resolved. Sizes and durations take a unit; a bare number is bytes or
//! milliseconds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::telemetry::LogFormat;
use crate::types::{Durability, NodeId};

/// A type that configuration values can have.
pub trait Value: Sized {
    /// What the value is, for documentation: a size, a duration, a port …
    const KIND: &'static str;

    /// Reads the value as people write it.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that starts with the value.
    fn read(text: &str) -> Result<Self, String>;

    /// The value as [`Value::read`] takes it.
    fn write(&self) -> String;

    /// The value without units, as topic settings are kept. [`Value::read`] takes it too.
    fn plain(&self) -> String {
        self.amount().map_or_else(|| self.write(), |amount| amount.to_string())
    }

    /// The number that a range applies to, where there is one.
    fn amount(&self) -> Option<u64> {
        None
    }

    /// A bound of a range as people write it.
    #[must_use]
    fn write_amount(amount: u64) -> String {
        amount.to_string()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Something that may be bounded or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// No bound.
    Unlimited,
    /// Bounded by this.
    At(T),
}

impl<T: Copy> Limit<T> {
    /// The bound, if there is one.
    #[must_use]
    pub fn bound(self) -> Option<T> {
        match self {
            Limit::Unlimited => None,
            Limit::At(bound) => Some(bound),
        }
    }
}

/// A host and a port. The host is a name or an address, not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Port; 0 lets the system choose where that makes sense.
    pub port: u16,
}

impl Address {
    /// Whether the host stands for every address of the machine.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The least important log lines that are still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// And what may fail soon.
    Warn,
    /// And what happens rarely and matters.
    Info,
    /// And what an engineer wants to see.
    Debug,
    /// Everything.
    Trace,
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

const DURATION_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Value for Size {
    const KIND: &'static str = "size";

    fn read(text: &str) -> Result<Size, String> {
        with_unit(text, SIZE_UNITS, "a size such as 16KiB, 1GiB, 10GB or a number of bytes")
            .map(Size)
    }

    fn write(&self) -> String {
        write_with_unit(self.0, SIZE_UNITS)
    }

    fn amount(&self) -> Option<u64> {
        Some(self.0)
    }

    fn write_amount(amount: u64) -> String {
        Size(amount).write()
    }
}

impl Value for Duration {
    const KIND: &'static str = "duration";

    fn read(text: &str) -> Result<Duration, String> {
        let wanted = "a duration such as 100ms, 30s, 5m, 12h, 7d or a number of milliseconds";
        with_unit(text, DURATION_UNITS, wanted).map(Duration::from_millis)
    }

    fn write(&self) -> String {
        Self::write_amount(self.amount().unwrap_or(u64::MAX))
    }

    fn amount(&self) -> Option<u64> {
        u64::try_from(self.as_millis()).ok()
    }

    fn write_amount(amount: u64) -> String {
        if amount == 0 { "0ms".to_owned() } else { write_with_unit(amount, DURATION_UNITS) }
    }
}

impl Value for u32 {
    const KIND: &'static str = "number";

    fn read(text: &str) -> Result<u32, String> {
        let number = whole_number(text)
            .ok_or_else(|| "is not a whole number, written with digits only".to_owned())?;
        u32::try_from(number).map_err(|_| "is too large".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn amount(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

/// A port number.
impl Value for u16 {
    const KIND: &'static str = "port";

    fn read(text: &str) -> Result<u16, String> {
        port(text).ok_or_else(|| "is not a port: 0 (any free one) to 65535".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn amount(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn read(text: &str) -> Result<bool, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn read(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("is empty where a path is expected".to_owned());
        }
        if text.contains('\0') {
            return Err("contains a NUL character, which no path may".to_owned());
        }
        Ok(PathBuf::from(text))
    }

    fn write(&self) -> String {
        self.display().to_string()
    }
}

impl Value for NodeId {
    const KIND: &'static str = "number";

    fn read(text: &str) -> Result<NodeId, String> {
        let id = u32::read(text)?;
        i32::try_from(id).map(NodeId).map_err(|_| "is too large".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn amount(&self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl Value for Address {
    const KIND: &'static str = "address";

    fn read(text: &str) -> Result<Address, String> {
        let wanted = "is not HOST:PORT, such as 0.0.0.0:9092, [::1]:9092 or localhost:9092";
        let Some((host, port_text)) = text.rsplit_once(':') else {
            return Err(format!("{wanted}: the port is missing"));
        };
        let (host, bracketed) = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => (inner, true),
            None => (host, false),
        };
        if host.contains(':') && !bracketed {
            return Err("is an IPv6 address without brackets; write [ADDRESS]:PORT".to_owned());
        }
        if bracketed && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("{wanted}: between the brackets is no IPv6 address"));
        }
        if !bracketed && !is_host(host) {
            return Err(format!("{wanted}: the host is not valid"));
        }
        match port(port_text) {
            Some(port) => Ok(Address { host: host.to_owned(), port }),
            None => Err(format!("{wanted}: the port is not a number from 0 to 65535")),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Durability {
    const KIND: &'static str = "fsync or os";

    fn read(text: &str) -> Result<Durability, String> {
        text.parse().map_err(|()| "is neither fsync nor os".to_owned())
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Value for LogFormat {
    const KIND: &'static str = "text or json";

    fn read(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is neither text nor json".to_owned()),
        }
    }

    fn write(&self) -> String {
        match self {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    }
}

impl LogLevel {
    /// The level as `tracing` and configuration files spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl Value for LogLevel {
    const KIND: &'static str = "error, warn, info, debug or trace";

    fn read(text: &str) -> Result<LogLevel, String> {
        use LogLevel::{Debug, Error, Info, Trace, Warn};
        [Error, Warn, Info, Debug, Trace]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| "is none of error, warn, info, debug and trace".to_owned())
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

/// `auto`: the broker finds the value itself.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn read(text: &str) -> Result<Option<T>, String> {
        if text == "auto" {
            return Ok(None);
        }
        T::read(text).map(Some).map_err(|wrong| format!("{wrong}; or auto"))
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "auto".to_owned(), T::write)
    }

    fn amount(&self) -> Option<u64> {
        self.as_ref().and_then(T::amount)
    }

    fn write_amount(amount: u64) -> String {
        T::write_amount(amount)
    }
}

/// `unlimited` or, as Kafka writes it, `-1`.
impl<T: Value> Value for Limit<T> {
    const KIND: &'static str = T::KIND;

    fn read(text: &str) -> Result<Limit<T>, String> {
        if matches!(text, "unlimited" | "-1") {
            return Ok(Limit::Unlimited);
        }
        T::read(text).map(Limit::At).map_err(|wrong| format!("{wrong}; or unlimited"))
    }

    fn write(&self) -> String {
        match self {
            Limit::Unlimited => "unlimited".to_owned(),
            Limit::At(bound) => bound.write(),
        }
    }

    fn plain(&self) -> String {
        match self {
            Limit::Unlimited => "-1".to_owned(),
            Limit::At(bound) => bound.plain(),
        }
    }

    fn amount(&self) -> Option<u64> {
        match self {
            Limit::Unlimited => None,
            Limit::At(bound) => bound.amount(),
        }
    }

    fn write_amount(amount: u64) -> String {
        T::write_amount(amount)
    }
}

/// Digits only: no sign, no exponent, no separators, so that nothing is read that was not meant.
fn whole_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn port(text: &str) -> Option<u16> {
    whole_number(text).and_then(|number| u16::try_from(number).ok())
}

fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let all_numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let plausible = !host.is_empty() && host.len() <= 253 && host.chars().all(allowed);
    plausible && (!all_numeric || host.parse::<std::net::Ipv4Addr>().is_ok())
}

fn with_unit(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits_end);
    let unit = rest.trim_start();
    let factor = match unit {
        "" => 1,
        _ => match units.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(wrong_unit(digits, unit, units, wanted)),
        },
    };
    if digits.is_empty() {
        return Err(format!("is not {wanted}"));
    }
    let too_large = || "is too large".to_owned();
    let number = digits.parse::<u64>().map_err(|_| too_large())?;
    let amount = number.checked_mul(factor).ok_or_else(too_large)?;
    // Everything downstream also exists as a signed number, on the wire and in files.
    if amount > i64::MAX as u64 { Err(too_large()) } else { Ok(amount) }
}

fn wrong_unit(digits: &str, unit: &str, units: &[(&str, u64)], wanted: &str) -> String {
    let near = |(name, _): &&(&str, u64)| {
        name.eq_ignore_ascii_case(unit)
            || (unit.len() == 1 && name.len() > 1 && name[..1].eq_ignore_ascii_case(unit))
    };
    let names: Vec<String> =
        units.iter().filter(near).map(|(name, _)| format!("{digits}{name}")).collect();
    if digits.is_empty() || names.is_empty() {
        format!("is not {wanted}")
    } else {
        format!("has no unit that is known: write {}", names.join(" or "))
    }
}

/// The unit that leaves the smallest whole number: what was written as 10GB is shown as that.
fn write_with_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    match units.iter().filter(fits).min_by_key(|(_, factor)| amount / factor) {
        // A bare number is bytes.
        None | Some(("B", _)) => amount.to_string(),
        Some((name, factor)) => format!("{}{name}", amount / factor),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(text: &str) -> Result<u64, String> {
        Size::read(text).map(|size| size.0)
    }

    fn duration(text: &str) -> Result<u128, String> {
        Duration::read(text).map(|duration| duration.as_millis())
    }

    /// Bad input 62: decimal and binary units differ, everything undocumented is refused.
    #[test]
    fn sizes_and_durations_take_the_documented_units_and_nothing_else() {
        assert_eq!(size("10GB"), Ok(10_000_000_000));
        assert_eq!(size("10GiB"), Ok(10 * 1024 * 1024 * 1024));
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("1kB"), Ok(1_000));
        assert_eq!(size("16 KiB"), Ok(16_384));
        assert_eq!(size("42"), Ok(42));
        assert_eq!(duration("100ms"), Ok(100));
        assert_eq!(duration("7d"), Ok(604_800_000));
        assert_eq!(duration("5m"), Ok(300_000));
        assert_eq!(duration("250"), Ok(250));
        for bad in ["", "-1", "-1KiB", "1e3", "1.5GiB", "+5", "0x10", "KiB", "1 KiB x", "1_000"] {
            assert!(size(bad).is_err(), "{bad}");
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(size("99999999999999999999"), Err("is too large".to_owned()));
        assert_eq!(size("9000000TiB"), Err("is too large".to_owned()));
        assert_eq!(size("10000000000000000000"), Err("is too large".to_owned()));
    }

    #[test]
    fn amounts_are_written_in_the_unit_that_is_shortest() {
        let shown = [16 << 10, 10_000_000_000, 1_024_000, 1_048_588, 0, 7].map(|b| Size(b).write());
        assert_eq!(shown, ["16KiB", "10GB", "1000KiB", "1048588", "0", "7"]);
        assert_eq!(Duration::from_secs(7_200).write(), "2h");
    }

    #[test]
    fn a_near_unit_is_suggested() {
        assert!(size("10G").is_err_and(|e| e.contains("10GiB or 10GB")));
        assert!(size("1gib").is_err_and(|e| e.contains("1GiB")));
        assert!(duration("7D").is_err_and(|e| e.contains("7d")));
    }

    #[test]
    fn addresses_need_a_port_and_brackets_around_ipv6() {
        let address = |text: &str| Address::read(text);
        assert_eq!(address("0.0.0.0:9092").map(|a| a.is_wildcard()), Ok(true));
        assert_eq!(address("[::]:0").map(|a| a.is_wildcard()), Ok(true));
        assert_eq!(address("[::1]:9092").map(|a| a.to_string()), Ok("[::1]:9092".to_owned()));
        assert_eq!(address("broker-1.example:9").map(|a| a.port), Ok(9));
        assert!(address("::1:9092").is_err_and(|e| e.contains("brackets")));
        for bad in
            ["", "9092", "host", ":9092", "host:", "host:65536", "ho st:1", "1.2.3:1", "[x]:1"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn auto_and_unlimited_stand_for_themselves() {
        assert_eq!(Option::<Size>::read("auto"), Ok(None));
        assert_eq!(Option::<Size>::read("1KiB"), Ok(Some(Size(1024))));
        assert_eq!(Limit::<Size>::read("-1"), Ok(Limit::Unlimited));
        assert_eq!(Limit::<Size>::read("unlimited").map(|l| l.write()), Ok("unlimited".to_owned()));
        assert!(Limit::<Size>::read("never").is_err_and(|e| e.ends_with("or unlimited")));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(amount in 0_u64..=i64::MAX as u64) {
            prop_assert_eq!(Size::read(&Size(amount).write()), Ok(Size(amount)));
            let span = Duration::from_millis(amount);
            prop_assert_eq!(Duration::read(&span.write()), Ok(span));
        }

        #[test]
        fn no_text_makes_a_value_panic(text in ".{0,24}") {
            let _ = (Size::read(&text), Duration::read(&text), Address::read(&text));
        }
    }
}
