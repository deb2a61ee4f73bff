//! Services of the operator: asked until they have done it, released again, and told what they only need to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use narthex::configuration::HooksSettings;
use narthex::provisioning::RunFailure;
use narthex::registry::runs::provisioning_runs::{self, Filter, RunKind, RunStatus};
use rstest::rstest;

use super::service::{Mood, Service};
use super::{new_tenant, on_server, run, things};
use crate::support::{TestApp, eventually};

async fn app(hooks: HooksSettings) -> TestApp {
    TestApp::start_with(Box::new(move |settings| settings.provisioning.hooks = hooks)).await
}

/// Answers so for the first `most` calls.
fn at_first(most: usize, status: u16, body: &'static str) -> Mood {
    let count = AtomicUsize::new(0);
    Arc::new(move |_| {
        (count.fetch_add(1, Ordering::SeqCst) < most).then(|| (status, body.to_owned()))
    })
}

#[tokio::test]
async fn services_are_asked_in_order_and_what_they_made_is_on_the_list() {
    let service = Service::start().await;
    let app = app(service.makes_everything()).await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    let calls = ["identity_realm", "storage", "infrastructure", "deployment", "dns"];
    assert_eq!(service.calls(), calls.map(|kind| format!("tenant.{kind}.make")));
    let listed = "SELECT kind || ' ' || reference FROM resources WHERE released_at IS NULL ORDER BY made_at, kind";
    let listed = app.cluster.texts(&app.registry_database, listed).await;
    for kind in calls {
        assert!(listed.contains(&format!("{kind} {kind}-of-{}", made.tenant_id)), "{listed:?}");
    }
    for kind in ["role", "database"] {
        assert!(
            listed.contains(&format!("{kind} {}", made.tenant_id.database_name())),
            "{listed:?}"
        );
    }
}

#[rstest]
#[case::being_made(202, "")]
#[case::broken(500, "")]
#[case::too_often(429, "")]
#[case::busy(409, "")]
#[case::elsewhere(302, "")]
#[tokio::test]
async fn a_service_that_cannot_do_it_now_is_asked_again(
    #[case] status: u16,
    #[case] body: &'static str,
) {
    let service = Service::with(at_first(2, status, body)).await;
    let app = app(HooksSettings { dns: service.hook(), ..HooksSettings::default() }).await;
    let (outcome, _, steps) = run(&app.provisioner, &new_tenant()).await;
    outcome.unwrap();
    let dns = steps.iter().find(|step| step.name == "dns").unwrap();
    assert_eq!((dns.attempts, service.things()), (3, 1));
    assert!(dns.last_error.as_ref().unwrap().contains(&status.to_string()), "{dns:?}");
}

#[rstest]
#[case::no_reference(200, "{}")]
#[case::no_json(200, "made")]
#[case::nothing(204, "")]
#[tokio::test]
async fn a_service_need_not_say_what_it_has_made(#[case] status: u16, #[case] body: &'static str) {
    let service = Service::with(at_first(1, status, body)).await;
    let app = app(HooksSettings { storage: service.hook(), ..HooksSettings::default() }).await;
    run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_eq!(
        app.registry_count("SELECT count(*) FROM resources WHERE kind = 'storage'").await,
        1
    );
}

#[tokio::test]
async fn a_service_that_refuses_ends_the_run_and_those_before_it_release() {
    let refuses: Mood =
        Arc::new(|call| (call["type"] == "tenant.dns.make").then(|| (400, String::new())));
    let service = Service::with(refuses).await;
    let app = app(service.makes_everything()).await;
    let (outcome, row, _) = run(&app.provisioner, &new_tenant()).await;
    let broken = outcome.unwrap_err();
    assert!(
        matches!(&broken, RunFailure::Broken { step, reason } if step == "dns" && reason.contains("400")),
        "{broken:?}"
    );
    assert_eq!((service.things(), things(&app).await), (0, 0));
    assert_eq!(on_server(&app, row.tenant_id).await, 0);
    let released: Vec<String> =
        service.calls().into_iter().filter(|call| call.ends_with(".release")).collect();
    let backwards = ["dns", "deployment", "infrastructure", "storage", "identity_realm"];
    assert_eq!(released, backwards.map(|kind| format!("tenant.{kind}.release")));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let endless: Mood = Arc::new(|_| Some((200, "x".repeat(10_000_000))));
    let service = Service::with(endless).await;
    let hooks = HooksSettings { dns: service.hook(), ..HooksSettings::default() };
    let few = Box::new(move |settings: &mut narthex::configuration::Settings| {
        settings.provisioning.hooks = hooks;
        settings.provisioning.max_attempts = 1;
    });
    let app = TestApp::start_with(few).await;
    let db = app.registry.connect().await.unwrap();
    let planned = app.provisioner.plan(&db, &new_tenant()).await.unwrap();
    drop(app.provisioner.begin(planned));
    eventually("it has failed of it", async || {
        let (_, steps) = app.provisioner.progress(planned.run_id).await.unwrap().unwrap();
        let dns = steps.iter().find(|step| step.name == "dns").unwrap();
        dns.last_error.as_ref().is_some_and(|error| error.contains("too long"))
    })
    .await;
}

#[rstest]
#[case::told(None, RunStatus::Completed)]
#[case::refused(Some(400), RunStatus::Failed)]
#[tokio::test]
async fn whoever_is_told_of_a_tenant_cannot_undo_it(
    #[case] answer: Option<u16>,
    #[case] expected: RunStatus,
) {
    let mood: Mood = Arc::new(move |_| answer.map(|status| (status, String::new())));
    let service = Service::with(mood).await;
    let app = app(HooksSettings { notify: service.hook(), ..HooksSettings::default() }).await;
    let staff = app.register().await;
    let db = app.registry.connect().await.unwrap();
    let filter = Filter { kind: Some(RunKind::AnnounceTenant), ..Filter::default() };
    eventually("the announcement has ended", async || {
        let runs = provisioning_runs::list(&db, &filter, 10).await.unwrap();
        runs.len() == 1 && runs[0].status == expected && runs[0].tenant_id == staff.tenant_id
    })
    .await;
    assert_eq!(service.calls(), ["tenant.notify.active"]);
    staff.get("/v1/members").await.expect(200);
}
