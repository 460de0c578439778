//! What an operator measures: everything that the crates count and time, as Prometheus reads it.
//!
//! No metric names a person, a key, an id or an address: labels are names of routes, codes and threads, which are the same
//! whoever asks (docs/operations).

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use naulon_wire::serve::Metrics;

/// The bounds of the histograms of times, in seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
/// The bounds of the histograms of batches, in jobs.
const JOBS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// There is one recorder a process.
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to measure, and gives what writes it down.
pub fn metrics() -> anyhow::Result<Metrics> {
    let handle = match HANDLE.get() {
        Some(handle) => handle.clone(),
        None => {
            let builder = PrometheusBuilder::new();
            let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
            let builder = builder.set_buckets_for_metric(Matcher::Suffix("_jobs".to_owned()), JOBS)?;
            let handle = builder.install_recorder().context("measuring cannot begin")?;
            HANDLE.get_or_init(|| handle).clone()
        }
    };
    describe();
    Ok(Arc::new(move || {
        handle.run_upkeep();
        handle.render()
    }))
}

/// Says what each metric is.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        "naulon_request_seconds",
        "How long requests took until their answer began, by route and status"
    );
    describe_counter!("naulon_refused_total", "Requests that were refused, by route and code");
    describe_gauge!("naulon_connections", "Connections that are open");
    describe_counter!("naulon_tls_handshakes_failed_total", "TLS handshakes that failed");
    describe_histogram!("naulon_batch_jobs", "Jobs done together, by thread");
    describe_histogram!("naulon_batch_seconds", "How long a batch took; a store's thread commits once in it");
    describe_gauge!("naulon_queue_jobs", "Jobs that wait, by thread");
    describe_histogram!("naulon_bank_signing_seconds", "How long the signatures of one reply took");
    describe_histogram!("naulon_commit_seconds", "How long a store took to write a batch durably, by store");
    describe_counter!(
        "naulon_bank_exchanges_total",
        "Exchanges since the start, by the state they came to: locked are purchases that commit or abort later"
    );
    describe_gauge!("naulon_log_decided_timestamp_seconds", "When the log decided last (Unix time)");
    describe_gauge!("naulon_log_entries", "Entries of the log");
    describe_gauge!("naulon_mix_links", "Links that are open");
    describe_counter!("naulon_mix_links_refused_total", "Links that were turned away for want of room");
    describe_counter!("naulon_mix_links_failed_total", "Links that did not come about");
    describe_counter!("naulon_mix_refused_total", "Blocks that were dropped and sessions that were closed, by why");
    describe_counter!("naulon_mix_cashings_total", "Checks that were handed in at banks, by what came of it");
    describe_gauge!("naulon_mix_uncashed_ticks", "Ticks that are earned and not yet cashed");
    describe_counter!("naulon_mix_writes_failed_total", "Times that ticks could not be written down");
    // What is rare is there from the beginning, so that an alert can tell none from unknown.
    metrics::counter!("naulon_tls_handshakes_failed_total").increment(0);
    metrics::gauge!("naulon_connections").increment(0);
}
