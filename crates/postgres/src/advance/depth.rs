//! How many layers may stand on each other, and which are folded when they are too many. Pure.

/// Delta layers that a point may have before the newest of them are folded.
const DEEP: usize = 8;

/// How many of the newest delta layers, the one of `newest_bytes` among them, are to be folded into one; 1 for none.
/// `below` are the bytes of those below it, newest first.
///
/// Layers join their neighbour below when together they have grown to its size, as digits carry in a binary number:
/// each byte is written again some few times, however long the chain becomes, and the stack grows with the logarithm
/// of what changed.
pub(super) fn to_fold(newest_bytes: u64, below: &[u64]) -> usize {
    if below.len() < DEEP {
        return 1;
    }
    let mut together = newest_bytes;
    let mut count = 1;
    for bytes in below {
        // At least one, or the stack would not become lower.
        if count > 1 && *bytes > together {
            break;
        }
        together = together.saturating_add(*bytes);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_stacks_stay_low_and_bytes_are_written_again_a_few_times() {
        let (mut layers, mut written) = (Vec::<u64>::new(), 0);
        let rounds = 1000;
        for round in 0..rounds {
            // As uneven as life.
            let newest = 1 + round * 7919 % 100;
            written += newest;
            let count = to_fold(newest, &layers);
            assert!(count == 1 || layers.len() >= DEEP);
            let folded = newest + layers.drain(..count - 1).sum::<u64>();
            if count > 1 {
                written += folded;
            }
            layers.insert(0, folded);
            assert!(layers.len() <= DEEP + 1, "{layers:?}");
        }
        let changed: u64 = layers.iter().sum();
        assert!(written < changed * 12, "{written} written for {changed}");
    }
}
