//! Calls to any party, as a wallet or shop has them to make.

use naulon_statement::PublicKey;

use crate::bank::{BankCall, BankReply};
use crate::client::{Circuit, Client};
use crate::http::CallError;
use crate::log::{LogCall, LogReply};
use crate::shop::{ShopCall, ShopReply};

/// A call that somebody wants made: to whom, on which circuit. State machines say what they ask; a driver carries it,
/// over HTTP in the programs and over simulated links in the simulator.
#[derive(Debug)]
pub struct Ask {
    /// The party's key.
    pub to: PublicKey,
    /// The circuit; anonymous and identified calls never share one.
    pub circuit: Circuit,
    /// What is asked.
    pub call: AnyCall,
}

/// A call to some kind of party.
#[derive(Debug)]
pub enum AnyCall {
    /// To a bank.
    Bank(BankCall),
    /// To a log.
    Log(LogCall),
    /// To a shop.
    Shop(ShopCall),
}

/// A reply from some kind of party.
#[derive(Debug)]
pub enum AnyReply {
    /// From a bank.
    Bank(BankReply),
    /// From a log.
    Log(LogReply),
    /// From a shop.
    Shop(ShopReply),
}

impl AnyCall {
    /// Asks over HTTP.
    pub async fn ask(&self, client: &Client) -> Result<AnyReply, CallError> {
        match self {
            AnyCall::Bank(call) => client.call(call).await.map(AnyReply::Bank),
            AnyCall::Log(call) => client.call(call).await.map(AnyReply::Log),
            AnyCall::Shop(call) => client.call(call).await.map(AnyReply::Shop),
        }
    }
}
