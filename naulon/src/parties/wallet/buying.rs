//! `naulon wallet items`, `buy` and `refund`.

use clap::Args;
use naulon_exchange::{Carrier, EntryMode, LogKeeper};
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_wallet::{BuyOptions, OperationId, OperationKind};

use super::care::{self, Care};
use super::room::Room;
use super::{Folder, entropy};
use crate::clock::now;
use crate::config::Span;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::output::{self, Output, note};

/// `naulon wallet items`
#[derive(Debug, Args)]
pub struct Items {
    /// The shop, if the wallet knows several: its folder, identity file or naulon: line.
    #[arg(long)]
    pub(super) shop: Option<String>,
    #[command(flatten)]
    pub(super) folder: Folder,
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
        if care::before_paying(room, &offer, &options, self.care, patience, output).await? {
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

/// `naulon wallet refund`
#[derive(Debug, Args)]
#[command(after_help = "\
The shop's keeper grants a refund first (`naulon shop refund SALE`). The wallet shows the shop that it holds the key which
paid, and gets fresh tokens, which neither shop nor bank can tell from others. The shop learns by it which tokens had paid.
It may be repeated; each refund comes once.")]
pub struct Refund {
    /// The purchase, by the number that `naulon wallet history` shows.
    pub(super) operation: u64,
    #[command(flatten)]
    pub(super) folder: Folder,
}

pub(super) async fn items(room: &mut Room, shop: Option<Identity>, output: Output) -> anyhow::Result<Exit> {
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
