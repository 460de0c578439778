//! Accounts, withdrawals, deposits and refreshing.

use naulon_exchange::{BalanceQuery, Exchange, Input, MAX_INPUTS, MAX_OUTPUTS, OpenAccount, Order, Output};
use naulon_money::{Amount, Currency};
use naulon_statement::{PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint, derive_secret};
use naulon_wire::{AnyCall, Ask, BankCall, Circuit};

use super::{Entropy, Plan, Wallet, anonymous};
use crate::change::Change;
use crate::error::WalletError;
use crate::operation::{Exchanging, Operation, OperationId, Why, Work};
use crate::selection::{Shortfall, float, select, select_keeping};
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// How much to deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepositAmount {
    /// All free tokens of the bank: at most [`MAX_INPUTS`], the most valuable ones, in one operation.
    All,
    /// This much; what the tokens are worth beyond it comes back as fresh ones.
    Exactly(Amount),
}

/// Which keys new tokens have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Each one of its own: nobody can link the payments that they are used in.
    #[default]
    Own,
    /// One new key for all of them (AAT §8.1): one signature pays with several, and the bank, which alone sees the key, can
    /// link its uses.
    Shared,
}

impl From<Amount> for DepositAmount {
    fn from(amount: Amount) -> Self {
        DepositAmount::Exactly(amount)
    }
}

/// The parts of an exchange that is about to begin.
struct Draft {
    why: Why,
    amount: Amount,
    inputs: Vec<Input>,
    /// The tokens among the inputs.
    tokens: Vec<Held>,
    plan: Plan,
}

impl<S: WalletStore> Wallet<S> {
    /// Opens this wallet's account at a bank. Opening it again changes nothing.
    pub fn open_account(&mut self, bank: PublicKey, now: Timestamp) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        if !self.peers.banks.contains_key(&bank) {
            return Err(WalletError::UnknownBank(bank));
        }
        let key = self.account_key(&bank);
        let request = Signed::sign(&key, OpenAccount { bank, account: key.public() });
        // It goes out on the account's own circuit and needs no number.
        let (id, changes) = self.begin(bank, now, &[0; 32], Work::OpenAccount(Unverified::from(&request)));
        self.commit(changes)?;
        Ok(id)
    }

    /// Takes money from the account as tokens, a float of the bank's current denominations.
    pub fn withdraw(
        &mut self,
        bank: PublicKey,
        amount: Amount,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.withdraw_with(bank, amount, Keys::Own, now, entropy)
    }

    /// As [`withdraw`](Self::withdraw), with these keys.
    pub fn withdraw_with(
        &mut self,
        bank: PublicKey,
        amount: Amount,
        keys: Keys,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let currency = self.terms_of(&bank)?.currency.clone();
        let values = self.float(&bank, &currency, amount, now)?;
        let plan = self.plan(&bank, &values, keys, now)?;
        let mut order = Order::default();
        derive_secret(entropy, &[b"naulon/wallet/order"], &mut order);
        let inputs = vec![Input::Account { account: self.account(&bank), amount, order }];
        let draft = Draft { why: Why::Withdraw, amount, inputs, tokens: Vec::new(), plan };
        self.begin_exchange(bank, currency, draft, now, entropy)
    }

    /// Gives tokens to the account.
    pub fn deposit(
        &mut self,
        bank: PublicKey,
        amount: impl Into<DepositAmount>,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let currency = self.terms_of(&bank)?.currency.clone();
        let (tokens, amount, change) = match amount.into() {
            DepositAmount::All => {
                let mut tokens = self.redeemable(&bank, &currency, now);
                tokens.sort_by_key(|held| std::cmp::Reverse(self.worth(held)));
                tokens.truncate(MAX_INPUTS);
                let sum = self.sum(&tokens);
                (tokens, sum, Amount::ZERO)
            }
            DepositAmount::Exactly(amount) => {
                let (tokens, change) =
                    self.choose(&bank, &currency, self.redeemable(&bank, &currency, now), amount, now)?;
                (tokens, amount, change)
            }
        };
        let plan = self.plan_change(&bank, &currency, change, now)?;
        self.begin_deposit(bank, currency, tokens, amount, plan, now, entropy)
    }

    /// Gives exactly these tokens to the account.
    pub(super) fn deposit_these(
        &mut self,
        bank: PublicKey,
        currency: Currency,
        tokens: Vec<Held>,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        let amount = self.sum(&tokens);
        self.begin_deposit(bank, currency, tokens, amount, Plan::default(), now, entropy)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one deposit, and what every operation takes")]
    fn begin_deposit(
        &mut self,
        bank: PublicKey,
        currency: Currency,
        tokens: Vec<Held>,
        amount: Amount,
        mut plan: Plan,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        if tokens.is_empty() || amount.is_zero() {
            return Err(WalletError::NothingToDo);
        }
        plan.outputs.push(Output::Account { account: self.account(&bank), amount });
        let inputs = tokens.iter().map(|held| self.input(&bank, held, None)).collect();
        let draft = Draft { why: Why::Deposit, amount, inputs, tokens, plan };
        self.begin_exchange(bank, currency, draft, now, entropy)
    }

    /// Exchanges the free tokens of a bank for fresh ones, a float of its current denominations (AAT figure 2): at most
    /// [`MAX_INPUTS`] tokens, those whose brand ends first.
    pub fn refresh(&mut self, bank: PublicKey, now: Timestamp, entropy: &Entropy) -> Result<OperationId, WalletError> {
        self.refresh_with(bank, Keys::Own, now, entropy)
    }

    /// As [`refresh`](Self::refresh), with these keys.
    pub fn refresh_with(
        &mut self,
        bank: PublicKey,
        keys: Keys,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let currency = self.terms_of(&bank)?.currency.clone();
        let mut tokens = self.redeemable(&bank, &currency, now);
        tokens.truncate(MAX_INPUTS);
        self.refresh_these(bank, currency, tokens, keys, now, entropy)
    }

    /// Exchanges exactly these tokens for fresh ones.
    pub(super) fn refresh_these(
        &mut self,
        bank: PublicKey,
        currency: Currency,
        tokens: Vec<Held>,
        keys: Keys,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        let amount = self.sum(&tokens);
        if tokens.is_empty() || amount.is_zero() {
            return Err(WalletError::NothingToDo);
        }
        let values = self.float(&bank, &currency, amount, now)?;
        let plan = self.plan(&bank, &values, keys, now)?;
        let inputs = tokens.iter().map(|held| self.input(&bank, held, None)).collect();
        let draft = Draft { why: Why::Refresh, amount, inputs, tokens, plan };
        self.begin_exchange(bank, currency, draft, now, entropy)
    }

    /// The question for the account's balance. It changes nothing at the bank, so it is no operation: carry it and read the
    /// answer, [`naulon_wire::BankReply::Balance`]. The wallet takes note that the account is named now
    /// ([`apart`](Self::apart)).
    pub fn balance_ask(&mut self, bank: PublicKey, now: Timestamp) -> Result<Ask, WalletError> {
        if !self.peers.banks.contains_key(&bank) {
            return Err(WalletError::UnknownBank(bank));
        }
        self.account_named(now)?;
        let key = self.account_key(&bank);
        let query = Signed::sign(&key, BalanceQuery { bank, account: key.public(), at: now });
        let call = AnyCall::Bank(BankCall::Balance(Unverified::from(&query)));
        Ok(Ask { to: bank, circuit: Circuit::Identified(key.public()), call })
    }

    /// What to ask for an exchange.
    pub(super) fn exchange_ask(&self, operation: &Operation, exchanging: &Exchanging) -> Ask {
        let circuit = match exchanging.why {
            // These name the account, so they go where it is named anyway.
            Why::Withdraw | Why::Deposit | Why::FundFromAccount => Circuit::Identified(self.account(&operation.bank)),
            Why::Refresh | Why::FundFromTokens => anonymous(operation),
        };
        let call = AnyCall::Bank(BankCall::Exchange(exchanging.request.clone()));
        Ask { to: operation.bank, circuit, call }
    }

    /// Chooses tokens of a bank for an amount, and says what comes back.
    pub(super) fn choose(
        &self,
        bank: &PublicKey,
        currency: &Currency,
        tokens: Vec<Held>,
        amount: Amount,
        now: Timestamp,
    ) -> Result<(Vec<Held>, Amount), WalletError> {
        let values: Vec<Amount> = tokens.iter().map(|held| self.worth(held)).collect();
        let grid = self.grid(bank, now);
        match select(&values, amount, grid.as_ref(), MAX_INPUTS) {
            Ok(selection) => {
                let chosen = selection.chosen.iter().filter_map(|place| tokens.get(*place)).cloned().collect();
                Ok((chosen, selection.change))
            }
            Err(Shortfall::Insufficient { missing }) => {
                Err(WalletError::Insufficient { missing, currency: currency.clone() })
            }
            Err(Shortfall::NotPayable) => Err(WalletError::NotPayable { amount, currency: currency.clone() }),
            Err(Shortfall::TooMany) => Err(WalletError::TooManyTokens),
        }
    }

    /// Plans change in the fewest tokens of the current brands.
    pub(super) fn plan_change(
        &self,
        bank: &PublicKey,
        currency: &Currency,
        change: Amount,
        now: Timestamp,
    ) -> Result<Plan, WalletError> {
        if change.is_zero() {
            return Ok(Plan::default());
        }
        let not_payable = || WalletError::NotPayable { amount: change, currency: currency.clone() };
        let values = self.grid(bank, now).and_then(|grid| grid.split(change).ok()).ok_or_else(not_payable)?;
        if values.len() >= MAX_OUTPUTS {
            return Err(WalletError::TooManyTokens);
        }
        self.plan(bank, &values, Keys::Own, now)
    }

    /// Chooses tokens of a bank for an amount, the rest of which remains on one of them: those in front of the list first.
    pub(super) fn choose_keeping(
        &self,
        currency: &Currency,
        tokens: Vec<Held>,
        amount: Amount,
    ) -> Result<(Vec<Held>, Amount), WalletError> {
        let values: Vec<Amount> = tokens.iter().map(|held| self.worth(held)).collect();
        match select_keeping(&values, amount, MAX_INPUTS) {
            Ok(selection) => {
                let chosen = selection.chosen.iter().filter_map(|place| tokens.get(*place)).cloned().collect();
                Ok((chosen, selection.change))
            }
            Err(Shortfall::Insufficient { missing }) => {
                Err(WalletError::Insufficient { missing, currency: currency.clone() })
            }
            Err(Shortfall::NotPayable) => Err(WalletError::NotPayable { amount, currency: currency.clone() }),
            Err(Shortfall::TooMany) => Err(WalletError::TooManyTokens),
        }
    }

    /// The free tokens of a bank that can be given up now, those whose brand ends first in front.
    pub(super) fn redeemable(&self, bank: &PublicKey, currency: &Currency, now: Timestamp) -> Vec<Held> {
        self.usable(bank, currency, |held, brand| held.state == TokenState::Free && brand.redeemable_at(now))
    }

    /// The tokens of a bank that suit, those whose brand ends first in front.
    pub(super) fn usable(
        &self,
        bank: &PublicKey,
        currency: &Currency,
        suits: impl Fn(&Held, &naulon_blind::Brand) -> bool,
    ) -> Vec<Held> {
        let of_bank = self.tokens.values().filter_map(|held| {
            let brand = self.brands.get(&held.brand())?.brand();
            let fits = brand.bank == *bank && brand.currency == *currency && suits(held, brand);
            fits.then_some((brand.spend_until, held))
        });
        let mut found: Vec<_> = of_bank.collect();
        // Those that share a key stand together, so that one signature does for several.
        found.sort_by_key(|(until, held)| (*until, held.key, held.q()));
        found.into_iter().map(|(_, held)| held.clone()).collect()
    }

    fn float(
        &self,
        bank: &PublicKey,
        currency: &Currency,
        amount: Amount,
        now: Timestamp,
    ) -> Result<Vec<Amount>, WalletError> {
        let not_payable = || WalletError::NotPayable { amount, currency: currency.clone() };
        let grid = self.grid(bank, now).ok_or_else(not_payable)?;
        let values = float(amount, &grid).filter(|values| !values.is_empty()).ok_or_else(not_payable)?;
        if values.len() < MAX_OUTPUTS {
            return Ok(values);
        }
        // A float of so much does not fit into one exchange; the fewest tokens may.
        let fewest = grid.split(amount).map_err(|_| not_payable())?;
        if fewest.len() < MAX_OUTPUTS { Ok(fewest) } else { Err(WalletError::TooManyTokens) }
    }

    fn begin_exchange(
        &mut self,
        bank: PublicKey,
        currency: Currency,
        draft: Draft,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        let Draft { why, amount, inputs, tokens, plan: Plan { outputs, planned, changes: indices } } = draft;
        let exchange = Exchange { bank, currency, inputs, outputs, condition: None, seal_to: None };
        let request = UnverifiedJoint::from(self.sign(exchange, &tokens, why == Why::Withdraw));
        let work = Work::Exchange(Exchanging { why, amount, request, outputs: planned, check: None });
        let (id, mut changes) = self.begin(bank, now, entropy, work);
        changes.extend(indices);
        let reserve = |held: Held| Change::Token(Held { state: TokenState::Reserved(id), ..held });
        changes.extend(tokens.into_iter().map(reserve));
        self.commit(changes)?;
        Ok(id)
    }
}

/// What to ask to open an account.
pub(super) fn open_ask(bank: PublicKey, request: &Unverified<OpenAccount>) -> Ask {
    let circuit = Circuit::Identified(request.claimed_body().account);
    Ask { to: bank, circuit, call: AnyCall::Bank(BankCall::OpenAccount(request.clone())) }
}
