//! `naulon wallet fetch` and `authorize`: items by their URLs, by HTTP 402 and the `Payment` scheme.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use naulon_money::Amount;
use naulon_wallet::OperationId;
use naulon_wire::payment::{self, Challenge, Charge};
use naulon_wire::shop::item_of_url;
use naulon_wire::{Address, CallError, Circuit, Clients, ShopCall};

use super::Folder;
use super::buying::Buy;
use super::care::Care;
use super::init::learn_shop;
use super::room::{self, Room};
use super::under_way::report;
use crate::clock::now;
use crate::exit::{Ends, Exit};
use crate::identity::{Identity, Role};
use crate::output::Output;
use crate::parties::{folder, serving};
use crate::passphrase::PassphraseFrom;

/// `naulon wallet fetch`
#[derive(Debug, Args)]
#[command(after_help = "\
The URL is an item's, http://SHOP/v1/items/NAME: any HTTP client that asks for it is told by 402 what it costs. The wallet
takes an offer, fetches the encrypted goods, locks its tokens, and asks once more with a credential. Typed again after a
crash it goes on with the same purchase.

Example:
  naulon wallet fetch http://127.0.0.1:21003/v1/items/song%2Eflac --max-price 5 --out song.flac")]
pub struct Fetch {
    #[command(flatten)]
    what: What,
    /// Also copy the file to this place.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Buy it once more, even if a purchase of it is under way.
    #[arg(long)]
    another: bool,
}

/// `naulon wallet authorize`
#[derive(Debug, Args)]
#[command(after_help = "\
For an HTTP client of another make that handles the `Payment` scheme: it leaves method naulon to this command and shows what
is printed. Tokens are locked, but nothing is paid until the shop has it; `naulon wallet resume` pays in the client's place if
it never shows it, and fetches the key.

Example:
  naulon wallet authorize http://127.0.0.1:21003/v1/items/song%2Eflac --max-price 5 --json")]
pub struct Authorize {
    #[command(flatten)]
    what: What,
    /// The value of `WWW-Authenticate` that is answered; then the value of `Authorization` is printed, too.
    #[arg(long, value_name = "HEADER")]
    challenge: Option<String>,
}

/// What is bought, and what it may cost.
#[derive(Debug, Args)]
struct What {
    /// The item's URL.
    url: String,
    /// Pay no more than this. Needed for a shop that the wallet does not know yet.
    #[arg(long, value_name = "AMOUNT")]
    max_price: Option<Amount>,
    /// Sign for what is delivered, even if the shop does not ask.
    #[arg(long)]
    two_sided: bool,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    folder: Folder,
}

impl Fetch {
    pub(super) fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let runtime = serving::runtime()?;
        let (shop, buy) = runtime.block_on(self.what.look(self.another))?;
        let mut room = self.what.open(&passphrase, output)?;
        let fetched = runtime.block_on(async {
            let operation = self.what.begin(&mut room, shop, &buy, output).await?;
            let patience = self.what.folder.patience();
            let went = room.see_through(Some(operation), patience).await?;
            let place = room.wallet().operation(operation, now())?.and_then(|entry| entry.place);
            Ok::<_, anyhow::Error>((report(&mut room, operation, went, output)?, place))
        })?;
        if let ((Exit::Ok, Some(place)), Some(out)) = (&fetched, &self.out) {
            std::fs::copy(place, out).with_context(|| format!("{}", out.display()))?;
        }
        Ok(fetched.0)
    }
}

impl Authorize {
    pub(super) fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let challenge = self.challenge.as_deref().map(Challenge::parse).transpose().context("--challenge")?;
        let runtime = serving::runtime()?;
        let (shop, buy) = runtime.block_on(self.what.look(false))?;
        let mut room = self.what.open(&passphrase, output)?;
        let patience = self.what.folder.patience();
        let operation = runtime.block_on(async {
            let operation = self.what.begin(&mut room, shop, &buy, output).await?;
            room.run_to_payment(operation, patience).await?;
            Ok::<_, anyhow::Error>(operation)
        })?;
        let Some(paid) = room.wallet().payment(operation, now()) else {
            let why = room.why_stuck().unwrap_or("it is paid already, or was refused");
            bail!("operation {operation} has nothing to show ({why}); `naulon wallet history` says where it stands");
        };
        let payload = payment::payload(&paid);
        let authorization = challenge.map(|challenge| challenge.credential(&paid));
        let mut shown = serde_json::json!({ "operation": operation.0, "payload": payload });
        if let Some(authorization) = &authorization {
            shown["authorization"] = authorization.clone().into();
        }
        output.result(&shown, |_| authorization.unwrap_or_else(|| payload.to_string()))?;
        Ok(Exit::Ok)
    }
}

impl What {
    /// Asks for the item without paying: the shop, and how to buy for no more than it says.
    async fn look(&self, another: bool) -> anyhow::Result<(Identity, Buy)> {
        let (server, item) = item_of_url(&self.url)
            .with_context(|| format!("{} is not the URL of an item (http://SHOP/v1/items/NAME)", self.url))?;
        let settings = self.folder.settings()?;
        let known = crate::identity::pinned(&settings.shops, Role::Shop, "shops")?;
        let there = known.iter().find(|shop| shop.url == server);
        let address = there.map_or_else(|| Ok(Address::new(server)), Identity::address)?;
        let charge = price(&room::clients(&settings)?, address, &item).await?;
        ensure!(charge.item == item, "the shop names another item than the URL: {}", charge.item);
        if let Some(most) = self.max_price {
            let too_dear = || format!("it costs {} {}, which is more than {most}", charge.amount, charge.currency);
            ensure!(charge.amount <= most, Ends(Exit::Refused, too_dear()));
        }
        let line = match there {
            Some(shop) => {
                ensure!(shop.key == charge.merchant, "{server} is another shop now than the wallet knows there");
                shop.to_string()
            }
            None => {
                let unknown = "the wallet does not know this shop yet; say by --max-price what it may take";
                ensure!(self.max_price.is_some(), unknown);
                Identity::new(Role::Shop, charge.merchant, server).to_string()
            }
        };
        let shop = learn_shop(&self.folder, &line)?;
        let buy = Buy {
            item,
            shop: Some(line),
            two_sided: self.two_sided,
            max_price: Some(charge.amount),
            keep_remainder: false,
            entries: None,
            bank_delivers: false,
            another,
            care: self.care,
            folder: self.folder.clone(),
        };
        Ok((shop, buy))
    }

    fn open(&self, passphrase: &PassphraseFrom, output: Output) -> anyhow::Result<Room> {
        room::open(&self.folder.party(), self.folder.settings()?, &passphrase.open("the wallet")?, output)
    }

    /// The purchase of this that is under way, or a new one. Either way it is paid at the item's own path.
    async fn begin(&self, room: &mut Room, shop: Identity, buy: &Buy, output: Output) -> anyhow::Result<OperationId> {
        let begun = if buy.another { None } else { buy.begun(room, Some(shop.clone())).await? };
        let operation = match begun {
            Some(operation) => operation,
            None => buy.begin(room, Some(shop), output).await?,
        };
        room.pay_at(operation, buy.item.clone());
        Ok(operation)
    }
}

/// What an item costs, as its server's 402 says.
async fn price(clients: &Clients, address: Address, item: &str) -> anyhow::Result<Charge> {
    let circuit = Circuit::Anonymous(u64::from_be_bytes(*folder::random::<8>()?));
    let call = ShopCall::Item { item: item.to_owned(), authorization: None };
    match clients.on(circuit, address)?.call(&call).await {
        Err(CallError::Problem(problem)) => match &problem.challenge {
            Some(challenge) => Ok(Challenge::parse(challenge)?.charge()?),
            None => Err(CallError::Problem(problem).into()),
        },
        Err(error) => Err(error.into()),
        Ok(_) => bail!("it is given for nothing: fetch it with any HTTP client"),
    }
}
