//! What commands print for people: the help of each, and their tables.

use insta::{Settings, assert_snapshot};

use super::{CliFixture, Said, narthex};
use crate::support::TestApp;

/// Every command that has a help of its own.
const COMMANDS: &[&str] = &[
    "",
    "dev",
    "demo",
    "simulate",
    "serve",
    "migrate",
    "tenants",
    "tenants create",
    "tenants provision",
    "deliveries",
    "keys",
    "servers",
    "servers add",
    "runs",
    "reconcile",
    "operators",
    "operators create",
    "doctor",
    "openapi",
];

#[tokio::test]
async fn each_command_explains_itself() {
    let mut screens = Vec::new();
    for command in COMMANDS {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let said = Said::of(narthex(&arguments).output().await.unwrap());
        screens.push(format!("$ narthex {command} --help\n{}", said.expect(0)));
    }
    assert_snapshot!(screens.join("\n"));
}

/// What differs from run to run: ids, times, ports, and the widths of columns that follow them.
fn steady() -> Settings {
    let mut settings = Settings::clone_current();
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]");
    settings.add_filter(r"tenant_[0-9a-f]{32}", "tenant_[id]");
    settings.add_filter(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC)?", "[time]");
    settings.add_filter(r"\bcli:\S+", "cli:[user]");
    settings.add_filter(r"\b[0-9a-f]{16}\b", "[kid]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[address]");
    settings.add_filter(r"  +", "  ");
    settings.add_filter(r"--+", "--");
    settings
}

#[tokio::test]
async fn tables_are_as_they_were() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let create = "tenants create --organization Grace --email ada@example.org --first-name Ada --last-name Lovelace";
    let arguments: Vec<&str> = create.split(' ').collect();
    place.run_with(&arguments, "a password for grace\n").await.expect(0);
    let mut screens = Vec::new();
    for command in [
        "tenants list",
        "tenants show grace",
        "tenants assign-number grace +13125550111",
        "servers list",
        "operators list",
        "keys list",
        "deliveries list",
        "runs list",
        "reconcile",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let said = place.run(&arguments).await;
        screens.push(format!("$ narthex {command}\n{}{}", said.out, said.err));
    }
    steady().bind(|| assert_snapshot!(screens.join("\n")));
}
