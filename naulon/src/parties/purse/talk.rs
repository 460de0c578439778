//! What goes over a purse's socket: one line of JSON each way.

use anyhow::Context;
use naulon_exchange::{Exchange, Funding, Input, Output};
use naulon_money::Amount;
use naulon_purse::{CheckWanted, Fare, Purse, PurseError, PurseStore};
use naulon_statement::{Digest, Joint, SecretKey, Timestamp, Unverified, UnverifiedJoint, cbor};
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// What it holds.
    Status,
    /// A load that is to be paid.
    Load {
        #[serde(with = "maybe_text")]
        total: Option<Amount>,
        #[serde(with = "text")]
        amount: Amount,
        number: String,
    },
    /// The bank's word for a load.
    Credit { word: String },
    /// A check.
    Make {
        wish: String,
        payee: String,
        #[serde(with = "text")]
        value: Amount,
        length: u32,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// What it holds.
    Status { brands: Vec<Held> },
    /// What the bank is to be paid for.
    Asked { brand: String, currency: String, number: String },
    /// The balance after a load.
    Credited { balance: String },
    /// A check.
    Made(Box<Made>),
    /// None of these.
    Refused { code: String, words: String },
}

/// What it holds of one brand.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    pub brand: String,
    pub total: String,
    pub currency: String,
    pub balance: String,
    pub until: u64,
}

/// A check, for whoever pays with it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    pub commitment: String,
    pub total: String,
    /// Check and funding, as a mix is shown them (CBOR).
    pub shown: String,
    /// The secret of the ticks.
    pub chain: String,
    /// The seed of the key that takes the remainder.
    pub refund: String,
}

/// Answers one line.
pub fn answer<S: PurseStore>(purse: &mut Purse<S>, line: &str, now: Timestamp) -> Answer {
    let asked = match serde_json::from_str(line) {
        Ok(ask) => ask,
        Err(error) => return Answer::Refused { code: "malformed".to_owned(), words: error.to_string() },
    };
    match answer_to(purse, asked, now) {
        Ok(answer) => answer,
        Err(error) => {
            let code = error.downcast_ref::<PurseError>().map_or("malformed", PurseError::code);
            Answer::Refused { code: code.to_owned(), words: format!("{error:#}") }
        }
    }
}

fn answer_to<S: PurseStore>(purse: &mut Purse<S>, ask: Ask, now: Timestamp) -> anyhow::Result<Answer> {
    match ask {
        Ask::Status => {
            let held = |known: &naulon_blind::KnownBrand| -> anyhow::Result<Held> {
                let (id, brand) = (Digest(*known.key_id()), known.brand());
                Ok(Held {
                    brand: hex::encode(id.0),
                    total: brand.denomination.to_string(),
                    currency: brand.currency.to_string(),
                    balance: purse.balance(&id)?.to_string(),
                    until: brand.spend_until.0,
                })
            };
            Ok(Answer::Status { brands: purse.brands().map(held).collect::<anyhow::Result<_>>()? })
        }
        Ask::Load { total, amount, number } => {
            let issues = purse.brands().filter(|known| known.issues_at(now));
            let fitting = issues.filter(|known| total.is_none_or(|total| known.brand().denomination == total));
            let fitting: Vec<Digest> = fitting.map(|known| Digest(*known.key_id())).collect();
            let brand = *fitting.first().context("no such brand of this purse is issued now")?;
            anyhow::ensure!(fitting.len() == 1, "the purse makes checks of several totals: say which");
            let asked = purse.ask_load(&brand, amount, &bytes(&number)?)?;
            let currency = asked.currency.to_string();
            Ok(Answer::Asked { brand: hex::encode(brand.0), currency, number: hex::encode(asked.load) })
        }
        Ask::Credit { word } => {
            let word = Unverified::parse(&hex::decode(word).context("hexadecimal digits")?)?;
            Ok(Answer::Credited { balance: purse.credit(word)?.to_string() })
        }
        Ask::Make { wish, payee, value, length } => {
            let payee = payee.parse().map_err(|_| anyhow::anyhow!("the payee is no key"))?;
            let fare = purse.make(&CheckWanted { wish: bytes(&wish)?, payee, value, length }, now)?;
            Ok(Answer::Made(Box::new(made(&fare)?)))
        }
    }
}

fn made(fare: &Fare) -> anyhow::Result<Made> {
    let Fare { check, token, secrets } = fare;
    // The payee posts this before the first block: it sets the total aside at the bank.
    let exchange = Exchange {
        bank: check.bank,
        currency: check.currency.clone(),
        inputs: vec![Input::Purse { check: check.clone(), token: *token, signer: check.refund }],
        outputs: vec![Output::chain(check).context("a check that can be counted")?],
        condition: None,
        seal_to: None,
    };
    let joint = Joint::sign(exchange, [&SecretKey::from_seed(secrets.refund())]);
    let funding = Funding::Online(Box::new(UnverifiedJoint::from(joint)));
    let shown = naulon_mix::Fare { check: check.clone(), funding };
    Ok(Made {
        commitment: check.commitment().to_string(),
        total: check.maximum().context("a check that can be counted")?.to_string(),
        shown: hex::encode(cbor::to_vec(&shown)),
        chain: hex::encode(secrets.chain()),
        refund: hex::encode(secrets.refund()),
    })
}

/// So many bytes in hexadecimal.
pub fn bytes<const N: usize>(text: &str) -> anyhow::Result<[u8; N]> {
    let bytes = hex::decode(text).context("hexadecimal digits")?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("{N} bytes in hexadecimal"))
}

mod text {
    use naulon_money::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(amount: &Amount, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(amount)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

mod maybe_text {
    use naulon_money::Amount;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub fn serialize<S: Serializer>(amount: &Option<Amount>, to: S) -> Result<S::Ok, S::Error> {
        amount.map(|amount| amount.to_string()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Amount>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}
