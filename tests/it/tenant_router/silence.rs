//! A database server that vanishes without a word.

use std::time::Duration;

use narthex::postgres::failure::is_unavailable;
use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use super::{Hall, ask, connect, visit};
use crate::support::{Proxy, unique};

/// Far above statement and connect timeout together.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Clone, Copy)]
enum Meeting {
    Statement,
    Begin,
    Commit,
}

#[rstest]
#[case::in_a_statement(Meeting::Statement)]
#[case::at_begin(Meeting::Begin)]
#[case::at_commit(Meeting::Commit)]
#[tokio::test]
async fn an_operation_ends_and_its_connection_is_never_lent_again(#[case] meeting: Meeting) {
    let hall = Hall::with(1).await;
    let id = hall.ids[0];
    let server: u16 = hall.app.cluster.options("postgres").get_port();
    let proxy = Proxy::to(server).await;
    let row = uuid::Uuid::now_v7();
    hall.app
        .registry_execute(&format!(
            "INSERT INTO database_servers (id, name, host, port, tls_mode, state)
             VALUES ('{row}', '{}', '127.0.0.1', {}, 'disable', 'full')",
            unique(),
            proxy.port
        ))
        .await;
    hall.change_row(id, &format!("server_id = '{row}', updated_at = now()")).await;
    let router = hall.router(|settings| {
        settings.statement_timeout = Duration::from_secs(1);
        settings.connect_timeout = Duration::from_secs(3);
        settings.max_connections_per_tenant = 1;
    });
    let db = connect(&router, id).await.unwrap();
    let (_, silent) = ask(&db).await;
    let ended = async {
        match meeting {
            Meeting::Statement => {
                proxy.fall_silent();
                db.execute_unprepared("SELECT 1").await.map(drop)
            }
            Meeting::Begin => {
                proxy.fall_silent();
                db.begin().await.map(drop)
            }
            Meeting::Commit => {
                let transaction = db.begin().await.unwrap();
                proxy.fall_silent();
                transaction.commit().await
            }
        }
    };
    let failure = tokio::time::timeout(PATIENCE, ended).await.expect("it waits for ever");
    let failure = failure.expect_err("nobody has answered");
    assert!(is_unavailable(&failure), "{failure:?}");
    // It stays of no use, whoever has it.
    assert!(db.execute_unprepared("SELECT 1").await.is_err());
    drop(db);
    proxy.speak_again();
    let backend = tokio::time::timeout(PATIENCE, visit(&router, id)).await.expect("no connection");
    assert_ne!(backend, silent);
}
