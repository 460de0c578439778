//! `naulon wallet order-token`: money of the account for a token that another Privacy Pass client asks for.

use anyhow::Context;
use clap::Args;
use naulon_blind::TokenRequest;
use naulon_statement::{Digest, base64url_decode};
use naulon_wire::IssueOrder;

use super::Folder;
use super::room::Room;
use crate::exit::Exit;
use crate::output::Output;

/// `naulon wallet order-token`
#[derive(Debug, Args)]
#[command(after_help = "\
A Privacy Pass client (RFC 9578) makes a request for a token and sends it to its brand's URL at the bank; tokens cost money,
so the bank wants an order with it, on its account listener. This prints the value of the client's `Authorization` header.
It names your account: send it where you would send your account's other orders. The token is the client's alone; it can be
spent here only if the client chose the public half of a key as its nonce. Ordering the same request again costs nothing
more.

Example:
  naulon wallet order-token URL-OF-THE-BRAND \"$(basenc --base64url -w0 request.bin)\"")]
pub struct OrderToken {
    /// The brand: its token key id, or the URL that the request goes to.
    #[arg(allow_hyphen_values = true)]
    brand: String,
    /// The client's request, 259 bytes in base64url.
    request: String,
    #[command(flatten)]
    pub(super) folder: Folder,
}

impl OrderToken {
    pub(super) async fn run(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        let request = base64url_decode(self.request.trim_end_matches('=')).context("the request")?;
        let request = TokenRequest::parse(&request).context("the request")?;
        let brand = brand_of(&self.brand)?;
        room.describe().await?;
        let at = room.now();
        room.wallet().account_named(at)?;
        let order: IssueOrder = room.wallet().order_token(&brand, &request)?;
        let report = serde_json::json!({ "brand": brand.to_string(), "authorization": order.authorization() });
        output.result(&report, |_| order.authorization())?;
        Ok(Exit::Ok)
    }
}

/// The brand of an id, or of a URL with `/v1/brands/ID/` in it.
fn brand_of(text: &str) -> anyhow::Result<Digest> {
    let id = text.split_once("/v1/brands/").map_or(text, |(_, rest)| rest.split('/').next().unwrap_or(rest));
    id.parse().with_context(|| format!("{text} is neither a token key id nor the URL of a brand"))
}
