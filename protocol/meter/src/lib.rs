//! Pay per block: whether a block may pass, and which tick goes with it (MixPay §4).
//!
//! A [`Meter`] stands at a mix, one a session, and decides for all four protocols and both billing cases. A [`Payer`] is its
//! counterpart at the sender, one a mix; a [`Releaser`] at the recipient decides when a tick is let go. All three keep one
//! promise: whoever stops or cheats, whenever, nobody else is out by more than the window W.
//!
//! | protocol | a block passes | the tick comes | out by at most W |
//! | --- | --- | --- | --- |
//! | before/sender | while more is paid than used | with the block, or ahead by a jump | the sender: paid ahead |
//! | before/recipient | as before; until then it is held | back, let go by the recipient on an *ask* | asks: the mix; ticks: the recipient |
//! | after/sender | while at most W are unpaid | after the recipient's *ok*: alone, or with the next block | the mix |
//! | after/recipient | while at most W are unpaid | back, let go by the recipient | the mix |
//!
//! A mix cashes exactly what was used: of a higher tick anybody makes a lower one, and what was paid ahead returns as
//! remainder. Several payers share a block by one *slot* each (MixPay §6): a block passes when every slot allows it. A check
//! that runs out is followed by the next one of its slot.
//!
//! In scope: counting. Out of scope: what a block looks like (`naulon-onion`), whether a check is funded
//! (`naulon-exchange`), who keeps chains over a restart (`naulon-mix`).
//!
//! ```
//! use naulon_meter::{Chain, Decision, Meter, Payer, Replies, Terms};
//! use naulon_money::Amount;
//! use naulon_onion::Protocol;
//! use naulon_tick::{ChainId, Walker};
//!
//! let price = Amount::from_micros(10);
//! let terms = Terms { protocol: Protocol::BEFORE_SENDER, window: 16, replies: Replies::Included(4) };
//! // The sender opens a chain of 1,000 ticks; the mix has checked the check that names it.
//! let walker = Walker::new(ChainId([7; 32]), &[9; 32], 1_000).unwrap();
//! let chain = Chain::new(walker.id(), walker.root(), 1_000, price);
//! let (mut sender, mut mix) = (Payer::new(terms, 0), Meter::new(terms, price));
//! sender.add(0, walker).unwrap();
//! mix.add(0, chain).unwrap();
//! for number in 0..3 {
//!     let pay = sender.data().unwrap();
//!     assert_eq!(mix.forward(number, &pay), Ok(Decision::Pass));
//! }
//! assert_eq!((mix.used(), mix.claims().next().unwrap().earned), (3, 3));
//! ```

mod chain;
mod meter;
mod payer;
mod refusal;
mod releaser;

pub use chain::{Chain, Claim, Expected, MAX_CHECKS};
pub use meter::{Decision, Meter, Released, Replies, Terms};
pub use payer::{Payer, Stop};
pub use refusal::Refusal;
pub use releaser::Releaser;
