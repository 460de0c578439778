//! Mixes and a directory as processes.

mod process;

use std::time::{Duration, Instant};

use process::{House, Server};
use serde_json::Value;

/// A house with a bank, a directory and three mixes, of which the last lets streams out to this machine.
fn furnished() -> (House, Vec<Server>) {
    let house = House::furnished();
    house.done(&["directory", "init", "--listen", "127.0.0.1:0", "--party", "bank"]);
    for number in 1..=3 {
        let (dir, name) = (format!("mix{number}"), format!("mix {number}"));
        let init = ["mix", "init", "--dir", &dir, "--name", &name, "--listen", "127.0.0.1:0"];
        let known = ["--bank", "bank", "--directory", "directory", "--cash-within", "0s"];
        let exit: &[&str] = if number == 3 { &["--exit", "1-65535", "--exit-private"] } else { &[] };
        house.done(&[&init[..], &known, exit].concat());
    }
    house.done(&["directory", "allow", "mix1", "mix2", "mix3"]);
    let mut servers = vec![house.serve("log"), house.serve("bank"), house.serve("directory")];
    servers.extend((1..=3).map(|number| house.serve_by(&["mix", "serve", "--dir", &format!("mix{number}")])));
    (house, servers)
}

#[test]
fn mixes_start_register_and_stop() {
    let (house, servers) = furnished();
    for (number, server) in (1..).zip(&servers[3..]) {
        assert_eq!(server.ready["role"], "mix");
        let identity = server.ready["identity"].as_str().expect("a line");
        assert!(identity.starts_with("naulon:mix:") && identity.contains("@mix://127.0.0.1:"), "{identity}");
        let status = house.done(&["mix", "status", "--dir", &format!("mix{number}")]);
        assert_eq!((status[0]["cashed_ticks"].as_u64(), status[0]["uncashed_ticks"].as_u64()), (Some(0), Some(0)));
    }
    // A mix that is not allowed is told so, and goes on.
    house.done(&[
        "mix",
        "init",
        "--dir",
        "other",
        "--listen",
        "127.0.0.1:0",
        "--bank",
        "bank",
        "--directory",
        "directory",
    ]);
    let other = house.serve_by(&["mix", "serve", "--dir", "other"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        std::thread::sleep(Duration::from_millis(50));
    }
    process::signal("-TERM", other.id());
    let (code, said) = other.ended();
    assert_eq!(code, Some(0));
    assert!(said.contains("mix_not_allowed") || said.contains("not one of those"), "{said}");
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_mix_that_cannot_be_served_is_not_made() {
    let house = House::furnished();
    for wrong in [["--batching", "river"], ["--batching", "pool 9"], ["--price", "x"]] {
        let said = house.run(&[&["mix", "init", "--bank", "bank", "--listen", "127.0.0.1:0"], &wrong[..]].concat());
        assert_ne!(said.code, Some(0), "{wrong:?}");
        assert!(!house.path("mix").exists());
    }
    let made = house.done(&["mix", "init", "--bank", "bank", "--listen", "127.0.0.1:0"]);
    assert_eq!(made["role"], Value::from("mix"));
}
