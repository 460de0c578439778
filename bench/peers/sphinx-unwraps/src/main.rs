//! `sphinx-unwraps`: for every line on its standard input it unwraps packets with 2 KiB of payload at the first of three hops for
//! a quarter of a second, and prints the processor time of one in microseconds.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sphinx_packet::header::delays;
use sphinx_packet::packet::builder::SphinxPacketBuilder;
use sphinx_packet::packet::ProcessedPacketData;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use x25519_dalek::{PublicKey, StaticSecret};

const PAYLOAD: usize = 2_048;
const SPAN: Duration = Duration::from_millis(250);

fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn main() {
    let secrets: Vec<StaticSecret> = (1..4).map(|seed| StaticSecret::from([seed; 32])).collect();
    let node = |(number, secret): (usize, &StaticSecret)| {
        Node::new(NodeAddressBytes::from_bytes([number as u8; 32]), PublicKey::from(secret))
    };
    let route: Vec<Node> = secrets.iter().enumerate().map(node).collect();
    let destination = Destination::new(DestinationAddressBytes::from_bytes([3; 32]), [4; 16]);
    let delays = delays::generate_from_average_duration(route.len(), Duration::from_millis(1));
    let build = || {
        let builder = SphinxPacketBuilder::new().with_payload_size(PAYLOAD + sphinx_packet::payload::PAYLOAD_OVERHEAD_SIZE);
        builder.build_packet(vec![5; PAYLOAD], &route, &destination, &delays).expect("a packet")
    };
    for _ in std::io::stdin().lock().lines() {
        let (mut time, mut count) = (Duration::ZERO, 0_u32);
        while time < SPAN {
            let packets: Vec<_> = (0..64).map(|_| build().to_bytes()).collect();
            let begun = used();
            for bytes in &packets {
                let packet = sphinx_packet::SphinxPacket::from_bytes(bytes).expect("a packet");
                let unwrapped = packet.process(&secrets[0]).expect("unwraps");
                match unwrapped.data {
                    ProcessedPacketData::ForwardHop { next_hop_packet, .. } => {
                        std::hint::black_box(next_hop_packet.to_bytes());
                    }
                    ProcessedPacketData::FinalHop { .. } => unreachable!("the first of three"),
                }
                count += 1;
            }
            time += used() - begun;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", time.as_secs_f64() * 1e6 / f64::from(count)).expect("is read");
        out.flush().expect("is read");
    }
}
