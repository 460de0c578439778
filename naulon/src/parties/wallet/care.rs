//! What keeps a wallet's payments private and its money from expiring: the meter, waits, floats, renewal.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::Unverified;
use naulon_wallet::{BuyOptions, Countdown, Keys, OperationId, Privacy, PrivacyLevel, PrivacyReason, WalletError};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Folder;
use super::room::{Room, Went};
use crate::clock::now;
use crate::exit::{Ends, Exit};
use crate::identity::Identity;
use crate::output::{self, Output};

/// A day in milliseconds.
const DAY: u64 = 86_400_000;
/// For how long a command renews what is due before it turns to what it was asked for.
const RENEWING: Duration = Duration::from_secs(5);
/// What is shown while an identified and an anonymous call are kept apart.
const APART: &str = "waiting, so that account and payment are not tied by their time; --no-wait skips it";

/// `naulon wallet privacy`
#[derive(Debug, Args)]
#[command(after_help = "\
The verdict is that of the worst reason:
  poor  few_issued (under 100 tokens of a brand), counts_withheld, young (withdrawn less than 10 minutes ago),
        exact_amount (just this amount was withdrawn), many_together (more than 8 tokens), shared_key, in_parts
  fair  few_issued (under 1000), not_counted (no day of a brand is over yet), young (less than a day), odd_amount (more
        than 4 denominations), many_together (more than 4), withdrawn_together
  good  none of these
How many tokens of a brand were issued stands in the bank's register, day by day, the same for everybody. `buy` warns of a
poor verdict, and refuses brands with fewer tokens than the setting min_issued, unless told --despite-warnings.

Example:
  naulon wallet privacy song.flac")]
pub struct PrivacyOf {
    /// The item, by the name that `naulon wallet items` shows.
    pub item: String,
    /// The shop, if the wallet knows several: its folder, identity file or naulon: line.
    #[arg(long)]
    pub shop: Option<String>,
    #[command(flatten)]
    pub folder: Folder,
}

/// `naulon wallet renew`
#[derive(Debug, Args)]
#[command(after_help = "\
Tokens can be spent for a time, and exchanged for a while longer; then they are worth nothing. Every command of the
wallet that does not name the account renews what is due, at a moment within the last two weeks that only this wallet
knows: so run one now and then (`naulon wallet renew` does nothing else). What cannot be exchanged goes to the account.

Example:
  naulon wallet renew --all")]
pub struct Renew {
    /// Renew all tokens of brands that are no longer issued, due or not.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub folder: Folder,
}

/// `naulon wallet float`
#[derive(Debug, Args)]
#[command(after_help = "\
Withdraws what is missing, waits, and exchanges everything for fresh tokens in all denominations. What is spent later
ties then neither to the withdrawal nor to its amount.

Example:
  naulon wallet float 50")]
pub struct Float {
    /// How much is to be in the wallet.
    pub amount: Amount,
    #[command(flatten)]
    pub wait: Waiting,
    #[command(flatten)]
    pub folder: Folder,
}

/// Whether to wait.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Waiting {
    /// Do not wait between what names the account and what does not, whatever the setting wait says.
    #[arg(long)]
    pub no_wait: bool,
}

/// What a person may switch off when she pays.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Care {
    #[command(flatten)]
    pub wait: Waiting,
    /// Pay even if the payment can be guessed to be yours.
    #[arg(long)]
    pub despite_warnings: bool,
}

/// `naulon wallet tokens`
#[derive(Debug, Args)]
pub struct Tokens {
    #[command(flatten)]
    pub folder: Folder,
}

impl PrivacyOf {
    /// Says what buying the item would tell, and does not buy it.
    pub async fn run(&self, room: &mut Room, shop: Option<Identity>, output: Output) -> anyhow::Result<Exit> {
        room.describe().await?;
        let shop = room.shop(shop)?;
        let offer = room.offer(&shop, &self.item).await?;
        let options = BuyOptions { expiry: room.settings.lock.0, ..BuyOptions::default() };
        let privacy = room.wallet().assess(&offer, &options, now())?;
        let fewest = room.settings.min_issued;
        output.result(&privacy_json(&privacy, fewest), |_| privacy_text(&privacy, fewest))?;
        Ok(Exit::Ok)
    }
}

impl Renew {
    /// Renews what is due.
    pub async fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        room.describe().await?;
        let (bank, patience) = (room.bank.key, self.folder.patience());
        let mut renewed = 0u64;
        loop {
            let entropy = crate::parties::folder::random::<32>()?;
            let begun = match self.all {
                true => room.wallet().renew_now(bank, room.now(), &entropy)?,
                false => room.wallet().renew(bank, room.now(), &entropy)?,
            };
            let Some(op) = begun else { break };
            if room.see_through(Some(op), patience).await? == Went::Stuck {
                let why = room.why_stuck().unwrap_or("nothing moves").to_owned();
                return Err(Ends(Exit::UnderWay, format!("not finished ({why})")).into());
            }
            renewed += 1;
        }
        let countdown = room.wallet().countdown(&bank);
        let report = json!({ "renewed": renewed, "brands": countdown_json(&countdown, room.now().0) });
        output.result(&report, |_| match renewed {
            0 => "nothing is due".to_owned(),
            _ => "renewed".to_owned(),
        })?;
        Ok(Exit::Ok)
    }
}

impl Tokens {
    /// Lists what there is of each brand, and for how long.
    pub async fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        room.look().await?;
        let (countdown, at) = (room.wallet().countdown(&room.bank.key), room.now().0);
        output.result(&countdown_json(&countdown, at), |_| {
            let days = |until: u64| match until.saturating_sub(at) {
                0 => "over".to_owned(),
                left => format!("{} days", left / DAY),
            };
            let rows = countdown.iter().map(|entry| {
                let issued = entry.issued.map_or("not counted yet".to_owned(), |issued| issued.to_string());
                let (spend, redeem) = (days(entry.spend_until.0), days(entry.redeem_until.0));
                vec![entry.value.to_string(), entry.tokens.to_string(), issued, spend, redeem]
            });
            output::table(&["each", "tokens", "issued of its brand", "to pay with", "for good"], rows, &[0, 1, 2])
        })?;
        Ok(Exit::Ok)
    }
}

impl Float {
    /// Fills the wallet up, and makes everything in it fresh.
    pub async fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<OperationId> {
        room.describe().await?;
        let bank = room.bank.key;
        let free = room.wallet().balance().get(&bank).map_or(Amount::ZERO, |balance| balance.free);
        if let Some(missing) = self.amount.checked_sub(free).filter(|missing| !missing.is_zero()) {
            keep_apart(room, true, self.wait, output).await?;
            let entropy = crate::parties::folder::random::<32>()?;
            let op = room.wallet().withdraw(bank, missing, now(), &entropy)?;
            if room.see_through(Some(op), self.folder.patience()).await? == Went::Stuck {
                return Ok(op);
            }
            let ended = room.wallet().operation(op, now())?.context("the operation is gone")?;
            if super::lines::exit_of(&ended) != Exit::Ok {
                return Ok(op);
            }
        }
        keep_apart(room, false, self.wait, output).await?;
        let entropy = crate::parties::folder::random::<32>()?;
        Ok(room.wallet().refresh_with(bank, Keys::Own, now(), &entropy)?)
    }
}

/// Renews what is due, on the occasion of another command. What does not work now works on another occasion; but it is said,
/// so that no money ends silently.
pub async fn renew_due(room: &mut Room) -> anyhow::Result<()> {
    let (bank, at) = (room.bank.key, room.now());
    let is_due = |entry: &Countdown| entry.renewed_from <= at && at < entry.redeem_until;
    let due: Vec<Countdown> = room.wallet().countdown(&bank).into_iter().filter(is_due).collect();
    if room.wallet().is_restoring() || due.is_empty() {
        return Ok(());
    }
    // Soon after a call that names the account it waits for another occasion, as long as there is a day for it.
    let is_urgent = due.iter().any(|entry| entry.spend_until.since(at).0 < DAY);
    let entropy = crate::parties::folder::random::<32>()?;
    if !is_urgent && room.wallet().apart(false, room.settings.wait.0, at, &entropy)?.0 > 0 {
        return Ok(());
    }
    let until = Instant::now() + RENEWING;
    let failed = match room.describe().await {
        Ok(()) => loop {
            let entropy = crate::parties::folder::random::<32>()?;
            let begun = room.wallet().renew(bank, at, &entropy);
            match begun {
                Ok(Some(op)) if Instant::now() < until => {
                    output::note("tokens whose brand ends are exchanged for fresh ones");
                    room.see_through(Some(op), RENEWING).await?;
                }
                Ok(_) => break None,
                Err(error) => break Some(error.into()),
            }
        },
        Err(error) => Some(error),
    };
    if let Some(error) = failed {
        output::note(format_args!("tokens are due to be exchanged for fresh ones, and that does not work: {error:#}"));
    }
    for entry in room.wallet().countdown(&bank).iter().filter(|entry| is_due(entry)) {
        let days = entry.redeem_until.since(at).0 / DAY;
        let (tokens, value) = (entry.tokens, entry.value);
        output::note(format_args!(
            "{tokens} tokens of {value} are worth nothing in {days} days: run `naulon wallet renew`"
        ));
    }
    Ok(())
}

/// Waits so that a call which names the account, and one that does not, are not tied by their time: for a random time, of at
/// most the setting wait, since the last call of the other kind. True if it has waited.
pub async fn keep_apart(room: &Room, names_account: bool, wait: Waiting, output: Output) -> anyhow::Result<bool> {
    if wait.no_wait || room.settings.wait.0.0 == 0 {
        return Ok(false);
    }
    let entropy = crate::parties::folder::random::<32>()?;
    let wait = room.wallet().apart(names_account, room.settings.wait.0, room.now(), &entropy)?;
    if wait.0 > 0 {
        let shown = output.waiting(APART);
        tokio::time::sleep(Duration::from_millis(wait.0)).await;
        shown.finish_and_clear();
    }
    Ok(wait.0 > 0)
}

/// Before a payment: says what it would tell, exchanges tokens that come straight from the account if the settings say so, and
/// refuses brands among whose tokens nobody can hide. True if that has taken time, so that a fresh offer is wanted.
pub async fn before_paying(
    room: &mut Room,
    offer: &Unverified<GoodsM>,
    options: &BuyOptions,
    care: Care,
    patience: Duration,
    output: Output,
) -> anyhow::Result<bool> {
    let Some(mut privacy) = assessed(room, offer, options)? else { return Ok(false) };
    let mut refreshed = false;
    if room.settings.refresh_first && !care.despite_warnings && privacy.is_straight() {
        keep_apart(room, false, care.wait, output).await?;
        let entropy = crate::parties::folder::random::<32>()?;
        let op = room.wallet().refresh(room.bank.key, now(), &entropy)?;
        if room.see_through(Some(op), patience).await? == Went::Stuck {
            let why = room.why_stuck().unwrap_or("nothing moves").to_owned();
            return Err(
                Ends(Exit::UnderWay, format!("tokens are being refreshed first ({why}); nothing is bought")).into()
            );
        }
        refreshed = true;
        privacy = assessed(room, offer, options)?.unwrap_or(privacy);
    }
    let fewest = room.settings.min_issued;
    if privacy.is_refused(fewest) && !care.despite_warnings {
        let why = format!(
            "not paid, because {}; the setting min_issued wants {fewest}. Wait until more people use the brand, or pay \
             --despite-warnings",
            reasons_text(&privacy)
        );
        return Err(Ends(Exit::Refused, why).into());
    }
    if privacy.level() == PrivacyLevel::Poor && !care.despite_warnings {
        output::note(format_args!("this payment can be guessed to be yours: {}", reasons_text(&privacy)));
    }
    Ok(keep_apart(room, false, care.wait, output).await? || refreshed)
}

/// The meter; none where the purchase is refused for another reason, which is said when it is begun.
fn assessed(room: &Room, offer: &Unverified<GoodsM>, options: &BuyOptions) -> anyhow::Result<Option<Privacy>> {
    match room.wallet().assess(offer, options, now()) {
        Ok(privacy) => Ok(Some(privacy)),
        Err(error @ (WalletError::Store(_) | WalletError::Reopen)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The meter for programs.
fn privacy_json(privacy: &Privacy, fewest: u64) -> Value {
    let reason = |reason: &PrivacyReason| json!({ "code": reason.code(), "level": level_name(reason.level()) });
    json!({
        "level": level_name(privacy.level()),
        "refused": privacy.is_refused(fewest),
        "reasons": privacy.reasons.iter().map(reason).collect::<Vec<_>>(),
        "tokens": privacy.tokens,
        "issued": privacy.issued,
        "counted_day": privacy.counted.map(|day| day.0),
        "age_seconds": privacy.age.map(|age| age.0 / 1_000),
    })
}

fn privacy_text(privacy: &Privacy, fewest: u64) -> String {
    let known = |count: Option<u64>| count.map_or("not known".to_owned(), |count| count.to_string());
    let age = privacy.age.map_or("not from the account".to_owned(), |age| format!("{} s", age.0 / 1_000));
    output::list([
        ("privacy", level_name(privacy.level()).to_owned()),
        ("because", if privacy.reasons.is_empty() { "nothing stands out".to_owned() } else { reasons_text(privacy) }),
        ("tokens to be given", privacy.tokens.to_string()),
        ("tokens of the rarest brand", known(privacy.issued)),
        ("youngest withdrawn before", age),
        ("buy refuses it", if privacy.is_refused(fewest) { "yes".to_owned() } else { "no".to_owned() }),
    ])
}

fn reasons_text(privacy: &Privacy) -> String {
    let text = |reason: &PrivacyReason| match reason {
        PrivacyReason::FewIssued(issued) => format!("only {issued} tokens of a brand were issued"),
        PrivacyReason::CountsWithheld => "the bank does not show how many tokens it has issued".to_owned(),
        PrivacyReason::NotCounted => "no day of its brand is counted yet".to_owned(),
        PrivacyReason::Young(age) => format!("a token was withdrawn {} s ago", age.0 / 1_000),
        PrivacyReason::ExactAmount(amount) => format!("exactly {amount} was withdrawn"),
        PrivacyReason::OddAmount(values) => format!("the amount takes {values} denominations"),
        PrivacyReason::ManyTogether(tokens) => format!("{tokens} tokens are given together"),
        PrivacyReason::WithdrawnTogether(tokens) => format!("all {tokens} tokens were withdrawn together"),
        PrivacyReason::SharedKey => "tokens share a key, whose uses the bank sees".to_owned(),
        PrivacyReason::InParts => "a token is spent in parts, whose uses the bank sees".to_owned(),
    };
    privacy.reasons.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn level_name(level: PrivacyLevel) -> &'static str {
    match level {
        PrivacyLevel::Poor => "poor",
        PrivacyLevel::Fair => "fair",
        PrivacyLevel::Good => "good",
    }
}

/// What there is of each brand, and for how many days.
pub fn countdown_json(countdown: &[Countdown], at: u64) -> Value {
    let days = |until: u64| until.saturating_sub(at) / DAY;
    let entry = |entry: &Countdown| {
        json!({
            "value": entry.value.to_string(), "tokens": entry.tokens, "issued": entry.issued,
            "spend_days": days(entry.spend_until.0), "redeem_days": days(entry.redeem_until.0),
            "ended": entry.redeem_until.0 <= at,
        })
    };
    Value::Array(countdown.iter().map(entry).collect())
}

/// What tokens were worth that can no longer be exchanged.
pub fn ended(countdown: &[Countdown], at: u64) -> Amount {
    let over = countdown.iter().filter(|entry| entry.redeem_until.0 <= at);
    let worth = over.map(|entry| entry.value.micros().saturating_mul(entry.tokens as u64));
    Amount::from_micros(worth.fold(0, u64::saturating_add))
}

/// The soonest end, in words; none if there are no tokens.
pub fn countdown_text(countdown: &[Countdown], at: u64) -> Option<String> {
    let first = countdown.iter().find(|entry| at < entry.redeem_until.0)?;
    let days = |until: u64| until.saturating_sub(at) / DAY;
    let (spend, redeem) = (days(first.spend_until.0), days(first.redeem_until.0));
    Some(format!("first in {spend} days to pay with, in {redeem} for good; renewed before, see `renew --help`"))
}
