//! How many bytes one side of a stream may still send. Pure arithmetic; both ends keep one.

/// Credit of one stream in bytes of DATA payload.
///
/// Whoever has any credit may send one whole frame, however large, because a batch can not be cut:
/// credit may thus fall below zero, and by how much is bounded by the largest frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit(i64);

impl Credit {
    /// What a stream starts with.
    #[must_use]
    pub fn new(bytes: u32) -> Credit {
        Credit(i64::from(bytes))
    }

    /// Whether another frame may be sent.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.0 > 0
    }

    /// Bytes that may be sent; 0 when none.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0.max(0) as usize
    }

    /// Takes off what was sent.
    pub fn spend(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// Adds what the receiver returned. A receiver that returns more than it ever got only harms
    /// itself, so the sum saturates instead of being an error.
    pub fn grant(&mut self, bytes: u32) {
        self.0 = self.0.saturating_add(i64::from(bytes)).min(i64::from(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_credit_lets_one_whole_frame_through_and_the_debt_must_be_returned() {
        let mut credit = Credit::new(10);
        assert!(credit.is_open());
        credit.spend(1_000);
        assert!(!credit.is_open());
        assert_eq!(credit.bytes(), 0);
        credit.grant(990);
        assert!(!credit.is_open());
        credit.grant(1);
        assert_eq!((credit.is_open(), credit.bytes()), (true, 1));
        credit.grant(u32::MAX);
        credit.grant(u32::MAX);
        assert_eq!(credit.bytes(), u32::MAX as usize);
    }
}
