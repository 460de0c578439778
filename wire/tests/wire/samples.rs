//! One of everything that travels. Signatures of tokens and proofs are rubbish: nothing here looks at them.

use std::sync::Arc;

use bytes::Bytes;
use naulon_blind::{BlindSignature, BlindedMessage, Brand, IssuerSecret, Method, Purpose, TOKEN_LEN, Token};
use naulon_exchange::register::{
    Day, DaySummary, EntryKind, FeeTable, ItemPromise, Neighbour, Receipt, RegisterCopy, RegisterEntry, Side,
};
use naulon_exchange::{
    AuthorizationB, BalanceQuery, BlindDecision, BlindMessage, Carrier, ChainLimits, Challenge, CheckQuery, Condition,
    Entry, EntryMode, Exchange, Header, Input, LockLimits, LogDecision, LogKeeper, LogWord, OpenAccount, Outcome,
    Output, OwnLog, ProvenDecision, Record, Standing, State, TokenQuery, UnverifiedDecision, UnverifiedRecord,
};
use naulon_money::{Amount, Currency};
use naulon_onion::{Descriptor, EpochKey, KEM_X25519, Listing, Payee};
use naulon_purchase::{
    AuthorizationM, Contract, GoodsM, GoodsQ, Order, RefundRequest, UnverifiedPayment, UnverifiedRefund,
};
use naulon_statement::{
    BoxPublicKey, Digest, Duration, Joint, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint,
};
use naulon_tick::Certificate;
use naulon_tlog::{AddCheckpoint, InclusionProof};
use naulon_wire::{
    BankCall, BankDescription, BankReply, DirectoryCall, DirectoryReply, ExchangeReply, IssueOrder, IssuerDirectory,
    Item, LogCall, LogDescription, LogReply, MixCall, MixReply, OutputFate, Piece, PublicFile, PublicKind, Range,
    Refund, ShopCall, ShopDescription, ShopReply, WitnessCall, WitnessReply,
};

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn euros() -> Currency {
    "EUR".parse().expect("a currency")
}

fn amount() -> Amount {
    Amount::from_micros(1_234_567)
}

pub fn exchange() -> Joint<Exchange> {
    let mut token = [9; TOKEN_LEN];
    token[..2].copy_from_slice(&[0, 2]);
    token[2..34].copy_from_slice(key(5).public().as_bytes());
    let body = Exchange {
        bank: key(1).public(),
        currency: euros(),
        inputs: vec![Input::token(Token::parse(&token).expect("parses"))],
        outputs: vec![
            Output::Account { account: key(2).public(), amount: amount() },
            Output::Blinded { brand: Digest([3; 32]), message: BlindedMessage([4; 256]) },
        ],
        condition: Some(Condition {
            n: [7; 16],
            merchant: key(2).public(),
            expiry: Timestamp(100),
            log: key(3).public(),
            c: Digest([8; 32]),
            q: Some(key(5).public()),
            entry: Entry::Plain,
            carrier: Carrier::Wallet,
        }),
        seal_to: None,
    };
    Joint::sign(body, [&key(5)])
}

/// An order of one token.
fn order() -> Joint<Exchange> {
    let body = Exchange {
        inputs: vec![Input::Account { account: key(4).public(), amount: amount(), order: [1; 16] }],
        outputs: vec![Output::Blinded { brand: Digest([3; 32]), message: BlindedMessage([4; 256]) }],
        condition: None,
        ..Exchange::clone(&exchange())
    };
    Joint::sign(body, [&key(4)])
}

pub fn header() -> Signed<Header> {
    let exchange = exchange();
    Signed::sign(&key(1), Header::of(&exchange, exchange.id()).expect("a purchase"))
}

fn promise() -> Signed<AuthorizationB> {
    Signed::sign(&key(1), AuthorizationB::of(&exchange(), &header()).expect("a purchase"))
}

pub fn blind_message() -> Signed<BlindMessage> {
    Signed::sign(&key(8), BlindMessage { log: key(3).public(), expiry: Timestamp(100), sealed: [5; 80] })
}

/// What a blind log has, or has not, under an index.
pub fn blind_decision(message: Option<&Signed<BlindMessage>>) -> UnverifiedDecision {
    let (index, expiry, message) = (key(8).public(), Timestamp(100), message.map(Unverified::from));
    let signed = Signed::sign(&key(3), BlindDecision { index, expiry, time: Timestamp(99), message });
    let UnverifiedDecision { inclusion, checkpoint, .. } = UnverifiedDecision::from(&decision());
    UnverifiedDecision { decision: LogWord::from(&signed), inclusion, checkpoint, header: None }
}

pub fn decision() -> ProvenDecision {
    let decision = LogDecision::on(&header(), Timestamp(99), Outcome::Commit { k: [6; 32] });
    let inclusion = InclusionProof { index: 1, size: 4, path: vec![[1; 32], [2; 32]] };
    ProvenDecision::by_own_log(Signed::sign(&key(3), decision), inclusion, "log.example\n4\n…\n".to_owned())
}

pub fn record() -> Arc<Record> {
    let decision = Some(decision());
    Arc::new(Record { exchange: exchange(), state: State::Committed, accepted: Timestamp(1), decision, settled: None })
}

pub fn goods_m() -> Signed<GoodsM> {
    let contract = Contract {
        title: "A “thing”".to_owned(),
        description: "Of\nlines.".to_owned(),
        size: 5,
        digest: Digest([1; 32]),
    };
    let offer = GoodsM {
        contract,
        price: amount(),
        currency: euros(),
        merchant: key(2).public(),
        n: [7; 16],
        goods: Digest([2; 32]),
        c: Digest([8; 32]),
        wrapped_key: [3; 48],
        banks: vec![key(1).public()],
        logs: vec![key(3).public()],
        valid_until: Timestamp(90),
        release_margin: Duration(10),
        two_sided: true,
        entries: vec![EntryMode::Plain, EntryMode::Blind],
        index: Some(key(8).public()),
    };
    Signed::sign(&key(2), offer)
}

fn brand() -> Signed<Brand> {
    let der = include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der");
    let brand = Brand {
        bank: key(1).public(),
        currency: euros(),
        denomination: amount(),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: Timestamp(0),
        withdraw_until: Timestamp(1),
        spend_until: Timestamp(2),
        redeem_until: Timestamp(3),
        key: *IssuerSecret::from_der(der).expect("a key").public().spki(),
    };
    Signed::sign(&key(1), brand)
}

fn own_log() -> OwnLog {
    let (bank, merchant, log) = (key(1).public(), key(2).public(), key(6).public());
    OwnLog { merchant, bank, log, grace: Duration::seconds(600) }
}

fn shop_order(two_sided: bool) -> Order {
    let UnverifiedPayment { goods_m, goods_q, .. } = payment(two_sided);
    Order { goods_m, goods_q }
}

pub fn payment(two_sided: bool) -> UnverifiedPayment {
    UnverifiedPayment {
        goods_m: Unverified::from(&goods_m()),
        header: Unverified::from(&header()),
        authorization_b: Unverified::from(&promise()),
        goods_q: two_sided.then(|| Unverified::from(&Signed::sign(&key(5), GoodsQ::to(&goods_m())))),
    }
}

fn certificate() -> Signed<Certificate> {
    let (bank, commitment, payee) = (key(1).public(), Digest([1; 32]), Digest([2; 32]));
    let certificate =
        Certificate { bank, currency: euros(), commitment, maximum: amount(), expiry: Timestamp(9_000), payee };
    Signed::sign(&key(1), certificate)
}

fn exchange_reply(state: State, settled: bool) -> BankReply {
    BankReply::Exchange(Box::new(ExchangeReply {
        request: exchange().id(),
        state,
        signatures: if settled { vec![BlindSignature([5; 256]), BlindSignature([6; 256])] } else { Vec::new() },
        sealed: Some(vec![5; 304]),
        header: settled.then(|| Unverified::from(&header())),
        authorization_b: settled.then(|| Unverified::from(&promise())),
        loads: Vec::new(),
        certificates: if settled { vec![Unverified::from(&certificate())] } else { Vec::new() },
        decision: settled.then(|| UnverifiedDecision::from(&decision())),
    }))
}

fn register(brands: Vec<Unverified<Brand>>) -> RegisterCopy {
    let fees = Signed::sign(&key(1), FeeTable::free(key(1).public(), euros(), Timestamp(0)));
    let entries = brands.iter().map(|brand| RegisterEntry::new(EntryKind::Brand, brand.bytes()));
    RegisterCopy {
        checkpoint: "a note\n".to_owned(),
        entries: [RegisterEntry::of(&fees)].into_iter().chain(entries).collect(),
        brands,
        fees: vec![Unverified::from(&fees)],
    }
}

fn receipts() -> Vec<Receipt> {
    let (bank, brand, day) = (key(1).public(), Digest([1; 32]), Day(20_000));
    let promise = ItemPromise { bank, brand, day, side: Side::Issued, item: Digest([7; 32]) };
    let summary = Unverified::from(&Signed::sign(&key(1), DaySummary { bank, day, brands: vec![] }));
    let proof = InclusionProof { index: 1, size: 3, path: vec![[4; 32], [5; 32]] };
    let above = Some(Neighbour { item: Digest([9; 32]), proof: proof.clone() });
    vec![
        Receipt::Promised(Unverified::from(&Signed::sign(&key(1), promise))),
        Receipt::Shown { summary: summary.clone(), proof },
        Receipt::Missing { summary, below: None, above },
    ]
}

/// Every call to a bank, with replies to it. The match names every variant, so that a new one is not forgotten.
pub fn bank() -> Vec<(BankCall, Vec<BankReply>)> {
    let open = OpenAccount { bank: key(1).public(), account: key(4).public() };
    let query = BalanceQuery { bank: key(1).public(), account: key(4).public(), at: Timestamp(5) };
    let (bank, q) = (key(1).public(), key(5).public());
    let of_token = TokenQuery { bank, brand: Digest([3; 32]), q, at: Timestamp(60_000), s: Some([7; 32]) };
    let description = |brands| BankDescription {
        bank: key(1).public(),
        currency: euros(),
        register: register(brands),
        logs: vec![key(3).public(), key(6).public()],
        locks: LockLimits::default(),
        chains: ChainLimits::default(),
        deliveries: vec![key(2).public()],
        keepers: [(key(3).public(), LogKeeper::Bank), (own_log().log, LogKeeper::Merchant(own_log()))].into(),
    };
    let (commitment, refund) = (Digest([4; 32]), key(6).public());
    let of_check = CheckQuery { bank: key(1).public(), commitment, refund, at: Timestamp(60_000) };
    let calls = [
        BankCall::Describe,
        BankCall::Challenge,
        BankCall::OpenAccount(Unverified::from(&Signed::sign(&key(4), open))),
        BankCall::Balance(Unverified::from(&Signed::sign(&key(4), query))),
        BankCall::Check(Unverified::from(&Signed::sign(&key(6), of_check))),
        BankCall::Exchange(UnverifiedJoint::from(exchange())),
        BankCall::Status(exchange().id()),
        BankCall::Settle(UnverifiedDecision::from(&decision())),
        BankCall::Output { brand: Digest([3; 32]), message: Box::new(BlindedMessage([4; 256])) },
        BankCall::Token(Unverified::from(&Signed::sign(&key(5), of_token))),
        BankCall::IssuerDirectory(Digest(brand().key_id())),
        BankCall::Issue(Box::new(IssueOrder::new(UnverifiedJoint::from(order())).expect("an order"))),
        BankCall::Receipt { request: exchange().id(), side: Side::Issued, item: Digest([7; 32]) },
        BankCall::Public("/checkpoint".to_owned()),
        BankCall::Public("/checkpoint/cosigned".to_owned()),
        BankCall::Public("/tile/entries/000.p/3".to_owned()),
        BankCall::Public("/body/7".to_owned()),
    ];
    let with_replies = |call: BankCall| {
        let replies = match &call {
            BankCall::Describe => [vec![], vec![Unverified::from(&brand())]]
                .map(|brands| BankReply::Description(description(brands)))
                .into(),
            BankCall::Receipt { .. } => {
                receipts().into_iter().map(|receipt| BankReply::Receipt(Box::new(receipt))).collect()
            }
            BankCall::Public(path) => {
                let kind = PublicKind::of(path).expect("a path of a public file");
                vec![BankReply::Public(PublicFile { kind, bytes: vec![7; 33].into() })]
            }
            BankCall::Check(_) => {
                vec![BankReply::Check(Standing {
                    maximum: amount(),
                    paid: Amount::ZERO,
                    returned: Amount::from_micros(1),
                })]
            }
            BankCall::Challenge => vec![BankReply::Challenge(Challenge { at: Timestamp(7), tag: [8; 16] })],
            BankCall::OpenAccount(_) => vec![BankReply::Opened],
            BankCall::IssuerDirectory(id) => {
                let (key, issue_from) = (brand().key, Timestamp(5_000));
                vec![BankReply::IssuerDirectory(Box::new(IssuerDirectory { brand: *id, key, issue_from }))]
            }
            BankCall::Issue(_) => vec![BankReply::Issued(BlindSignature([7; 256]))],
            BankCall::Balance(_) => [Amount::ZERO, amount(), Amount::MAX].map(BankReply::Balance).into(),
            BankCall::Exchange(_) | BankCall::Status(_) | BankCall::Settle(_) => {
                [State::Done, State::Locked, State::Committed, State::Aborted]
                    .into_iter()
                    .flat_map(|state| [exchange_reply(state, false), exchange_reply(state, true)])
                    .collect()
            }
            BankCall::Output { .. } => {
                let issued = OutputFate::Issued(Box::new(BlindSignature([5; 256])));
                [OutputFate::Unknown, issued, OutputFate::Pending, OutputFate::Void].map(BankReply::Output).into()
            }
            BankCall::Token(_) => {
                [None, Some(Box::new(UnverifiedRecord::from(&*record())))].map(BankReply::Token).into()
            }
        };
        (call, replies)
    };
    calls.into_iter().map(with_replies).collect()
}

/// Every call to a log, with replies to it.
pub fn log() -> Vec<(LogCall, Vec<LogReply>)> {
    let authorization = Signed::sign(&key(2), AuthorizationM { a: exchange().id(), k: [6; 32] });
    let calls = [
        LogCall::Describe,
        LogCall::Commit { header: Unverified::from(&header()), authorization: Unverified::from(&authorization) },
        LogCall::Abort { header: Unverified::from(&header()) },
        LogCall::BlindCommit { message: Unverified::from(&blind_message()) },
        LogCall::BlindAbort { index: key(8).public(), expiry: Timestamp(100) },
        LogCall::Decision(header().digest()),
        LogCall::Public("/checkpoint".to_owned()),
        LogCall::Public("/checkpoint/cosigned".to_owned()),
        LogCall::Public("/tile/0/x001/067.p/3".to_owned()),
        LogCall::Public("/tile/entries/000".to_owned()),
        LogCall::Public("/body/7".to_owned()),
    ];
    let with_replies = |call: LogCall| {
        let replies = match &call {
            LogCall::Describe => vec![LogReply::Description(LogDescription {
                log: key(3).public(),
                checkpoints: "log.example+00000000+AA==".to_owned(),
                banks: vec![key(1).public()],
                retention_ms: 5,
                entries: EntryMode::ALL.to_vec(),
            })],
            LogCall::BlindCommit { .. } | LogCall::BlindAbort { .. } => [Some(&blind_message()), None]
                .map(|message| LogReply::Decision(Box::new(blind_decision(message))))
                .into(),
            LogCall::Commit { .. } | LogCall::Abort { .. } | LogCall::Decision(_) => {
                vec![LogReply::Decision(Box::new(UnverifiedDecision::from(&decision())))]
            }
            LogCall::Public(path) => {
                let kind = PublicKind::of(path).expect("a public file's path");
                let file = |bytes| LogReply::Public(PublicFile { kind, bytes: Bytes::from_static(bytes) });
                vec![file(b""), file(b"\x00\xff\n")]
            }
        };
        (call, replies)
    };
    calls.into_iter().map(with_replies).collect()
}

fn refund(outputs: Vec<Output>) -> UnverifiedRefund {
    let seal_to = BoxPublicKey([5; 32]);
    let request = RefundRequest { sale: header().digest(), number: 1, outputs, seal_to };
    let request = Unverified::from(&Signed::sign(&key(5), request));
    UnverifiedRefund { request, authorization_q: exchange().payload().to_vec() }
}

/// Every call to a shop, with replies to it.
pub fn shop() -> Vec<(ShopCall, Vec<ShopReply>)> {
    let calls = [
        ShopCall::Describe,
        ShopCall::Offer { item: "ein \"Ding\"".to_owned() },
        ShopCall::Goods { digest: Digest([2; 32]), range: Range { offset: 5, len: 7 } },
        ShopCall::Pay(Box::new(payment(false))),
        ShopCall::Pay(Box::new(payment(true))),
        ShopCall::Refund(Box::new(refund(Vec::new()))),
        ShopCall::Refund(Box::new(refund(order().outputs.clone()))),
        ShopCall::Order(Box::new(shop_order(false))),
        ShopCall::Order(Box::new(shop_order(true))),
        ShopCall::Promise { header: Unverified::from(&header()), authorization_b: Unverified::from(&promise()) },
        ShopCall::Taken(Box::new(Unverified::from(&header()))),
        ShopCall::Item { item: "ein \"Ding\" ü/%".to_owned(), authorization: None },
        ShopCall::Item { item: "..".to_owned(), authorization: Some("Payment e30".to_owned()) },
    ];
    let item = Item {
        item: "a".to_owned(),
        title: "A thing".to_owned(),
        description: String::new(),
        price: amount(),
        currency: euros(),
        size: u64::MAX,
    };
    let with_replies = |call: ShopCall| {
        let replies = match &call {
            ShopCall::Describe => vec![ShopReply::Description(ShopDescription {
                merchant: key(2).public(),
                banks: vec![key(1).public()],
                logs: vec![key(3).public()],
                entries: vec![EntryMode::Plain, EntryMode::Blind],
                items: vec![item.clone()],
            })],
            ShopCall::Offer { .. } | ShopCall::Taken(_) => {
                vec![ShopReply::Offer(Box::new(Unverified::from(&goods_m())))]
            }
            ShopCall::Goods { .. } => {
                let piece = |bytes| Piece { offset: 5, bytes: Bytes::from_static(bytes), of: 900 };
                vec![ShopReply::Goods(piece(b"\x00\xff")), ShopReply::Goods(piece(b"sieben!"))]
            }
            ShopCall::Item { .. } => {
                let decision = Box::new(UnverifiedDecision::from(&decision()));
                let (goods, receipt) = (Digest([2; 32]), "e30".to_owned());
                vec![ShopReply::Delivered { decision, goods, receipt }, ShopReply::Pending]
            }
            ShopCall::Refund(_) => {
                let refund = |exchange| Refund { bank: key(1).public(), amount: amount(), exchange };
                let signed = Some(UnverifiedJoint::from(order()));
                [None, signed].map(|exchange| ShopReply::Refund(Box::new(refund(exchange)))).into()
            }
            ShopCall::Order(_) => vec![ShopReply::Ordered],
            ShopCall::Pay(_) | ShopCall::Promise { .. } => {
                vec![ShopReply::Decision(Box::new(UnverifiedDecision::from(&decision()))), ShopReply::Pending]
            }
        };
        (call, replies)
    };
    calls.into_iter().map(with_replies).collect()
}

pub fn witness() -> Vec<(WitnessCall, Vec<WitnessReply>)> {
    let checkpoint = decision().checkpoint().to_owned();
    let call = WitnessCall::AddCheckpoint(AddCheckpoint { old: 7, proof: vec![[1; 32], [0xff; 32]], checkpoint });
    let lines = "\u{2014} witness.example/w1 AAAAAAA=\n".to_owned();
    vec![(call, vec![WitnessReply::Cosigned(lines), WitnessReply::Known(0), WitnessReply::Known(u64::MAX)])]
}

fn descriptor() -> Unverified<Descriptor> {
    let (from, until) = (Timestamp(1), Timestamp(2));
    let mix = Descriptor {
        mix: key(1).public(),
        name: "one".to_owned(),
        address: "127.0.0.1:21021".to_owned(),
        link: key(2).public(),
        block: 4_096,
        hop_keys: vec![EpochKey { epoch: 1, kem: KEM_X25519, key: [3; 32], from, until }],
        price: amount(),
        currency: euros(),
        payees: vec![Payee { bank: key(4).public(), payee: key(5).public() }],
        window: 64,
        replies: 1,
        exit: None,
        contract: None,
        from,
        until,
    };
    Unverified::from(&Signed::sign(&key(1), mix))
}

pub fn mix() -> Vec<(MixCall, Vec<MixReply>)> {
    vec![(MixCall::Describe, vec![MixReply::Descriptor(Box::new(descriptor()))])]
}

pub fn directory() -> Vec<(DirectoryCall, Vec<DirectoryReply>)> {
    let (from, until) = (Timestamp(1), Timestamp(2));
    let mix = descriptor();
    let parties = vec!["naulon:bank:x@http://127.0.0.1:1#y".to_owned()];
    let list = Listing { directory: key(6).public(), from, until, mixes: vec![mix.clone()], parties };
    let list = Unverified::from(&Signed::sign(&key(6), list));
    vec![
        (DirectoryCall::List, vec![DirectoryReply::List(Box::new(list))]),
        (DirectoryCall::Register(mix), vec![DirectoryReply::Registered]),
    ]
}
