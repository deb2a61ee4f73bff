//! `narthex demo`: a walk-through of the features against the running dev instance. Each step
//! checks its claim.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::instance::{self, Running};
use super::simulate::{self, Provider};
use super::{CommandError, quiet, tenants};
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::identifiers::{LineNumber, unguessable_id};
use crate::telemetry;
use crate::webhooks::telnyx::sample;
use crate::webhooks::telnyx::signature::SigningKey;

#[derive(Args)]
pub(super) struct Demo {
    /// Data directory of the dev instance.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) async fn run(command: Demo) -> Result<ExitCode, CommandError> {
    let running = instance::running(command.data_dir)?;
    let settings = settings_of(&running);
    telemetry::start(&quiet(&settings));
    let app = App::open(settings, Clock::system()).await?;
    let start = Instant::now();
    say!("Two churches, two databases, one gateway at {}\n", running.url);
    let told = report(&running, &app).await;
    app.close().await;
    match told {
        Ok(steps) => {
            say!("\nAll {steps} steps held, in {} ms.", start.elapsed().as_millis());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say!("   FAILED   {error}");
            say!("\nThe demo stopped here.");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn settings_of(running: &Running) -> Settings {
    let mut settings = Settings::default();
    settings.registry.url = Some(SecretString::from(running.registry_url.clone()));
    settings.secrets.master_key = Some(SecretString::from(running.instance.master_key.clone()));
    settings
}

/// A church of the demo, with its owner's token.
struct Church {
    name: &'static str,
    id: String,
    token: String,
    number: LineNumber,
    member: Value,
}

struct Story<'a> {
    client: reqwest::Client,
    url: &'a str,
    steps: u32,
    since: Instant,
}

impl Story<'_> {
    /// Prints a step that has succeeded, with the time since the step before.
    fn report(&mut self, text: impl AsRef<str>) {
        self.steps += 1;
        say!("{:>7} ms  {}", self.since.elapsed().as_millis(), text.as_ref());
        self.since = Instant::now();
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<(u16, Value), CommandError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|e| CommandError::Other(e.to_string()))?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|e| CommandError::Other(e.to_string()))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn get(&self, path: &str, token: &str) -> Result<(u16, Value), CommandError> {
        self.call(Method::GET, path, Some(token), None).await
    }
}

/// Checks the claim of a step. If it does not hold, the demo ends.
fn require(holds: bool, claim: &str, seen: impl std::fmt::Debug) -> Result<(), CommandError> {
    if holds { Ok(()) } else { Err(CommandError::Other(format!("{claim}; got {seen:?}"))) }
}

async fn report(running: &Running, app: &App) -> Result<u32, CommandError> {
    let mut story =
        Story { client: simulate::client()?, url: &running.url, steps: 0, since: Instant::now() };
    let provider = Provider::of(running)?;

    let a = join(&mut story, app, "First Church of the Demo").await?;
    let b = join(&mut story, app, "Second Church of the Demo").await?;
    keep_apart(&mut story, &a, &b).await?;
    receive(&mut story, &provider, &a, &b).await?;
    refuse(&mut story, &provider, &a).await?;
    sign_out(&mut story, &b).await?;

    let (status, health) = story.call(Method::GET, "/health", None, None).await?;
    require(
        status == 200 && health["status"] == "ready",
        "health must be green",
        (status, &health),
    )?;
    story.report("health is green");
    Ok(story.steps)
}

/// Registers a church, logs its owner in, assigns a number and adds a first member.
async fn join(
    story: &mut Story<'_>,
    app: &App,
    name: &'static str,
) -> Result<Church, CommandError> {
    let unique = unguessable_id().simple().to_string();
    let (email, password) = (format!("owner-{}@demo.example", &unique[..12]), unique.clone());
    let registration = json!({
        "organization_name": name, "email": email, "password": password,
        "first_name": "Demo", "last_name": "Owner", "timezone": "America/Chicago",
    });
    let (status, made) =
        story.call(Method::POST, "/v1/auth/register", None, Some(registration)).await?;
    require(status == 201, "registering must answer 201", (status, &made))?;
    let id = made["tenant"]["id"].as_str().unwrap_or_default().to_owned();
    let db = app.registry.connect().await?;
    let tenant = tenants::find(&db, &id).await?;
    drop(db);
    story.report(format!(
        "{name} registers and has a database of its own: {}",
        tenant.database_name
    ));

    let credentials = json!({"email": email, "password": password});
    let (status, session) =
        story.call(Method::POST, "/v1/auth/login", None, Some(credentials)).await?;
    require(status == 200, "logging in must answer 200", (status, &session))?;
    let token = session["access_token"].as_str().unwrap_or_default().to_owned();
    story.report(format!("{name} logs in"));

    let number = free_number(app, &tenant, &unique).await?;
    let member = json!({"first_name": "Ada", "last_name": name, "phone_number": "+13125550142"});
    let (status, member) =
        story.call(Method::POST, "/v1/members", Some(&token), Some(member)).await?;
    require(status == 201, "adding a member must answer 201", (status, &member))?;
    story.report(format!("{name} gets the number {} and adds a member", number.as_str()));
    Ok(Church { name, id, token, number, member })
}

/// Assigns a free number of the range that is reserved for fiction. An earlier run of the demo may
/// hold some of them.
async fn free_number(
    app: &App,
    tenant: &crate::registry::tenants::Tenant,
    unique: &str,
) -> Result<LineNumber, CommandError> {
    let seed = u64::from_str_radix(&unique[..12], 16).unwrap_or_default();
    for attempt in 0..100 {
        let n = seed.wrapping_add(attempt * 7919);
        let text = format!("+1{}55501{:02}", 201 + n % 798, (n / 798) % 100);
        let number: LineNumber = text.parse().map_err(|e| CommandError::Other(format!("{e}")))?;
        if tenants::assign_number(app, tenant, &number).await.is_ok() {
            return Ok(number);
        }
    }
    Err(CommandError::Other("no free number was found in 100 tries".to_owned()))
}

/// Checks that `a` cannot read, change or remove a member of `b`.
async fn keep_apart(story: &mut Story<'_>, a: &Church, b: &Church) -> Result<(), CommandError> {
    let path = format!("/v1/members/{}", b.member["id"].as_str().unwrap_or_default());
    for (method, body) in [
        (Method::GET, None),
        (Method::PATCH, Some(json!({"first_name": "Eve"}))),
        (Method::DELETE, None),
    ] {
        let (status, answer) = story.call(method, &path, Some(&a.token), body).await?;
        require(status == 404, "another church's member must not be found", (status, answer))?;
    }
    let (status, still) = story.get(&path, &b.token).await?;
    require(status == 200 && still == b.member, "the member must be untouched", (status, still))?;
    story.report(format!("{} cannot read, change or remove a member of {}", a.name, b.name));

    let named = story
        .client
        .get(format!("{}/v1/members", story.url))
        .bearer_auth(&a.token)
        .header("x-tenant-id", &b.id)
        .send()
        .await
        .map_err(|e| CommandError::Other(e.to_string()))?;
    require(named.status() == 403, "naming another tenant must be refused", named.status())?;
    story.report("a request that names another tenant than its token is refused");
    Ok(())
}

async fn conversations(story: &Story<'_>, church: &Church) -> Result<Vec<Value>, CommandError> {
    let (status, list) = story.get("/v1/conversations", &church.token).await?;
    require(status == 200, "conversations must be listed", (status, &list))?;
    Ok(list["data"].as_array().cloned().unwrap_or_default())
}

/// Checks that a signed SMS reaches its church once, and reaches no other church.
async fn receive(
    story: &mut Story<'_>,
    provider: &Provider,
    a: &Church,
    b: &Church,
) -> Result<(), CommandError> {
    let now = Clock::system().now();
    let text = "Is there a service on Sunday?";
    let (event, message) = (unguessable_id().to_string(), unguessable_id().to_string());
    let from = a.member["phone_number"].as_str().unwrap_or_default();
    let body =
        sample::inbound_sms(&event, &message, from, a.number.as_str(), text, now).to_string();
    let (status, receipt) = provider.send(&body, now.timestamp()).await?;
    require(
        status == 200 && receipt["status"] == "accepted",
        "the SMS must be accepted",
        (status, receipt),
    )?;
    story.report(format!("a signed SMS to {} is accepted", a.number.as_str()));

    let theirs = conversations(story, a).await?;
    let id = theirs.first().and_then(|c| c["id"].as_str()).unwrap_or_default();
    let (_, messages) = story.get(&format!("/v1/conversations/{id}/messages"), &a.token).await?;
    require(
        theirs.len() == 1
            && theirs[0]["member_id"] == a.member["id"]
            && messages["data"][0]["body"] == text,
        "the SMS must stand in the conversation with the member who wrote it",
        (&theirs, &messages),
    )?;
    let others = conversations(story, b).await?;
    require(others.is_empty(), "the other church must not see it", &others)?;
    story.report(format!("it stands in a conversation of {} and in none of {}", a.name, b.name));

    let (status, receipt) = provider.send(&body, now.timestamp()).await?;
    let after = conversations(story, a).await?;
    require(
        status == 200 && receipt["status"] == "duplicate" && after == theirs,
        "the same delivery again must change nothing",
        (status, receipt, after),
    )?;
    story.report("the same delivery again changes nothing");
    Ok(())
}

/// Checks that a forged and a stale event are refused, and that an event for an unknown number is
/// parked.
async fn refuse(
    story: &mut Story<'_>,
    provider: &Provider,
    a: &Church,
) -> Result<(), CommandError> {
    let now = Clock::system().now();
    let sms = |text: &str, to: &str| {
        let (event, message) = (unguessable_id().to_string(), unguessable_id().to_string());
        sample::inbound_sms(&event, &message, "+13125550142", to, text, now).to_string()
    };
    let body = sms("Send me money", a.number.as_str());
    let signature = forged(now.timestamp(), &body)?;
    let (status, answer) = provider.send_signed(&body, now.timestamp(), &signature).await?;
    require(
        status == 401 && answer["code"] == "invalid_signature",
        "a forgery must be refused",
        (status, answer),
    )?;
    let (status, answer) = provider.send(&body, now.timestamp() - 301).await?;
    require(
        status == 401 && answer["code"] == "invalid_signature",
        "a stale event must be refused",
        (status, answer),
    )?;
    let seen = conversations(story, a).await?;
    require(seen[0]["unread_count"] == 1, "nothing of them may be written", &seen)?;
    story.report("a forged and a stale SMS are refused, and nothing is written");

    let (status, receipt) = provider.send(&sms("Hello?", "+18005550199"), now.timestamp()).await?;
    require(
        status == 200 && receipt["status"] == "parked",
        "an unknown number must be parked",
        (status, receipt),
    )?;
    story.report("an SMS to a number that nobody holds is parked, sealed, until somebody does");
    Ok(())
}

/// A signature made without the provider's key.
fn forged(timestamp: i64, body: &str) -> Result<String, CommandError> {
    let seed =
        crate::sealing::generate_master_key().map_err(|e| CommandError::Other(e.to_string()))?;
    let key = SigningKey::from_base64(&seed).map_err(|e| CommandError::Other(e.to_string()))?;
    Ok(key.sign(timestamp, body.as_bytes()))
}

async fn sign_out(story: &mut Story<'_>, church: &Church) -> Result<(), CommandError> {
    let (status, _) =
        story.call(Method::POST, "/v1/auth/logout", Some(&church.token), None).await?;
    require(status == 204, "logging out must answer 204", status)?;
    let (status, answer) = story.get("/v1/auth/me", &church.token).await?;
    require(
        status == 401 && answer["code"] == "token_revoked",
        "the token must be worthless after logging out",
        (status, answer),
    )?;
    story.report(format!("{} logs out, and its token is worthless at once", church.name));
    Ok(())
}
