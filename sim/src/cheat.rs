//! Parties that cheat.

use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::{Digest, Signed, Unverified};
use naulon_wire::{BankCall, BankReply, Call, HttpResponse, ShopCall, ShopReply};

use crate::keys;
use crate::network::{Message, Place};
use crate::party::ShopParty;

/// How somebody cheats in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cheat {
    /// A buyer runs its wallet on two machines and spends the same tokens on both.
    CopiedWallet,
    /// The shops' offers hold a file key that k does not open.
    WrongKey,
    /// The shops' contracts describe other goods than they deliver.
    OtherGoods,
    /// The shops take payments and never answer, nor go to the log.
    SilentShop,
    /// The bank promises the merchant less than the buyer authorized, the first few times that it is asked.
    LowPromise,
    /// The bank does not hear decisions, the first few times that it is told.
    DeafBank,
}

/// All of them.
pub const CHEATS: [Cheat; 6] =
    [Cheat::CopiedWallet, Cheat::WrongKey, Cheat::OtherGoods, Cheat::SilentShop, Cheat::LowPromise, Cheat::DeafBank];

/// How often a bank cheats before it thinks better of it.
const PATIENCE: u32 = 3;

/// Carries a cheat out, as far as it shows in messages.
#[derive(Default)]
pub struct Cheater {
    times: u32,
    /// The false promises that the bank has signed: evidence.
    pub false_promises: Vec<Vec<u8>>,
}

impl Cheater {
    /// Whether a party does not hear this request.
    pub fn ignores(&mut self, cheat: Option<Cheat>, message: &Message, path: &str) -> bool {
        match (cheat, message.to) {
            (Some(Cheat::SilentShop), Place::Shop(_)) => path == "/v1/payments",
            (Some(Cheat::DeafBank), Place::Bank) if path == "/v1/decisions" => {
                self.times += 1;
                self.times <= PATIENCE
            }
            _ => false,
        }
    }

    /// What a cheating party answers in place of this.
    pub fn falsify(&mut self, cheat: Option<Cheat>, from: Place, response: HttpResponse) -> HttpResponse {
        let false_one = match (cheat, from) {
            (Some(cheat @ (Cheat::WrongKey | Cheat::OtherGoods)), Place::Shop(number)) => {
                false_offer(cheat, number, &response)
            }
            (Some(Cheat::LowPromise), Place::Bank) if self.times < PATIENCE => self.low_promise(&response),
            _ => None,
        };
        false_one.unwrap_or(response)
    }

    fn low_promise(&mut self, response: &HttpResponse) -> Option<HttpResponse> {
        let asked = BankCall::Status(Digest([0; 32]));
        let BankReply::Exchange(mut reply) = asked.reply_from_http(response).ok()? else { return None };
        let mut promise = reply.authorization_b.take()?.claimed_body().clone();
        promise.value = promise.value.checked_sub(Amount::from_micros(10_000))?;
        let signed = Signed::sign(&keys::secret_key("bank"), promise);
        self.false_promises.push(signed.bytes().to_vec());
        self.times += 1;
        reply.authorization_b = Some(Unverified::from(&signed));
        Some(BankCall::reply_to_http(BankReply::Exchange(reply)))
    }
}

fn false_offer(cheat: Cheat, number: usize, response: &HttpResponse) -> Option<HttpResponse> {
    let asked = ShopCall::Offer { item: String::new() };
    let ShopReply::Offer(offer) = asked.reply_from_http(response).ok()? else { return None };
    let mut offer: GoodsM = offer.claimed_body().clone();
    match cheat {
        Cheat::WrongKey => offer.wrapped_key[0] ^= 1,
        _ => offer.contract.digest = Digest::of(&[b"something better"]),
    }
    let signed = Signed::sign(&ShopParty::secret(number), offer);
    Some(ShopCall::reply_to_http(ShopReply::Offer(Box::new(Unverified::from(&signed)))))
}
