//! `naulon verify`: judges an evidence file, offline.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use naulon_exchange::register::{RegisterBreach, RegisterEvidence};
use naulon_purchase::goods::{GoodsError, GoodsHasher, MerchandiseKey, Opener, SEALED_CHUNK_LEN};
use naulon_purchase::{Breach, Claim, GoodsM, Judgement, LogEvidence, Party, Standing, judge, judge_keeper};
use naulon_statement::PublicKey;
use naulon_wire::{EvidenceFile, LogEvidenceFile, MAX_EVIDENCE_LEN, RegisterEvidenceFile};
use serde::Serialize;

use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{Output, Unit};

/// What `naulon verify` is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the messages are consistent, 2 they prove a breach, 3 they are not enough to say anything, 1 failed.

Examples:
  naulon wallet evidence 1 --out sale.evidence.json
  naulon wallet show --trust > trust.toml
  naulon verify sale.evidence.json --trust trust.toml
  naulon verify sale.evidence.json --trust bank --trust log --trust shop --goods ENCRYPTED
  naulon verify watch/two_trees-1f3a….log-evidence.json --trust log

A wallet keeps the encrypted goods of a purchase only where the shop has cheated: wallet/goods/*/.encrypted")]
pub struct Verify {
    /// The evidence file.
    file: PathBuf,
    /// Whose signatures count: a file of identities, a party's folder, or a naulon: line. May be given again.
    #[arg(long, required = true, value_name = "KEYS")]
    trust: Vec<String>,
    /// The encrypted goods: shows whether the key opens them, and whether they are as described.
    #[arg(long, value_name = "FILE")]
    goods: Option<PathBuf>,
}

#[derive(Serialize)]
struct Finding {
    standing: &'static str,
    claims: Vec<String>,
    breaches: Vec<Broken>,
    not_counted: Vec<Dismissed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goods: Option<&'static str>,
}

#[derive(Serialize)]
struct Broken {
    by: String,
    code: &'static str,
    rule: &'static str,
}

#[derive(Serialize)]
struct Dismissed {
    part: &'static str,
    why: String,
}

/// What the encrypted goods turned out to be.
enum Opened {
    /// Other goods than the offer's.
    Others,
    /// The offer's, with this result.
    TheOffers(Result<(), GoodsError>),
}

/// Judges, prints, and says with which code to end.
pub fn run(verify: &Verify, output: Output) -> anyhow::Result<Exit> {
    let content = read_limited(&verify.file)?;
    let mut trusted = Vec::new();
    for text in &verify.trust {
        trusted.extend(identity::read_all(text)?);
    }
    if RegisterEvidenceFile::is_one(&content) {
        return judge_register(&RegisterEvidenceFile::read(&content)?, &trusted, output);
    }
    if is_about_a_log(&content) {
        return judge_keepers(&LogEvidenceFile::read(&content)?, &trusted, output);
    }
    let evidence = EvidenceFile::read(&content)?;
    let trust = identity::trust_in(&trusted)?;
    let mut opened: Option<io::Result<Opened>> = None;
    let judgement = judge(&evidence, &trust, |offer, k| {
        let goods = open_goods(verify.goods.as_deref()?, offer, k, output);
        let verdict = match &goods {
            Ok(Opened::TheOffers(verdict)) => Some(*verdict),
            Ok(Opened::Others) | Err(_) => None,
        };
        opened = Some(goods);
        verdict
    });
    let goods = match (opened.transpose().context("the encrypted goods cannot be read")?, &verify.goods) {
        (Some(Opened::Others), _) => Some("not counted: these are not the encrypted goods of the offer"),
        (Some(Opened::TheOffers(_)), _) => Some("examined"),
        (None, Some(_)) => Some("not examined: without goods_m and a commit nothing says what they should be"),
        (None, None) => None,
    };
    let finding = Finding { goods, ..finding(&judgement) };
    output.result(&finding, text)?;
    Ok(match judgement.standing() {
        Standing::Consistent => Exit::Ok,
        Standing::Breach => Exit::BREACH,
        Standing::NotEnough => Exit::NOT_ENOUGH,
    })
}

/// Whether the file is what an outsider found about a log, and not the messages of a purchase.
fn is_about_a_log(content: &str) -> bool {
    let file: Result<serde_json::Value, _> = serde_json::from_str(content);
    file.is_ok_and(|file| file["format"] == LogEvidenceFile::FORMAT)
}

/// Judges what an outsider found about a log, by the checkpoint key of whichever trusted party has signed it.
fn judge_keepers(evidence: &LogEvidence, trusted: &[Identity], output: Output) -> anyhow::Result<Exit> {
    let keepers = trusted.iter().filter_map(|identity| Some((identity, identity.checkpoints.as_ref()?)));
    let judged = keepers.map(|(identity, verifier)| {
        let party = if identity.role == Role::Bank { Party::Bank } else { Party::Log };
        judge_keeper(evidence, verifier, party(identity.key))
    });
    // The keys of others than the signer only say that it is not signed by them.
    let judgement = judged.min_by_key(|judgement| (judgement.breaches.is_empty(), judgement.dismissed.len()));
    let judgement = judgement.context("nobody who signs checkpoints is trusted: name the log by --trust")?;
    output.result(&finding(&judgement), text)?;
    Ok(if judgement.standing() == Standing::Breach { Exit::BREACH } else { Exit::NOT_ENOUGH })
}

/// Judges what is shown of a bank's register.
fn judge_register(evidence: &RegisterEvidence, trusted: &[Identity], output: Output) -> anyhow::Result<Exit> {
    let banks = trusted.iter().filter(|identity| identity.role == Role::Bank);
    let banks = banks.map(|bank| Ok((bank.key, bank.bank()?))).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let judged = evidence.judge(&banks);
    let breach = |(bank, breach): &(PublicKey, RegisterBreach)| {
        let (code, rule) = match breach {
            RegisterBreach::ItemMissing => ("item_missing", "left out of a day's sum what it had promised to count"),
            RegisterBreach::RivalBrands => ("rival_brands", "stated two brands for one place, or under one key"),
            RegisterBreach::TwoRegisters => {
                ("two_registers", "signed two registers of which neither continues the other")
            }
            RegisterBreach::MoreRedeemed => ("more_redeemed", "redeemed more tokens of a brand than it had issued"),
            RegisterBreach::FalseTotals => ("false_totals", "told totals that do not follow from the day before"),
        };
        Broken { by: format!("bank {bank}"), code, rule }
    };
    let (standing, exit) = match (&judged.breaches[..], judged.kept) {
        ([_, ..], _) => ("breach", Exit::BREACH),
        ([], Some(_)) => ("consistent", Exit::Ok),
        ([], None) => ("not_enough", Exit::NOT_ENOUGH),
    };
    let finding = Finding {
        standing,
        claims: judged.kept.iter().map(|bank| format!("bank {bank} has counted what it promised")).collect(),
        breaches: judged.breaches.iter().map(breach).collect(),
        not_counted: judged.dismissed.iter().map(|(part, why)| Dismissed { part, why: why.clone() }).collect(),
        goods: None,
    };
    output.result(&finding, text)?;
    Ok(exit)
}

fn read_limited(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
    let read = file.take(MAX_EVIDENCE_LEN as u64 + 1).read_to_string(&mut text);
    read.with_context(|| format!("{shown} is not an evidence file"))?;
    ensure!(text.len() <= MAX_EVIDENCE_LEN, "{shown} is longer than an evidence file may be");
    Ok(text)
}

/// Opens the goods and takes their digest in one pass, so that they may be larger than memory.
fn open_goods(path: &Path, offer: &GoodsM, k: &[u8; 32], output: Output) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size != offer.sealed_size() {
        return Ok(Opened::Others);
    }
    let bar = output.bar(size, "decrypting", Unit::Bytes);
    let mut hasher = GoodsHasher::default();
    let mut opener = MerchandiseKey::published(k).unwrap(&offer.n, &offer.wrapped_key).map(Opener::new);
    let mut chunk = vec![0; SEALED_CHUNK_LEN];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(SEALED_CHUNK_LEN);
        file.read_exact(&mut chunk[..length])?;
        left -= length as u64;
        hasher.update(&chunk[..length]);
        opener = opener.and_then(|mut opener| opener.open(&chunk[..length], left == 0).map(|_| opener));
        bar.inc(length as u64);
    }
    bar.finish_and_clear();
    if hasher.finish() != offer.goods {
        return Ok(Opened::Others);
    }
    Ok(Opened::TheOffers(opener.and_then(|opener| opener.finish(&offer.contract))))
}

fn finding(judgement: &Judgement) -> Finding {
    Finding {
        standing: match judgement.standing() {
            Standing::Consistent => "consistent",
            Standing::Breach => "breach",
            Standing::NotEnough => "not_enough",
        },
        claims: judgement.claims.iter().map(claim).collect(),
        breaches: judgement.breaches.iter().map(|(party, breach)| broken(*party, breach)).collect(),
        not_counted: judgement.dismissed.iter().map(|(part, why)| Dismissed { part, why: why.clone() }).collect(),
        goods: None,
    }
}

fn claim(claim: &Claim) -> String {
    match claim {
        Claim::Credit { merchant, bank, value, currency } => {
            format!("merchant {merchant} may demand {value} {currency} from bank {bank}")
        }
        Claim::Spent { bank, tokens } => format!("bank {bank} may refuse the {} as spent", count(*tokens)),
        Claim::Unlocked { bank, tokens } => {
            format!("whoever holds their keys may demand from bank {bank} that the {} are free", count(*tokens))
        }
        Claim::Contents { merchant, goods } => {
            format!("the buyer can prove that merchant {merchant} delivered the goods {goods}, as described")
        }
        Claim::Delivered { q, goods } => {
            format!("the merchant can prove that the goods {goods} were delivered to the holder of Q {q}")
        }
    }
}

fn count(tokens: usize) -> String {
    format!("{tokens} token{} of this authorization", if tokens == 1 { "" } else { "s" })
}

fn broken(party: Party, breach: &Breach) -> Broken {
    let by = match party {
        Party::Bank(key) => format!("bank {key}"),
        Party::Log(key) => format!("log {key}"),
        Party::Merchant(key) => format!("merchant {key}"),
    };
    let (code, rule) = match breach {
        Breach::BothOutcomes => ("both_outcomes", "signed both commit and abort of one purchase"),
        Breach::WrongKey => ("wrong_key", "committed to a key that does not open the merchant's commitment"),
        Breach::OutOfTime => ("out_of_time", "committed after the expiry, or aborted before it"),
        Breach::PromiseMisfit => ("promise_misfit", "promised something else than the buyer authorized"),
        Breach::DoesNotOpen => ("does_not_open", "sold a key that does not open the goods"),
        Breach::TwoTrees => ("two_trees", "signed two trees of which neither continues the other"),
        Breach::TimeWentBack => ("time_went_back", "entered a time that lies before an earlier entry's"),
        Breach::NotAsDescribed => ("not_as_described", "sold goods that are not what its contract describes"),
    };
    Broken { by, code, rule }
}

fn text(finding: &Finding) -> String {
    let mut lines = vec![match finding.standing {
        "consistent" => "Consistent: the messages belong together, and nobody has broken a rule.".to_owned(),
        "breach" => "A breach is proven.".to_owned(),
        _ => "Not enough: too little holds to say anything.".to_owned(),
    }];
    lines.extend(finding.breaches.iter().map(|broken| format!("  ! {} {}", broken.by, broken.rule)));
    lines.extend(finding.claims.iter().map(|claim| format!("  - {claim}")));
    lines.extend(finding.not_counted.iter().map(|part| format!("  ({} does not count: {})", part.part, part.why)));
    lines.extend(finding.goods.filter(|goods| goods.starts_with("not")).map(|goods| format!("  (goods {goods})")));
    lines.join("\n")
}
