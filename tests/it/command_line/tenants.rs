use registry_migrations::Migrator;
use sea_orm_migration::MigratorTrait;
use serde_json::Value;

use super::{CliFixture, Said, narthex};
use crate::support::{TestApp, unique};

const PASSWORD: &str = "a password for grace";

/// Creates a tenant by the command line.
async fn create(place: &CliFixture, email: &str, more: &[&str]) -> Said {
    let mut arguments = vec![
        "tenants",
        "create",
        "--organization",
        "Grace Chapel",
        "--email",
        email,
        "--first-name",
        "Ada",
        "--last-name",
        "Lovelace",
    ];
    arguments.extend(more);
    let said = place.run_with(&arguments, &format!("{PASSWORD}\n")).await;
    said.never_says(&[PASSWORD]);
    said
}

async fn json(place: &CliFixture, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&place.run(&arguments).await.expect(0)).unwrap()
}

#[tokio::test]
async fn tenants_are_created_listed_and_shown() {
    let place = CliFixture::migrated().await;
    let said = create(&place, "ada@example.org", &["--timezone", "America/Chicago"]).await;
    assert!(said.expect(0).contains("created grace-chapel"));
    create(&place, "eve@example.org", &["--slug", "second-chapel"]).await.expect(0);

    let list = json(&place, &["tenants", "list"]).await;
    let slugs: Vec<&Value> = list.as_array().unwrap().iter().map(|row| &row["slug"]).collect();
    assert_eq!(slugs, ["grace-chapel", "second-chapel"]);
    let shown = json(&place, &["tenants", "show", "grace-chapel"]).await;
    let id = shown["id"].as_str().unwrap();
    assert_eq!(json(&place, &["tenants", "show", id]).await, shown);
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["timezone"], "America/Chicago");
    assert_eq!(shown["phone_numbers"], serde_json::json!([]));
    let database = shown["database"].as_str().unwrap();
    let owner = "SELECT email || ' ' || role FROM staff";
    assert_eq!(place.cluster.texts(database, owner).await, ["ada@example.org owner"]);

    let table = place.run(&["tenants", "list"]).await.expect(0);
    for text in [id, "Grace Chapel", "second-chapel", database, "2 tenant(s)"] {
        assert!(table.contains(text), "{text} is missing in\n{table}");
    }
    assert!(place.run(&["tenants", "show", id]).await.expect(0).contains("grace-chapel"));
}

#[tokio::test]
async fn numbers_are_assigned_to_one_tenant_at_a_time() {
    let place = CliFixture::migrated().await;
    create(&place, "ada@example.org", &["--slug", "first"]).await.expect(0);
    create(&place, "eve@example.org", &["--slug", "second"]).await.expect(0);
    let assign =
        async |slug| place.run(&["tenants", "assign-number", slug, "+1 (312) 555-0111"]).await;
    for _ in 0..2 {
        assert!(assign("first").await.expect(0).contains("+13125550111 now belongs to first"));
    }
    let holder = json(&place, &["tenants", "show", "first"]).await;
    assert_eq!(holder["phone_numbers"], serde_json::json!(["+13125550111"]));
    let id = holder["id"].as_str().unwrap();
    assign("second").await.expect_error(1, &["+13125550111 belongs to the tenant", id]);
}

#[tokio::test]
async fn what_cannot_be_created_says_why_and_leaves_nothing() {
    let place = CliFixture::migrated().await;
    create(&place, "ada@example.org", &["--slug", "taken"]).await.expect(0);
    create(&place, "ada@example.org", &[]).await.expect_error(1, &["already registered"]);
    create(&place, "eve@example.org", &["--slug", "taken"]).await.expect_error(1, &["slug"]);
    let missing = format!("/no/such/file/{}", unique());
    create(&place, "eve@example.org", &["--password-file", &missing])
        .await
        .expect_error(1, &[&missing]);
    let arguments = [
        "tenants",
        "create",
        "--organization",
        "X",
        "--email",
        "eve@example.org",
        "--first-name",
        "E",
        "--last-name",
        "V",
    ];
    for password in ["short", "", &"x".repeat(129)] {
        let said = place.run_with(&arguments, password).await;
        said.expect_error(1, &["10 to 128 characters"]);
    }
    assert_eq!(json(&place, &["tenants", "list"]).await.as_array().unwrap().len(), 1);
    place.run(&["tenants", "show", "nobody"]).await.expect_error(1, &["`nobody`", "tenants list"]);
}

#[tokio::test]
async fn a_password_can_come_from_a_file() {
    let place = CliFixture::migrated().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\nand a second line\n")).unwrap();
    let path = file.path().to_str().unwrap();
    create(&place, "ada@example.org", &["--password-file", path]).await.expect(0);
}

#[tokio::test]
async fn the_registry_is_migrated_by_command() {
    let place = CliFixture::new();
    place.run(&["tenants", "list"]).await.expect_error(1, &["narthex migrate registry"]);
    let made = place.run(&["migrate", "registry"]).await.expect(0);
    let all = Migrator::migrations().len();
    let up_to_date = format!("up to date ({all} applied)");
    assert!(made.contains("applied m2026") && made.contains(&up_to_date), "{made}");
    let again = place.run(&["migrate", "registry"]).await.expect(0);
    assert_eq!(again, "the registry is up to date (0 applied)\n");
    let status = place.run(&["migrate", "status"]).await.expect(0);
    assert!(status.contains(&format!("{all} applied, 0 pending")), "{status}");
    assert_eq!(place.run(&["migrate", "registry", "--dry-run"]).await.expect(0), status);
}

/// Whether there is a database or an empty one: a dry run and a look at the status say what would be done.
#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let place = CliFixture::new();
    let pending = format!("0 applied, {} pending", Migrator::migrations().len());
    for arguments in [&["migrate", "registry", "--dry-run"][..], &["migrate", "status"]] {
        let said = place.run(arguments).await.expect(0);
        assert!(said.contains("pending m2026") && said.contains(&pending), "{said}");
        let made = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", place.database);
        assert_eq!(place.cluster.count("postgres", &made).await, 0);
    }
    place.cluster.execute("postgres", &format!("CREATE DATABASE {}", place.database)).await;
    for arguments in [&["migrate", "registry", "--dry-run"][..], &["migrate", "status"]] {
        let said = place.run(arguments).await.expect(0);
        assert!(said.contains(&pending), "{said}");
        assert_eq!(place.cluster.contents(&place.database).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_openapi_document_is_printed_without_any_setting() {
    let output = narthex(&["openapi"]).output().await.unwrap();
    let document: Value = serde_json::from_str(&Said::of(output).expect(0)).unwrap();
    assert!(document["paths"]["/webhooks/telnyx"]["post"].is_object());
}

/// Names of tenants are texts of strangers, and old ones may hold anything.
#[tokio::test]
async fn nothing_that_a_stranger_wrote_reaches_the_terminal_as_a_command() {
    let app = TestApp::start().await;
    let (owner, place) = (app.register().await, CliFixture::of(&app));
    let name = "E'A\\x1b]0;title\\x07\\nforged \\u202e\\u009b2J'";
    app.registry_execute(&format!(
        "UPDATE tenants SET organization_name = {name} WHERE id = '{}'",
        owner.tenant_id
    ))
    .await;
    let id = owner.tenant_id.to_string();
    for arguments in
        [&["tenants", "list"][..], &["tenants", "list", "--json"], &["tenants", "show", &id]]
    {
        let said = place.run(arguments).await.expect(0);
        assert!(said.contains("]0;title"), "{said}");
        assert!(
            !said.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')),
            "{said:?}"
        );
        assert!(!said.lines().any(|line| line.trim_start().starts_with("forged")), "{said}");
    }
    let wrong = [
        "tenants",
        "create",
        "--organization",
        "a\nb",
        "--email",
        "a@example.org",
        "--first-name",
        "G",
        "--last-name",
        "H",
    ];
    place.run(&wrong).await.expect_error(2, &["line breaks"]);
}
