//! What a directory lists: a signed statement that says the same to everybody.

use minicbor::{Decode, Encode};
use naulon_statement::{PublicKey, Signed, Statement, Timestamp, Unverified};

use crate::descriptor::{Descriptor, DescriptorError};

/// The most mixes in one list.
pub const MAX_LISTED_MIXES: usize = 256;
/// The most other parties in one list.
pub const MAX_LISTED_PARTIES: usize = 64;
/// The longest line of a party, in bytes.
pub const MAX_PARTY_LINE: usize = 512;

/// Everything that a directory knows, at one moment. A client takes it whole: whoever asked for one mix would say which.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Listing {
    /// The directory: it signs the list.
    #[n(1)]
    pub directory: PublicKey,
    /// From when the list holds.
    #[n(2)]
    pub from: Timestamp,
    /// Until when.
    #[n(3)]
    pub until: Timestamp,
    /// The mixes, as each describes itself; ascending by key.
    #[n(4)]
    pub mixes: Vec<Unverified<Descriptor>>,
    /// Banks and logs, each by its `naulon:` line; ascending.
    #[n(5)]
    pub parties: Vec<String>,
}

impl Statement for Listing {
    const CONTENT_TYPE: &'static str = "application/naulon.directory+cbor";
}

/// Why a list is not taken. It is never taken in part: what is left out could be what matters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Not signed by the directory that was asked.
    #[error("the list is not signed by this directory")]
    NotSigned,
    /// Not yet, or no longer.
    #[error("the list does not hold at this time")]
    Date,
    /// Too many entries, a line that is too long, or an order that is not ascending.
    #[error("the list is too long or not in order")]
    Form,
    /// A descriptor that its mix has not signed.
    #[error("the mix {0} has not signed its descriptor")]
    Forged(PublicKey),
    /// A descriptor that makes no sense.
    #[error("the descriptor of {0} does not hold: {1}")]
    Descriptor(PublicKey, DescriptorError),
}

impl ListingError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            ListingError::NotSigned => "listing_not_signed",
            ListingError::Date => "listing_date",
            ListingError::Form => "listing_form",
            ListingError::Forged(_) => "descriptor_forged",
            ListingError::Descriptor(..) => "descriptor_bad",
        }
    }
}

impl Listing {
    /// Verifies a whole list of this directory: the directory's signature, each mix's, form and dates. A descriptor that has
    /// run out stays in the list, since the list outlives it; whoever chooses a path looks at its dates.
    ///
    /// # Errors
    /// [`ListingError`]; the list is not taken then.
    pub fn verify(
        list: Unverified<Listing>,
        directory: &PublicKey,
        now: Timestamp,
    ) -> Result<(Signed<Listing>, Vec<Signed<Descriptor>>), ListingError> {
        let list = list.verify(directory).map_err(|_| ListingError::NotSigned)?;
        if list.directory != *directory {
            return Err(ListingError::NotSigned);
        }
        if now < list.from || now >= list.until {
            return Err(ListingError::Date);
        }
        list.check_form()?;
        let mixes = list.mixes.iter().map(|mix| verified(mix.clone())).collect::<Result<Vec<_>, _>>()?;
        Ok((list, mixes))
    }

    fn check_form(&self) -> Result<(), ListingError> {
        let lengths = self.mixes.len() <= MAX_LISTED_MIXES && self.parties.len() <= MAX_LISTED_PARTIES;
        let lines = self.parties.iter().all(|line| line.len() <= MAX_PARTY_LINE);
        let key = |mix: &Unverified<Descriptor>| mix.claimed_body().mix;
        let mixes = self.mixes.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]));
        let parties = self.parties.windows(2).all(|pair| pair[0] < pair[1]);
        if lengths && lines && mixes && parties { Ok(()) } else { Err(ListingError::Form) }
    }
}

/// A descriptor that its own mix has signed, and that makes sense.
///
/// # Errors
/// [`ListingError::Forged`] or [`ListingError::Descriptor`].
pub fn verified(descriptor: Unverified<Descriptor>) -> Result<Signed<Descriptor>, ListingError> {
    let mix = descriptor.claimed_body().mix;
    let descriptor = descriptor.verify(&mix).map_err(|_| ListingError::Forged(mix))?;
    descriptor.check().map_err(|error| ListingError::Descriptor(mix, error))?;
    Ok(descriptor)
}
