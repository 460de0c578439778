//! `naulon wallet …`

mod buying;
mod care;
mod checks;
mod evidence;
pub mod fares;
mod fetch;
mod init;
mod lines;
mod money;
mod order;
mod receipts;
mod restore;
pub mod room;
mod under_way;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Subcommand};
use naulon_wallet::{DepositAmount, OperationId};
use naulon_wire::Proxy;

use self::buying::{Buy, Items, Refund};
use self::care::{Float, PrivacyOf, Renew, Tokens};
use self::checks::Checks;
use self::evidence::Evidence;
use self::fetch::{Authorize, Fetch};
use self::init::{Init, Show, learn_shop};
use self::money::{Deposit, Refresh, Withdraw};
use self::order::OrderToken;
use self::receipts::Receipts;
use self::restore::{Backup, Restore};
use self::room::Room;
use self::under_way::{Discard, GiveUp, Resume, report};
use super::PartyFolder;
use crate::clock::now;
use crate::config::{Span, WalletSettings};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::output::Output;
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
    /// List the checks that were made for mixes, and take back what is left of them
    Checks(Checks),
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
            | WalletCommand::Checks(Checks { folder, .. })
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
        let mut room = room::open(&party, settings, &passphrase, output)?;
        super::serving::runtime()?.block_on(self.run_in(&mut room, shop, folder.patience, output))
    }

    /// Whether it sends what names the account, which must not be tied by its time to what does not.
    fn names_account(&self) -> bool {
        use WalletCommand::{Balance, Deposit, Float, OpenAccount, OrderToken, Withdraw};
        if let WalletCommand::Checks(checks) = self {
            return checks.names_account();
        }
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
            return under_way::resume(room, patience, output).await;
        }
        let begun = match self {
            WalletCommand::Buy(buy) if !buy.another => buy.begun(room, shop.clone()).await?,
            WalletCommand::Refund(refund) => room.wallet().refunding(OperationId(refund.operation))?,
            _ => None,
        };
        room.take_up().await?;
        if !self.names_account() {
            care::renew_due(room).await?;
        }
        let operation = match self {
            WalletCommand::Tokens(tokens) => return tokens.run(room, output).await,
            WalletCommand::Privacy(privacy) => return privacy.run(room, shop, output).await,
            WalletCommand::Renew(renew) => return renew.run(room, output).await,
            WalletCommand::Float(float) => float.run(room, output).await?,
            WalletCommand::Checks(checks) => return checks.run(room, patience, output).await,
            WalletCommand::Balance(_) => return money::balance(room, output).await,
            WalletCommand::History(_) => return under_way::history(room, output),
            WalletCommand::Evidence(evidence) => return evidence.run(room, output),
            WalletCommand::Receipts(asked) => {
                let operation = OperationId(asked.operation);
                return receipts::run(room, operation, &asked.folder.dir, output).await;
            }
            WalletCommand::GiveUp(given) => return under_way::give_up(room, OperationId(given.operation), output),
            WalletCommand::Discard(discard) => return discard.run(room, output),
            WalletCommand::Items(_) => return buying::items(room, shop, output).await,
            WalletCommand::OrderToken(order) => return order.run(room, output).await,
            WalletCommand::OpenAccount(_) => room.wallet().open_account(room.bank.key, now())?,
            WalletCommand::Withdraw(withdraw) => {
                room.describe().await?;
                care::keep_apart(room, true, withdraw.wait, output).await?;
                let keys = withdraw.keys.keys();
                room.wallet().withdraw_with(room.bank.key, withdraw.amount, keys, now(), &*entropy()?)?
            }
            WalletCommand::Refresh(refresh) => {
                room.describe().await?;
                care::keep_apart(room, false, refresh.wait, output).await?;
                room.wallet().refresh_with(room.bank.key, refresh.keys.keys(), now(), &*entropy()?)?
            }
            WalletCommand::Deposit(deposit) => {
                // Money goes back whatever the bank says of new brands.
                room.look().await?;
                care::keep_apart(room, true, deposit.wait, output).await?;
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

fn entropy() -> anyhow::Result<zeroize::Zeroizing<[u8; 32]>> {
    super::folder::random::<32>()
}
