//! Cashing at the bank (MixPay §5.3): in the background, delayed at random, several checks at a time.

use std::collections::BTreeMap;

use naulon_exchange::{Challenge, Exchange, Input, OpenAccount, Output};
use naulon_money::Amount;
use naulon_onion::Contract;
use naulon_statement::{Joint, PublicKey, SecretKey, Signed};
use naulon_wire::{BankCall, BankReply, CallError, Client, Problem};

use crate::books::{Cashing, Due};

/// The most checks that one exchange cashes.
pub const MAX_CASHED_TOGETHER: usize = 16;

/// Where the banks are.
pub type Banks = BTreeMap<PublicKey, Client>;

/// The exchange that cashes these ticks. In case a every member of the chain gets its share; what does not divide stays with
/// the mix that is paid.
pub fn exchange(due: &[Due], challenge: Challenge, payee: &PublicKey, contract: Option<&Contract>) -> Option<Exchange> {
    let first = due.first()?;
    let worth = |due: &Due| due.check.worth(due.to.index - due.from.index);
    let total = Amount::checked_sum(due.iter().map(worth).collect::<Option<Vec<_>>>()?)?;
    let inputs = due.iter().map(|due| Input::Chain { check: due.check.clone(), from: due.from, to: due.to, challenge });
    Some(Exchange {
        bank: first.check.bank,
        currency: first.check.currency.clone(),
        inputs: inputs.collect(),
        outputs: outputs(total, payee, contract),
        condition: None,
        seal_to: None,
    })
}

fn outputs(total: Amount, payee: &PublicKey, contract: Option<&Contract>) -> Vec<Output> {
    let mut left = total;
    let mut credits: BTreeMap<PublicKey, Amount> = BTreeMap::new();
    let members = contract.map_or(&[][..], |contract| &contract.members);
    for member in members {
        let amount = match contract {
            Some(contract) if member.mix != contract.paying => share(total, contract, member.share),
            _ => continue,
        };
        if let Some(rest) = left.checked_sub(amount).filter(|_| !amount.is_zero()) {
            left = rest;
            let credit = credits.entry(member.account).or_insert(Amount::ZERO);
            *credit = credit.checked_add(amount).unwrap_or(*credit);
        }
    }
    let own = credits.entry(*payee).or_insert(Amount::ZERO);
    *own = own.checked_add(left).unwrap_or(*own);
    let credits = credits.into_iter().filter(|(_, amount)| !amount.is_zero());
    credits.map(|(account, amount)| Output::Account { account, amount }).collect()
}

/// A member's part of this amount, rounded down.
fn share(total: Amount, contract: &Contract, share: u32) -> Amount {
    let sum: u64 = contract.members.iter().map(|member| u64::from(member.share)).sum();
    let part = u128::from(total.micros()) * u128::from(share) / u128::from(sum.max(1));
    u64::try_from(part).map_or(Amount::ZERO, Amount::from_micros)
}

/// What of this amount stays with the mix that is paid.
pub fn own_part(total: Amount, contract: Option<&Contract>) -> Amount {
    let Some(contract) = contract else { return total };
    let others = contract.members.iter().filter(|member| member.mix != contract.paying);
    others.fold(total, |left, member| left.checked_sub(share(total, contract, member.share)).unwrap_or(left))
}

/// Cashes these ticks, which are all of one bank. If the bank refuses several together, each is cashed alone, so that one
/// bad check costs no other its money.
pub async fn cash(bank: &Client, due: Vec<Due>, payee: &SecretKey, contract: Option<&Contract>) -> Vec<(Due, Cashing)> {
    match attempt(bank, &due, payee, contract).await {
        Ok(()) => due.into_iter().map(|due| (due, Cashing::Paid)).collect(),
        Err(problem) if due.len() > 1 && problem.as_ref().is_some_and(is_about_a_check) => {
            let mut outcomes = Vec::new();
            for one in due {
                let outcome = match attempt(bank, std::slice::from_ref(&one), payee, contract).await {
                    Ok(()) => Cashing::Paid,
                    Err(problem) => outcome_of(problem.as_ref()),
                };
                outcomes.push((one, outcome));
            }
            outcomes
        }
        Err(problem) => due.into_iter().map(|due| (due, outcome_of(problem.as_ref()))).collect(),
    }
}

/// None when the bank was not reached.
async fn attempt(
    bank: &Client,
    due: &[Due],
    payee: &SecretKey,
    contract: Option<&Contract>,
) -> Result<(), Option<Problem>> {
    let problem = |error| match error {
        CallError::Problem(problem) => Some(problem),
        CallError::Unreachable(..) | CallError::BadReply(_) => None,
    };
    let asked = bank.call(&BankCall::Challenge).await.map_err(problem)?;
    let BankReply::Challenge(challenge) = asked else { return Err(None) };
    let Some(exchange) = exchange(due, challenge, &payee.public(), contract) else { return Err(None) };
    let joint = Joint::sign(exchange, [payee]);
    match bank.call(&BankCall::Exchange(joint.into())).await.map_err(problem) {
        Ok(_) => Ok(()),
        Err(Some(problem)) if problem.code == "unknown_account" => {
            open_account(bank, payee, &due[0].check.bank).await;
            Err(None)
        }
        Err(problem) => Err(problem),
    }
}

/// Opens the mix's account at a bank; to open it again changes nothing.
pub async fn open_account(bank: &Client, payee: &SecretKey, name: &PublicKey) {
    let open = Signed::sign(payee, OpenAccount { account: payee.public(), bank: *name });
    // If it fails, the cashing that needs the account opens it.
    let _ = bank.call(&BankCall::OpenAccount((&open).into())).await;
}

/// What a bank says of a check that it will never pay more for. Everything else is about this request, this challenge or this
/// moment, and the next request is another one.
const LOST: [&str; 8] = [
    "unknown_chain",
    "chain_exceeded",
    "chain_misfit",
    "chain_bounds",
    "chain_length",
    "tick_forged",
    "wrong_payee",
    "wrong_currency",
];

fn is_about_a_check(problem: &Problem) -> bool {
    problem.code == "chain_advanced" || LOST.contains(&problem.code.as_str())
}

fn outcome_of(problem: Option<&Problem>) -> Cashing {
    match problem {
        Some(problem) if problem.code == "chain_advanced" => {
            let index = problem.size.and_then(|index| u32::try_from(index).ok());
            index.map_or(Cashing::Later, Cashing::Stands)
        }
        Some(problem) if LOST.contains(&problem.code.as_str()) => Cashing::Lost,
        Some(_) | None => Cashing::Later,
    }
}

#[cfg(test)]
mod tests {
    use naulon_onion::Member;

    use super::*;

    /// What ends a check for good has a code that banks know; what does not, is tried again.
    #[test]
    fn only_what_is_about_the_check_gives_it_up() {
        let outcome = |code: &str| outcome_of(Some(&Problem::new(code, "")));
        for code in LOST {
            assert!(naulon_wire::codes::find(code).is_some(), "{code}");
            assert!(matches!(outcome(code), Cashing::Lost), "{code}");
        }
        for code in ["challenge_stale", "challenge_forged", "bad_signature", "busy", "unknown_account", "unavailable"] {
            assert!(naulon_wire::codes::find(code).is_some(), "{code}");
            assert!(matches!(outcome(code), Cashing::Later), "{code}");
        }
    }

    #[test]
    fn a_chain_is_paid_by_its_shares_and_the_paying_mix_keeps_what_does_not_divide() {
        let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
        let member = |seed, share| Member { mix: key(seed), account: key(seed + 10), share };
        let members = vec![member(1, 3), member(2, 2), member(3, 2)];
        let contract = Contract { provider: key(9), paying: key(1), members };
        let credits = |total, contract| {
            let mut credits: Vec<(PublicKey, u64)> = outputs(Amount::from_micros(total), &key(11), contract)
                .into_iter()
                .filter_map(|output| match output {
                    Output::Account { account, amount } => Some((account, amount.micros())),
                    _ => None,
                })
                .collect();
            credits.sort();
            credits
        };
        let mut expected = vec![(key(11), 44), (key(12), 28), (key(13), 28)];
        expected.sort();
        assert_eq!(credits(100, Some(&contract)), expected);
        assert_eq!(own_part(Amount::from_micros(100), Some(&contract)), Amount::from_micros(44));
        assert_eq!(credits(1, Some(&contract)), [(key(11), 1)], "nothing is lost by rounding");
        assert_eq!(credits(100, None), [(key(11), 100)]);
    }
}
