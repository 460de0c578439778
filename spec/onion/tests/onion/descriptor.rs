//! Descriptors that make sense and those that do not.

use naulon_money::Amount;
use naulon_onion::{
    Contract, Descriptor, DescriptorError, EpochKey, ExitPolicy, KEM_X25519, MAX_MEMBERS, Member, Payee, Ports,
};
use naulon_statement::{SecretKey, Signed, Timestamp, Unverified};

use crate::world::mix;

fn descriptor() -> Descriptor {
    let key = |epoch: u32| EpochKey {
        epoch,
        kem: KEM_X25519,
        key: [epoch as u8; 32],
        from: Timestamp(u64::from(epoch) * 100),
        until: Timestamp(u64::from(epoch) * 100 + 200),
    };
    let member = |number| Member { mix: mix(number), account: mix(number + 100), share: 2 };
    Descriptor {
        mix: mix(1),
        name: "charon".into(),
        address: "127.0.0.1:7001".into(),
        link: mix(11),
        block: 4_096,
        hop_keys: vec![key(1), key(2)],
        price: Amount::from_micros(10),
        currency: "EUR".parse().unwrap(),
        payees: vec![Payee { bank: mix(21), payee: mix(22) }],
        window: 64,
        replies: 4,
        exit: Some(ExitPolicy {
            ports: vec![Ports { first: 80, last: 80 }, Ports { first: 443, last: 444 }],
            is_private: false,
        }),
        contract: Some(Contract { provider: mix(30), paying: mix(2), members: vec![member(1), member(2)] }),
        from: Timestamp(100),
        until: Timestamp(400),
    }
}

#[test]
fn a_descriptor_is_read_as_it_was_signed() {
    let signed = Signed::sign(&SecretKey::from_seed(&[1; 32]), descriptor());
    let read = Unverified::<Descriptor>::parse(signed.bytes()).unwrap().verify(&mix(1)).unwrap();
    assert_eq!(*read, descriptor());
    assert_eq!(read.check(), Ok(()));
    assert_eq!(read.payee(&mix(21)), Some(mix(22)));
    assert_eq!(read.payee(&mix(23)), None);
    let epoch = |now| read.hop_key(Timestamp(now)).map(|key| key.epoch);
    assert_eq!(
        [epoch(99), epoch(100), epoch(199), epoch(200), epoch(399), epoch(400)],
        [None, Some(1), Some(1), Some(2), Some(2), None]
    );
    let exit = read.exit.as_ref().unwrap();
    assert_eq!([79, 80, 81, 443, 444, 445].map(|port| exit.takes_port(port)), [false, true, false, true, true, false]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    type Change = fn(&mut Descriptor);
    let cases: [(DescriptorError, Change); 17] = [
        (DescriptorError::Length, |d| d.name.clear()),
        (DescriptorError::Length, |d| d.name = "a\nb".into()),
        (DescriptorError::Length, |d| d.address = "x".repeat(256)),
        (DescriptorError::Length, |d| d.hop_keys.clear()),
        (DescriptorError::Length, |d| d.payees.clear()),
        (DescriptorError::Length, |d| d.window = 0),
        (DescriptorError::Order, |d| d.hop_keys.swap(0, 1)),
        (DescriptorError::Order, |d| d.until = d.from),
        (DescriptorError::Order, |d| d.payees.push(d.payees[0])),
        (DescriptorError::Time, |d| d.until = Timestamp(d.from.0 + 31 * 86_400_000 + 1)),
        (DescriptorError::Kem, |d| d.hop_keys[0].kem = 2),
        (DescriptorError::Block, |d| d.block = 100),
        (DescriptorError::Price, |d| d.price = Amount::ZERO),
        (DescriptorError::Contract, |d| d.contract.as_mut().unwrap().paying = mix(9)),
        (DescriptorError::Contract, |d| d.contract.as_mut().unwrap().members[0].mix = mix(9)),
        (DescriptorError::Contract, |d| d.contract.as_mut().unwrap().members[0].share = 0),
        (DescriptorError::Contract, |d| {
            let members = &mut d.contract.as_mut().unwrap().members;
            *members = members.iter().copied().cycle().take(MAX_MEMBERS + 1).collect();
        }),
    ];
    for (expected, change) in cases {
        let mut changed = descriptor();
        change(&mut changed);
        assert_eq!(changed.check(), Err(expected));
    }
}
