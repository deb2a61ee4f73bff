//! What came out: a table for people, a file for machines, a block of the documentation.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use narthex::clock::Clock;
use serde_json::{Value, json};

use crate::Result;
use crate::load::Tally;
use crate::scale::Scale;
use crate::statistics::{Interval, median};
use crate::world::{SERVER_CONNECTIONS, World};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const HEADS: [&str; 6] = ["What", "Median", "Least", "Most", "Goal", "Reached"];

/// What the median should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64),
    Below(f64),
    Zero,
}

impl Goal {
    fn reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::Below(most) => value < most,
            Self::Zero => value == 0.0,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", shown(least, unit)),
            Self::Below(most) => format!("below {}", shown(most, unit)),
            Self::Zero => "0".to_owned(),
        }
    }
}

struct Row {
    part: String,
    what: String,
    unit: String,
    samples: Vec<f64>,
    goal: Option<Goal>,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.goal {
            None => "",
            Some(goal) if goal.reached(median(&self.samples)) => "yes",
            Some(_) => "NO",
        }
    }

    fn cells(&self) -> [String; 6] {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let show = |value| shown(value, &self.unit);
        [
            self.what.clone(),
            show(median(&self.samples)),
            if self.samples.len() > 1 { show(least) } else { String::new() },
            if self.samples.len() > 1 { show(most) } else { String::new() },
            self.goal.map(|goal| goal.text(&self.unit)).unwrap_or_default(),
            self.verdict().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "part": self.part,
            "what": self.what,
            "unit": self.unit,
            "median": median(&self.samples),
            "samples": self.samples,
            "goal": self.goal.map(|goal| goal.text(&self.unit)),
            "reached": self.goal.map(|goal| goal.reached(median(&self.samples))),
        })
    }
}

pub struct Report {
    name: &'static str,
    header: String,
    scale: Scale,
    part: String,
    rows: Vec<Row>,
    notes: Vec<String>,
    broken: Vec<String>,
}

impl Report {
    pub async fn new(name: &'static str, world: &World, scale: &Scale) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let date = Clock::system().now().format("%Y-%m-%d %H:%M UTC");
        let build = if cfg!(debug_assertions) { "DEBUG BUILD" } else { "release build" };
        let header = format!(
            "{cores} cores, PostgreSQL {} (fsync and autovacuum off, max_connections {SERVER_CONNECTIONS}), {date}, \
             commit {}, {build}; {} tenants, {} rounds of {:.1} s after {:.1} s of warm-up",
            world.server_version().await?,
            commit(),
            world.tenants.len(),
            scale.rounds,
            scale.length.as_secs_f64(),
            scale.warm_up.as_secs_f64(),
        );
        let scale = scale.clone();
        let part = String::new();
        Ok(Self { name, header, scale, part, rows: vec![], notes: vec![], broken: vec![] })
    }

    /// What follows belongs to this part.
    pub fn begin(&mut self, part: &str) {
        part.clone_into(&mut self.part);
    }

    /// A value for each round.
    pub fn row(&mut self, what: &str, unit: &str, samples: Vec<f64>, goal: Option<Goal>) {
        let (part, what, unit) = (self.part.clone(), what.to_owned(), unit.to_owned());
        self.rows.push(Row { part, what, unit, samples, goal });
    }

    /// What a number cannot say.
    pub fn note(&mut self, text: String) {
        self.notes.push(format!("{}: {text}", self.part));
    }

    pub fn ratio(&mut self, what: &str, interval: Interval, goal: Option<Goal>) {
        let Interval { estimate, low, high } = interval;
        self.row(what, "", vec![estimate], goal);
        self.note(format!(
            "{what}: {estimate:.3}, with 95 % confidence between {low:.3} and {high:.3}"
        ));
    }

    /// Something that must hold in every run: where it does not, the bench fails.
    pub fn require(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            eprintln!("bench: BROKEN: {otherwise}");
            self.broken.push(format!("{}: {otherwise}", self.part));
        }
    }

    /// No tenant ever sees another's row.
    pub fn require_own_rows(&mut self, tally: &Tally) {
        let first = tally.strangers.first().cloned().unwrap_or_default();
        let count = tally.strangers.len();
        self.require(
            count == 0,
            &format!("{count} answers with the row of another tenant: {first}"),
        );
    }

    /// Where nothing is out of order, every request is answered.
    pub fn require_all_good(&mut self, what: &str, tally: &Tally) {
        self.require_own_rows(tally);
        let failures = counts(&tally.failures);
        self.require(tally.failed() == 0, &format!("{what}: failed requests: {failures}"));
    }

    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header(HEADS);
        for column in 1..=3 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        println!("{}\n{table}", self.header);
        for note in &self.notes {
            println!("- {note}");
        }
        for broken in &self.broken {
            println!("BROKEN: {broken}");
        }
    }

    pub fn write_json(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let document = json!({
            "header": self.header,
            "commit": commit(),
            "scale": self.scale,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
            "broken": self.broken,
        });
        Ok(std::fs::write(file, serde_json::to_vec_pretty(&document)?)?)
    }

    /// Replaces what stands between the two marks.
    pub fn write_docs(&self) -> Result<()> {
        let (begin, end) =
            (format!("<!-- {}: begin -->", self.name), format!("<!-- {}: end -->", self.name));
        let text = std::fs::read_to_string(DOCUMENT)?;
        let missing = || format!("{DOCUMENT} has no `{begin}` and `{end}`");
        let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
        let table = self.markdown();
        std::fs::write(DOCUMENT, format!("{before}{begin}\n{table}\n{end}{after}"))?;
        eprintln!("bench: wrote the table into docs/performance.md");
        Ok(())
    }

    fn markdown(&self) -> String {
        let line = |cells: [String; 6]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("{}.\n\n{}", self.header, line(HEADS.map(str::to_owned)));
        text.push_str("|---|--:|--:|--:|---|---|\n");
        text.extend(self.rows.iter().map(|row| line(row.cells())));
        text.push('\n');
        text.extend(self.notes.iter().map(|note| format!("- {note}\n")));
        text.extend(self.broken.iter().map(|broken| format!("- **BROKEN** {broken}\n")));
        text
    }
}

/// As `503 pool_busy × 3, ...`.
pub fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(what, n)| format!("{what} × {n}")).collect::<Vec<_>>().join(", ")
}

/// Three figures, with the unit.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    let name = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    if changed.is_empty() { name } else { format!("{name} with changes") }
}
