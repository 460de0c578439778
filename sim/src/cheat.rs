//! Parties that cheat.

use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::{Digest, Signed, Unverified};
use naulon_wire::{BankCall, BankReply, Call, HttpResponse, ShopCall, ShopReply};

use crate::network::{Message, Place};
use crate::party::{BankParty, ShopParty};

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
    /// Shop and log answer no wallet any more once payments come: only the bank can tell what was decided.
    Vanished,
    /// Somebody tries to spend one bank's token at two banks.
    OneTokenTwoBanks,
    /// A shop that keeps the log itself never has it answer: the bank frees the locks by its own clock (AAT §7).
    SilentOwnLog,
    /// The log keeps commits back and passes their keys to the buyers: the one coalition that gains (AAT §7).
    LeakingLog,
    /// The log tells merchants one thing and everybody else another.
    TwoFacedLog,
    /// The log commits at or after the expiry.
    LateLog,
    /// The log commits after the expiry, with a time before it.
    BackDatingLog,
    /// The log answers nobody for a while.
    StallingLog,
}

/// All of them.
pub const CHEATS: [Cheat; 14] = [
    Cheat::CopiedWallet,
    Cheat::WrongKey,
    Cheat::OtherGoods,
    Cheat::SilentShop,
    Cheat::LowPromise,
    Cheat::DeafBank,
    Cheat::Vanished,
    Cheat::OneTokenTwoBanks,
    Cheat::SilentOwnLog,
    Cheat::LeakingLog,
    Cheat::TwoFacedLog,
    Cheat::LateLog,
    Cheat::BackDatingLog,
    Cheat::StallingLog,
];

/// For how long no bank hears a shop, where a log tells the two sides different things: until about when locks expire.
const UNHEARD_FOR: u64 = 125_000;

impl Cheat {
    /// Whether it is a log that cheats.
    pub fn is_a_logs(&self) -> bool {
        use Cheat::*;
        matches!(self, LeakingLog | TwoFacedLog | LateLog | BackDatingLog | StallingLog)
    }
}

/// For how long those who have vanished are gone, in milliseconds since the beginning. They come back so that the run ends also
/// where nothing was decided before they went.
pub const GONE_FOR: u64 = 600_000;

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
    pub fn ignores(&mut self, cheat: Option<Cheat>, message: &Message, path: &str, passed: u64) -> bool {
        match (cheat, message.to) {
            (Some(Cheat::SilentShop), Place::Shop(_)) => path == "/v1/payments" || path == "/v1/promises",
            (Some(Cheat::SilentOwnLog), Place::Log(_)) => true,
            // Else the buyer would hear it of the bank.
            (Some(Cheat::TwoFacedLog), Place::Bank(_)) if path == "/v1/decisions" => {
                matches!(message.from, Place::Shop(_)) && passed < UNHEARD_FOR
            }
            (Some(Cheat::DeafBank), Place::Bank(_)) if path == "/v1/decisions" => {
                self.times += 1;
                self.times <= PATIENCE
            }
            _ => false,
        }
    }

    /// Whether an answer to this request never comes.
    pub fn withholds(&self, cheat: Option<Cheat>, request: &Message, path: &str, passed: u64) -> bool {
        let to_wallet = matches!(request.from, Place::Wallet(_));
        match (cheat, request.to) {
            (Some(Cheat::Vanished), Place::Shop(_)) => path == "/v1/payments" && to_wallet && passed < GONE_FOR,
            (Some(Cheat::Vanished), Place::Log(_)) => to_wallet && passed < GONE_FOR,
            // Else the buyer would hear what the merchant was told.
            (Some(Cheat::TwoFacedLog), Place::Shop(_)) => path == "/v1/payments" && to_wallet,
            _ => false,
        }
    }

    /// What a cheating party answers in place of this.
    pub fn falsify(&mut self, cheat: Option<Cheat>, from: Place, response: HttpResponse) -> HttpResponse {
        let false_one = match (cheat, from) {
            (Some(cheat @ (Cheat::WrongKey | Cheat::OtherGoods)), Place::Shop(number)) => {
                false_offer(cheat, number, &response)
            }
            (Some(Cheat::LowPromise), Place::Bank(bank)) if self.times < PATIENCE => self.low_promise(bank, &response),
            _ => None,
        };
        false_one.unwrap_or(response)
    }

    fn low_promise(&mut self, bank: usize, response: &HttpResponse) -> Option<HttpResponse> {
        let asked = BankCall::Status(Digest([0; 32]));
        let BankReply::Exchange(mut reply) = asked.reply_from_http(response).ok()? else { return None };
        let mut promise = reply.authorization_b.take()?.claimed_body().clone();
        promise.value = promise.value.checked_sub(Amount::from_micros(10_000))?;
        let signed = Signed::sign(&BankParty::secret(bank), promise);
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
