//! The cast of one purchase, and all its messages. No RSA: none of these parties looks at a token's signature.

use naulon_blind::{BlindedMessage, TOKEN_LEN, Token};
use naulon_exchange::{
    AuthorizationB, BlindDecision, BlindMessage, Carrier, Condition, Entry, EntryMode, Exchange, Header, Input,
    LogDecision, LogIdentity, LogWord, Outcome, Output, SaleNumber, UnverifiedDecision, key_commitment,
};
use naulon_money::{Amount, Currency};
use naulon_purchase::goods::{FileKey, GoodsHasher, MerchandiseKey, Opener, SEALED_CHUNK_LEN, Sealer};
use naulon_purchase::{AuthorizationM, Contract, GoodsM, GoodsQ, Ruling};
use naulon_statement::{Digest, Duration, Joint, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};

pub const PLAIN: &[u8] = b"what is sold";
pub const EXPIRY: Timestamp = Timestamp(100_000);
pub const VALID_UNTIL: Timestamp = Timestamp(80_000);
pub const MARGIN: Duration = Duration(10_000);

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn bank() -> SecretKey {
    key(1)
}

pub fn other_bank() -> SecretKey {
    key(2)
}

pub fn merchant() -> SecretKey {
    key(3)
}

pub fn other_merchant() -> SecretKey {
    key(4)
}

/// Logs 0 and 1.
pub fn log_key(log: usize) -> SecretKey {
    key(10 + log as u8)
}

/// The one-time key of a blind entry.
pub fn index_key(n: &SaleNumber) -> SecretKey {
    key(100 + n[0])
}

fn checkpoint_signer(log: usize) -> CheckpointSigner {
    CheckpointSigner::new(&format!("log.example/{log}"), &[20 + log as u8; 32]).expect("a name")
}

pub fn log_identity(log: usize) -> LogIdentity {
    LogIdentity { key: log_key(log).public(), checkpoints: checkpoint_signer(log).verifier().clone() }
}

/// The keys of the two tokens that pay; the first is Q.
pub fn tokens() -> [SecretKey; 2] {
    [key(30), key(31)]
}

pub fn euros() -> Currency {
    "EUR".parse().expect("a currency")
}

/// What a purchase may be made differently in.
#[derive(Clone)]
pub struct Plan {
    pub n: SaleNumber,
    pub expiry: Timestamp,
    pub merchant: u8,
    pub log: usize,
    pub two_sided: bool,
    pub mode: EntryMode,
    /// What k is derived from.
    pub secret: &'static [u8],
    /// What the contract says of the goods.
    pub described: &'static [u8],
    /// Wraps a file key that does not open the goods.
    pub wrong_file_key: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            n: [7; 16],
            expiry: EXPIRY,
            merchant: 3,
            log: 0,
            two_sided: false,
            mode: EntryMode::Plain,
            secret: b"secret",
            described: PLAIN,
            wrong_file_key: false,
        }
    }
}

/// All messages of one purchase.
pub struct Deal {
    pub sealed: Vec<u8>,
    pub k: [u8; 32],
    pub goods_m: Signed<GoodsM>,
    pub goods_q: Option<Signed<GoodsQ>>,
    pub authorization_q: Joint<Exchange>,
    pub header: Signed<Header>,
    pub authorization_b: Signed<AuthorizationB>,
    pub authorization_m: Signed<AuthorizationM>,
    pub log: usize,
}

impl Plan {
    pub fn deal(&self) -> Deal {
        let merchant = key(self.merchant);
        let k = MerchandiseKey::derive(self.secret, &self.n);
        let file_key = FileKey::derive(b"shop", &Digest::of(&[b"item"]), &Digest::of(&[PLAIN]));
        let sealed = Sealer::new(file_key.clone()).seal(PLAIN, true);
        let wrapped = if self.wrong_file_key {
            FileKey::derive(b"another", &Digest::of(&[b"item"]), &Digest::of(&[PLAIN]))
        } else {
            file_key
        };
        let goods_m = Signed::sign(&merchant, self.offer(&k, &wrapped, &sealed));
        let goods_q = self.two_sided.then(|| Signed::sign(&tokens()[0], GoodsQ::to(&goods_m)));
        let authorization_q = Joint::sign(self.authorization(&goods_m), &tokens());
        let header = Header::of(&authorization_q, authorization_q.id()).expect("a purchase");
        let promise = AuthorizationB::of(&authorization_q, &header).expect("a purchase");
        let a = header.a;
        Deal {
            sealed,
            k: *k.reveal(),
            goods_m,
            goods_q,
            authorization_q,
            header: Signed::sign(&bank(), header),
            authorization_b: Signed::sign(&bank(), promise),
            authorization_m: Signed::sign(&merchant, AuthorizationM { a, k: *k.reveal() }),
            log: self.log,
        }
    }

    fn offer(&self, k: &MerchandiseKey, file_key: &FileKey, sealed: &[u8]) -> GoodsM {
        GoodsM {
            contract: Contract {
                title: "A thing".to_owned(),
                description: "It is a thing.".to_owned(),
                size: self.described.len() as u64,
                digest: Digest::of(&[self.described]),
            },
            price: units(4),
            currency: euros(),
            merchant: key(self.merchant).public(),
            n: self.n,
            goods: digest_of(sealed),
            c: key_commitment(&self.n, k.reveal()),
            wrapped_key: k.wrap(&self.n, file_key),
            banks: vec![bank().public()],
            logs: vec![log_key(0).public(), log_key(1).public()],
            valid_until: VALID_UNTIL,
            release_margin: MARGIN,
            two_sided: self.two_sided,
            entries: vec![EntryMode::Plain, EntryMode::Encrypted, EntryMode::Blind],
            index: Some(index_key(&self.n).public()),
        }
    }

    /// Two tokens of unknown value pay 4 and bring change.
    pub fn authorization(&self, offer: &GoodsM) -> Exchange {
        let [first, second] = tokens().map(|key| key.public());
        let credit = Output::Account { account: offer.merchant, amount: offer.price };
        let change = Output::Blinded { brand: Digest([5; 32]), message: BlindedMessage([6; 256]) };
        Exchange {
            bank: bank().public(),
            currency: euros(),
            inputs: [first, second].map(|q| Input::token(token(&q))).to_vec(),
            outputs: vec![credit, change],
            condition: Some(Condition {
                n: offer.n,
                merchant: offer.merchant,
                expiry: self.expiry,
                log: log_key(self.log).public(),
                c: offer.c,
                q: self.two_sided.then_some(first),
                entry: offer.entry(self.mode).expect("offered"),
                carrier: Carrier::Wallet,
            }),
            seal_to: None,
        }
    }
}

impl Deal {
    pub fn commit(&self) -> LogDecision {
        let before = Timestamp(self.header.expiry.0 - 1);
        LogDecision::on(&self.header, before, Outcome::Commit { k: self.k })
    }

    pub fn abort(&self) -> LogDecision {
        LogDecision::on(&self.header, self.header.expiry, Outcome::Abort)
    }

    /// A decision as the deal's log proves it.
    pub fn prove(&self, decision: LogDecision) -> UnverifiedDecision {
        prove(self.log, self, decision)
    }

    /// What the log signs so that it means this decision.
    pub fn ruling(&self, decision: LogDecision) -> Ruling {
        match self.header.entry {
            Entry::Plain | Entry::Encrypted => Ruling::Open { header: Header::clone(&self.header), decision },
            Entry::Blind { index } => {
                let message = decision.key().map(|k| Unverified::from(&self.message(k)));
                Ruling::Blind(BlindDecision { index, expiry: decision.expiry, time: decision.time, message })
            }
        }
    }

    /// The merchant's message to a blind log, with this k.
    pub fn message(&self, k: &[u8; 32]) -> Signed<BlindMessage> {
        let sealed = self.header.seal_release(&self.header.a, k);
        let message = BlindMessage { log: self.header.log, expiry: self.header.expiry, sealed };
        Signed::sign(&index_key(&self.header.n), message)
    }
}

/// A decision on the deal's purchase as another log would prove it.
pub fn prove(log: usize, deal: &Deal, decision: LogDecision) -> UnverifiedDecision {
    prove_ruling(log, deal.ruling(decision)).with(&deal.header)
}

/// A decision as this log would prove it, in a tree of its own.
pub fn prove_ruling(log: usize, ruling: Ruling) -> UnverifiedDecision {
    let signed = ruling.sign(&log_key(log));
    let leaves = [leaf_hash(b"before"), leaf_hash(&signed.entry.bytes)];
    let (mut tree, mut store) = (Tree::default(), Vec::<Hash>::new());
    store.extend(tree.append(&leaves).into_iter().map(|(_, hash)| hash));
    let (index, size) = (1, tree.size());
    let inclusion = InclusionProof { index, size, path: inclusion_proof(size, index, &store).expect("a proof") };
    let signer = checkpoint_signer(log);
    let checkpoint = Checkpoint { origin: signer.verifier().origin().to_owned(), size, root: tree.root() };
    let checkpoint = signer.sign(&checkpoint).expect("its own checkpoint").into_string();
    let decision = LogWord::parse(&signed.statement).expect("a statement");
    UnverifiedDecision { decision, inclusion, checkpoint, header: None }
}

/// A token with this Q, and a signature that nobody here looks at.
pub fn token(q: &PublicKey) -> Token {
    let mut bytes = [9; TOKEN_LEN];
    bytes[..2].copy_from_slice(&[0, 2]);
    bytes[2..34].copy_from_slice(q.as_bytes());
    Token::parse(&bytes).expect("parses")
}

pub fn units(count: u64) -> Amount {
    Amount::from_micros(count * 1_000_000)
}

pub fn digest_of(sealed: &[u8]) -> Digest {
    let mut hasher = GoodsHasher::default();
    hasher.update(sealed);
    hasher.finish()
}

/// Opens encrypted goods as a judge does: bytes that are not the offer's say nothing.
pub fn open(sealed: &[u8], offer: &GoodsM, k: &[u8; 32]) -> Option<Result<(), naulon_purchase::goods::GoodsError>> {
    if digest_of(sealed) != offer.goods {
        return None;
    }
    let opened = || {
        let mut opener = Opener::new(MerchandiseKey::published(k).unwrap(&offer.n, &offer.wrapped_key)?);
        let chunks: Vec<_> = sealed.chunks(SEALED_CHUNK_LEN).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            opener.open(chunk, index + 1 == chunks.len())?;
        }
        opener.finish(&offer.contract)
    };
    Some(opened())
}
