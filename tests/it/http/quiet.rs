//! One application for every test whose requests must leave no trace: a case then costs milliseconds.

use std::sync::{LazyLock, OnceLock};

use narthex::registry::secrets::signing_keys::{self, StoredKey};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, Staff, TestApp, TestCluster, local_client};

/// The application, its one tenant, and what its databases held before anybody called.
pub struct Quiet {
    pub url: String,
    pub token: String,
    pub tenant: Staff,
    /// A registration that has every field right.
    pub registration: Value,
    /// Id of a member.
    pub member: String,
    /// Id of a branch.
    pub branch: String,
    /// The key that signs the access tokens.
    pub key: StoredKey,
    cluster: TestCluster,
    databases: [String; 2],
    before: [Vec<String>; 2],
}

/// Started by the first who asks, in a runtime of its own, because the runtimes of the tests end with them.
pub fn quiet() -> &'static Quiet {
    static QUIET: OnceLock<Quiet> = OnceLock::new();
    QUIET.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = TestApp::start().await;
                sender.send(prepare(&app).await).unwrap_or_else(|_| panic!("nobody waits"));
                std::future::pending::<()>().await;
                drop(app);
            });
        });
        receiver.recv().expect("the quiet application could not be started")
    })
}

async fn prepare(app: &TestApp) -> Quiet {
    let tenant = app.register().await;
    let id = |document: Value| document["id"].as_str().unwrap().to_owned();
    let member = id(tenant.add_member("Grace", "+13125550100").await);
    let branch = id(tenant.post("/v1/branches", json!({"name": "North"})).await.expect(201));
    let db = app.registry.connect().await.unwrap();
    let audience = Some(signing_keys::Audience::Tenant);
    let key = signing_keys::active(&db, app.registry.sealer(), audience, app.clock.now())
        .await
        .unwrap()
        .remove(0);
    let databases = [tenant.database(), app.registry_database.clone()];
    Quiet {
        url: app.url.clone(),
        token: tenant.token.clone(),
        registration: app.registration(),
        member,
        branch,
        key,
        before: [
            snapshot(&app.cluster, &databases[0]).await,
            snapshot(&app.cluster, &databases[1]).await,
        ],
        cluster: app.cluster.clone(),
        databases,
        tenant,
    }
}

impl Quiet {
    /// A request without a token.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        // One client for all tests. It keeps no connection, because a connection ends with the runtime of its test.
        static CLIENT: LazyLock<reqwest::Client> =
            LazyLock::new(|| local_client().pool_max_idle_per_host(0).build().unwrap());
        CLIENT.request(method, format!("{}{path}", self.url))
    }

    /// A request of the tenant's owner.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// Every call that takes a JSON body.
    pub fn calls_with_body(&self) -> Vec<RequestBuilder> {
        let mut calls = self.calls_that_need_a_body();
        calls.push(self.request(Method::POST, "/v1/auth/logout"));
        calls.push(self.anonymous(Method::POST, "/v1/auth/refresh"));
        calls
    }

    /// Those of them that cannot do without.
    pub fn calls_that_need_a_body(&self) -> Vec<RequestBuilder> {
        vec![
            self.request(Method::POST, "/v1/members"),
            self.request(Method::PATCH, &format!("/v1/members/{}", self.member)),
            self.request(Method::POST, "/v1/branches"),
            self.request(Method::PATCH, &format!("/v1/branches/{}", self.branch)),
            self.anonymous(Method::POST, "/v1/auth/register"),
            self.anonymous(Method::POST, "/v1/auth/login"),
            self.anonymous(Method::POST, "/v1/auth/password/forgot"),
            self.anonymous(Method::POST, "/v1/auth/password/reset"),
            self.anonymous(Method::POST, "/v1/auth/email/verify"),
            self.request(Method::POST, "/v1/auth/password/change"),
        ]
    }

    /// Fails if a row of the tenant's database or of the registry has come, gone or changed.
    pub async fn expect_untouched(&self) {
        for (database, before) in self.databases.iter().zip(&self.before) {
            assert_eq!(&snapshot(&self.cluster, database).await, before, "something was written");
        }
    }
}

/// Sends it and reads the answer.
pub async fn send(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.expect("the connection was dropped")).await
}

/// Every row of every table of a database, as text.
pub async fn snapshot(cluster: &TestCluster, database: &str) -> Vec<String> {
    const ALL_TABLES: &str = "
        SELECT string_agg(format('SELECT %L || t::text FROM %I t', relname || ': ', relname), ' UNION ALL ')
        FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let everything = cluster.texts(database, ALL_TABLES).await.remove(0);
    let mut rows = cluster.texts(database, &everything).await;
    rows.sort();
    rows
}
