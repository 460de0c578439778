//! Money in and out: `naulon wallet withdraw`, `refresh`, `deposit`, `balance`.

use anyhow::bail;
use clap::Args;
use naulon_money::Amount;
use naulon_wallet::Keys;

use super::Folder;
use super::care::{self, Waiting};
use super::room::{InAccount, Room};
use crate::exit::Exit;
use crate::output::{self, Output};

/// `naulon wallet withdraw`
#[derive(Debug, Args)]
pub struct Withdraw {
    /// How much, such as 10 or 12.50.
    pub(super) amount: Amount,
    #[command(flatten)]
    pub(super) keys: KeyChoice,
    #[command(flatten)]
    pub(super) wait: Waiting,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// `naulon wallet refresh`
#[derive(Debug, Args)]
pub struct Refresh {
    #[command(flatten)]
    pub(super) keys: KeyChoice,
    #[command(flatten)]
    pub(super) wait: Waiting,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// Which keys new tokens have.
#[derive(Clone, Copy, Debug, Args)]
pub struct KeyChoice {
    /// Give all these tokens one key, so that one signature pays with several of them. The bank, and only the bank, sees
    /// the key each time one of them is used: it can link these payments to one another, though not to you. Without this
    /// every token has a key of its own, and nothing links them. Such tokens do not come back from the 24 words alone.
    #[arg(long)]
    pub(super) reuse_key: bool,
}

impl KeyChoice {
    pub(super) fn keys(self) -> Keys {
        if self.reuse_key { Keys::Shared } else { Keys::Own }
    }
}

/// `naulon wallet deposit`
#[derive(Debug, Args)]
pub struct Deposit {
    /// How much; all tokens if left out.
    pub(super) amount: Option<Amount>,
    #[command(flatten)]
    pub(super) wait: Waiting,
    #[command(flatten)]
    pub(super) folder: Folder,
}

pub(super) async fn balance(room: &mut Room, output: Output) -> anyhow::Result<Exit> {
    room.look().await?;
    let account = room.balance().await?;
    let tokens = room.wallet().balance().remove(&room.bank.key);
    let (free, reserved, spent, count, currency) = match &tokens {
        Some(tokens) => {
            let amounts = [tokens.free, tokens.reserved, tokens.spent].map(|amount| amount.to_string());
            let [free, reserved, spent] = amounts;
            (free, reserved, spent, tokens.tokens, tokens.currency.to_string())
        }
        None => bail!("the bank has not said which currency it keeps"),
    };
    let in_checks = tokens.as_ref().map_or(Amount::ZERO, |tokens| tokens.in_checks).to_string();
    let remainders = tokens.map_or(Amount::ZERO, |tokens| tokens.remainders).to_string();
    let (account, told) = match account {
        InAccount::Holds(amount) => (Some(amount.to_string()), format!("{amount} {currency}")),
        InAccount::NotOpen => (None, "no account yet".to_owned()),
        InAccount::Unknown => (None, "not known, the bank cannot be reached".to_owned()),
    };
    let (countdown, at) = (room.wallet().countdown(&room.bank.key), room.now().0);
    let over = care::ended(&countdown, at);
    let report = serde_json::json!({
        "ends": care::countdown_json(&countdown, at), "ended": over.to_string(),
        "currency": currency, "tokens": free, "count": count, "remainders": remainders, "reserved": reserved,
        "spent_elsewhere": spent, "in_checks": in_checks,
        "account": account, "account_key": room.wallet().account(&room.bank.key).to_string(),
    });
    output.result(&report, |_| {
        let mut pairs = vec![
            ("tokens to pay with", format!("{free} {currency} ({count})")),
            ("set aside", format!("{reserved} {currency}")),
            ("in the account", told),
        ];
        if in_checks != Amount::ZERO.to_string() {
            pairs.push(("in checks for mixes", format!("{in_checks} {currency} at most: `naulon wallet checks`")));
        }
        if remainders != Amount::ZERO.to_string() {
            let told = format!("{remainders} {currency}: for `buy --keep-remainder`, or `refresh` them");
            pairs.insert(1, ("of these, left on used tokens", told));
        }
        if let Some(told) = care::countdown_text(&countdown, at) {
            pairs.push(("tokens end", told));
        }
        if !over.is_zero() {
            pairs.push(("worth nothing", format!("{over} {currency} of these: nobody exchanged them in time")));
        }
        if spent != Amount::ZERO.to_string() {
            pairs.push(("spent elsewhere", format!("{spent} {currency}, by another copy of this wallet")));
        }
        output::list(pairs)
    })?;
    Ok(Exit::Ok)
}
