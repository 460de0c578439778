//! Which brands a bank must have at a time, and how they come to be.
//!
//! Time is cut into periods of equal length, counted from the Unix epoch. A brand is issued from the first day of a
//! period; there is exactly one for each currency, denomination, purpose and period. The next period's are stated
//! ahead, so that wallets know them when the period begins. A brand's private key is sealed on disk *before* the brand
//! is stated:
//!
//! ```
//! use naulon_bank::{BrandSettings, BrandTerms, generate, missing, periods};
//! use naulon_statement::{PublicKey, Timestamp};
//!
//! let settings = BrandSettings { denominations: vec!["1".parse()?, "2".parse()?], ..BrandSettings::default() };
//! let due = periods(&settings, &"EUR".parse()?, Timestamp(1_800_000_000_000))?;
//! assert_eq!(due.len(), 4); // two denominations, this period and the next
//! # let one: &[BrandTerms] = &due[..1];
//! let made = generate(one, PublicKey([7; 32]), |done, of| assert!(done <= of))?;
//! let brands: Vec<_> = made.iter().map(|(brand, _secret)| brand.clone()).collect();
//! // KeyRing::create_file(…, secrets, …), KeyRing::add, then Bank::add_brands.
//! assert_eq!(missing(due, &brands).len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use naulon_blind::{Brand, IssuerKey, IssuerSecret, Method, Purpose, SecretKeyError};
use naulon_money::{Amount, Currency, Grid, GridError};
use naulon_statement::{Duration, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest that a brand may live, in days. It bounds how long a stolen key is worth something.
pub const MAX_BRAND_DAYS: u32 = 3_660;

/// How a bank's brands are cut, as its settings say. All windows begin with the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrandSettings {
    /// The denominations, written like "0.50".
    #[serde(with = "as_text")]
    pub denominations: Vec<Amount>,
    /// What checks of purses are worth in all, one brand each; none by default.
    #[serde(with = "as_text")]
    pub purse_checks: Vec<Amount>,
    /// The length of a period in days: so often there are new brands, and so long each is issued, one at a time.
    pub period_days: u32,
    /// For how many days they can be spent.
    pub spend_days: u32,
    /// For how many days they can be given up at the bank.
    pub redeem_days: u32,
}

/// Settings that make no brands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrandSettingsError {
    /// The denominations.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A denomination that is larger than can be counted.
    #[error("a denomination is larger than can be counted")]
    TooLarge,
    /// The windows.
    #[error("days must be 1 <= period <= spend <= redeem <= {MAX_BRAND_DAYS}")]
    Days,
}

/// What a brand says, but for its bank and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandTerms {
    /// The currency.
    pub currency: Currency,
    /// The value of each token.
    pub denomination: Amount,
    /// What the tokens are for.
    pub purpose: Purpose,
    /// The first instant of the period.
    pub issue_from: Timestamp,
    /// Until then tokens are issued.
    pub withdraw_until: Timestamp,
    /// Until then tokens can be spent.
    pub spend_until: Timestamp,
    /// Until then tokens can be given up.
    pub redeem_until: Timestamp,
}

impl Default for BrandSettings {
    /// 1-2-5 from 0.01 to 500, a new brand every 30 days, spent within 90 and given up within 180.
    fn default() -> Self {
        let denominations = Grid::standard().denominations().to_vec();
        let purse_checks = Vec::new();
        BrandSettings { denominations, purse_checks, period_days: 30, spend_days: 90, redeem_days: 180 }
    }
}

impl BrandSettings {
    /// The denominations, if the settings make sense.
    pub fn check(&self) -> Result<Grid, BrandSettingsError> {
        let BrandSettings { period_days, spend_days, redeem_days, .. } = *self;
        let in_order =
            1 <= period_days && period_days <= spend_days && spend_days <= redeem_days && redeem_days <= MAX_BRAND_DAYS;
        if !in_order {
            return Err(BrandSettingsError::Days);
        }
        let all = self.denominations.iter().chain(&self.purse_checks);
        if all.clone().any(|denomination| *denomination > Amount::MAX) || self.purse_checks.iter().any(|d| d.is_zero())
        {
            return Err(BrandSettingsError::TooLarge);
        }
        Ok(Grid::new(self.denominations.iter().copied())?)
    }
}

/// The brands that must exist at this time: this period's and the next's, one each denomination, largest first.
pub fn periods(
    settings: &BrandSettings,
    currency: &Currency,
    now: Timestamp,
) -> Result<Vec<BrandTerms>, BrandSettingsError> {
    let grid = settings.check()?;
    let days = |days: u32| Duration::days(u64::from(days));
    let period = days(settings.period_days);
    let this = Timestamp(now.0 - now.0 % period.0);
    let terms = |issue_from: Timestamp, (denomination, purpose): (&Amount, Purpose)| BrandTerms {
        currency: currency.clone(),
        denomination: *denomination,
        purpose,
        issue_from,
        withdraw_until: issue_from.plus(period),
        spend_until: issue_from.plus(days(settings.spend_days)),
        redeem_until: issue_from.plus(days(settings.redeem_days)),
    };
    let starts = [this, this.plus(period)];
    let money = grid.denominations().iter().map(|denomination| (denomination, Purpose::Money));
    let checks = settings.purse_checks.iter().map(|total| (total, Purpose::PurseCheck));
    let places: Vec<_> = money.chain(checks).collect();
    Ok(starts
        .into_iter()
        .flat_map(|start| places.iter().map(move |place| (start, *place)))
        .map(|(s, p)| terms(s, p))
        .collect())
}

/// Those of the due brands whose place no existing brand has.
pub fn missing<'b>(due: Vec<BrandTerms>, existing: impl IntoIterator<Item = &'b Brand>) -> Vec<BrandTerms> {
    let mut missing = due;
    for brand in existing {
        missing.retain(|terms| !terms.is_place_of(brand));
    }
    missing
}

/// Makes a key for each of these brands, about 0.2 s each; `progress` hears how many are done, and of how many. Seal
/// the keys into a file before the brands are stated.
pub fn generate(
    terms: &[BrandTerms],
    bank: PublicKey,
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<(Brand, IssuerSecret)>, SecretKeyError> {
    let mut made = Vec::with_capacity(terms.len());
    for terms in terms {
        progress(made.len(), made.capacity());
        let secret = IssuerSecret::generate_with_openssl_randomness()?;
        made.push((terms.brand(bank, secret.public()), secret));
    }
    progress(made.len(), made.len());
    Ok(made)
}

impl BrandTerms {
    /// The brand with these terms and this key, which belongs to it alone.
    pub fn brand(&self, bank: PublicKey, key: &IssuerKey) -> Brand {
        Brand {
            bank,
            currency: self.currency.clone(),
            denomination: self.denomination,
            method: Method::BlindRsa2048,
            purpose: self.purpose,
            issue_from: self.issue_from,
            withdraw_until: self.withdraw_until,
            spend_until: self.spend_until,
            redeem_until: self.redeem_until,
            key: *key.spki(),
        }
    }

    fn is_place_of(&self, brand: &Brand) -> bool {
        self.currency == brand.currency
            && self.denomination == brand.denomination
            && self.purpose == brand.purpose
            && self.issue_from == brand.issue_from
    }
}

/// Amounts as the texts that people write.
mod as_text {
    use naulon_money::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(amounts: &[Amount], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(amounts.iter().map(Amount::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Amount>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use naulon_blind::KnownBrand;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn settings() -> BrandSettings {
        BrandSettings {
            denominations: vec![Amount::from_micros(5), Amount::from_micros(1)],
            purse_checks: Vec::new(),
            period_days: 10,
            spend_days: 20,
            redeem_days: 40,
        }
    }

    fn due(now: u64) -> Vec<BrandTerms> {
        periods(&settings(), &"EUR".parse().expect("a currency"), Timestamp(now)).expect("sound settings")
    }

    #[test]
    fn this_period_and_the_next_one_brand_each_denomination() {
        let at = due(125 * DAY + 7);
        let found: Vec<_> = at.iter().map(|t| (t.denomination.micros(), t.issue_from.0 / DAY)).collect();
        assert_eq!(found, [(5, 120), (1, 120), (5, 130), (1, 130)]);
        let dates = |t: &BrandTerms| [t.withdraw_until, t.spend_until, t.redeem_until].map(|date| date.0 / DAY);
        assert_eq!(dates(&at[0]), [130, 140, 160]);
        // A period is half-open.
        assert_eq!(due(120 * DAY), at);
        assert_eq!(due(130 * DAY - 1), at);
        assert_ne!(due(130 * DAY), at);
        assert_eq!(due(130 * DAY)[..2], at[2..]);
    }

    /// Whoever asks at every hour makes each brand once, and at each time exactly one issues of each denomination.
    #[test]
    fn asked_at_any_time_each_place_is_filled_once() {
        let der = include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der");
        let secret = IssuerSecret::from_der(der).expect("a test key");
        let mut brands: Vec<Brand> = Vec::new();
        for hour in (100 * 24..200 * 24).step_by(5) {
            let now = hour * 3_600_000;
            let new = missing(due(now), &brands);
            brands.extend(new.iter().map(|terms| terms.brand(PublicKey([7; 32]), secret.public())));
            assert!(missing(due(now), &brands).is_empty());
            for micros in [1, 5] {
                let of_it = brands.iter().filter(|b| b.denomination.micros() == micros && b.issues_at(Timestamp(now)));
                assert_eq!(of_it.count(), 1);
            }
        }
        let places: BTreeSet<_> = brands.iter().map(|b| (b.denomination, b.issue_from)).collect();
        assert_eq!((places.len(), brands.len()), (22, 22));
        assert!(KnownBrand::new(brands.remove(0)).is_ok());
    }

    #[test]
    fn settings_are_toml_with_known_keys_and_windows_in_order() {
        let text = "denominations = [\"0.000005\", \"0.000001\"]\npurse_checks = []\nperiod_days = 10\nspend_days = 20\n\
                    redeem_days = 40\n";
        assert_eq!(toml::from_str(text), Ok(settings()));
        assert_eq!(toml::to_string(&settings()).expect("is TOML").replace('\'', "\""), text);
        assert_eq!(toml::from_str(""), Ok(BrandSettings::default()));
        assert!(BrandSettings::default().check().is_ok());
        assert!(toml::from_str::<BrandSettings>("period_weeks = 1").is_err());
        assert!(toml::from_str::<BrandSettings>("denominations = [1.5]").is_err());

        let days = |period_days, spend_days, redeem_days| {
            BrandSettings { period_days, spend_days, redeem_days, ..settings() }.check().map(|_| ())
        };
        assert_eq!(days(1, 1, 1), Ok(()));
        for wrong in [days(0, 1, 1), days(2, 1, 2), days(2, 2, 1), days(2, 9, 3_661)] {
            assert_eq!(wrong, Err(BrandSettingsError::Days));
        }
        let twice = BrandSettings { denominations: vec![Amount::from_micros(1); 2], ..settings() };
        assert!(matches!(twice.check(), Err(BrandSettingsError::Grid(_))));
    }
}
