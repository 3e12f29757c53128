//! Ten seconds in a picture: requests answered, and those that reached the handler, with and without the cache.

use std::{
    fmt::Write,
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    fronts,
    load::{self, Asked},
    page::grouped,
    process,
};

/// How many were answered, and how many reached the handler, so many seconds after the load began.
pub struct Sample {
    seconds: f64,
    answered: u64,
    calls: u64,
}

/// Ten seconds of a server that starts with nothing stored.
pub fn samples(mode: &str, work: &str) -> io::Result<Vec<Sample>> {
    let address = process::free_address()?;
    let _server = process::Process::start(fronts::server(mode, address, work), address)?;
    let start = Instant::now();
    let load = thread::spawn(move || load::wrk(address, Asked::Page, SECONDS));
    let mut samples = Vec::new();
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let (answered, calls) = load::counts(address)?;
        samples.push(Sample { seconds: start.elapsed().as_secs_f64(), answered, calls });
        thread::sleep(Duration::from_millis(100));
    }
    load.join().map_err(|_| io::Error::other("wrk could not be waited for"))??;
    Ok(samples)
}

/// Writes `docs/requests.svg`.
pub fn draw(without: &[Sample], with: &[Sample]) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/requests.svg");
    fs::write(path, svg(without, with))
}

/// No blank line, and no name that a page around it may have: it also stands in the documentation as it is.
fn svg(without: &[Sample], with: &[Sample]) -> String {
    let mut svg = HEADER.to_owned();
    for power in 0..=6 {
        let count = 10_u64.pow(power);
        let (y, label) = (y(count), grouped(count as f64));
        let _ = writeln!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/>"#);
        let _ = writeln!(
            svg,
            r#"<text class="axis" x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for second in (0..=SECONDS).step_by(2) {
        let label = if second == SECONDS { format!("{second} s") } else { second.to_string() };
        let (x, y) = (x(second as f64), BOTTOM + 18.0);
        let _ = writeln!(svg, r#"<text class="axis" x="{x:.1}" y="{y:.1}" text-anchor="middle">{label}</text>"#);
    }
    let last = |samples: &[Sample]| samples.last().map_or((0, 0), |sample| (sample.answered, sample.calls));
    let ((answered, calls), (slow, _)) = (last(with), last(without));
    line(&mut svg, "answered", with, |sample| sample.answered);
    label(&mut svg, "answered", answered, "answered, with the cache");
    line(&mut svg, "without", without, |sample| sample.answered);
    label(&mut svg, "without", slow, "answered without it, each by the handler");
    line(&mut svg, "calls", with, |sample| sample.calls);
    label(&mut svg, "calls", calls, "reached the handler, with the cache");
    svg + "</svg>\n"
}

fn line(svg: &mut String, class: &str, samples: &[Sample], of: fn(&Sample) -> u64) {
    let points = samples.iter().filter(|sample| of(sample) > 0);
    let points = points.map(|sample| format!("{:.1},{:.1}", x(sample.seconds), y(of(sample))));
    let _ = writeln!(svg, r#"<polyline class="{class}" points="{}"/>"#, points.collect::<Vec<_>>().join(" "));
}

/// Below the end of its line.
fn label(svg: &mut String, class: &str, value: u64, text: &str) {
    let (x, y) = (RIGHT - 4.0, y(value) + 32.0);
    let _ = writeln!(
        svg,
        r#"<text class="{class}" x="{x}" y="{y:.1}" text-anchor="end"><tspan class="number">{}</tspan> {text}</text>"#,
        grouped(value as f64),
    );
}

fn x(seconds: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * seconds / SECONDS as f64
}

/// Each line of the grid is ten times the one below.
fn y(count: u64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * (count.max(1) as f64).log10() / 6.0
}

const SECONDS: u64 = 10;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 332.0;
const HEADER: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" class="microcache-requests" viewBox="0 0 720 364" role="img" aria-label="Requests answered against requests that reached the handler">
<style>
.microcache-requests { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #d8dee4; --good: #1a7f37; --slow: #cf222e; --calls: #0969da; font: 13px system-ui, sans-serif; max-width: 720px; }
@media (prefers-color-scheme: dark) { .microcache-requests { --paper: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --grid: #30363d; --good: #3fb950; --slow: #f85149; --calls: #58a6ff; } }
.microcache-requests .paper { fill: var(--paper); }
.microcache-requests .title { fill: var(--ink); font-size: 15px; font-weight: 600; }
.microcache-requests .axis { fill: var(--soft); font-size: 11px; }
.microcache-requests .grid { stroke: var(--grid); }
.microcache-requests .number { font-weight: 600; }
.microcache-requests polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
.microcache-requests polyline.answered { stroke: var(--good); }
.microcache-requests text.answered { fill: var(--good); }
.microcache-requests polyline.without { stroke: var(--slow); }
.microcache-requests text.without { fill: var(--slow); }
.microcache-requests polyline.calls { stroke: var(--calls); }
.microcache-requests text.calls { fill: var(--calls); }
</style>
<rect class="paper" width="720" height="364" rx="6"/>
<text class="title" x="16" y="24">Ten seconds, 64 connections, one page that costs 2 ms of CPU</text>
<text class="axis" x="16" y="42">requests since the start; each line is ten times the one below</text>
"#;
