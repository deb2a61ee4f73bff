//! Measures the `narthex` program from outside, beside a floor: one private database server, the gateway and the
//! floor as processes of their own, all sides in turn. `scripts/bench` runs it; docs/performance.md explains it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

mod callgrind;
mod client;
mod count;
mod faults;
mod floor;
mod load;
mod numbers;
mod processes;
mod report;
mod requests;
mod scale;
mod statistics;
mod world;

use report::Report;
use scale::Scale;
use world::World;

/// The same for all sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

#[derive(Parser)]
#[command(
    name = "scripts/bench",
    about = "Measures the gateway beside the floor",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Small counts, for trying: the numbers mean little.
    #[arg(long, global = true)]
    quick: bool,
    /// Only these parts, separated by commas.
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each measurement.
    #[arg(long, global = true, value_name = "N")]
    rounds: Option<usize>,
    /// Where the results go, for machines.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the table into docs/performance.md, too.
    #[arg(long, global = true)]
    write_docs: bool,
    /// A setting of the gateway, such as `router.max_connections_per_tenant=4`; can be repeated.
    #[arg(long, global = true, value_name = "SETTING=VALUE")]
    set: Vec<String>,
    /// What `cargo bench` adds.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// What happens to the others when something breaks.
    Faults,
    /// Instructions and allocations of one read.
    Count,
    /// The baseline, as a process of its own.
    #[command(hide = true)]
    Floor(floor::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.what {
        Some(What::Floor(options)) => floor::run(&options).map(|()| true),
        // `cargo test --benches` starts this program, too, and wants no measurement.
        _ if !arguments.bench => {
            eprintln!("this is run by `scripts/bench`");
            Ok(true)
        }
        _ => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: something came out that must never be.
fn run(arguments: &Arguments) -> Result<bool> {
    // One thread drives all clients: it is enough for them, and leaves the machine to what is measured.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Children and server end with their handles, which are dropped on each of these ways out.
        tokio::select! {
            done = measure(arguments) => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
        }
    })
}

async fn measure(arguments: &Arguments) -> Result<bool> {
    if matches!(arguments.what, Some(What::Count)) {
        return count::run().await;
    }
    let faults = matches!(arguments.what, Some(What::Faults));
    let known = if faults { faults::PARTS } else { numbers::PARTS };
    if arguments.write_docs && !arguments.only.is_empty() {
        return Err("--write-docs replaces all results: leave --only out".into());
    }
    if let Some(unknown) = arguments.only.iter().find(|part| !known.contains(&part.as_str())) {
        return Err(
            format!("there is no part `{unknown}`; the parts are {}", known.join(", ")).into()
        );
    }
    let parts: Vec<&str> = known
        .iter()
        .copied()
        .filter(|part| arguments.only.is_empty() || arguments.only.iter().any(|only| only == part))
        .collect();
    let scale = Scale::new(arguments.quick, arguments.rounds);
    let name = if faults { "faults" } else { "results" };
    let tenants = if faults { scale.warm } else { scale.tenants };
    let mut world = World::make(tenants, &arguments.set).await?;
    let mut report = Report::new(name, &world, &scale).await?;
    for part in parts {
        progress(&format!("part {part}"));
        if faults {
            faults::run(part, &mut world, &scale, &mut report).await?;
        } else {
            numbers::run(part, &world, &scale, &mut report).await?;
        }
    }
    // Not waited for: to delete a thousand databases takes its time.
    drop(world);
    report.print();
    let file = arguments.json.clone().unwrap_or_else(|| output(&format!("{name}.json")));
    report.write_json(&file)?;
    eprintln!("bench: the results are in {}", file.display());
    if arguments.write_docs {
        report.write_docs()?;
    }
    Ok(report.holds())
}

/// A place below the target directory.
fn output(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target")),
        PathBuf::from,
    );
    target.join("bench").join(name)
}

fn progress(text: &str) {
    eprintln!("bench: {text} ...");
}
