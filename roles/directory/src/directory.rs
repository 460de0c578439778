//! The directory itself.

use std::collections::{BTreeMap, BTreeSet};

use naulon_durable::StoreError;
use naulon_onion::{
    Descriptor, Listing, ListingError, MAX_LISTED_MIXES, MAX_LISTED_PARTIES, MAX_PARTY_LINE, verified_descriptor,
};
use naulon_statement::{Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{DirectoryCall, DirectoryReply, Problem};

use crate::store::DirectoryStore;

/// How far a mix's clock may run ahead, and a client's behind.
const SKEW: Duration = Duration::seconds(60);

/// What a directory's operator has settled.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The mixes that may register.
    pub mixes: BTreeSet<PublicKey>,
    /// Banks and logs that are listed, each by its line.
    pub parties: Vec<String>,
    /// How long a list holds. It is made anew when half of that is over.
    pub valid: Duration,
}

/// Why a directory cannot run with these rules and this store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// More parties than a list may have, or a line that is too long.
    #[error("a list names at most {MAX_LISTED_MIXES} mixes and {MAX_LISTED_PARTIES} parties of {MAX_PARTY_LINE} bytes")]
    TooLong,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the mix {0} is not one of those that this directory lists")]
    NotAllowed(PublicKey),
    #[error(transparent)]
    Bad(#[from] ListingError),
    #[error("the descriptor has run out, or is not newer than the one that is listed")]
    Old,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotAllowed(_) => Problem::new("mix_not_allowed", trouble),
            Trouble::Bad(ListingError::Forged(_)) => Problem::new("bad_signature", trouble),
            Trouble::Bad(_) => Problem::new("descriptor_bad", trouble),
            Trouble::Old => Problem::new("descriptor_old", trouble),
            Trouble::Store(_) => Problem::new("unavailable", "the directory cannot write now"),
        }
    }
}

/// A directory over its store.
pub struct Directory<S> {
    key: SecretKey,
    rules: Rules,
    store: S,
    mixes: BTreeMap<PublicKey, Signed<Descriptor>>,
    /// The list that is given out: everybody gets the same bytes as long as nothing changes.
    list: Option<Signed<Listing>>,
}

impl<S: DirectoryStore> Directory<S> {
    /// A directory that signs with this key.
    ///
    /// # Errors
    /// [`ConfigurationError`].
    pub fn new(key: SecretKey, mut rules: Rules, store: S) -> Result<Self, ConfigurationError> {
        rules.parties.sort();
        rules.parties.dedup();
        let lines = rules.parties.iter().all(|line| line.len() <= MAX_PARTY_LINE);
        if !lines || rules.parties.len() > MAX_LISTED_PARTIES || rules.mixes.len() > MAX_LISTED_MIXES {
            return Err(ConfigurationError::TooLong);
        }
        let kept = store.all()?.into_iter().filter(|(mix, _)| rules.mixes.contains(mix));
        // What an older program kept and this one does not read is registered again soon.
        let readable = kept.filter_map(|(mix, bytes)| Some((mix, Unverified::parse(&bytes).ok()?.from_own_store())));
        let mixes = readable.collect();
        Ok(Directory { key, rules, store, mixes, list: None })
    }

    /// The key that signs the list.
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// Answers one call. What it says is durable.
    ///
    /// # Errors
    /// A [`Problem`] that says why not.
    pub fn handle(&mut self, call: DirectoryCall, now: Timestamp) -> Result<DirectoryReply, Problem> {
        match call {
            DirectoryCall::List => Ok(DirectoryReply::List(Box::new((&self.list(now)).into()))),
            DirectoryCall::Register(descriptor) => {
                self.register(descriptor, now)?;
                Ok(DirectoryReply::Registered)
            }
        }
    }

    fn register(&mut self, descriptor: Unverified<Descriptor>, now: Timestamp) -> Result<(), Trouble> {
        let mix = descriptor.claimed_body().mix;
        if !self.rules.mixes.contains(&mix) {
            return Err(Trouble::NotAllowed(mix));
        }
        let descriptor = verified_descriptor(descriptor)?;
        let listed = self.mixes.get(&mix);
        if listed == Some(&descriptor) {
            return Ok(());
        }
        let is_newer = listed.is_none_or(|listed| listed.from < descriptor.from);
        if descriptor.until <= now || descriptor.from > now.plus(SKEW) || !is_newer {
            return Err(Trouble::Old);
        }
        self.store.keep(&mix, descriptor.bytes())?;
        self.mixes.insert(mix, descriptor);
        self.list = None;
        Ok(())
    }

    /// The list in force, or a new one when that has changed or has run half its time.
    fn list(&mut self, now: Timestamp) -> Signed<Listing> {
        let half = Duration(self.rules.valid.0 / 2);
        if let Some(list) = self.list.as_ref().filter(|list| list.from <= now && now < list.from.plus(SKEW).plus(half))
        {
            return list.clone();
        }
        let live = self.mixes.values().filter(|mix| now < mix.until);
        let body = Listing {
            directory: self.key.public(),
            from: now.minus(SKEW),
            until: now.plus(self.rules.valid),
            mixes: live.map(Unverified::from).collect(),
            parties: self.rules.parties.clone(),
        };
        let list = Signed::sign(&self.key, body);
        self.list = Some(list.clone());
        list
    }
}
