//! Checks that an account pays for: the bank sees whose money is set aside, and by cashing to whom it went. So an account is for
//! the first mix of a provider's chain (MixPay figure 4), and for networks on one machine, where there is nobody to hide from.

use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use naulon_exchange::{EarlyClose, Exchange, Funding, Input, Output, State};
use naulon_mix::Fare as Shown;
use naulon_money::{Amount, Currency};
use naulon_proxy::{Fare, FareError, FareWanted, Fares, Pending};
use naulon_statement::{Duration, Joint, PublicKey, SecretKey, UnverifiedJoint, cbor};
use naulon_tick::{ChainId, Check, Walker};
use naulon_wire::{BankCall, BankReply, Circuit, Client, Clients, ExchangeReply};

use super::folder::random;
use crate::clock::now;
use crate::identity::Identity;

/// For how long checks are made out.
const CHECK_TIME: Duration = Duration::seconds(3_600);

/// A check that was made, and the key to what is left of it.
pub struct Made {
    /// The check.
    pub check: Check,
    /// Signs for the remainder.
    refund: SecretKey,
}

/// Makes checks out of an account.
pub struct AccountFares {
    account: Arc<SecretKey>,
    bank: PublicKey,
    currency: Currency,
    client: Client,
    made: Mutex<Vec<Made>>,
}

impl AccountFares {
    /// With this account's key.
    pub fn new(account: Arc<SecretKey>, bank: &Identity, currency: Currency) -> anyhow::Result<Self> {
        let client = Clients::default().on(Circuit::Identified(account.public()), bank.address()?)?;
        Ok(AccountFares { account, bank: bank.key, currency, client, made: Mutex::default() })
    }

    /// What was made so far.
    pub fn take_made(&self) -> Vec<Made> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes back what is left of a check, which its payee has let go.
    pub async fn take_back(&self, made: &Made, amount: Amount, early: EarlyClose) -> anyhow::Result<()> {
        let input = Input::Remainder {
            commitment: made.check.commitment(),
            refund: made.refund.public(),
            returned: Amount::ZERO,
            amount,
            early: Some(early),
        };
        let output = Output::Account { account: self.account.public(), amount };
        self.post(vec![input], vec![output], &made.refund).await?;
        Ok(())
    }

    async fn post(&self, inputs: Vec<Input>, outputs: Vec<Output>, by: &SecretKey) -> anyhow::Result<ExchangeReply> {
        let exchange = Exchange {
            bank: self.bank,
            currency: self.currency.clone(),
            inputs,
            outputs,
            condition: None,
            seal_to: None,
        };
        let call = BankCall::Exchange(UnverifiedJoint::from(Joint::sign(exchange, [by])));
        let BankReply::Exchange(reply) = self.client.call(&call).await? else {
            anyhow::bail!("the bank answers another question")
        };
        ensure!(reply.state == State::Done, "the bank has not done it");
        Ok(*reply)
    }

    async fn make(&self, wanted: FareWanted) -> anyhow::Result<Fare> {
        let (id, secret, salt) = (random::<32>()?, random::<32>()?, random::<16>()?);
        let refund = SecretKey::from_seed(&*random::<32>()?);
        let walker = Walker::new(ChainId(*id), &secret, wanted.length)?;
        let check = Check {
            id: ChainId(*id),
            root: walker.root(),
            length: wanted.length,
            value: wanted.value,
            currency: wanted.currency,
            payee: wanted.payee,
            salt: *salt,
            bank: wanted.bank,
            expiry: now().plus(CHECK_TIME),
            refund: refund.public(),
        };
        let amount = check.maximum().context("the check is for more than can be counted")?;
        let input = Input::Account { account: self.account.public(), amount, order: *random()? };
        let output = Output::chain(&check).context("the check cannot be counted")?;
        let reply = self.post(vec![input], vec![output], &self.account).await?;
        let certificate = reply.certificates.into_iter().next().context("the bank gives no certificate")?;
        let certified = certificate.clone().verify(&self.bank).is_ok_and(|certificate| certificate.covers(&check));
        ensure!(certified, "the bank certifies another check");
        let shown = cbor::to_vec(&Shown { check: check.clone(), funding: Funding::Certified(certificate) });
        let made = Made { check: check.clone(), refund };
        self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(made);
        Ok(Fare { check, walker, shown })
    }
}

impl Fares for AccountFares {
    fn bank(&self) -> PublicKey {
        self.bank
    }

    fn currency(&self) -> Currency {
        self.currency.clone()
    }

    fn fare(&self, wanted: FareWanted) -> Pending<'_, Result<Fare, FareError>> {
        Box::pin(async move { self.make(wanted).await.map_err(|error| FareError::Bank(format!("{error:#}"))) })
    }
}
