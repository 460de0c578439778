//! Programs that know nothing of Naulon read what it writes: two COSE libraries verify the statements of a purchase, and a
//! C2SP client verifies the log's checkpoints, entries and proofs. They come from PyPI, into a folder of their own.

mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use process::{House, Server};
use serde_json::Value;

/// The scripts, and the versions of what they use.
fn stock(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock").join(file)
}

/// A Python with the stock clients. Made once, below the target folder.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(make_python).clone()
}

fn make_python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock-clients");
    let python = venv.join("bin/python");
    let requirements = std::fs::read(stock("requirements.txt")).expect("reads");
    if std::fs::read(venv.join("made-of")).is_ok_and(|made_of| made_of == requirements) {
        return python;
    }
    succeeded(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).output());
    // The C2SP client declares a newer Python than it needs.
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--ignore-requires-python", "-r"]);
    succeeded(pip.arg(stock("requirements.txt")).output());
    std::fs::write(venv.join("made-of"), requirements).expect("writes");
    python
}

fn succeeded(output: std::io::Result<Output>) -> Value {
    let output = output.expect("python3 with venv is installed; `cargo xtask test` installs what is missing");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default()
}

#[test]
fn stock_clients_verify_statements_and_log() {
    let python = python();
    let house = House::furnished();
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "3.70"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20"]);
    house.done(&["wallet", "withdraw", "20"]);

    let identity = std::fs::read_to_string(house.path("log/identity.toml")).expect("reads");
    let vkey = identity.rsplit_once('#').expect("a checkpoint key").1.trim_end_matches(['"', '\n', ' ']).to_owned();
    let url = servers[0].ready["address"].as_str().expect("an address").to_owned();
    let url = if url.starts_with("http") { url } else { format!("http://{url}") };
    let check_log = |old: Option<&Path>| {
        let mut script = Command::new(&python);
        script.arg(stock("c2sp.py")).args([&url, &vkey]).args(old);
        succeeded(script.output())
    };

    house.done(&["wallet", "buy", "note.txt"]);
    let first = check_log(None);
    assert_eq!(first["size"], 1, "{first}");
    let old = house.path("old-checkpoint");
    std::fs::write(&old, first["checkpoint"].as_str().expect("a note")).expect("writes");
    for _ in 0..3 {
        house.done(&["wallet", "buy", "note.txt", "--two-sided"]);
    }
    let second = check_log(Some(&old));
    assert_eq!((second["size"].as_u64(), second["consistent_from"].as_u64()), (Some(4), Some(1)), "{second}");

    let history = house.done(&["wallet", "history"]);
    let last = history.as_array().expect("a list").last().expect("a purchase")["operation"].to_string();
    house.done(&["wallet", "evidence", &last, "--out", "sale.evidence.json"]);
    let verify = |file: &str| Command::new(&python).arg(stock("cose.py")).arg(house.path(file)).output();
    let verified = succeeded(verify("sale.evidence.json"));
    assert!(verified["pycose"].as_u64() >= Some(6) && verified["pycose"] == verified["cwt"], "{verified}");

    // They would notice: a header of another purchase's bytes does not hold.
    let text = std::fs::read_to_string(house.path("sale.evidence.json")).expect("reads");
    let mut forged: Value = serde_json::from_str(&text).expect("JSON");
    let header = forged["header"].as_str().expect("a header").to_owned();
    let (kept, changed) = header.split_at(header.len() - 8);
    let other = if changed.starts_with('A') { "B" } else { "A" };
    forged["header"] = format!("{kept}{other}{}", &changed[1..]).into();
    std::fs::write(house.path("forged.evidence.json"), forged.to_string()).expect("writes");
    assert!(!verify("forged.evidence.json").expect("runs").status.success());
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// Whoever knows C2SP alone, the log's key and its witnesses' keys sees that enough of them have cosigned.
#[test]
fn a_stock_client_verifies_cosignatures() {
    let python = python();
    let house = House::furnished();
    let witnesses = ["w1", "w2", "w3"].map(|witness| {
        let init = ["log", "witness", "init", "--listen", "127.0.0.1:0", "--log", "log", "--dir", witness];
        let made = house.done(&init);
        house.done(&["log", "trust-witness", witness]);
        let vkey = made["witness"].as_str().and_then(|line| line.split_once(' ')).expect("a key and an address").0;
        (vkey.to_owned(), house.serve_by(&["log", "witness", "serve", "--dir", witness]))
    });
    let log = house.serve("log");
    let identity = std::fs::read_to_string(house.path("log/identity.toml")).expect("reads");
    let vkey = identity.rsplit_once('#').expect("a checkpoint key").1.trim_end_matches(['"', '\n', ' ']).to_owned();
    let url = format!("http://{}", log.ready["address"].as_str().expect("an address"));
    let check = |quorum: &str, keys: &[&str]| {
        let mut script = Command::new(&python);
        script.arg(stock("cosigned.py")).args([&url, &vkey, quorum]).args(keys).output().expect("runs")
    };
    let keys: Vec<&str> = witnesses.iter().map(|(vkey, _)| vkey.as_str()).collect();
    let verified = succeeded(Ok(check("3", &keys)));
    assert_eq!((&verified["size"], &verified["cosignatures"]), (&0.into(), &3.into()), "{verified}");
    // It would notice: a witness that nobody asked has not cosigned.
    let stranger = naulon_tlog::WitnessSigner::new("stranger", &[1; 32]).expect("a signer").verifier().to_string();
    assert!(!check("2", &[keys[0], &stranger]).status.success());
    assert_eq!(log.stop(), Some(0));
    for (_, witness) in witnesses {
        assert_eq!(witness.stop(), Some(0));
    }
}
