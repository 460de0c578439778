//! `naulon wallet …`

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use naulon_exchange::{Carrier, EntryMode, LogKeeper};
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_wallet::{BuyOptions, DepositAmount, Keys, OperationId, OperationKind};
use naulon_wire::{EvidenceFile, Proxy};

use super::PartyFolder;
use super::wallet_care::{self, Care, Float, PrivacyOf, Renew, Tokens, Waiting};
use super::wallet_fetch::{Authorize, Fetch};
use super::wallet_lines::{Line, exit_of, line, listing, sentence, show_words};
use super::wallet_order::OrderToken;
use super::wallet_receipts;
use super::wallet_restore::{Backup, Restore};
use super::wallet_room::{self, InAccount, Room, Went};
use crate::clock::now;
use crate::config::{Span, WalletSettings, add_to_list};
use crate::exit::{Ends, Exit};
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output, note};
use crate::passphrase::PassphraseFrom;

/// `naulon wallet …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Every command first goes on with what is under way, so a wallet that was killed anywhere just carries on. Its folder is
./wallet unless --dir says otherwise.

Examples:
  naulon wallet init --bank bank --log log --shop shop
  naulon wallet open-account
  naulon wallet withdraw 10.00
  naulon wallet items
  naulon wallet buy song.flac --max-price 5")]
pub enum WalletCommand {
    /// Make a wallet, and show its 24 words once
    Init(Init),
    /// Open the wallet's account at its bank, and print its key
    OpenAccount(Plain),
    /// Turn money of the account into tokens
    Withdraw(Withdraw),
    /// Print what is in the wallet and in the account
    Balance(Plain),
    /// List the tokens: how many of each brand there are, to hide among, and for how long they are good
    Tokens(Tokens),
    /// List what a shop sells
    Items(Items),
    /// Buy an item with tokens: the file is here in the end, or the tokens are
    Buy(Buy),
    /// Buy an item by its URL, as its shop's 402 asks (HTTP `Payment` scheme)
    Fetch(Fetch),
    /// Lock tokens for an item and print what another HTTP client shows to pay with them
    Authorize(Authorize),
    /// Say what buying an item would tell about you
    Privacy(PrivacyOf),
    /// Exchange all tokens for fresh ones
    Refresh(Refresh),
    /// Exchange tokens whose brand ends soon for fresh ones
    Renew(Renew),
    /// Fill the wallet up to an amount, with fresh tokens in all denominations
    Float(Float),
    /// Give tokens back to the account
    Deposit(Deposit),
    /// Take what a shop gives back of a purchase, as fresh tokens
    Refund(Refund),
    /// List everything that was begun
    History(Plain),
    /// Go on with what is under way
    Resume(Resume),
    /// Give up a purchase that is not paid yet, or what the bank does not do now: its tokens are free again
    GiveUp(GiveUp),
    /// Forget a purchase that has ended, with all its evidence; the bought file stays
    Discard(Discard),
    /// Write what a purchase proves into a file, for `naulon verify`
    Evidence(Evidence),
    /// Pay for a token that another Privacy Pass client asks for
    OrderToken(OrderToken),
    /// Ask the bank to prove that it has counted what it issued and redeemed, and keep what it says
    Receipts(Receipts),
    /// Print whom the wallet deals with
    Show(Show),
    /// Bring a lost wallet back from its 24 words: balance, tokens, and purchases under way
    Restore(Restore),
    /// Check the 24 words before they are needed
    #[command(subcommand)]
    Backup(Backup),
}

/// The folder of a wallet, and how long it tries.
#[derive(Clone, Debug, Args)]
pub struct Folder {
    /// The wallet's folder.
    #[arg(long, value_name = "DIR", default_value = "wallet")]
    pub(super) dir: PathBuf,
    /// How long to try on while nothing moves; then what is under way is left for `resume`.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: Span,
    /// The SOCKS5 proxy that everything goes through, such as socks5h://127.0.0.1:9050; over the setting proxy.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
}

impl Folder {
    /// The wallet's folder.
    pub(super) fn party(&self) -> PartyFolder {
        PartyFolder::open(&self.dir)
    }

    /// How long to try on.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.0.0)
    }

    /// The settings in force, with the options over them.
    pub(super) fn settings(&self) -> anyhow::Result<WalletSettings> {
        let settings: WalletSettings = self.party().settings()?;
        with_proxy(settings, self.proxy.as_deref())
    }

    /// Where the wallet is.
    pub(super) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// The proxy of the option.
    pub(super) fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }
}

/// The settings with this proxy. A password belongs into the settings, where other users do not see it.
pub(super) fn with_proxy(settings: WalletSettings, proxy: Option<&str>) -> anyhow::Result<WalletSettings> {
    let Some(proxy) = proxy else { return Ok(settings) };
    let has_login = Proxy::parse(proxy, [0; 32])?.has_login();
    ensure!(!has_login, "write a proxy with a password into the setting proxy: everybody can read a command line");
    Ok(WalletSettings { proxy: proxy.to_owned(), ..settings })
}

/// A command without arguments of its own.
#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet init`
#[derive(Debug, Args)]
pub struct Init {
    /// The wallet's folder.
    #[arg(long, value_name = "DIR", default_value = "wallet")]
    dir: PathBuf,
    /// The bank that keeps the account: its folder, identity file or naulon: line.
    #[arg(long)]
    bank: String,
    /// A witness that watches the bank's register, by its verifier key (name+id+key). May be given again. Without one the
    /// bank must be on this machine.
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// How many of the witnesses must have seen the register; 0 means more than half.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    threshold: usize,
    /// A log that may decide on purchases: its folder, identity file or naulon: line. May be given again.
    #[arg(long, value_name = "LOG", required = true)]
    log: Vec<String>,
    /// A shop to buy from: its folder, identity file or naulon: line. May be given again, also later (`buy --shop`).
    #[arg(long, value_name = "SHOP")]
    shop: Vec<String>,
}

/// `naulon wallet receipts`
#[derive(Debug, Args)]
#[command(after_help = "\
Before the day is over the bank gives its promise; ask again on a later day, and it must show that it has kept it. If it has not, the
file convicts it: naulon verify FILE --trust BANK. Exit code 2 says so.")]
pub struct Receipts {
    /// The operation, by the number that `naulon wallet history` shows.
    operation: u64,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet withdraw`
#[derive(Debug, Args)]
pub struct Withdraw {
    /// How much, such as 10 or 12.50.
    amount: Amount,
    #[command(flatten)]
    keys: KeyChoice,
    #[command(flatten)]
    wait: Waiting,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet refresh`
#[derive(Debug, Args)]
pub struct Refresh {
    #[command(flatten)]
    keys: KeyChoice,
    #[command(flatten)]
    wait: Waiting,
    #[command(flatten)]
    folder: Folder,
}

/// Which keys new tokens have.
#[derive(Clone, Copy, Debug, Args)]
pub struct KeyChoice {
    /// Give all these tokens one key, so that one signature pays with several of them. The bank, and only the bank, sees
    /// the key each time one of them is used: it can link these payments to one another, though not to you. Without this
    /// every token has a key of its own, and nothing links them. Such tokens do not come back from the 24 words alone.
    #[arg(long)]
    reuse_key: bool,
}

impl KeyChoice {
    fn keys(self) -> Keys {
        if self.reuse_key { Keys::Shared } else { Keys::Own }
    }
}

/// `naulon wallet items`
#[derive(Debug, Args)]
pub struct Items {
    /// The shop, if the wallet knows several: its folder, identity file or naulon: line.
    #[arg(long)]
    shop: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet buy`
#[derive(Debug, Args)]
pub struct Buy {
    /// The item, by the name that `naulon wallet items` shows.
    pub(super) item: String,
    /// The shop, if the wallet knows several or not yet this one: its folder, identity file or naulon: line.
    #[arg(long)]
    pub(super) shop: Option<String>,
    /// Sign for what is delivered, even if the shop does not ask.
    #[arg(long)]
    pub(super) two_sided: bool,
    /// Pay no more than this.
    #[arg(long, value_name = "AMOUNT")]
    pub(super) max_price: Option<Amount>,
    /// Pay a part of a token and leave the rest on it, instead of taking change as fresh tokens. The bank can link all
    /// payments made with one token to one another, though not to you. What is left can be used by further purchases with
    /// this option; `naulon wallet refresh` exchanges it for fresh tokens.
    #[arg(long)]
    pub(super) keep_remainder: bool,
    /// How the purchase stands in the log: plain (everybody reads it), encrypted (only bank, shop and you read it), blind
    /// (not even the log knows what it decides on). The default is what the shop likes best and the log takes.
    #[arg(long, value_name = "KIND")]
    pub(super) entries: Option<EntryMode>,
    /// Have the bank carry its promise to the shop, instead of this wallet: once the tokens are locked, the wallet may go
    /// off-line and fetch the key from the log later. The bank must know the shop (`naulon bank trust-shop`).
    #[arg(long)]
    pub(super) bank_delivers: bool,
    /// Buy it once more, even if a purchase of it is under way.
    #[arg(long)]
    pub(super) another: bool,
    #[command(flatten)]
    pub(super) care: Care,
    #[command(flatten)]
    pub(super) folder: Folder,
}

/// `naulon wallet deposit`
#[derive(Debug, Args)]
pub struct Deposit {
    /// How much; all tokens if left out.
    amount: Option<Amount>,
    #[command(flatten)]
    wait: Waiting,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet refund`
#[derive(Debug, Args)]
#[command(after_help = "\
The shop's keeper grants a refund first (`naulon shop refund SALE`). The wallet shows the shop that it holds the key which
paid, and gets fresh tokens, which neither shop nor bank can tell from others. The shop learns by it which tokens had paid.
It may be repeated; each refund comes once.")]
pub struct Refund {
    /// The purchase, by the number that `naulon wallet history` shows.
    operation: u64,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet resume`
#[derive(Debug, Args)]
pub struct Resume {
    /// Take this up again, which was given up or refused: the same request is made, and what it has delivered is fetched.
    #[arg(long, value_name = "OPERATION")]
    again: Option<u64>,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet give-up`
#[derive(Debug, Args)]
pub struct GiveUp {
    /// What to give up, by the number that `naulon wallet history` shows.
    operation: u64,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet discard`
#[derive(Debug, Args)]
#[command(after_help = "\
Evidence is kept until you discard it: with it you can prove what was delivered, or that you were cheated. Discard a purchase
when the goods satisfy you; whoever finds the wallet then finds nothing of it.")]
pub struct Discard {
    /// The purchase, by the number that `naulon wallet history` shows.
    operation: u64,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet evidence`
#[derive(Debug, Args)]
pub struct Evidence {
    /// The purchase, by the number that `naulon wallet history` shows.
    operation: u64,
    /// Where the evidence goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// `naulon wallet show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    folder: Folder,
    /// Print a file for `naulon verify --trust`: bank, logs and shops.
    #[arg(long)]
    trust: bool,
}

impl WalletCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = match self {
            WalletCommand::Init(init) => return init.run(passphrase, output),
            WalletCommand::Show(show) => return show.run(output),
            WalletCommand::Fetch(fetch) => return fetch.run(passphrase, output),
            WalletCommand::Authorize(authorize) => return authorize.run(passphrase, output),
            WalletCommand::Restore(restore) => return restore.run(passphrase, output),
            WalletCommand::Backup(Backup::Verify(verify)) => return verify.run(passphrase, output),
            WalletCommand::OpenAccount(Plain { folder })
            | WalletCommand::Balance(Plain { folder })
            | WalletCommand::Refresh(Refresh { folder, .. })
            | WalletCommand::History(Plain { folder })
            | WalletCommand::Resume(Resume { folder, .. })
            | WalletCommand::GiveUp(GiveUp { folder, .. })
            | WalletCommand::Discard(Discard { folder, .. })
            | WalletCommand::Withdraw(Withdraw { folder, .. })
            | WalletCommand::Items(Items { folder, .. })
            | WalletCommand::Buy(Buy { folder, .. })
            | WalletCommand::Deposit(Deposit { folder, .. })
            | WalletCommand::OrderToken(OrderToken { folder, .. })
            | WalletCommand::Receipts(Receipts { folder, .. })
            | WalletCommand::Refund(Refund { folder, .. })
            | WalletCommand::Tokens(Tokens { folder })
            | WalletCommand::Privacy(PrivacyOf { folder, .. })
            | WalletCommand::Renew(Renew { folder, .. })
            | WalletCommand::Float(Float { folder, .. })
            | WalletCommand::Evidence(Evidence { folder, .. }) => folder,
        };
        let shop = match self {
            WalletCommand::Buy(Buy { shop, .. })
            | WalletCommand::Items(Items { shop, .. })
            | WalletCommand::Privacy(PrivacyOf { shop, .. }) => shop.as_deref(),
            _ => None,
        };
        let shop = shop.map(|shop| learn_shop(folder, shop)).transpose()?;
        let (party, settings) = (folder.party(), folder.settings()?);
        let passphrase = passphrase.open("the wallet")?;
        let mut room = wallet_room::open(&party, settings, &passphrase, output)?;
        super::serving::runtime()?.block_on(self.run_in(&mut room, shop, folder.patience, output))
    }

    /// Whether it sends what names the account, which must not be tied by its time to what does not.
    fn names_account(&self) -> bool {
        use WalletCommand::{Balance, Deposit, Float, OpenAccount, OrderToken, Withdraw};
        matches!(self, Balance(_) | Deposit(_) | Float(_) | OpenAccount(_) | OrderToken(_) | Withdraw(_))
    }

    async fn run_in(
        &self,
        room: &mut Room,
        shop: Option<Identity>,
        patience: Span,
        output: Output,
    ) -> anyhow::Result<Exit> {
        let patience = Duration::from_millis(patience.0.0);
        if let WalletCommand::Resume(Resume { again, .. }) = self {
            if let Some(operation) = again {
                room.wallet().take_up(OperationId(*operation))?;
            }
            return resume(room, patience, output).await;
        }
        let begun = match self {
            WalletCommand::Buy(buy) if !buy.another => buy.begun(room, shop.clone()).await?,
            WalletCommand::Refund(refund) => room.wallet().refunding(OperationId(refund.operation))?,
            _ => None,
        };
        room.take_up().await?;
        if !self.names_account() {
            wallet_care::renew_due(room).await?;
        }
        let operation = match self {
            WalletCommand::Tokens(tokens) => return tokens.run(room, output).await,
            WalletCommand::Privacy(privacy) => return privacy.run(room, shop, output).await,
            WalletCommand::Renew(renew) => return renew.run(room, output).await,
            WalletCommand::Float(float) => float.run(room, output).await?,
            WalletCommand::Balance(_) => return balance(room, output).await,
            WalletCommand::History(_) => return history(room, output),
            WalletCommand::Evidence(evidence) => return evidence.run(room, output),
            WalletCommand::Receipts(asked) => {
                let operation = OperationId(asked.operation);
                return wallet_receipts::run(room, operation, &asked.folder.dir, output).await;
            }
            WalletCommand::GiveUp(given) => return give_up(room, OperationId(given.operation), output),
            WalletCommand::Discard(discarded) => {
                let operation = OperationId(discarded.operation);
                room.wallet().discard(operation)?;
                output.result(&serde_json::json!({ "discarded": discarded.operation }), |_| {
                    format!("purchase {operation} and its evidence are forgotten")
                })?;
                return Ok(Exit::Ok);
            }
            WalletCommand::Items(_) => return items(room, shop, output).await,
            WalletCommand::OrderToken(order) => return order.run(room, output).await,
            WalletCommand::OpenAccount(_) => room.wallet().open_account(room.bank.key, now())?,
            WalletCommand::Withdraw(withdraw) => {
                room.describe().await?;
                wallet_care::keep_apart(room, true, withdraw.wait, output).await?;
                let keys = withdraw.keys.keys();
                room.wallet().withdraw_with(room.bank.key, withdraw.amount, keys, now(), &*entropy()?)?
            }
            WalletCommand::Refresh(refresh) => {
                room.describe().await?;
                wallet_care::keep_apart(room, false, refresh.wait, output).await?;
                room.wallet().refresh_with(room.bank.key, refresh.keys.keys(), now(), &*entropy()?)?
            }
            WalletCommand::Deposit(deposit) => {
                // Money goes back whatever the bank says of new brands.
                room.look().await?;
                wallet_care::keep_apart(room, true, deposit.wait, output).await?;
                let amount = deposit.amount.map_or(DepositAmount::All, DepositAmount::Exactly);
                room.wallet().deposit(room.bank.key, amount, now(), &*entropy()?)?
            }
            WalletCommand::Refund(refund) => match begun {
                Some(operation) => operation,
                None => {
                    room.describe().await?;
                    room.wallet().refund(OperationId(refund.operation), now(), &*entropy()?)?
                }
            },
            WalletCommand::Buy(buy) => match begun {
                Some(operation) => operation,
                None => buy.begin(room, shop, output).await?,
            },
            WalletCommand::Init(_)
            | WalletCommand::Show(_)
            | WalletCommand::Fetch(_)
            | WalletCommand::Authorize(_)
            | WalletCommand::Resume(_)
            | WalletCommand::Restore(_)
            | WalletCommand::Backup(_) => {
                unreachable!("these are handled without a way through here")
            }
        };
        let went = room.see_through(Some(operation), patience).await?;
        report(room, operation, went, output)
    }
}

impl Init {
    fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = WalletSettings {
            bank: Identity::find(&self.bank, Role::Bank)?.to_string(),
            witnesses: self.witness.clone(),
            threshold: self.threshold,
            logs: identity::lines_of(&self.log, Role::Log)?,
            shops: identity::lines_of(&self.shop, Role::Shop)?,
            ..wallet_room::settings_for(&self.bank)?
        };
        let words = PartyFolder::create(&self.dir, |folder| {
            wallet_room::make(folder, &settings, &passphrase.create("the wallet")?)
        })?;
        show_words(&self.dir, &words, output)?;
        Ok(Exit::Ok)
    }
}

impl Buy {
    /// The purchase of the same that is under way. Whoever types the command again after a crash does not want to pay twice.
    pub(super) async fn begun(&self, room: &mut Room, shop: Option<Identity>) -> anyhow::Result<Option<OperationId>> {
        let any = room.wallet().under_way(now()).iter().any(|entry| entry.kind == OperationKind::Purchase);
        if !any {
            return Ok(None);
        }
        let shop = room.shop(shop)?;
        let offer = room.offer(&shop, &self.item).await?;
        Ok(room.wallet().buying(offer.claimed_body()))
    }

    /// Takes an offer and begins to buy it.
    pub(super) async fn begin(
        &self,
        room: &mut Room,
        shop: Option<Identity>,
        output: Output,
    ) -> anyhow::Result<OperationId> {
        room.describe().await?;
        let shop = room.shop(shop)?;
        let mut offer = room.offer(&shop, &self.item).await?;
        let (log, entries) = room.choose_entry(offer.claimed_body(), self.entries).await?;
        let options = BuyOptions {
            two_sided: self.two_sided || room.settings.two_sided,
            log,
            expiry: room.settings.lock.0,
            max_price: self.max_price,
            keep_remainder: self.keep_remainder,
            entries,
            carrier: if self.bank_delivers { Carrier::Bank } else { Carrier::Wallet },
        };
        let patience = self.folder.patience();
        if wallet_care::before_paying(room, &offer, &options, self.care, patience, output).await? {
            offer = room.offer(&shop, &self.item).await?;
        }
        say_whom_to_trust(room, offer.claimed_body(), &options)?;
        Ok(room.wallet().buy(offer, options, now(), &*entropy()?)?)
    }
}

/// Before anything is bought: a log that is not apart from bank and shop makes one side trust the other (AAT §7).
fn say_whom_to_trust(room: &mut Room, offer: &GoodsM, options: &BuyOptions) -> anyhow::Result<()> {
    match room.wallet().judges_of(offer, options, now())? {
        (_, _, None) => {}
        (_, _, Some(LogKeeper::Bank)) => {
            note("The log is the bank's own: the shop trusts the two together. You are as safe as ever.");
        }
        (_, _, Some(LogKeeper::Merchant(own))) => note(format_args!(
            "The log is the shop's own: you trust the shop to publish the key in time. If it does not, the bank frees your \
             tokens {} after the purchase has expired.",
            Span(own.grace)
        )),
    }
    Ok(())
}

impl Evidence {
    fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        let evidence = room.wallet().evidence(OperationId(self.operation))?;
        // It names what was bought and by which tokens: nobody else's business.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.out)
            .with_context(|| format!("{}", self.out.display()))?;
        file.write_all(EvidenceFile::write(&evidence).as_bytes())?;
        output.result(&serde_json::json!({ "evidence": self.out }), |_| {
            format!("evidence is in {}", self.out.display())
        })?;
        Ok(Exit::Ok)
    }
}

impl Show {
    fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let settings: WalletSettings = PartyFolder::open(&self.folder.dir).settings()?;
        let bank = Identity::find(&settings.bank, Role::Bank).context("the setting bank")?;
        let logs = identity::pinned(&settings.logs, Role::Log, "logs")?;
        let shops = identity::pinned(&settings.shops, Role::Shop, "shops")?;
        if self.trust {
            let all: Vec<Identity> = std::iter::once(bank).chain(logs).chain(shops).collect();
            return super::print_trust(&all, output);
        }
        let texts = |parties: &[Identity]| parties.iter().map(ToString::to_string).collect::<Vec<_>>();
        let shown = serde_json::json!({ "bank": bank.to_string(), "logs": texts(&logs), "shops": texts(&shops) });
        output.result(&shown, |_| {
            let lines = |parties: &[Identity]| texts(parties).join("\n");
            output::list([("bank", bank.to_string()), ("logs", lines(&logs)), ("shops", lines(&shops))])
        })?;
        Ok(Exit::Ok)
    }
}

/// Goes on with everything that is under way, until all of it has ended or nothing moves any more.
async fn resume(room: &mut Room, patience: Duration, output: Output) -> anyhow::Result<Exit> {
    let before: Vec<OperationId> = room.wallet().under_way(now()).iter().map(|entry| entry.id).collect();
    let went = room.see_through(None, patience).await?;
    let mut lines = Vec::new();
    for id in before {
        lines.extend(room.wallet().operation(id, now())?.map(|entry| line(&entry)));
    }
    output.result(&lines, |lines| match lines.is_empty() {
        true => "nothing is under way".to_owned(),
        false => listing(lines),
    })?;
    Ok(if went == Went::Through { Exit::Ok } else { Exit::UnderWay })
}

/// Gives an operation up, if nothing can have come of it.
fn give_up(room: &mut Room, operation: OperationId, output: Output) -> anyhow::Result<Exit> {
    room.wallet().give_up(operation, now())?;
    let entry = room.wallet().operation(operation, now())?.context("the operation is gone")?;
    let line = line(&entry);
    output.result(&line, |line| sentence(&entry, line))?;
    Ok(Exit::Ok)
}

async fn balance(room: &mut Room, output: Output) -> anyhow::Result<Exit> {
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
    let remainders = tokens.map_or(Amount::ZERO, |tokens| tokens.remainders).to_string();
    let (account, told) = match account {
        InAccount::Holds(amount) => (Some(amount.to_string()), format!("{amount} {currency}")),
        InAccount::NotOpen => (None, "no account yet".to_owned()),
        InAccount::Unknown => (None, "not known, the bank cannot be reached".to_owned()),
    };
    let (countdown, at) = (room.wallet().countdown(&room.bank.key), room.now().0);
    let over = wallet_care::ended(&countdown, at);
    let report = serde_json::json!({
        "ends": wallet_care::countdown_json(&countdown, at), "ended": over.to_string(),
        "currency": currency, "tokens": free, "count": count, "remainders": remainders, "reserved": reserved,
        "spent_elsewhere": spent,
        "account": account, "account_key": room.wallet().account(&room.bank.key).to_string(),
    });
    output.result(&report, |_| {
        let mut pairs = vec![
            ("tokens to pay with", format!("{free} {currency} ({count})")),
            ("set aside", format!("{reserved} {currency}")),
            ("in the account", told),
        ];
        if remainders != Amount::ZERO.to_string() {
            let told = format!("{remainders} {currency}: for `buy --keep-remainder`, or `refresh` them");
            pairs.insert(1, ("of these, left on used tokens", told));
        }
        if let Some(told) = wallet_care::countdown_text(&countdown, at) {
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

fn history(room: &mut Room, output: Output) -> anyhow::Result<Exit> {
    let lines: Vec<Line> = room.wallet().history(now())?.iter().map(line).collect();
    output.result(&lines, |lines| match lines.is_empty() {
        true => "nothing was begun yet".to_owned(),
        false => listing(lines),
    })?;
    Ok(Exit::Ok)
}

async fn items(room: &mut Room, shop: Option<Identity>, output: Output) -> anyhow::Result<Exit> {
    let shop = room.shop(shop)?;
    let items = room.items(&shop).await?;
    let list: Vec<serde_json::Value> = items
        .iter()
        .map(|item| {
            serde_json::json!({
                "item": item.item, "title": item.title, "description": item.description, "size": item.size,
                "price": item.price.to_string(), "currency": item.currency.to_string(),
            })
        })
        .collect();
    output.result(&list, |_| {
        let rows = items.iter().map(|item| {
            let price = format!("{} {}", item.price, item.currency);
            vec![item.item.clone(), price, item.size.to_string(), item.title.clone()]
        });
        output::table(&["item", "price", "bytes", "title"], rows, &[1, 2])
    })?;
    Ok(Exit::Ok)
}

/// Says how an operation went, and by which code to end.
pub(super) fn report(room: &mut Room, operation: OperationId, went: Went, output: Output) -> anyhow::Result<Exit> {
    let entry = room.wallet().operation(operation, now())?.context("the operation is gone")?;
    let mut line = line(&entry);
    let account = (line.kind == "open-account").then(|| room.wallet().account(&room.bank.key).to_string());
    let mut value = serde_json::to_value(&line)?;
    if let (Some(value), Some(account)) = (value.as_object_mut(), &account) {
        value.insert("account".to_owned(), account.clone().into());
    }
    let ended = exit_of(&entry);
    output.result(&value, |_| {
        if let (Some(account), Exit::Ok) = (&account, ended) {
            return format!("the account is open: {account}");
        }
        match (ended, line.file.take()) {
            (Exit::Ok, Some(file)) => format!("bought: {file}"),
            _ => sentence(&entry, &line),
        }
    })?;
    if went == Went::Stuck {
        let why = room.why_stuck().unwrap_or("nothing moves");
        return Err(Ends(Exit::UnderWay, format!("not finished ({why}); `naulon wallet resume` goes on")).into());
    }
    Ok(ended)
}

/// Pins a shop that an option names, so that what is under way with it can go on later.
pub(super) fn learn_shop(folder: &Folder, shop: &str) -> anyhow::Result<Identity> {
    let shop = Identity::find(shop, Role::Shop)?;
    let settings: WalletSettings = PartyFolder::open(&folder.dir).settings()?;
    let known = identity::pinned(&settings.shops, Role::Shop, "shops")?;
    match known.iter().find(|known| known.key == shop.key) {
        Some(known) => ensure!(
            known.url == shop.url,
            "the wallet knows this shop at {}; if it has moved, change the setting shops",
            known.url
        ),
        None => {
            add_to_list::<WalletSettings>(&folder.dir, "shops", &shop.to_string())?;
        }
    }
    Ok(shop)
}

fn entropy() -> anyhow::Result<zeroize::Zeroizing<[u8; 32]>> {
    super::folder::random::<32>()
}
