//! A new master key: everything is sealed anew under it, and the old one is needed no more.

use std::collections::BTreeSet;

use narthex::app::App;
use narthex::clock::Clock;
use narthex::configuration::Settings;
use narthex::registry::secrets::resealing::SEALED;
use narthex::sealing::generate_master_key;
use narthex::webhooks::clerk::sample::{self, SampleUser};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use crate::command_line::{CliFixture, Said};
use crate::support::TestApp;

/// Whatever is sealed stands in a column of this name; what is in the list is there.
#[tokio::test]
async fn the_list_of_sealed_columns_is_complete() {
    let app = TestApp::start().await;
    let columns = "SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name LIKE 'sealed%'";
    let columns = app.cluster.texts(&app.registry_database, columns).await;
    let listed = SEALED.iter().map(|of| format!("{}.{}", of.table, of.column));
    assert_eq!(columns.into_iter().collect::<BTreeSet<_>>(), listed.collect());
}

/// An application with one of each thing that is sealed.
async fn furnished() -> TestApp {
    let app = TestApp::start().await;
    app.register().await;
    // For a number of nobody, and an organization that is not yet known.
    let sms = app.provider.sms("+14155550100", "+13125550999", "for nobody yet");
    app.provider.send(&sms).await.expect(200);
    let text = |text: &str| text.to_owned();
    let user = SampleUser {
        id: text("user_sealed"),
        email: text("ada@example.org"),
        first_name: text("Ada"),
        last_name: text("Lovelace"),
    };
    app.clerk_sends(&sample::user("user.created", &user, true, 1_700_000_000_000))
        .await
        .expect(200);
    app
}

fn rotated(app: &TestApp, new: &str, keeps_old: bool) -> Settings {
    let mut settings = app.settings.clone();
    let old = settings.secrets.master_key.replace(SecretString::from(new));
    if keeps_old {
        settings.secrets.previous_master_keys = old.into_iter().collect();
    }
    settings
}

async fn rotate(place: &CliFixture, new: &str) -> Said {
    let mut command = place.command(&["keys", "rotate", "--master-key"]);
    command
        .env("NARTHEX_SECRETS__PREVIOUS_MASTER_KEYS", &place.master_key)
        .env("NARTHEX_SECRETS__MASTER_KEY", new);
    Said::of(command.output().await.unwrap())
}

async fn open(settings: Settings) -> Result<App, String> {
    App::open(settings, Clock::system()).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn everything_is_sealed_anew_and_the_old_key_is_needed_no_more() {
    let mut app = furnished().await;
    let (place, new) = (CliFixture::of(&app), generate_master_key().unwrap());
    assert!(open(rotated(&app, &new, false)).await.is_err());
    // Two at once: each value is done once.
    let (one, two) = tokio::join!(rotate(&place, &new), rotate(&place, &new));
    for said in [one, two] {
        said.never_says(&[new.as_str(), place.master_key.as_str()]);
        let out = said.expect(0);
        assert!(out.contains("nothing is left under an older key"), "{out}");
    }
    // What seals under the old key is stopped; then nothing more is found.
    app.life.stop();
    assert!((&mut app.served).await.unwrap());
    let again = rotate(&place, &new).await.expect(0);
    let columns: Vec<_> = again.lines().filter(|line| line.contains("sealed anew")).collect();
    assert_eq!(columns.len(), SEALED.len());
    assert!(columns.iter().all(|line| line.ends_with(": 0 sealed anew")), "{again}");

    let settings = rotated(&app, &new, false);
    let change = Box::new(move |own: &mut Settings| *own = settings);
    let renewed =
        TestApp::open_registry(app.cluster.clone(), app.registry_database.clone(), change).await;
    // A new tenant, an old one, and the event that waits.
    let fresh = renewed.register().await;
    fresh.get("/v1/members").await.expect(200);
    renewed.assign_number("+13125550999", fresh.tenant_id).await;
    crate::support::eventually("the event that waited is delivered", async || {
        let list = fresh.get("/v1/conversations").await.expect(200);
        list["data"].as_array().is_some_and(|rows| rows.len() == 1)
    })
    .await;
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_everything_else_is_done() {
    let mut app = furnished().await;
    let (place, new) = (CliFixture::of(&app), generate_master_key().unwrap());
    // It would go on to seal under the old key.
    app.life.stop();
    assert!((&mut app.served).await.unwrap());
    app.registry_execute("UPDATE parked_events SET sealed_body = sealed_body || '\\x00'").await;
    let said = rotate(&place, &new).await;
    said.expect_error(1, &["1 value(s) open with none of the keys", "parked_events"]);
    let app = TestApp::open_registry(
        app.cluster.clone(),
        app.registry_database.clone(),
        Box::new({
            let settings = rotated(&app, &new, false);
            move |own: &mut Settings| *own = settings
        }),
    )
    .await;
    let staff = app.register().await;
    let body = json!({"email": staff.email, "password": staff.password});
    app.call(Method::POST, "/v1/auth/login", Some(body)).await.expect(200);
}
