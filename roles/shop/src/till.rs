//! The till: says what an item costs by the `Payment` scheme of HTTP 402, and checks what clients show for having paid
//! (docs/spec/payment-scheme.md).

use naulon_exchange::{LogDecision, Outcome, UnverifiedDecision};
use naulon_money::Currency;
use naulon_purchase::{MerchantRules, UnverifiedPayment};
use naulon_statement::{Timestamp, cbor, derive_secret};
use naulon_wire::payment::{self, Challenge, Charge};
use naulon_wire::{B64, Problem, ShopReply};
use zeroize::Zeroizing;

use crate::shelf::Stocked;

/// It keeps nothing about anybody: a challenge is recomputed from the item and the time. Clones are the same till.
#[derive(Clone)]
pub(crate) struct Till {
    secret: Zeroizing<[u8; 32]>,
    rules: MerchantRules,
    currency: Currency,
}

impl Till {
    /// The till of the shop with these rules. `goods` is the shop's goods secret.
    pub(crate) fn new(goods: &[u8; 32], rules: &MerchantRules, currency: &Currency) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        derive_secret(goods, &[b"naulon/challenge/1"], secret.as_mut_slice());
        Till { secret, rules: rules.clone(), currency: currency.clone() }
    }

    /// The payment in a credential for this item. A refusal says anew what must be paid.
    pub(crate) fn admit(
        &self,
        stocked: &Stocked,
        authorization: Option<&str>,
        now: Timestamp,
    ) -> Result<UnverifiedPayment, Problem> {
        payment::admit(&self.secret, &self.charge(stocked), authorization, now)
            .map_err(|problem| self.asking(problem, stocked, now))
    }

    /// What a sale's reply is to whoever asked for the item.
    pub(crate) fn hand_over(&self, reply: ShopReply, stocked: &Stocked, now: Timestamp) -> Result<ShopReply, Problem> {
        match reply {
            ShopReply::Decision(decision) => {
                // The shop has verified it before it kept it.
                let proven = UnverifiedDecision::clone(&decision).from_own_store();
                let LogDecision { header, time, outcome, .. } = proven.decision();
                match outcome {
                    Outcome::Commit { .. } => {
                        let receipt = payment::receipt(header, *time);
                        Ok(ShopReply::Delivered { decision, goods: stocked.goods, receipt })
                    }
                    Outcome::Abort => {
                        let evidence = Some(B64(cbor::to_vec(&*decision)));
                        let why = "the log has aborted that purchase: nothing was paid";
                        let problem = Problem { evidence, ..Problem::new("not_committed", why) };
                        Err(self.asking(problem, stocked, now))
                    }
                }
            }
            other => Ok(other),
        }
    }

    /// The problem, with a challenge if payment helps.
    fn asking(&self, problem: Problem, stocked: &Stocked, now: Timestamp) -> Problem {
        if problem.status != 402 {
            return problem;
        }
        let challenge = Challenge::new(&self.secret, &self.charge(stocked), &stocked.contract.title, now);
        Problem { challenge: Some(challenge.to_header()), ..problem }
    }

    fn charge(&self, stocked: &Stocked) -> Charge {
        Charge {
            amount: stocked.price,
            currency: self.currency.clone(),
            merchant: self.rules.merchant,
            banks: self.rules.banks.iter().copied().collect(),
            logs: self.rules.logs.keys().copied().collect(),
            item: stocked.item.clone(),
            goods: stocked.goods,
        }
    }
}
