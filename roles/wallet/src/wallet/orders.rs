//! Paying for a token that somebody else's client blinds (docs/spec/privacy-pass.md).

use naulon_blind::TokenRequest;
use naulon_exchange::{Exchange, Input, Output};
use naulon_statement::{Digest, UnverifiedJoint};
use naulon_wire::IssueOrder;

use super::Wallet;
use crate::error::WalletError;
use crate::store::WalletStore;

impl<S: WalletStore> Wallet<S> {
    /// An order on the account for the one token of this brand that a Privacy Pass client asks for. The client hands it to
    /// the bank with its request; the token is the client's, and this wallet neither sees nor keeps it.
    ///
    /// Nothing is written: the order's number comes from the seed and the request, so the same request has the same order,
    /// and is paid for once however often it is ordered.
    pub fn order_token(&self, brand: &Digest, request: &TokenRequest) -> Result<IssueOrder, WalletError> {
        self.check_usable()?;
        let known = self.brands.get(brand).ok_or(WalletError::UnknownBrand(*brand))?;
        let takes = TokenRequest::new(known.issuer_key(), request.blinded) == *request;
        if !takes || !known.issuer_key().takes(&request.blinded) {
            return Err(WalletError::OtherBrandsRequest);
        }
        let (bank, amount) = (known.brand().bank, known.brand().denomination);
        let account = self.account_key(&bank);
        let order = self.seed.token_order(&bank, brand, &request.blinded);
        let exchange = Exchange {
            bank,
            currency: known.brand().currency.clone(),
            inputs: vec![Input::Account { account: account.public(), amount, order }],
            outputs: vec![Output::Blinded { brand: *brand, message: request.blinded }],
            condition: None,
            seal_to: None,
        };
        let signed = UnverifiedJoint::from(self.sign(exchange, &[], true));
        IssueOrder::new(signed).map_err(|_| WalletError::OtherBrandsRequest)
    }
}
