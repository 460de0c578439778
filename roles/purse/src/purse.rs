//! The purse as a synchronous service over its store.

use std::collections::BTreeMap;

use naulon_blind::{KnownBrand, Purpose, SEED_LEN, Token};
use naulon_durable::StoreError;
use naulon_exchange::{LoadNumber, Loaded};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, StatementError, Timestamp, Unverified, derive_secret};
use naulon_tick::{Check, MAX_CHAIN, TickError};
use zeroize::Zeroizing;

use crate::keys::{KeyError, PurseKeys};
use crate::store::{Load, Made, PurseStore, SpendError, Wish};
use crate::user::{self, CheckSecrets, UserError};

/// Separates the numbers of loads from everything else that comes of the seed.
const LOAD_DOMAIN: &[u8] = b"naulon/purse/1 load";

/// The most checks that are listed at once.
pub const MAX_LISTED: usize = 256;
/// Checks end with a day: else an expiry would tell to the millisecond when a check was made.
const DAY: Duration = Duration::days(1);
/// A check may be paid with for at least so many days, and at most one more.
const DAYS: u64 = 2;

/// A check that is wanted. Its total must be what one of the purse's brands signs for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckWanted {
    /// Names what is wanted: asked again by the same name, it is the same check.
    pub wish: Wish,
    /// Who may cash it.
    pub payee: PublicKey,
    /// What each tick pays.
    pub value: Amount,
    /// How many ticks.
    pub length: u32,
}

/// A check that a purse has made out, and what its holder needs to pay with it.
pub struct Fare {
    /// The check.
    pub check: Check,
    /// The purse's signature, which funds it.
    pub token: Token,
    /// The secrets of its ticks and its remainder.
    pub secrets: CheckSecrets,
}

/// Why a purse refuses. Nothing was taken from the balance, but where it says so.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// The brand is not in this purse, or its time is over.
    #[error("this purse has no such brand, or it is not in use now")]
    Brand,
    /// No brand of this purse signs for that total.
    #[error("no key of this purse signs checks of that total value")]
    Total,
    /// The purse holds less than the check costs.
    #[error("the purse holds less than that: load it first")]
    Balance,
    /// An amount of zero, or no multiple of what a check costs, or beyond what can be counted.
    #[error("a load is a multiple of what a check of the brand costs")]
    Amount,
    /// The wish was used for another check.
    #[error("another check was wanted by that name")]
    WishUsed,
    /// The purse has not asked for this load.
    #[error("this purse has not asked for that load")]
    UnknownLoad,
    /// The bank's word is about something else than was asked for.
    #[error("the bank's word does not fit what was asked for")]
    Misfit,
    /// The bank's word does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The ticks.
    #[error(transparent)]
    Tick(#[from] TickError),
    /// The bank part has not signed. The check is paid for; asked for again, it is signed then.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The user part failed. The check is paid for; asked for again, it is made then.
    #[error(transparent)]
    User(#[from] UserError),
    /// The store failed: ask again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PurseError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PurseError::Brand => "purse_brand",
            PurseError::Total => "purse_value",
            PurseError::Balance => "purse_empty",
            PurseError::Amount => "amount_out_of_range",
            PurseError::WishUsed => "order_used",
            PurseError::UnknownLoad => "unknown_load",
            PurseError::Misfit => "load_misfit",
            PurseError::Statement(error) => error.code(),
            PurseError::Tick(error) => error.code(),
            PurseError::Key(_) | PurseError::User(_) | PurseError::Store(_) => "internal",
        }
    }
}

/// A purse: seed and keys in memory, the rest in its store.
pub struct Purse<S> {
    seed: Zeroizing<[u8; SEED_LEN]>,
    brands: BTreeMap<Digest, KnownBrand>,
    keys: Box<dyn PurseKeys>,
    store: S,
}

impl<S: PurseStore> Purse<S> {
    /// Opens the purse of this seed, with the brands whose keys it has.
    pub fn open(
        seed: [u8; SEED_LEN],
        brands: Vec<KnownBrand>,
        keys: Box<dyn PurseKeys>,
        store: S,
    ) -> Result<Self, PurseError> {
        let by_key = |brand: KnownBrand| (Digest(*brand.key_id()), brand);
        let brands: BTreeMap<_, _> = brands.into_iter().map(by_key).collect();
        let sound = brands.iter().all(|(id, known)| known.brand().purpose == Purpose::PurseCheck && keys.holds(id));
        if !sound {
            return Err(PurseError::Brand);
        }
        store.balances()?;
        Ok(Purse { seed: Zeroizing::new(seed), brands, keys, store })
    }

    /// The brands of its keys.
    pub fn brands(&self) -> impl Iterator<Item = &KnownBrand> {
        self.brands.values()
    }

    /// What may still be spent in checks of a brand.
    pub fn balance(&self, brand: &Digest) -> Result<Amount, PurseError> {
        Ok(self.store.balances()?.get(brand).copied().unwrap_or_default())
    }

    /// Asks for a load, and says what the bank is to state. Nothing is in the purse yet. The same wish is the same load.
    ///
    /// The load's number is this purse's alone: if its holder could choose it, the bank's one word would fill several purses.
    pub fn ask_load(&mut self, brand: &Digest, amount: Amount, wish: &[u8; 16]) -> Result<Loaded, PurseError> {
        let known = self.brands.get(brand).ok_or(PurseError::Brand)?.brand();
        let unit = known.denomination.micros();
        if amount.is_zero() || amount > Amount::MAX || !amount.micros().is_multiple_of(unit) {
            return Err(PurseError::Amount);
        }
        let mut number = LoadNumber::default();
        derive_secret(self.seed.as_slice(), &[LOAD_DOMAIN, wish], &mut number);
        let stated = Loaded { bank: known.bank, currency: known.currency.clone(), brand: *brand, amount, load: number };
        self.store.ask(&Load { number, brand: *brand, amount, is_done: false })?;
        match self.store.load(&number)? {
            Some(load) if load.brand == *brand && load.amount == amount => Ok(stated),
            _ => Err(PurseError::WishUsed),
        }
    }

    /// Takes the bank's word for a load. The same word again changes nothing.
    pub fn credit(&mut self, word: Unverified<Loaded>) -> Result<Amount, PurseError> {
        let claimed = word.claimed_body();
        let load = self.store.load(&claimed.load)?.ok_or(PurseError::UnknownLoad)?;
        let known = self.brands.get(&load.brand).ok_or(PurseError::Brand)?.brand();
        let word = word.verify(&known.bank)?;
        if (word.brand, word.amount) != (load.brand, load.amount) || word.currency != known.currency {
            return Err(PurseError::Misfit);
        }
        let sum = self.balance(&load.brand)?.checked_add(load.amount);
        if !load.is_done && sum.is_none_or(|sum| sum > Amount::MAX) {
            return Err(PurseError::Amount);
        }
        self.store.credit(&load.number)?;
        self.balance(&load.brand)
    }

    /// Makes out a check, off-line. `now` is the holder's clock, which decides of nothing but the expiry.
    pub fn make(&mut self, wanted: &CheckWanted, now: Timestamp) -> Result<Fare, PurseError> {
        let made = match self.store.made(&wanted.wish)? {
            Some(made) if (made.payee, made.value, made.length) == (wanted.payee, wanted.value, wanted.length) => made,
            Some(_) => return Err(PurseError::WishUsed),
            None => self.spend(wanted, now)?,
        };
        self.sign(&made)
    }

    /// The checks from this place on, at most [`MAX_LISTED`], in order: so their holder finds what comes back after the expiry.
    pub fn made_from(&self, place: u32) -> Result<Vec<Fare>, PurseError> {
        let made = self.store.made_from(place, MAX_LISTED)?;
        made.iter().map(|made| self.sign(made)).collect()
    }

    /// Lowers the balance on the disk.
    fn spend(&mut self, wanted: &CheckWanted, now: Timestamp) -> Result<Made, PurseError> {
        if wanted.length == 0 || wanted.length > MAX_CHAIN {
            return Err(TickError::Length.into());
        }
        let total = wanted.value.checked_mul(u64::from(wanted.length)).ok_or(PurseError::Total)?;
        let expiry = expiry(now);
        let mut refusal = PurseError::Total;
        let balances = self.store.balances()?;
        for (id, known) in self.brands.iter().filter(|(_, known)| known.brand().denomination == total) {
            let brand = known.brand();
            if now < brand.issue_from || expiry > brand.spend_until {
                // That one of another time is empty says more than that this one's time is not now.
                if matches!(refusal, PurseError::Total) {
                    refusal = PurseError::Brand;
                }
                continue;
            }
            // Of two periods' brands the one that has the money is taken.
            if balances.get(id).is_none_or(|balance| *balance < total) {
                refusal = PurseError::Balance;
                continue;
            }
            let CheckWanted { wish, payee, value, length } = *wanted;
            let index = self.store.made_count()?;
            let made = Made { index, wish, brand: *id, total, payee, value, length, expiry };
            return match self.store.spend(&made) {
                Ok(()) => Ok(made),
                Err(SpendError::Balance) => Err(PurseError::Balance),
                Err(SpendError::Taken) => Err(PurseError::WishUsed),
                Err(SpendError::Store(error)) => Err(error.into()),
            };
        }
        Err(refusal)
    }

    /// The user part makes and blinds it, the bank part signs, the user part unblinds. Only what is on the disk comes here.
    fn sign(&self, made: &Made) -> Result<Fare, PurseError> {
        let brand = self.brands.get(&made.brand).ok_or(PurseError::Brand)?;
        let blinded = user::blind(&self.seed, brand, made)?;
        let signature = self.keys.blind_sign(&made.brand, &blinded.message)?;
        let token = blinded.finish(brand, &signature)?;
        Ok(Fare { check: blinded.check, token, secrets: blinded.secrets })
    }
}

/// The end of the day in which [`DAYS`] days are over: the same for all checks that purses make on one day.
fn expiry(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - now.0 % DAY.0).plus(Duration::days(DAYS + 1))
}
