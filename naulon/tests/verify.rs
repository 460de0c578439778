//! `naulon verify` and `naulon inspect` on evidence files.

mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::Purchase;
use naulon_purchase::Evidence;
use naulon_wire::EvidenceFile;
use serde_json::Value;

/// A folder with the purchase's evidence, trust file and encrypted goods.
struct Case {
    dir: tempfile::TempDir,
    purchase: Purchase,
}

impl Case {
    fn new(as_described: bool) -> Self {
        let case = Case { dir: tempfile::tempdir().expect("a folder"), purchase: Purchase::new(as_described) };
        let trust = case.purchase.identities().map(|line| format!("\"{line}\"")).join(", ");
        std::fs::write(case.path("trust.toml"), format!("trust = [{trust}]\n")).expect("writes");
        std::fs::write(case.path("goods"), &case.purchase.sealed).expect("writes");
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the evidence and judges it: exit code and finding.
    fn verify(&self, evidence: &Evidence, goods: Option<&str>) -> (i32, Value) {
        self.verify_by(evidence, goods, &[self.path("trust.toml").to_str().expect("a path")])
    }

    fn verify_by(&self, evidence: &Evidence, goods: Option<&str>, trust: &[&str]) -> (i32, Value) {
        let file = self.path("sale.evidence.json");
        std::fs::write(&file, EvidenceFile::write(evidence)).expect("writes");
        let mut command = naulon(&["--json", "verify"], &file);
        for trust in trust {
            command.args(["--trust", trust]);
        }
        if let Some(goods) = goods {
            command.arg("--goods").arg(self.path(goods));
        }
        let output = command.output().expect("runs");
        let finding = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_ne!(finding, Value::Null, "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code().expect("a code"), finding)
    }
}

fn naulon(args: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_naulon"));
    command.args(args).arg(file).env_clear();
    command
}

fn claims(finding: &Value) -> String {
    finding["claims"].as_array().expect("a list").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_purchase_that_happened_is_consistent() {
    let case = Case::new(true);
    let evidence = case.purchase.evidence(&[case.purchase.commit()]);
    let (code, finding) = case.verify(&evidence, Some("goods"));
    assert_eq!((code, finding["standing"].as_str()), (0, Some("consistent")));
    let claims = claims(&finding);
    for claim in ["may demand 5.00 EUR", "as spent", "delivered the goods", "to the holder of Q"] {
        assert!(claims.contains(claim), "{claim}: {claims}");
    }
    assert_eq!(finding["goods"], "examined");
    // One identity a --trust does as well, and from a line.
    let lines = case.purchase.identities();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(case.verify_by(&evidence, None, &lines).0, 0);
}

#[test]
fn a_purchase_that_did_not_happen_is_consistent() {
    let case = Case::new(true);
    let (code, finding) = case.verify(&case.purchase.evidence(&[case.purchase.abort()]), None);
    assert_eq!(code, 0);
    assert!(claims(&finding).contains("are free"), "{finding}");
}

#[test]
fn a_log_that_decides_twice_is_convicted() {
    let case = Case::new(true);
    let evidence = case.purchase.evidence(&[case.purchase.commit(), case.purchase.abort()]);
    let (code, finding) = case.verify(&evidence, None);
    assert_eq!((code, &finding["breaches"][0]["code"]), (2, &Value::from("both_outcomes")));
}

#[test]
fn goods_that_are_not_as_described_convict_the_shop() {
    let case = Case::new(false);
    let evidence = case.purchase.evidence(&[case.purchase.commit()]);
    let (code, finding) = case.verify(&evidence, Some("goods"));
    assert_eq!((code, &finding["breaches"][0]["code"]), (2, &Value::from("not_as_described")));
    // Without the goods nobody can tell.
    assert_eq!(case.verify(&evidence, None).0, 0);
}

#[test]
fn other_goods_prove_nothing_against_the_shop() {
    let case = Case::new(true);
    let mut other = case.purchase.sealed.clone();
    other[100_000 % case.purchase.sealed.len()] ^= 1;
    std::fs::write(case.path("other"), &other).expect("writes");
    std::fs::write(case.path("short"), &other[..1_000]).expect("writes");
    let evidence = case.purchase.evidence(&[case.purchase.commit()]);
    for goods in ["other", "short"] {
        let (code, finding) = case.verify(&evidence, Some(goods));
        assert_eq!(code, 0);
        assert!(finding["goods"].as_str().is_some_and(|goods| goods.starts_with("not counted")), "{finding}");
        assert!(!claims(&finding).contains("delivered the goods"), "{finding}");
    }
}

#[test]
fn too_little_says_nothing() {
    let case = Case::new(true);
    assert_eq!(case.verify(&case.purchase.evidence(&[]), None).0, 3);
    // Signatures of strangers do not count.
    let [bank, ..] = case.purchase.identities();
    let evidence = case.purchase.evidence(&[case.purchase.commit()]);
    let (code, finding) = case.verify_by(&evidence, None, &[&bank]);
    assert_eq!(code, 3);
    assert!(finding["not_counted"].to_string().contains("not trusted"), "{finding}");
}

#[test]
fn what_is_no_evidence_fails() {
    let case = Case::new(true);
    let file = case.path("sale.evidence.json");
    let trust = case.path("trust.toml");
    for content in ["", "{}", "{\"format\":\"naulon-evidence-2\"}"] {
        std::fs::write(&file, content).expect("writes");
        let status = naulon(&["verify"], &file).arg("--trust").arg(&trust).output().expect("runs").status;
        assert_eq!(status.code(), Some(1), "{content}");
    }
    let status = naulon(&["verify"], &case.path("nowhere")).arg("--trust").arg(&trust).output().expect("runs").status;
    assert_eq!(status.code(), Some(1));
}

fn inspected(what: &Path) -> (i32, Value) {
    let output = naulon(&["--json", "inspect"], what).output().expect("runs");
    (output.status.code().expect("a code"), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn inspect_says_what_things_are() {
    let case = Case::new(true);
    let evidence = case.purchase.evidence(&[case.purchase.commit()]);
    let file = case.path("sale.evidence.json");
    std::fs::write(&file, EvidenceFile::write(&evidence)).expect("writes");
    let (code, found) = inspected(&file);
    assert_eq!(code, 0);
    let parts: Vec<&str> = found["parts"].as_array().expect("a list").iter().filter_map(|p| p[0].as_str()).collect();
    assert_eq!(parts, ["goods_m", "goods_q", "authorization_q", "header", "authorization_b", "decision"]);
    assert_eq!(found["parts"][0][1]["fields"]["signature"], "holds");
    assert_eq!(found["parts"][2][1]["fields"]["signatures"], "hold: 1");

    let [bank, log, _] = case.purchase.identities();
    let key = bank.split([':', '@']).nth(2).expect("a key").to_owned();
    let vkey = log.split_once('#').expect("a checkpoint key").1.to_owned();
    let mut forged = evidence.goods_m.clone().expect("an offer");
    *forged.last_mut().expect("bytes") ^= 1;
    for (what, kind) in [
        (hex::encode(evidence.header.as_deref().expect("a header")), "header: "),
        (naulon_statement::base64url_encode(evidence.goods_m.as_deref().expect("an offer")), "goods_m: "),
        (hex::encode(&evidence.decisions[0]), "a log's decision"),
        (hex::encode(&evidence.authorization_q.as_ref().expect("one").payload), "authorization_q: "),
        (bank, "the identity of a bank"),
        (vkey, "a log's checkpoint key"),
        (key, "32 bytes: a public key"),
        ("offer_taken".to_owned(), "a problem code"),
    ] {
        let (code, found) = inspected(Path::new(&what));
        assert_eq!(code, 0, "{what}");
        assert!(found["kind"].as_str().is_some_and(|found| found.starts_with(kind)), "{kind}: {found}");
    }
    let (_, found) = inspected(Path::new(&hex::encode(forged)));
    assert!(found["fields"]["signature"].as_str().is_some_and(|said| said.starts_with("does not hold")), "{found}");
    assert_eq!(inspected(Path::new("what is this")).0, 1);
}
