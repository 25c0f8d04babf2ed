//! Makes messages of all kinds, from a seed.

use bytes::Bytes;

use crate::protocol::kafka::wire::Shape;
use crate::protocol::kafka::{ApiKey, Records, Remark, Text};
use crate::random::Random;
use crate::types::TopicId;

/// A value that can be made up.
pub(in crate::protocol::kafka) trait Arbitrary {
    /// A value that a message of this shape can carry.
    fn arbitrary(random: &mut Random, shape: Shape) -> Self;
}

/// The shape of messages of an API at some version.
pub(super) fn shape(api: ApiKey, version: i16) -> Shape {
    Shape { version, flexible: version >= api.flexible_from(), nullable: false }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Arbitrary for $number {
            fn arbitrary(random: &mut Random, _: Shape) -> $number {
                match random.below(6) {
                    0 => 0,
                    1 => -1,
                    2 => <$number>::MIN,
                    3 => <$number>::MAX,
                    _ => random.next_u64() as $number,
                }
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64);

impl Arbitrary for bool {
    fn arbitrary(random: &mut Random, _: Shape) -> bool {
        random.chance(1, 2)
    }
}

impl Arbitrary for TopicId {
    fn arbitrary(random: &mut Random, _: Shape) -> TopicId {
        let word = random.next_u64().to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&word);
        bytes[15] = word[0];
        if random.chance(1, 8) { TopicId::default() } else { TopicId::from_bytes(bytes) }
    }
}

impl Arbitrary for Text {
    fn arbitrary(random: &mut Random, _: Shape) -> Text {
        const LETTERS: [char; 6] = ['a', 'Z', '"', 'ß', '海', '🦀'];
        let length = if random.chance(1, 50) { 200 } else { random.below(8) };
        let text = (0..length).map(|_| LETTERS[random.below(6) as usize]);
        Text::from(text.collect::<String>())
    }
}

impl Arbitrary for Remark {
    fn arbitrary(random: &mut Random, shape: Shape) -> Remark {
        Remark(Text::arbitrary(random, shape))
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(random: &mut Random, _: Shape) -> Bytes {
        let length = if random.chance(1, 50) { 300 } else { random.below(8) };
        (0..length).map(|_| random.next_u64() as u8).collect()
    }
}

impl Arbitrary for Records {
    fn arbitrary(random: &mut Random, shape: Shape) -> Records {
        Records::Bytes(Bytes::arbitrary(random, shape))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(random: &mut Random, shape: Shape) -> Vec<T> {
        (0..random.below(4)).map(|_| T::arbitrary(random, shape.of_element())).collect()
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(random: &mut Random, shape: Shape) -> Option<T> {
        let none = shape.nullable && random.chance(1, 4);
        (!none).then(|| T::arbitrary(random, shape.of_element()))
    }
}
