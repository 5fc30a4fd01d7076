//! The report of a run as one page that needs nothing else: figures, and plots over time.
//!
//! Pure: a summary in, HTML out. All text of the run's own is escaped.
#![forbid(unsafe_code)]

use super::summary::Summary;
use crate::bench::chart::{Bars, Chart, Series, bytes, count, round, write_to};
use crate::bench::latency::LatencySummary;
use crate::bench::timeline::{Sample, levels, rates};

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:15px/1.5 system-ui,sans-serif;color:#1d2430;background:#fff;max-width:800px;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0 0 .2rem}p.sub{color:#5b6472;margin:0 0 1.2rem}\
pre{background:#f5f6f8;border-radius:6px;padding:.8rem 1rem;overflow-x:auto;font-size:13px}\
figure{margin:1.6rem 0}figcaption{font-weight:600;margin-bottom:.3rem}\
svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:#5b6472}\
svg .value{fill:#1d2430}svg .grid{stroke:#e3e6ea}svg polyline{fill:none;stroke-width:2}\
.legend{margin:.2rem 0 0 4.8rem;font-size:13px;color:#3a4250}\
.legend span{margin-right:1.2rem;white-space:nowrap}\
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}\
table{border-collapse:collapse;width:100%;font-size:13px}td{padding:.15rem .5rem}\
.n{text-align:right;white-space:nowrap}.bar{width:40%}\
.bar i{display:block;height:.8em;background:#0072b2;border-radius:2px}\
.none{color:#5b6472;margin:.2rem 0}\
.verdict{padding:.5rem .9rem;border-radius:6px;margin:0 0 1rem}\
.good{background:#e6f4ea}.bad{background:#fdeaea}";

/// The page.
pub(super) fn page(summary: &Summary) -> String {
    let mut out = String::new();
    let Summary { scenario, sessions, .. } = summary;
    write_to(
        &mut out,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>longwire bench {scenario}, {sessions} sessions</title>\
         <style>{STYLE}</style></head><body>\n\
         <h1>longwire bench {scenario}: {sessions} sessions</h1>\n"
        ),
    );
    let host = escape(&summary.host);
    write_to(&mut out, format_args!("<p class=\"sub\">{host}</p>\n"));
    verdict(&mut out, summary);
    write_to(&mut out, format_args!("<pre>{}</pre>\n", escape(&summary.to_string())));
    charts(&mut out, &summary.timeline);
    memory(&mut out, summary);
    percentiles(summary).draw(&mut out);
    out.push_str("</body></html>\n");
    out
}

/// What the exit code says, in words.
fn verdict(out: &mut String, summary: &Summary) {
    let words: Vec<String> =
        summary.faults.iter().chain(&summary.missed).map(|words| escape(words)).collect();
    if words.is_empty() {
        out.push_str(
            "<p class=\"verdict good\">Nothing was lost: these figures may be quoted.</p>\n",
        );
    } else {
        write_to(out, format_args!("<p class=\"verdict bad\">{}</p>\n", words.join("<br>")));
    }
}

#[allow(clippy::cast_precision_loss)] // Counts and bytes of one run are below 2^53.
fn charts(out: &mut String, samples: &[Sample]) {
    let one = |name, points| vec![Series { name, points }];
    let standing = levels(samples, |sample| sample.standing as f64);
    let deliveries = rates(samples, |sample| sample.delivered as f64);
    let cores = [
        Series { name: "server", points: rates(samples, |sample| sample.server_cpu_s) },
        Series { name: "generator", points: rates(samples, |sample| sample.generator_cpu_s) },
    ];
    let first = samples.first().copied().unwrap_or_default();
    let beyond = |value: u64, before: u64| value.saturating_sub(before) as f64;
    let memory = [
        Series { name: "server", points: levels(samples, |one| one.server_bytes as f64) },
        Series {
            name: "kernel's slabs, both ends, beyond those before",
            points: levels(samples, |one| beyond(one.slab_bytes, first.slab_bytes)),
        },
        Series { name: "socket buffers", points: levels(samples, |one| one.socket_bytes as f64) },
    ];
    let plots = [
        (
            "Sessions in their channels",
            one("sessions", standing),
            false,
            count as fn(f64) -> String,
        ),
        ("Deliveries a second", one("deliveries", deliveries), false, count),
        ("Cores taken", cores.into(), false, round),
        ("Memory", memory.into(), true, bytes),
    ];
    for (title, series, is_stacked, write) in plots {
        Chart { title, series, is_stacked, write }.draw(out);
    }
}

/// What the memory is for once all sessions stand: the server's own by class, and the kernel's.
fn memory(out: &mut String, summary: &Summary) {
    if summary.costs.memory_by_class.is_empty() {
        return;
    }
    let own = summary.costs.memory_by_class.iter().filter(|one| !one.class.starts_with("kernel_"));
    let mut rows: Vec<(String, f64)> =
        own.map(|one| (format!("server: {}", one.class), precise(one.bytes))).collect();
    let slabs = summary.costs.kernel_bytes_per_session.map(|each| each * precise(summary.ready));
    rows.extend(slabs.map(|slabs| ("kernel: slabs, both ends".to_owned(), slabs)));
    let buffers = summary.timeline.last().map(|last| precise(last.socket_bytes));
    rows.extend(buffers.map(|bytes| ("kernel: socket buffers".to_owned(), bytes)));
    rows.retain(|(_, value)| *value > 0.0);
    let most = rows.iter().map(|row| row.1).fold(1.0, f64::max);
    out.push_str("<figure><figcaption>Memory by what it is for</figcaption>\n<table>\n");
    for (name, value) in rows {
        let (name, each) = (escape(&name), value / precise(summary.ready.max(1)));
        write_to(
            out,
            format_args!(
                "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"n\">{each:.1} B each</td>\
                 <td class=\"bar\"><i style=\"width:{:.1}%\"></i></td></tr>\n",
                bytes(value),
                100.0 * value / most
            ),
        );
    }
    out.push_str("</table></figure>\n");
}

#[allow(clippy::cast_precision_loss)] // Counts and bytes of one run are below 2^53.
fn precise(value: u64) -> f64 {
    value as f64
}

/// Times of each kind that was measured.
fn percentiles(summary: &Summary) -> Bars {
    let times = [
        ("from due to subscribed", summary.begin),
        ("from published to delivered", summary.latency),
        ("from due to back in the channel", summary.come_back),
        ("of an echo beside the run", summary.echo_latency),
    ];
    let bars = |times: LatencySummary| {
        let LatencySummary { p50_us, p95_us, p99_us, p99_9_us, .. } = times;
        let ms = |us: f64| us / 1e3;
        vec![("p50", ms(p50_us)), ("p95", ms(p95_us)), ("p99", ms(p99_us)), ("p99.9", ms(p99_9_us))]
    };
    let groups = times.into_iter().filter_map(|(name, times)| Some((name, bars(times?)))).collect();
    Bars { title: "Times", groups, write: milliseconds }
}

fn milliseconds(value: f64) -> String {
    if value < 10.0 {
        format!("{} ms", round((value * 10.0).round() / 10.0))
    } else {
        format!("{value:.0} ms")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::found::Found;
    use super::super::plan::tests::args;
    use super::super::{Scenario, SessionPlan};
    use super::*;
    use crate::bench::classes::ClassBytes;
    use std::time::Duration;

    fn summary() -> Summary {
        let plan = SessionPlan::new(&args(Scenario::Fanout)).unwrap();
        let mut found = Found { ready: 100, messages: 1000, ..Found::default() };
        for time_ms in 1..100 {
            found.begin.record(Duration::from_millis(time_ms));
        }
        let sample = |at: u32| Sample {
            at_s: at.into(),
            standing: u64::from(at) * 10,
            delivered: u64::from(at) * 100,
            server_cpu_s: f64::from(at) / 2.0,
            server_bytes: 1_000_000,
            ..Sample::default()
        };
        found.timeline = (0..10).map(sample).collect();
        Summary::new(&plan, found)
    }

    #[test]
    fn every_plot_is_there_and_nothing_is_fetched() {
        let page = page(&summary());
        for title in [
            "Sessions in their channels",
            "Deliveries a second",
            "Cores taken",
            "Memory",
            "from due to subscribed",
        ] {
            assert!(page.contains(title), "{title}");
        }
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("NaN"));
        assert!(page.contains("may be quoted"));
    }

    #[test]
    fn the_server_s_memory_is_split_by_class_beside_the_kernel_s() {
        let mut summary = summary();
        let class = |class: &str, bytes| ClassBytes { class: class.to_owned(), bytes };
        summary.costs.memory_by_class = vec![class("slab", 6400), class("kernel_sockets", 9)];
        summary.costs.kernel_bytes_per_session = Some(8000.0);
        let page = page(&summary);
        for part in ["server: slab", "64.0 B each", "kernel: slabs", "8000.0 B each"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        // The kernel's share by the server's own estimate is in what was measured.
        assert!(!page.contains("kernel_sockets") && !page.contains("NaN"));
    }

    #[test]
    fn words_of_the_run_are_text_and_faults_stand_first() {
        let mut summary = summary();
        summary.faults.push("1 < 2 & <script>".into());
        summary.host = "<b>".into();
        let page = page(&summary);
        assert!(page.contains("bad\">1 &lt; 2 &amp; &lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<b>"));
    }
}
