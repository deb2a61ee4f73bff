//! TLS to a tenant's database server, as its row says and never less.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use narthex::fleet::template;
use narthex::identifiers::TenantId;
use narthex::postgres::ConnectFailure;
use narthex::postgres::administration::AdminServer;
use narthex::tenant_router::{RouterError, TenantDb, TenantRouter};
use rstest::rstest;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Hall, connect, tenant};
use crate::support::{Authority, TlsServer, unique};
use narthex::sealing::aad;

/// `SSLRequest` of PostgreSQL's protocol: its length and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A row of `database_servers`.
struct Row<'a> {
    host: &'a str,
    port: u16,
    mode: &'a str,
    authority: Option<&'a str>,
}

/// One tenant and a router that has opened nothing; the rest of the application does not matter here.
struct Traveller {
    hall: Hall,
    id: TenantId,
}

impl Traveller {
    async fn new() -> Self {
        let hall = Hall::with(1).await;
        Self { id: hall.ids[0], hall }
    }

    /// Makes the tenant's role and database on another server, as provisioning does on the registry's.
    async fn settle_on(&self, server: &TlsServer) {
        let registry = &self.hall.app.registry;
        let row = tenant(&self.hall.router(|_| {}), self.id).await;
        let password =
            registry.sealer().open(&aad::tenant_password(self.id), &row.sealed_password).unwrap();
        let password = String::from_utf8(password).unwrap();
        let administered =
            AdminServer::new(server.cluster.options("postgres"), Duration::from_secs(20));
        template::ensure(&administered).await.unwrap();
        let name = self.id.database_name();
        let mut administration = administered.administer().await.unwrap();
        super::settle(&mut administration, &administered, &name, &password).await;
        administration.close().await;
        let sql = format!(
            "INSERT INTO tenant_identity (tenant_id, created_at) VALUES ('{}', now())",
            self.id
        );
        server.cluster.execute(&name, &sql).await;
    }

    /// A router to which the tenant lives on the server of this row.
    async fn moved_to(&self, row: Row<'_>) -> TenantRouter {
        let id = Uuid::now_v7();
        let authority = row.authority.map_or("NULL".to_owned(), |pem| format!("'{pem}'"));
        let sql = format!(
            "INSERT INTO database_servers (id, name, host, port, tls_mode, tls_authority, state)
             VALUES ('{id}', '{}', '{}', {}, '{}', {authority}, 'full')",
            unique(),
            row.host,
            row.port,
            row.mode
        );
        self.hall.app.registry_execute(&sql).await;
        let assignments = format!("server_id = '{id}', updated_at = now()");
        self.hall.change_row(self.id, &assignments).await;
        self.hall.router(|_| {})
    }

    async fn connect(&self, row: Row<'_>) -> Result<TenantDb, RouterError> {
        connect(&self.moved_to(row).await, self.id).await
    }

    /// By the pools and beside them: there is one way to a tenant's server.
    async fn is_refused(&self, row: Row<'_>) -> String {
        let router = self.moved_to(row).await;
        let ways = [
            connect(&router, self.id).await.err(),
            router.connect_for_provisioning(self.id).await.err(),
        ];
        let reasons = ways.map(|refused| match refused {
            Some(RouterError::Unavailable(ConnectFailure::Insecure(reason))) => reason,
            other => panic!("{other:?}"),
        });
        assert_eq!(router.statistics().open, 0);
        reasons.concat()
    }
}

async fn is_encrypted(db: &TenantDb) -> bool {
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
    row.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test]
async fn a_tenant_is_served_over_tls_by_a_server_of_its_authority_and_by_no_other() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&authority.certify(&["localhost"])).await;
    let traveller = Traveller::new().await;
    traveller.settle_on(&server).await;
    let port = server.port();
    let (ours, theirs) = (Some(&*authority.pem), Some(&*other.pem));
    let both = format!("{}{}", other.pem, authority.pem);

    // The certificate is for `localhost`; `127.0.0.1` is the same server under another name.
    for (host, mode, authority) in [
        ("localhost", "verify-full", ours),
        ("localhost", "verify-full", Some(&*both)),
        ("127.0.0.1", "verify-ca", ours),
        // Encrypted to whoever answers; not more.
        ("127.0.0.1", "require", theirs),
    ] {
        let served = traveller.connect(Row { host, port, mode, authority }).await;
        let db = served.unwrap_or_else(|e| panic!("{host} {mode}: {e}"));
        assert!(is_encrypted(&db).await, "{host} {mode}");
    }
    let row = Row { host: "localhost", port, mode: "disable", authority: None };
    assert!(!is_encrypted(&traveller.connect(row).await.unwrap()).await);

    for (host, mode, authority, reason) in [
        // It bears the same name, and has not signed it.
        ("localhost", "verify-full", theirs, "BadSignature"),
        ("127.0.0.1", "verify-ca", theirs, "BadSignature"),
        // The authorities of browsers have not signed it.
        ("localhost", "verify-full", None, "UnknownIssuer"),
        ("127.0.0.1", "verify-full", ours, "not valid for name"),
    ] {
        let said = traveller.is_refused(Row { host, port, mode, authority }).await;
        assert!(said.contains(reason), "{host} {mode}: {said}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_until_it_is_renewed() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority.certify_until_2020(&["localhost"])).await;
    let traveller = Traveller::new().await;
    traveller.settle_on(&server).await;
    let row = |mode| Row {
        host: "localhost",
        port: server.port(),
        mode,
        authority: Some(&authority.pem),
    };
    for mode in ["verify-full", "verify-ca"] {
        let said = traveller.is_refused(row(mode)).await;
        assert!(said.contains("expired"), "{mode}: {said}");
    }
    server.show(&authority.certify(&["localhost"])).await;
    // The server reads its files some time after it was told to.
    crate::support::eventually("the renewed certificate is taken", async || {
        traveller.connect(row("verify-full")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_has_switched_tls_off_hears_nothing_of_the_tenant() {
    let authority = Authority::new();
    let server = TlsServer::start(&authority.certify(&["localhost"])).await;
    let traveller = Traveller::new().await;
    traveller.settle_on(&server).await;
    server.set_tls(false).await;
    let role = traveller.id.database_name();
    let row = |mode| Row {
        host: "localhost",
        port: server.port(),
        mode,
        authority: Some(&authority.pem),
    };
    let logins = || server.log().matches(&format!("user={role}")).count();
    for mode in ["require", "verify-ca", "verify-full"] {
        let said = traveller.is_refused(row(mode)).await;
        assert!(said.contains("does not support TLS"), "{mode}: {said}");
    }
    assert_eq!(logins(), 0);
    // It would have been seen.
    assert!(!is_encrypted(&traveller.connect(row("disable")).await.unwrap()).await);
    assert_eq!(logins(), 1);
}

/// The same by somebody on the way, who says that the server has no TLS and waits for what comes in plain text.
#[rstest]
#[tokio::test]
async fn who_talks_tls_away_gets_no_further_byte(
    #[values("require", "verify-ca", "verify-full")] mode: &str,
) {
    let traveller = Traveller::new().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let recorder = heard.clone();
    let standing_by = tokio::spawn(async move {
        // The pools' attempt, and the one beside them.
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; SSL_REQUEST.len()];
            socket.read_exact(&mut bytes).await.unwrap();
            socket.write_all(b"N").await.unwrap();
            // Ends when the other side has gone.
            let _ = socket.read_to_end(&mut bytes).await;
            recorder.lock().unwrap().push(bytes);
        }
    });
    let pem = Authority::new().pem;
    let row = Row { host: "127.0.0.1", port, mode, authority: Some(&pem) };
    traveller.is_refused(row).await;
    standing_by.await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [SSL_REQUEST, SSL_REQUEST]);
}

#[tokio::test]
async fn a_row_that_cannot_be_used_is_told_of_and_nothing_is_tried() {
    let traveller = Traveller::new().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (empty, path) = (Some(""), Some("/etc/ssl/authority.pem"));
    for (mode, authority, reason) in [
        ("verify-full", empty, "tls_authority"),
        ("verify-full", path, "tls_authority"),
        ("require", path, "tls_authority"),
        ("verify-ca", None, "needs a tls_authority"),
    ] {
        let row = Row { host: "127.0.0.1", port, mode, authority };
        let refused = traveller.connect(row).await.err();
        let Some(RouterError::Unavailable(ConnectFailure::BadAddress(said))) = refused else {
            panic!("{mode}: {refused:?}");
        };
        assert!(said.contains(reason), "{said}");
    }
    let knock = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(knock.is_err(), "somebody connected");
}

/// The tenant's people hear of it as of any database that cannot be had now.
#[tokio::test]
async fn a_refused_server_is_a_database_that_is_not_available() {
    let app = crate::support::TestApp::start().await;
    let owner = app.register().await;
    app.router.close();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let id = Uuid::now_v7();
    app.registry_execute(&format!(
        "INSERT INTO database_servers (id, name, host, port, tls_mode, tls_authority, state)
         VALUES ('{id}', 'x', '127.0.0.1', {port}, 'verify-ca', NULL, 'full');
         UPDATE tenants SET server_id = '{id}', updated_at = now() WHERE id = '{}'",
        owner.tenant_id
    ))
    .await;
    crate::support::eventually("the move is noticed", async || {
        let answer = owner.get("/v1/branches").await;
        answer.status == 503
    })
    .await;
    owner.get("/v1/branches").await.expect_problem(503, "tenant_database_unavailable");
}
