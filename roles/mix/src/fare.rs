//! What a set-up or fare block brings a mix.

use minicbor::{Decode, Encode};
use naulon_exchange::Funding;
use naulon_tick::Check;

/// A check, and what stands behind it: the fare in a layer, CBOR.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fare {
    /// The check.
    #[n(1)]
    pub check: Check,
    /// What it is funded by.
    #[n(2)]
    pub funding: Funding,
}
