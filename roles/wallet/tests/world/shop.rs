//! A shop with one item.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{LogIdentity, SaleNumber, key_commitment};
use naulon_money::Amount;
use naulon_purchase::goods::{CHUNK_LEN, FileKey, GoodsHasher, MerchandiseKey, Sealer};
use naulon_purchase::refund::{refund_exchange, within_price};
use naulon_purchase::{Contract, GoodsM, MerchantRules, RefundRefusal, Sale};
use naulon_statement::{Digest, Duration, Joint, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{Item, Problem, Refund, ShopCall, ShopDescription, ShopReply};

use super::{Log, piece};

const SECRET: &[u8] = b"the shop's secret";

/// k of a sale.
pub fn key_of(n: &SaleNumber) -> [u8; 32] {
    *MerchandiseKey::derive(SECRET, n).reveal()
}

pub struct Shop {
    pub key: SecretKey,
    pub rules: MerchantRules,
    pub plain: Vec<u8>,
    pub sealed: Vec<u8>,
    pub title: String,
    /// What it costs in the catalogue.
    pub price: Amount,
    /// A shop that answers payments with nothing.
    pub is_silent: bool,
    /// How many payments it has released a key for.
    pub sales: BTreeMap<SaleNumber, (Digest, Unverified<GoodsM>)>,
    /// The sales that were paid, and the refunds that it grants of each.
    pub paid: BTreeMap<Digest, Sale>,
    pub grants: Vec<Amount>,
    file_key: FileKey,
    offers: u64,
}

impl Shop {
    pub fn new(key: SecretKey, bank: PublicKey, log: LogIdentity) -> Self {
        let rules = MerchantRules {
            merchant: key.public(),
            banks: BTreeSet::from([bank]),
            logs: BTreeMap::from([(log.key, log)]),
            release_margin: Duration::seconds(20),
        };
        let file_key = FileKey::derive(SECRET, &Digest::of(&[b"item"]), &Digest::of(&[b"version"]));
        let mut shop = Shop {
            key,
            rules,
            plain: Vec::new(),
            sealed: Vec::new(),
            title: "A song.txt".into(),
            price: Amount::from_micros(3_500_000),
            is_silent: false,
            sales: BTreeMap::new(),
            paid: BTreeMap::new(),
            grants: Vec::new(),
            file_key,
            offers: 0,
        };
        shop.stock((0..3 * CHUNK_LEN + 77).map(|i| (i % 251) as u8).collect());
        shop
    }

    pub fn stock(&mut self, plain: Vec<u8>) {
        let mut sealer = Sealer::new(self.file_key.clone());
        let chunks: Vec<&[u8]> = plain.chunks(CHUNK_LEN).collect();
        let last = chunks.len() - 1;
        self.sealed = chunks.iter().enumerate().flat_map(|(i, chunk)| sealer.seal(chunk, i == last)).collect();
        self.plain = plain;
    }

    pub fn offer(&mut self, price: Amount, now: Timestamp) -> Signed<GoodsM> {
        let body = self.draft(price, now);
        Signed::sign(&self.key, body)
    }

    /// An offer that may be changed before it is signed.
    pub fn draft(&mut self, price: Amount, now: Timestamp) -> GoodsM {
        self.offers += 1;
        let mut n = SaleNumber::default();
        n[..8].copy_from_slice(&self.offers.to_be_bytes());
        let k = MerchandiseKey::derive(SECRET, &n);
        let mut hasher = GoodsHasher::default();
        hasher.update(&self.sealed);
        let contract = Contract {
            title: self.title.clone(),
            description: "what it is".into(),
            size: self.plain.len() as u64,
            digest: Digest::of(&[&self.plain]),
        };
        GoodsM {
            contract,
            price,
            currency: "EUR".parse().expect("a currency"),
            merchant: self.key.public(),
            n,
            goods: hasher.finish(),
            c: key_commitment(&n, k.reveal()),
            wrapped_key: k.wrap(&n, &self.file_key),
            banks: self.rules.banks.iter().copied().collect(),
            logs: self.rules.logs.keys().copied().collect(),
            valid_until: now.plus(Duration::seconds(3_600)),
            release_margin: self.rules.release_margin,
            two_sided: false,
            entries: Vec::new(),
            index: None,
        }
    }

    pub fn call(&mut self, call: &ShopCall, log: &mut Log, now: Timestamp) -> Result<ShopReply, Problem> {
        match call {
            ShopCall::Goods { range, .. } => Ok(piece(&self.sealed, *range)),
            ShopCall::Item { .. } => Err(Problem::new("not_found", "")),
            ShopCall::Pay(_) if self.is_silent => Ok(ShopReply::Pending),
            ShopCall::Pay(payment) => {
                let payment = payment.as_ref().clone().verify(&self.rules)?;
                let n = payment.goods_m.n;
                if !self.sales.contains_key(&n) {
                    payment.check_margin(&self.rules, now)?;
                    self.sales.insert(n, (payment.header.digest(), Unverified::from(&payment.goods_m)));
                }
                let k = key_of(&n);
                let header = payment.header.clone();
                let decision = log.commit(&header, &self.key, k, now)?;
                // This shop sees no settlement: it takes the log's commit for one.
                let mut sale = Sale::new(payment);
                if sale.decided(&self.rules, decision.clone()).is_ok() {
                    sale.settled = true;
                    self.paid.insert(header.digest(), sale);
                }
                Ok(ShopReply::Decision(Box::new(decision)))
            }
            ShopCall::Order(_) | ShopCall::Promise { .. } => Err(Problem::new("not_found", "not here")),
            ShopCall::Taken(header) => {
                let digest = header.claimed_body().digest();
                let sale = self.sales.values().find(|(id, _)| *id == digest);
                let (_, offer) = sale.ok_or_else(|| Problem::new("unknown_purchase", "no such sale"))?;
                Ok(ShopReply::Offer(Box::new(offer.clone())))
            }
            ShopCall::Refund(refund) => {
                let id = refund.request.claimed_body().sale;
                let sale = self.paid.get(&id).ok_or_else(|| Problem::new("unknown_purchase", "no such sale"))?;
                let request = refund.as_ref().clone().verify(sale)?;
                let grants = within_price(sale.payment.goods_m.price, self.grants.iter().copied());
                let amount = *grants.get(request.number as usize).ok_or(RefundRefusal::NotGranted)?;
                let order = [request.number as u8; 16];
                let exchange = (!request.outputs.is_empty())
                    .then(|| Joint::sign(refund_exchange(sale, &request, amount, order), [&self.key]).into());
                Ok(ShopReply::Refund(Box::new(Refund { bank: sale.payment.header.bank, amount, exchange })))
            }
            ShopCall::Offer { item } if *item == self.title => {
                Ok(ShopReply::Offer(Box::new(Unverified::from(&self.offer(self.price, now)))))
            }
            ShopCall::Offer { .. } => Err(Problem::new("unknown_item", "no such item")),
            ShopCall::Describe => Ok(ShopReply::Description(ShopDescription {
                merchant: self.key.public(),
                banks: self.rules.banks.iter().copied().collect(),
                logs: self.rules.logs.keys().copied().collect(),
                entries: Vec::new(),
                items: vec![Item {
                    item: self.title.clone(),
                    title: self.title.clone(),
                    description: "what it is".into(),
                    price: self.price,
                    currency: "EUR".parse().expect("a currency"),
                    size: self.plain.len() as u64,
                }],
            })),
        }
    }
}
