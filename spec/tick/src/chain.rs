//! One step of a chain, and how far a payee has got.

use std::fmt;

use minicbor::{Decode, Encode};
use sha2::block_api::compress256;

/// The length of a tick in bytes. A stranger who wants the next tick searches for a preimage under a known id and index.
pub const TICK_LEN: usize = 16;
/// The most ticks of one chain: it bounds what one cashing may make a bank hash.
pub const MAX_CHAIN: u32 = 1 << 20;
/// The most ticks that are taken in one step: it bounds what one block may make a mix hash.
pub const MAX_JUMP: u32 = 4_096;

/// Separates steps from whatever else is hashed.
const STEP: u8 = 0x02;
/// The initial state of SHA-256 (FIPS 180-4 §5.3.3).
const SHA_256: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// Where index and tick stand in the block of a step, and how many bytes are hashed.
const INDEX: usize = 33;
const TICK: usize = 37;
const HASHED: usize = TICK + TICK_LEN;

/// One value of a chain. Until it is handed over, it is money.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Tick(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; TICK_LEN],
);

/// A tick that was not yet handed over must not get into a log.
impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tick")
    }
}

/// The name of a chain: 32 random bytes, chosen before the chain is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ChainId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainId")
    }
}

/// Why a tick, or a chain, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    /// A chain without a tick, or with more than [`MAX_CHAIN`].
    #[error("a chain has 1 to {MAX_CHAIN} ticks")]
    Length,
    /// The tick, or one after it, was taken before.
    #[error("that tick was used before")]
    Used,
    /// The tick lies further ahead than may be taken in one step.
    #[error("that tick is too far ahead")]
    TooFar,
    /// The chain has no such tick any more.
    #[error("the chain has no tick of that number")]
    Exhausted,
    /// The value is not the tick of that number of this chain.
    #[error("that is no tick of this chain")]
    Forged,
    /// A lower tick was asked for than the one that is known is above.
    #[error("a tick says nothing about those after it")]
    Ahead,
}

impl TickError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            TickError::Length => "chain_length",
            TickError::Used => "tick_used",
            TickError::TooFar => "tick_too_far",
            TickError::Exhausted => "chain_exhausted",
            TickError::Forged => "tick_forged",
            TickError::Ahead => "tick_ahead",
        }
    }
}

/// `tick[index]` from `tick[index + 1]`.
pub fn step(id: &ChainId, index: u32, next: &Tick) -> Tick {
    Steps::new(id).step(index, next)
}

/// Steps along one chain: the block that is compressed, but for index and tick.
#[derive(Clone)]
pub(crate) struct Steps([u8; 64]);

impl Steps {
    pub(crate) fn new(id: &ChainId) -> Self {
        let mut block = [0; 64];
        block[0] = STEP;
        block[1..INDEX].copy_from_slice(&id.0);
        // The padding of a message of 53 bytes (FIPS 180-4 §5.1.1).
        block[HASHED] = 0x80;
        block[56..].copy_from_slice(&(HASHED as u64 * 8).to_be_bytes());
        Steps(block)
    }

    pub(crate) fn step(&mut self, index: u32, next: &Tick) -> Tick {
        self.0[INDEX..TICK].copy_from_slice(&(index + 1).to_be_bytes());
        self.0[TICK..HASHED].copy_from_slice(&next.0);
        let mut state = SHA_256;
        compress256(&mut state, std::slice::from_ref(&self.0));
        let mut tick = [0; TICK_LEN];
        for (bytes, word) in tick.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Tick(tick)
    }

    /// `tick[to]` from `tick[from]`, where `to` is not above `from`.
    pub(crate) fn down(&mut self, from: u32, to: u32, tick: &Tick) -> Tick {
        (to..from).rev().fold(*tick, |tick, index| self.step(index, &tick))
    }
}

/// How far a chain is paid: the highest tick that is known, and its number. Number 0 is the root, which pays nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Front {
    /// The tick's number: so many ticks are paid.
    #[n(1)]
    pub index: u32,
    /// The tick.
    #[n(2)]
    pub tick: Tick,
}

impl Front {
    /// Nothing is paid yet.
    pub fn root(root: Tick) -> Self {
        Front { index: 0, tick: root }
    }

    /// Takes a later tick, at most `max_jump` ahead, and says how many ticks were paid by it. A tick that is refused leaves
    /// everything as it was. The caller compares the number with the length on the check.
    pub fn advance(&mut self, id: &ChainId, to: &Front, max_jump: u32) -> Result<u32, TickError> {
        let steps = to.index.checked_sub(self.index).filter(|steps| *steps > 0).ok_or(TickError::Used)?;
        if steps > max_jump || to.index > MAX_CHAIN {
            return Err(TickError::TooFar);
        }
        if Steps::new(id).down(to.index, self.index, &to.tick) != self.tick {
            return Err(TickError::Forged);
        }
        *self = *to;
        Ok(steps)
    }

    /// An earlier tick of the chain: whoever was paid in advance gives back what it has not earned by cashing this one.
    pub fn lower(&self, id: &ChainId, index: u32) -> Result<Front, TickError> {
        if index > self.index {
            return Err(TickError::Ahead);
        }
        Ok(Front { index, tick: Steps::new(id).down(self.index, index, &self.tick) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn a_step_is_the_plain_sha_256_of_its_53_bytes() {
        let (id, next) = (ChainId([0xa5; 32]), Tick([0x5a; 16]));
        for index in [0, 1, 255, 256, 65_535, MAX_CHAIN - 1] {
            let mut hasher = Sha256::new();
            hasher.update([2]);
            hasher.update(id.0);
            hasher.update((index + 1).to_be_bytes());
            hasher.update(next.0);
            assert_eq!(step(&id, index, &next).0, hasher.finalize()[..16]);
        }
    }
}
