//! A mix behind its sockets.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_durable::fault::Faults;
use naulon_meter::Payer;
use naulon_mix::{Batching, Exit, Leaving, MemoryStore, Mix, MixHandle, NoExit};
use naulon_onion::{Descriptor, Kind, PathHop, Plan, Protocol, Session, Traffic};
use naulon_statement::cbor;
use naulon_wire::link::{self, LinkKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::net::TcpListener;
use world::{NOW, SHAPE, fare, key, payee, price, rules};

fn start() -> (MixHandle, LinkKey) {
    let mut mix = Mix::new(rules(1, Batching::Stream, None), Vec::new(), &[1; 32], NOW);
    mix.begin_epoch(7, &[1; 32]);
    let link = LinkKey::from_seed(&[51; 32]).expect("a key");
    let store = MemoryStore::new(Faults::none());
    let handle = MixHandle::start(mix, store, link.clone(), NoExit, BTreeMap::new(), Arc::new(|| NOW));
    (handle, link)
}

fn descriptor(mix: u8, link: u8) -> Descriptor {
    Descriptor {
        mix: key(mix).public(),
        name: format!("mix {mix}"),
        address: "127.0.0.1:1".into(),
        link: key(link).public(),
        block: u32::try_from(SHAPE.block()).expect("a length"),
        hop_keys: Vec::new(),
        price: price(),
        currency: world::euros(),
        payees: Vec::new(),
        window: world::WINDOW,
        replies: 2,
        exit: None,
        contract: None,
        from: NOW,
        until: NOW,
    }
}

#[tokio::test]
async fn nobody_takes_a_link_key_by_naming_it() {
    let (handle, _) = start();
    handle.know(&[descriptor(2, 52), descriptor(3, 53)]);
    assert_eq!(handle.neighbours(), 2);
    // One that is known keeps its key; of those that are new neither is believed.
    handle.know(&[descriptor(1, 52), descriptor(2, 52), descriptor(4, 54), descriptor(5, 54)]);
    assert_eq!(handle.neighbours(), 1);
    let is_stranger = |seed| {
        let mut mix = handle.mix();
        let link = mix.link_from(key(seed).public());
        mix.is_strangers(link)
    };
    assert_eq!([52, 54].map(is_stranger), [false, true]);
    handle.stop().await;
}

#[tokio::test]
async fn a_stranger_whose_session_does_not_begin_is_hung_up_on_and_a_stop_ends_links() {
    let (handle, key_of_mix) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = handle.clone();
    let serving = tokio::spawn(async move { served.serve(listener).await });
    let connect = async |seed| {
        let own = LinkKey::from_seed(&[seed; 32]).expect("a key");
        link::connect(address, &key_of_mix.public(), &own).await.expect("a link").split(SHAPE.block())
    };
    let (mut reader, mut writer) = connect(98).await;
    let mut block = vec![9; SHAPE.block()];
    block[0] = Kind::SetUp as u8;
    writer.send(&block).await.expect("sends");
    assert!(reader.blocks().await.is_err(), "the end of the link says that there is no session");
    let (mut reader, _writer) = connect(99).await;
    handle.stop().await;
    assert!(reader.blocks().await.is_err());
    serving.abort();
}

/// Says what leaves, in its order.
struct Telling(tokio::sync::mpsc::UnboundedSender<String>);

impl Exit for Telling {
    fn leaving(&self, event: Leaving, _: &MixHandle) {
        let told = match event {
            Leaving::Begun { .. } => "begun".to_owned(),
            Leaving::Payload { payload, .. } => format!("{}", payload[0]),
            Leaving::MayReply(_) => return,
            Leaving::Ended(_) => "ended".to_owned(),
        };
        // Whoever listens may have gone.
        let _ = self.0.send(told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_keep_their_order_through_three_mixes() {
    let (told, mut telling) = tokio::sync::mpsc::unbounded_channel();
    let (mut handles, mut descriptors, mut path) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=3 {
        let mut mix = Mix::new(rules(number, Batching::Stream, None), Vec::new(), &[number; 32], NOW);
        path.push(PathHop { mix: key(number).public(), key: mix.begin_epoch(7, &[number; 32]) });
        let own = LinkKey::from_seed(&[50 + number; 32]).expect("a key");
        let (store, exit) = (MemoryStore::new(Faults::none()), Telling(told.clone()));
        let handle = MixHandle::start(mix, store, own, exit, BTreeMap::new(), Arc::new(|| NOW));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        descriptors.push(Descriptor { address, ..descriptor(number, 50 + number) });
        let served = handle.clone();
        tokio::spawn(async move { served.serve(listener).await });
        handles.push(handle);
    }
    handles.iter().for_each(|handle| handle.know(&descriptors));
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let fares = [1, 2, 3].map(|number| fare(payee(number).public(), 100, price(), number));
    let shown = fares.each_ref().map(|(fare, _)| cbor::to_vec(fare));
    let (protocol, traffic) = (Protocol::BEFORE_SENDER, Traffic::Stream);
    let plan = Plan { path: path.try_into().expect("three"), protocol, traffic, fares: shown };
    let mut blocks = vec![0; SHAPE.block()];
    let mut session = Session::begin(SHAPE, &plan, &mut blocks, &mut rng).expect("a session");
    let mut payers = fares.map(|(_, walker)| {
        let mut payer = Payer::new(world::terms(protocol), 0);
        payer.add(0, walker).expect("a chain");
        payer
    });
    for number in 0..50 {
        let pays = payers.each_mut().map(|payer| payer.data().expect("pays"));
        let mut block = vec![0; SHAPE.block()];
        session.data(&pays, &[number], &mut block).expect("a block");
        blocks.extend(block);
    }
    let address = descriptors[0].address.parse().expect("an address");
    let own = LinkKey::from_seed(&[99; 32]).expect("a key");
    let link = link::connect(address, &descriptors[0].link, &own).await.expect("a link");
    let (reader, mut writer) = link.split(SHAPE.block());
    writer.send(&blocks).await.expect("sends");
    assert_eq!(telling.recv().await.as_deref(), Some("begun"));
    for number in 0..50 {
        assert_eq!(telling.recv().await, Some(number.to_string()));
    }
    drop((reader, writer));
    assert_eq!(telling.recv().await.as_deref(), Some("ended"), "all learn that the sender has gone");
    for handle in &handles {
        handle.stop().await;
    }
}
