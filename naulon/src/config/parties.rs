//! The settings of each role.

use anyhow::Context;
use naulon_bank::BrandSettings;
use naulon_exchange::EntryMode;
use naulon_money::{Amount, Grid};
use naulon_purchase::BlindRules;
use naulon_statement::Duration;
use serde::{Deserialize, Serialize};

use super::{At, BankListen, Listen, Settings, Span};
use crate::identity::Role;

pub(super) const LISTEN: &str = "Where everybody asks: an address, on loopback or with a certificate. With one it is written\n\
                      { address = \"0.0.0.0:443\", tls = { certificate = \"tls.pem\", key = \"tls.key\" } }.";
pub(super) const LISTEN_OPERATOR: &str =
    "Where the operator asks for metrics and health: a socket in this folder, or an address as above.";
pub(super) const LOG_LEVEL: &str =
    "What the server tells on standard error: error, warn, info or debug. It never names people.";

/// A bank's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankSettings {
    /// Always `bank`.
    pub role: String,
    /// Where it listens.
    pub listen: BankListen,
    /// Where its books are.
    pub store: String,
    /// The library of a PKCS#11 token for the brands' keys; none if empty.
    pub pkcs11_module: String,
    /// The token's label.
    pub pkcs11_token: String,
    /// A file with its PIN; none if empty.
    pub pkcs11_pin_file: String,
    /// The name of its register in checkpoints.
    pub origin: String,
    /// Witnesses, each with its verifier key and its address.
    pub witnesses: Vec<String>,
    /// How many of them must cosign.
    pub threshold: usize,
    /// Its currency.
    pub currency: String,
    /// What its tokens are worth.
    pub denominations: Vec<String>,
    /// What checks of purses are worth in all.
    pub purse_checks: Vec<String>,
    /// How many days a brand is issued.
    pub brand_days: u32,
    /// For how many days its tokens can be spent.
    pub spend_days: u32,
    /// For how many days they can be redeemed.
    pub redeem_days: u32,
    /// The shortest lock.
    pub lock_min: Span,
    /// The longest lock.
    pub lock_max: Span,
    /// How long requests of a closed brand are kept.
    pub keep_closed: Span,
    /// How long an abort is kept.
    pub claims: Span,
    /// Identities of logs.
    pub logs: Vec<String>,
    /// Identities of those logs that are its own.
    pub own_logs: Vec<String>,
    /// Statements of merchants that a log is their own.
    pub merchant_logs: Vec<String>,
    /// Identities of shops to whom it carries its promises.
    pub shops: Vec<String>,
    /// The key that vouches for money from outside.
    pub operator: String,
    /// What is told.
    pub log_level: String,
}

/// The books are in a file in the bank's folder.
pub const SQLITE: &str = "sqlite";

impl Default for BankSettings {
    fn default() -> Self {
        BankSettings {
            role: Role::Bank.name().to_owned(),
            listen: BankListen::at(At::Plain("127.0.0.1:21001".to_owned()), At::Plain("127.0.0.1:21011".to_owned())),
            store: SQLITE.to_owned(),
            pkcs11_module: String::new(),
            pkcs11_token: String::new(),
            pkcs11_pin_file: String::new(),
            origin: String::new(),
            witnesses: Vec::new(),
            threshold: 0,
            currency: "EUR".to_owned(),
            denominations: Grid::standard().denominations().iter().rev().map(ToString::to_string).collect(),
            purse_checks: Vec::new(),
            brand_days: 30,
            spend_days: 90,
            redeem_days: 180,
            lock_min: Span(Duration::seconds(60)),
            lock_max: Span(Duration::days(1)),
            keep_closed: Span(Duration::days(30)),
            claims: Span(Duration::days(90)),
            logs: Vec::new(),
            own_logs: Vec::new(),
            merchant_logs: Vec::new(),
            shops: Vec::new(),
            operator: String::new(),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for BankSettings {
    const ROLE: Role = Role::Bank;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("listen.public", LISTEN),
        (
            "listen.account",
            "Where owners of accounts ask; what names an account is taken nowhere else. Best on another host name than the\n\
             public one, so that who watches the network cannot tell by it that the two belong together.",
        ),
        ("listen.operator", LISTEN_OPERATOR),
        (
            "store",
            "Where the books are: sqlite, in this folder; or postgresql://USER@localhost/DATABASE, which several servers\n\
             with this folder may share. It cannot change once there are any.",
        ),
        (
            "pkcs11_module",
            "The library of a PKCS#11 token, such as /usr/lib/softhsm/libsofthsm2.so, in which the brands' private keys are\n\
             made and from which they never come out. Empty: they lie in files, sealed under the passphrase. A bank that\n\
             has keys in files keeps using them for their brands.",
        ),
        ("pkcs11_token", "The label of that token."),
        (
            "pkcs11_pin_file",
            "A file with the token's PIN, which nobody but its owner may read. Empty: the PIN is asked for once, and sealed\n\
             in this folder under the passphrase (token-pin.key; after a change of the PIN, remove that file).",
        ),
        ("origin", "The name of the bank's register in its checkpoints, which cannot change once there are any."),
        (
            "witnesses",
            "Who cosigns the register's checkpoints, as lines of verifier key and address (`naulon bank trust-witness`). With\n\
             them the bank refuses to start from an old copy of its store. Wallets take brands only from a register that\n\
             their own witnesses have cosigned.",
        ),
        ("threshold", "How many of the witnesses make a checkpoint a cosigned one; 0 means more than half of them."),
        ("currency", "The currency of all accounts and tokens. It cannot change once there are any."),
        ("denominations", "What tokens are worth. A change holds from the next period's brands on."),
        (
            "purse_checks",
            "What checks of purses are worth in all, one brand each (`naulon purse`). A total that is a mix's price times a\n\
             round number of blocks. Empty: the bank has no purses.",
        ),
        (
            "brand_days",
            "For how many days one brand of tokens is issued; then come the next period's. The longer, the more tokens\n\
             one hides among; the shorter, the sooner a stolen key is worthless. The next period's are made ahead.",
        ),
        ("spend_days", "For how many days after its period's beginning a brand's tokens can be spent."),
        ("redeem_days", "For how many days they can be exchanged or deposited. Then they are worth nothing."),
        ("lock_min", "The shortest time for which tokens are locked for a purchase."),
        ("lock_max", "The longest."),
        (
            "keep_closed",
            "For how long after a brand's last day (redeem_days) the requests that gave up its tokens are kept, for disputes. Then\n\
             they are forgotten; a repetition is answered that the brand is closed.",
        ),
        (
            "claims",
            "For how long after a purchase's expiry its abort is kept. A shop that claims later is told that the purchase is not\n\
             known. Longer than the logs keep their decisions (their setting retention).",
        ),
        ("logs", "The logs whose decisions this bank heeds, as their naulon: lines (`naulon bank trust-log`)."),
        (
            "own_logs",
            "Those of them that this bank keeps itself (`naulon bank trust-log --own`). Shops that accept one trust the bank\n\
             and the log together; wallets say so before they buy.",
        ),
        (
            "merchant_logs",
            "Statements of shops that a log is their own (`naulon shop own-log`, `naulon bank trust-log --statement`): what such\n\
             a log has not committed to some time after the expiry is freed by this bank's own clock. A statement must stay\n\
             here for as long as purchases by it are in the books.",
        ),
        (
            "shops",
            "Shops to whom this bank carries its promises if a buyer wants to be off-line (`wallet buy --bank-delivers`), as\n\
             their naulon: lines. It goes to these addresses alone, never to one that a buyer names.",
        ),
        (
            "operator",
            "The public key that vouches for money from outside; `naulon bank credit` signs with its private half, the\n\
             file operator.key. Whoever has that can make money.",
        ),
        ("log_level", LOG_LEVEL),
    ];
}

impl BankSettings {
    /// How its brands are cut. A brand is issued for its period and no longer, so that there is never a second one of its
    /// denomination at the same time.
    pub fn brands(&self) -> anyhow::Result<BrandSettings> {
        let denominations = self.denominations.iter().map(|text| text.parse()).collect::<Result<Vec<Amount>, _>>();
        let purse_checks = self.purse_checks.iter().map(|text| text.parse()).collect::<Result<Vec<Amount>, _>>();
        let settings = BrandSettings {
            purse_checks: purse_checks.context("the setting purse_checks")?,
            denominations: denominations.context("the setting denominations")?,
            period_days: self.brand_days,
            spend_days: self.spend_days,
            redeem_days: self.redeem_days,
        };
        settings.check().context("the settings of brands")?;
        Ok(settings)
    }
}

/// A log's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Always `log`.
    pub role: String,
    /// Where it listens.
    pub listen: Listen,
    /// Its name in checkpoints.
    pub origin: String,
    /// How long after an expiry it decides.
    pub retention: Span,
    /// Identities of banks.
    pub banks: Vec<String>,
    /// Witnesses, each with its verifier key and its address.
    pub witnesses: Vec<String>,
    /// How many of them must cosign.
    pub threshold: usize,
    /// As what it takes commits.
    pub entries: Vec<String>,
    /// How many blind decisions it makes a minute.
    pub blind_per_minute: u32,
    /// How far ahead a blind message may expire.
    pub blind_horizon: Span,
    /// What is told.
    pub log_level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            role: Role::Log.name().to_owned(),
            listen: Listen::at(At::Plain("127.0.0.1:21002".to_owned())),
            origin: String::new(),
            retention: Span(Duration::days(365)),
            banks: Vec::new(),
            witnesses: Vec::new(),
            threshold: 0,
            entries: EntryMode::ALL.map(|mode| mode.to_string()).to_vec(),
            blind_per_minute: BlindRules::default().per_minute,
            blind_horizon: Span(BlindRules::default().horizon),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for LogSettings {
    const ROLE: Role = Role::Log;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("listen.public", LISTEN),
        ("listen.operator", LISTEN_OPERATOR),
        ("origin", "Its name in checkpoints, which cannot change once it has decided."),
        ("retention", "How long after a purchase's expiry the log decides on it and keeps the decision."),
        ("banks", "The banks on whose purchases it decides, as their naulon: lines (`naulon log trust-bank`)."),
        (
            "entries",
            "As what it takes commits: plain (everybody reads them), encrypted (the parties of the purchase alone read\n\
             them), blind (not even this log knows what it decides on). Aborts it makes for all three.",
        ),
        (
            "blind_per_minute",
            "How many blind decisions it makes a minute. Nobody vouches for a blind message, so anybody may fill this up;\n\
             whoever must get through takes another kind of entry.",
        ),
        ("blind_horizon", "How far ahead a blind message may expire: as long as banks lock."),
        (
            "witnesses",
            "Who cosigns its checkpoints, as lines of verifier key and address (`naulon log trust-witness`). With them the\n\
             log refuses to start from an old copy of its store. Any C2SP witness will do.",
        ),
        ("threshold", "How many of the witnesses make a checkpoint a cosigned one; 0 means more than half of them."),
        ("log_level", LOG_LEVEL),
    ];
}

/// A witness's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSettings {
    /// Always `witness`.
    pub role: String,
    /// Where it listens.
    pub listen: Listen,
    /// Its name in cosignatures.
    pub name: String,
    /// Verifier keys of logs.
    pub logs: Vec<String>,
    /// What is told.
    pub log_level: String,
}

impl Default for WitnessSettings {
    fn default() -> Self {
        WitnessSettings {
            role: Role::Witness.name().to_owned(),
            listen: Listen::at(At::Plain("127.0.0.1:21005".to_owned())),
            name: String::new(),
            logs: Vec::new(),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for WitnessSettings {
    const ROLE: Role = Role::Witness;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("listen.public", LISTEN),
        ("listen.operator", LISTEN_OPERATOR),
        ("name", "Its name in cosignatures. Whoever trusts it knows it by name and key, so it cannot change."),
        ("logs", "The logs for which it cosigns, as their C2SP verifier keys (`naulon log witness trust-log`)."),
        ("log_level", LOG_LEVEL),
    ];
}

/// A shop's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShopSettings {
    /// Always `shop`.
    pub role: String,
    /// Where it listens.
    pub listen: Listen,
    /// The currency of its prices.
    pub currency: String,
    /// How long an offer holds.
    pub offer_valid: Span,
    /// How much time must be left when it releases a key.
    pub release_margin: Span,
    /// Whether it wants every delivery acknowledged.
    pub two_sided: bool,
    /// How purchases may stand in the log.
    pub entries: Vec<String>,
    /// Identities of banks.
    pub banks: Vec<String>,
    /// Identities of logs.
    pub logs: Vec<String>,
    /// How long a sale is kept once it is over.
    pub keep_sales: Span,
    /// What is told.
    pub log_level: String,
}

impl Default for ShopSettings {
    fn default() -> Self {
        ShopSettings {
            role: Role::Shop.name().to_owned(),
            listen: Listen::at(At::Plain("127.0.0.1:21003".to_owned())),
            currency: "EUR".to_owned(),
            offer_valid: Span(Duration::seconds(24 * 3_600)),
            release_margin: Span(Duration::seconds(10)),
            two_sided: false,
            entries: EntryMode::ALL.map(|mode| mode.to_string()).to_vec(),
            banks: Vec::new(),
            logs: Vec::new(),
            keep_sales: Span(Duration::days(90)),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for ShopSettings {
    const ROLE: Role = Role::Shop;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("listen.public", LISTEN),
        ("listen.operator", LISTEN_OPERATOR),
        ("currency", "The currency of the prices; its banks must keep it."),
        ("offer_valid", "How long an offer can be taken. Large files take their time to fetch."),
        (
            "release_margin",
            "How much time must be left before a purchase expires when the shop hands its key to the log. Less is\n\
             refused, for a commit that comes too late is none.",
        ),
        ("two_sided", "Whether every buyer must sign what is delivered (two-sided delivery), or only who wants to."),
        (
            "entries",
            "How purchases may stand in the log, the kind it likes best first: plain, encrypted, blind. The buyer chooses;\n\
             the logs must take it, too.",
        ),
        ("banks", "The banks whose promises this shop accepts, as their naulon: lines."),
        (
            "logs",
            "The logs that it trusts to record every key that they receive, as their naulon: lines. A log that hands a key\n\
             to the buyer without recording it gives the goods away: this list is what the shop relies on.",
        ),
        (
            "keep_sales",
            "How long a sale is kept once it is credited, or aborted: a buyer who restores a wallet can have the offer again\n\
             so long. Then the shop forgets it.",
        ),
        ("log_level", LOG_LEVEL),
    ];
}

/// A wallet's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletSettings {
    /// Always `wallet`.
    pub role: String,
    /// The identity of its bank.
    pub bank: String,
    /// The verifier keys of witnesses.
    pub witnesses: Vec<String>,
    /// How many of them must have seen the bank's register.
    pub threshold: usize,
    /// Identities of logs.
    pub logs: Vec<String>,
    /// Identities of shops.
    pub shops: Vec<String>,
    /// Where bought files go.
    pub goods: String,
    /// How long a purchase locks tokens.
    pub lock: Span,
    /// Whether purchases are two-sided.
    pub two_sided: bool,
    /// The proxy that everything goes through.
    pub proxy: String,
    /// How long to wait between what names the account and what does not, at most.
    pub wait: Span,
    /// How many tokens of a brand must have been issued before one is paid with.
    pub min_issued: u64,
    /// Whether tokens that come straight from the account are exchanged for fresh ones before they are paid with.
    pub refresh_first: bool,
}

impl Default for WalletSettings {
    fn default() -> Self {
        WalletSettings {
            role: Role::Wallet.name().to_owned(),
            bank: String::new(),
            witnesses: Vec::new(),
            threshold: 0,
            logs: Vec::new(),
            shops: Vec::new(),
            goods: "goods".to_owned(),
            lock: Span(Duration::seconds(600)),
            two_sided: false,
            proxy: String::new(),
            wait: Span(Duration::seconds(600)),
            min_issued: naulon_wallet::FEW_ISSUED,
            refresh_first: true,
        }
    }
}

impl Settings for WalletSettings {
    const ROLE: Role = Role::Wallet;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("bank", "The bank that keeps the account and issues the tokens, as its naulon: line."),
        (
            "witnesses",
            "Who watches that the bank shows everybody the same brands: the verifier keys of witnesses, name+id+key.",
        ),
        (
            "threshold",
            "How many of the witnesses must have cosigned the bank's register before a brand is taken from it; 0 means more\n\
             than half. Without witnesses the bank must be on this machine: it could show you brands of your own, and know\n\
             you by them.",
        ),
        ("logs", "The logs that may decide on purchases, as their naulon: lines. The first that suits is taken."),
        ("shops", "Known shops, as their naulon: lines. `buy --shop` adds to them."),
        ("goods", "Where bought files go; a relative path is inside of this folder."),
        ("lock", "How long tokens are locked for a purchase, at most: if the shop fails, they are free after it."),
        ("two_sided", "Whether to sign what was delivered (two-sided delivery) even where the shop does not ask."),
        (
            "proxy",
            "A SOCKS5 proxy, such as Tor's, for all connections: socks5h://HOST:PORT, or socks5h://USER:PASSWORD@HOST:PORT if\n\
             it asks for that. Nothing goes out beside it, whatever happens. Each purchase has a SOCKS user name of its own.",
        ),
        (
            "wait",
            "What names the account and what does not are kept apart by a random time of at most this, or by their time they\n             could be told to be one person's. 0s waits for nothing.",
        ),
        (
            "min_issued",
            "Tokens of a brand are not paid with before so many of it were issued to anybody, by the bank's public register:\n             one hides among no more. `buy --despite-warnings` does it all the same; 0 refuses nothing.",
        ),
        (
            "refresh_first",
            "Whether tokens that come straight from the account are exchanged for fresh ones before they are paid with, so\n             that neither the time nor the amount of their withdrawal tells whose they are.",
        ),
    ];
}

/// The kinds of log entries that a setting names.
pub fn entry_modes(names: &[String]) -> anyhow::Result<Vec<EntryMode>> {
    let modes = names.iter().map(|name| name.parse().with_context(|| format!("the setting entries: {name}")));
    let modes = modes.collect::<anyhow::Result<Vec<EntryMode>>>()?;
    anyhow::ensure!(!modes.is_empty(), "the setting entries names at least one of plain, encrypted and blind");
    Ok(modes)
}
