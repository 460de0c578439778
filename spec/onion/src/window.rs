//! Which numbers of a direction were seen: nothing passes twice.

use crate::OpenError;

const WORDS: usize = 16;
/// How far behind the newest block an older one is still taken, once.
pub const REPLAY_WINDOW: u32 = WORDS as u32 * 64;

/// The numbers seen in one direction of a session. A number that jumps ahead by more than the session's window closes the
/// session: so many blocks were lost, or somebody counts in another's name.
#[derive(Clone, Debug)]
pub struct Window {
    /// One more than the highest number seen.
    end: u32,
    gap: u32,
    /// Bit n mod [`REPLAY_WINDOW`] is number n's.
    seen: [u64; WORDS],
}

impl Window {
    /// Nothing seen. At most `gap` numbers may be left out.
    pub fn new(gap: u32) -> Self {
        Window { end: 0, gap, seen: [0; WORDS] }
    }

    /// How many numbers there are up to the highest that was seen.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Whether a block of this number may be looked at.
    pub fn admit(&self, counter: u32) -> Result<(), OpenError> {
        if counter == u32::MAX {
            return Err(OpenError::Exhausted);
        }
        if counter >= self.end {
            let is_near = counter - self.end <= self.gap;
            return if is_near { Ok(()) } else { Err(OpenError::Gap) };
        }
        let (word, bit) = place(counter);
        let is_fresh = self.end - counter <= REPLAY_WINDOW && self.seen[word] & bit == 0;
        if is_fresh { Ok(()) } else { Err(OpenError::Replayed) }
    }

    /// Marks an admitted number as seen: the block was genuine.
    pub fn mark(&mut self, counter: u32) {
        if counter >= self.end {
            // The numbers between were not seen; their places may still hold those of a window ago.
            if counter - self.end >= REPLAY_WINDOW {
                self.seen = [0; WORDS];
            } else {
                (self.end..counter).for_each(|skipped| {
                    let (word, bit) = place(skipped);
                    self.seen[word] &= !bit;
                });
            }
            self.end = counter + 1;
        }
        let (word, bit) = place(counter);
        self.seen[word] |= bit;
    }
}

fn place(counter: u32) -> (usize, u64) {
    let at = counter % REPLAY_WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Held against a set of all numbers.
        #[test]
        fn it_admits_what_a_set_admits(steps in prop::collection::vec((any::<bool>(), 0..1_500_u32), 1..300)) {
            let gap = 1_200;
            let (mut window, mut seen) = (Window::new(gap), BTreeSet::new());
            for (is_ahead, distance) in steps {
                let end = seen.last().map_or(0, |last| last + 1);
                let counter = if is_ahead { end + distance } else { end.saturating_sub(distance) };
                let expected = if counter >= end {
                    if counter - end <= gap { Ok(()) } else { Err(OpenError::Gap) }
                } else if end - counter <= REPLAY_WINDOW && !seen.contains(&counter) {
                    Ok(())
                } else {
                    Err(OpenError::Replayed)
                };
                prop_assert_eq!(window.admit(counter), expected);
                if expected.is_ok() {
                    window.mark(counter);
                    seen.insert(counter);
                }
                prop_assert_eq!(window.end(), seen.last().map_or(0, |last| last + 1));
            }
        }
    }

    #[test]
    fn numbers_end_before_they_come_round() {
        assert_eq!(Window::new(u32::MAX).admit(u32::MAX), Err(OpenError::Exhausted));
    }
}
