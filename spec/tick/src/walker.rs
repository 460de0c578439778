//! The payer's way along a chain.

use naulon_statement::derive_secret;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::chain::{ChainId, Front, MAX_CHAIN, Steps, TICK_LEN, Tick, TickError};

/// A payer's chain: gives the ticks one after the other, from the root on, without keeping them all.
///
/// A chain of n ticks is kept as log₂ n *pebbles*, values at chosen places, and giving the next tick moves each pebble by at
/// most two steps (Jakobsson, Fractal Hash Sequence Representation and Traversal, 2002). Making it costs up to 2·n steps, once:
/// the chain that is walked has a power of two of ticks, of which the payer uses the first `length`.
#[derive(ZeroizeOnDrop)]
pub struct Walker {
    #[zeroize(skip)]
    id: ChainId,
    #[zeroize(skip)]
    length: u32,
    #[zeroize(skip)]
    root: Tick,
    #[zeroize(skip)]
    position: u32,
    /// Sorted by place.
    pebbles: Vec<Pebble>,
}

#[derive(Clone, Zeroize)]
struct Pebble {
    place: u32,
    destination: u32,
    /// 2^level is where it began.
    level: u32,
    tick: [u8; TICK_LEN],
}

/// A pebble that has no more to do.
const DONE: u32 = u32::MAX;

impl Walker {
    /// The chain of this name and secret, at its root. The secret is used for this chain alone.
    pub fn new(id: ChainId, secret: &[u8; 32], length: u32) -> Result<Self, TickError> {
        if length == 0 || length > MAX_CHAIN {
            return Err(TickError::Length);
        }
        let levels = length.max(2).next_power_of_two().trailing_zeros();
        let mut end = [0; TICK_LEN];
        derive_secret(secret, &[b"naulon/tick", &id.0], &mut end);
        let mut steps = Steps::new(&id);
        let mut pebbles: Vec<Pebble> = Vec::with_capacity(levels as usize);
        let mut tick = Tick(end);
        for level in (1..=levels).rev() {
            let place = 1 << level;
            pebbles.push(Pebble { place, destination: place, level, tick: tick.0 });
            tick = steps.down(place, place / 2, &tick);
        }
        pebbles.reverse();
        let root = steps.down(1, 0, &tick);
        end.zeroize();
        Ok(Walker { id, length, root, position: 0, pebbles })
    }

    /// The same chain where `position` ticks have been given: for a payer that starts again and knows how far it was.
    pub fn at(id: ChainId, secret: &[u8; 32], length: u32, position: u32) -> Result<Self, TickError> {
        let mut walker = Walker::new(id, secret, length)?;
        if position > length {
            return Err(TickError::Exhausted);
        }
        for _ in 0..position {
            walker.next_tick();
        }
        Ok(walker)
    }

    /// The chain's name.
    pub fn id(&self) -> ChainId {
        self.id
    }

    /// The value on the check.
    pub fn root(&self) -> Tick {
        self.root
    }

    /// How many ticks have been given.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// How many values are kept: never more than log₂ of the length, rounded up.
    pub fn kept(&self) -> usize {
        self.pebbles.len()
    }

    /// How many ticks are left.
    pub fn left(&self) -> u32 {
        self.length - self.position
    }

    /// Goes on by so many ticks, and gives the last of them: it pays for all. A chain with fewer left stays where it is.
    pub fn advance(&mut self, ticks: u32) -> Result<Front, TickError> {
        if ticks == 0 {
            return Err(TickError::Length);
        }
        if ticks > self.left() {
            return Err(TickError::Exhausted);
        }
        let mut tick = self.next_tick();
        for _ in 1..ticks {
            tick = self.next_tick();
        }
        Ok(Front { index: self.position, tick })
    }

    /// One round of the paper's algorithm. There is a next tick.
    fn next_tick(&mut self) -> Tick {
        self.position += 1;
        let mut steps = Steps::new(&self.id);
        for pebble in &mut self.pebbles {
            if pebble.place != pebble.destination {
                pebble.tick = steps.down(pebble.place, pebble.place - 2, &Tick(pebble.tick)).0;
                pebble.place -= 2;
            }
        }
        let first = Tick(self.pebbles[0].tick);
        if self.position % 2 == 1 {
            return steps.step(self.position, &first);
        }
        self.send_on_first();
        first
    }

    /// The first pebble has done its work here, and goes to where it is wanted next: it begins at a place where another one
    /// stands, and walks towards the root from there.
    fn send_on_first(&mut self) {
        let Some((first, others)) = self.pebbles.split_first_mut() else { return };
        let place = first.place.saturating_add(3 << first.level);
        let destination = first.destination.saturating_add(2 << first.level);
        let found = others.iter().find(|pebble| pebble.place == place).map(|pebble| pebble.tick);
        first.place = if found.is_some() { place } else { DONE };
        first.destination = if found.is_some() { destination } else { DONE };
        first.tick.zeroize();
        first.tick = found.unwrap_or_default();
        self.pebbles.sort_by_key(|pebble| pebble.place);
    }
}
