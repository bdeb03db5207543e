//! Names that no other test has.

use lifeboat_base::{Clock, SystemClock};

pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    SystemClock::new().random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Sixteen lower-case hexadecimal digits.
pub(crate) fn random_name() -> String {
    hex::encode(random_u64().to_le_bytes())
}
